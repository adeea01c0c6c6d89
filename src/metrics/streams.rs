//! Streams: how many are open, how they start, and why they end.

use prometheus::{IntGauge, Result};

use super::label::label;
use super::registration::{CounterBy, Registration};
use crate::event::GapReason;

label! {
    /// Why a stream ended.
    pub StreamEnd {
        /// The client closed the connection, or the connection was lost.
        Client => "client",
        /// The node is shutting down.
        Drain => "drain",
        /// The stream reached `stream.max_age`.
        MaxAge => "max_age",
        /// The client read nothing for `stream.write_timeout`.
        WriteTimeout => "write_timeout",
        /// The token expired.
        Token => "token",
        /// The token or key was revoked.
        Revoked => "revoked",
    }
}
label! {
    /// What a new stream started with.
    pub StreamStart {
        /// The newest events: the client gave no resume point.
        History => "history",
        /// Every event after the client's resume point.
        Resumed => "resumed",
        /// A gap, then the events that are still kept.
        Gap => "gap",
    }
}

pub(super) struct Streams {
    pub(super) open: IntGauge,
    pub(super) opened: CounterBy<StreamStart>,
    pub(super) closed: CounterBy<StreamEnd>,
    pub(super) gaps: CounterBy<GapReason>,
}

impl Streams {
    pub(super) fn register(registration: &Registration<'_>) -> Result<Self> {
        Ok(Self {
            open: registration.gauge("pipecast_streams", "Open streams on this node.")?,
            opened: registration.counter_by(
                "pipecast_streams_opened_total",
                "Streams placed in their history, by what they started with. One that ends before, for example while Redis is unreachable, is only in pipecast_streams_closed_total.",
                "start",
            )?,
            closed: registration.counter_by("pipecast_streams_closed_total", "Streams closed, by reason.", "reason")?,
            gaps: registration.counter_by("pipecast_gaps_total", "Gaps reported to clients, by reason.", "reason")?,
        })
    }
}
