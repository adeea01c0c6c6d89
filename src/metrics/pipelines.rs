//! Pipelines that are open on this node, and reads of their histories.

use prometheus::{IntGauge, Result};

use super::Observed;
use super::label::label;
use super::registration::{CounterBy, Registration, set};

label! {
    /// Why a history was read from the store.
    pub ReadReason {
        /// The pipeline's first subscriber on this node arrived.
        Open => "open",
        /// A notification showed that earlier ones are missing.
        MissedNotification => "missed_notification",
        /// The pub/sub connection was lost and re-established.
        Reconnect => "reconnect",
        /// A client resumed after an event that this node did not have yet.
        Ahead => "ahead",
        /// The periodic comparison with the store found a difference.
        Check => "check",
        /// A client asked for the history as JSON.
        Request => "request",
    }
}

pub(super) struct Pipelines {
    open: IntGauge,
    event_buffer_bytes: IntGauge,
    pub(super) history_reads: CounterBy<ReadReason>,
}

impl Pipelines {
    pub(super) fn register(registration: &Registration<'_>) -> Result<Self> {
        Ok(Self {
            open: registration.gauge(
                "pipecast_pipelines_open",
                "Pipelines whose events this node keeps in memory: those with subscribers, and for hub.linger those without.",
            )?,
            event_buffer_bytes: registration.gauge(
                "pipecast_event_buffer_bytes",
                "Bytes of memory used for the events of open pipelines; store.memory is the maximum, unless nothing can be freed.",
            )?,
            history_reads: registration.counter_by(
                "pipecast_history_reads_total",
                "Reads of a pipeline's history from the store, by reason.",
                "reason",
            )?,
        })
    }

    pub(super) fn observe(&self, observed: &Observed) {
        set(&self.open, observed.pipelines_open);
        set(&self.event_buffer_bytes, observed.event_buffer_bytes);
    }
}
