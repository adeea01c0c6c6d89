//! What the publishers and subscribers of a run share. The engine owns it and lends it to whichever connection is ready.

use crate::clock::Clock;
use crate::http::Target;
use crate::tally::{DeliveryTally, LatencyHistogram, Stamper};

/// What the publishers and subscribers of a run share.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) target: Target,
    pub(crate) stamper: Stamper,
    pub(crate) tally: DeliveryTally,
    /// How many publishers the run has.
    pub(crate) publishers: usize,
    /// From when a subscriber began to connect until it had the whole replay.
    pub(crate) catch_up: LatencyHistogram,
    /// Where every connection reads into; its content is used before the next read.
    pub(crate) buffer: Box<[u8]>,
}
