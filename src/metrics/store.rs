//! The store: whether it responds, what failed, and what the embedded one keeps.

use prometheus::{Gauge, IntCounter, IntGauge, Result};

use super::Observed;
use super::label::label;
use super::registration::{CounterBy, Registration, raise, set};
use crate::store::memory::MemoryUse;

label! {
    /// Which store operation failed.
    pub StoreOp {
        /// Storing events.
        Append => "append",
        /// Reading a history.
        History => "history",
        /// Comparing open pipelines with the store.
        Check => "check",
        /// Deleting a history.
        Delete => "delete",
    }
}
label! {
    /// What the embedded store evicted early to free memory.
    Evicted {
        /// A pipeline without subscribers.
        Pipeline => "pipeline",
        /// The response saved for an `Idempotency-Key`.
        Answer => "answer",
    }
}

pub(super) struct Store {
    up: IntGauge,
    probe_age: Gauge,
    reconnects: IntCounter,
    pub(super) errors: CounterBy<StoreOp>,
    memory: IntGauge,
    evicted: CounterBy<Evicted>,
}

impl Store {
    pub(super) fn register(registration: &Registration<'_>) -> Result<Self> {
        Ok(Self {
            up: registration.gauge("pipecast_store_up", "1 while the store accepts events and notifies this node, otherwise 0; readiness depends on it.")?,
            probe_age: registration.age(
                "pipecast_store_probe_age_seconds",
                "Seconds since the last probe that Redis stored and this node received over pub/sub; 0 with the embedded store, -1 before the first probe.",
            )?,
            reconnects: registration
                .counter("pipecast_store_reconnects_total", "Times the Redis pub/sub connection was lost.")?,
            errors: registration.counter_by(
                "pipecast_store_errors_total",
                "Failed store operations, by operation.",
                "op",
            )?,
            memory: registration.gauge(
                "pipecast_store_memory_bytes",
                "Bytes of memory used by the embedded store; store.memory is the maximum; 0 with Redis.",
            )?,
            evicted: registration.counter_by(
                "pipecast_store_evicted_total",
                "What the embedded store evicted early because store.memory was full: pipelines without subscribers, and responses saved for an Idempotency-Key.",
                "what",
            )?,
        })
    }

    pub(super) fn observe(&self, observed: &Observed) {
        self.up.set(observed.is_store_up.into());
        self.probe_age.set(observed.probe_age.map_or(-1.0, |age| age.as_secs_f64()));
        raise(&self.reconnects, observed.store_reconnects);
        let MemoryUse { bytes, pipelines_evicted, answers_evicted } = observed.store_memory;
        set(&self.memory, bytes);
        self.evicted.raise(Evicted::Pipeline, pipelines_evicted);
        self.evicted.raise(Evicted::Answer, answers_evicted);
    }
}
