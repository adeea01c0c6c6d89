//! Delivery: events written to connections. The one subject that is counted millions of times a second, so each thread keeps a
//! tally of its own.

use std::time::Duration;

use prometheus::local::LocalHistogram;
use prometheus::{Histogram, IntCounter, Result};

use super::registration::Registration;

pub(super) struct Delivery {
    events: IntCounter,
    bytes: IntCounter,
    lag: Histogram,
    pub(super) compressions: IntCounter,
}

impl Delivery {
    pub(super) fn register(registration: &Registration<'_>) -> Result<Self> {
        Ok(Self {
            events: registration.counter(
                "pipecast_events_delivered_total",
                "Events written to this node's connections, including replayed events.",
            )?,
            bytes: registration.counter(
                "pipecast_delivered_bytes_total",
                "Bytes of events written to this node's connections, before compression and without HTTP framing.",
            )?,
            lag: registration.durations(
                "pipecast_delivery_lag_seconds",
                "Seconds from the store accepting a live event to this node writing it to a connection, measured with the clocks of both; replayed events are not counted.",
            )?,
            compressions: registration.counter(
                "pipecast_compressions_total",
                "Events compressed (stream.compression), once each for all connections.",
            )?,
        })
    }

    pub(super) fn add(&self, bytes: usize, lag: Option<Duration>) {
        self.events.inc();
        self.bytes.inc_by(bytes as u64);
        if let Some(lag) = lag {
            self.lag.observe(lag.as_secs_f64());
        }
    }

    pub(super) fn tally(&self) -> Deliveries {
        Deliveries {
            events: 0,
            bytes: 0,
            lag: self.lag.local(),
            events_delivered: self.events.clone(),
            delivered_bytes: self.bytes.clone(),
        }
    }
}

/// One thread's deliveries, counted without touching what other threads count.
#[derive(Debug)]
pub struct Deliveries {
    events: u64,
    bytes: u64,
    lag: LocalHistogram,
    events_delivered: IntCounter,
    delivered_bytes: IntCounter,
}

impl Deliveries {
    /// Like [`Metrics::delivered`](super::Metrics::delivered), but visible only after [`flush`](Self::flush).
    pub fn add(&mut self, bytes: usize, lag: Option<Duration>) {
        self.events += 1;
        self.bytes += bytes as u64;
        if let Some(lag) = lag {
            self.lag.observe(lag.as_secs_f64());
        }
    }

    /// Adds the tally to the metrics and starts again at zero.
    pub fn flush(&mut self) {
        if self.events > 0 {
            self.events_delivered.inc_by(std::mem::take(&mut self.events));
            self.delivered_bytes.inc_by(std::mem::take(&mut self.bytes));
            self.lag.flush();
        }
    }
}
