//! Publishing: events stored through this node, and how long that took.

use prometheus::{Histogram, IntCounter, Result};

use super::registration::Registration;

pub(super) struct Publishing {
    pub(super) events: IntCounter,
    pub(super) duration: Histogram,
    pub(super) delayed: IntCounter,
}

impl Publishing {
    pub(super) fn register(registration: &Registration<'_>) -> Result<Self> {
        Ok(Self {
            events: registration.counter(
                "pipecast_events_published_total",
                "Events stored through this node, without those that an Idempotency-Key identified as repeated.",
            )?,
            duration: registration.durations(
                "pipecast_publish_duration_seconds",
                "Seconds from receiving a complete publish request to the store's acknowledgement or failure.",
            )?,
            delayed: registration.counter(
                "pipecast_publishes_delayed_total",
                "Publish responses delayed because most of the pipeline's subscribers on this node had fallen behind.",
            )?,
        })
    }
}
