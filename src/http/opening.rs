//! A stream that was requested and that nothing carries yet.

use std::num::NonZeroU8;

use crate::event::PipelineId;
use crate::stream::content_encoding::ContentEncoding;
use crate::stream::context::StreamContext;
use crate::stream::wanted::Wanted;

/// A requested stream.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) pipeline: PipelineId,
    pub(super) wanted: Wanted,
    pub(super) encoding: ContentEncoding,
    /// Seconds between keepalives, if the client asked for its own interval.
    pub(super) keepalive: Option<NonZeroU8>,
    pub(super) context: StreamContext,
}
