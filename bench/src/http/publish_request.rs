//! A publish request before it is written: which events it carries.

use std::ops::Range;

use crate::clock::Nanos;

/// Events that leave in one request.
#[derive(Debug)]
pub(crate) struct PublishRequest {
    /// The publisher's number.
    pub(crate) publisher: usize,
    pub(crate) pipeline: usize,
    /// The events' places in the sequence that this publisher sends to the pipeline.
    pub(crate) sequences: Range<usize>,
    /// When they were to be sent.
    pub(crate) due: Nanos,
}
