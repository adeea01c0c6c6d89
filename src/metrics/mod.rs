//! Metrics: one struct with its own registry, handed to whatever counts. Never a global.
//!
//! Each subject has a file with its metrics and their help texts; they make docs/reference/metrics.md. What other parts
//! already count is read at each scrape, through [`Observed`], so it costs nothing between scrapes.

mod auth;
mod delivery;
mod label;
mod limits;
mod pipelines;
mod program;
mod publishing;
mod registration;
mod store;
mod streams;

use std::fmt;
use std::time::Duration;

use prometheus::{Encoder, Registry, TextEncoder};

use crate::auth::AuthHealth;
use crate::event::GapReason;
use crate::logging::Dropped;
use crate::store::memory::MemoryUse;
use auth::Auth;
use delivery::Delivery;
use limits::Limits;
use pipelines::Pipelines;
use program::Program;
use publishing::Publishing;
use registration::Registration;
use store::Store;
use streams::Streams;

pub use delivery::Deliveries;
pub use limits::Rejection;
pub use pipelines::ReadReason;
pub use store::StoreOp;
pub use streams::{StreamEnd, StreamStart};

/// An error in the metrics themselves.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// What other parts of the node report when metrics are scraped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observed {
    /// Pipelines with an open log.
    pub pipelines_open: usize,
    /// Bytes of memory used by open logs.
    pub event_buffer_bytes: usize,
    /// Time since the store's last probe succeeded; none before the first.
    pub probe_age: Option<Duration>,
    /// Whether that is recent enough for the node to be ready.
    pub is_store_up: bool,
    /// Times the pub/sub connection was lost since the start.
    pub store_reconnects: u64,
    /// Open connections on the public listener.
    pub connections: usize,
    /// Maximum number of streams on this node.
    pub streams_limit: usize,
    /// Log lines dropped since the start.
    pub log_lines_dropped: Dropped,
    /// Bytes of memory reserved for request bodies.
    pub bodies_bytes: usize,
    /// Bytes of memory reserved for histories as JSON.
    pub histories_bytes: usize,
    /// Memory and evictions of the embedded store; zero with Redis.
    pub store_memory: MemoryUse,
    /// Whether keys and revocations are up to date.
    pub auth: AuthHealth,
}

/// All metrics of a node.
pub struct Metrics {
    registry: Registry,
    program: Program,
    streams: Streams,
    delivery: Delivery,
    publishing: Publishing,
    pipelines: Pipelines,
    limits: Limits,
    store: Store,
    auth: Auth,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// All metrics, at zero.
    ///
    /// # Errors
    /// When two metrics have the same name. That is a programming error, which a test finds.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let registration = Registration(&registry);
        Ok(Self {
            program: Program::register(&registration)?,
            streams: Streams::register(&registration)?,
            delivery: Delivery::register(&registration)?,
            publishing: Publishing::register(&registration)?,
            pipelines: Pipelines::register(&registration)?,
            limits: Limits::register(&registration)?,
            store: Store::register(&registration)?,
            auth: Auth::register(&registration)?,
            registry,
        })
    }

    /// The metrics in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    /// When the process' own metrics cannot be written; nothing else can fail.
    pub fn encode(&self, observed: Observed) -> Result<Vec<u8>, MetricsError> {
        self.program.observe(observed.log_lines_dropped);
        self.pipelines.observe(&observed);
        self.limits.observe(&observed);
        self.store.observe(&observed);
        self.auth.observe(&observed.auth);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// Counts a stream as open, before it is known what it starts with.
    pub fn stream_opened(&self) {
        self.streams.open.inc();
    }

    /// Counts a stream by what it starts with.
    pub fn stream_started(&self, start: StreamStart) {
        self.streams.opened.inc(start);
    }

    /// Counts a stream as closed.
    pub fn stream_ended(&self, end: StreamEnd) {
        self.streams.open.dec();
        self.streams.closed.inc(end);
    }

    /// Number of open streams.
    pub fn streams_open(&self) -> usize {
        usize::try_from(self.streams.open.get()).unwrap_or_default()
    }

    /// Counts a gap that is reported to a client.
    pub fn gap_reported(&self, reason: GapReason) {
        self.streams.gaps.inc(reason);
    }

    /// Counts the events of a publish request, and how long the store needed to answer it.
    pub fn published(&self, events: u64, took: Duration) {
        self.publishing.events.inc_by(events);
        self.publishing.duration.observe(took.as_secs_f64());
    }

    /// Counts a publish response that waits for subscribers to catch up.
    pub fn publish_delayed(&self) {
        self.publishing.delayed.inc();
    }

    /// Counts an event written to a connection; `lag` only for live events.
    pub fn delivered(&self, bytes: usize, lag: Option<Duration>) {
        self.delivery.add(bytes, lag);
    }

    /// A tally for one thread, which is added to the metrics when it is flushed.
    pub fn deliveries(&self) -> Deliveries {
        self.delivery.tally()
    }

    /// Counts an event that was compressed.
    pub fn compressed(&self) {
        self.delivery.compressions.inc();
    }

    /// Counts a history read from the store.
    pub fn history_read(&self, reason: ReadReason) {
        self.pipelines.history_reads.inc(reason);
    }

    /// Counts a failed store operation.
    pub fn store_error(&self, op: StoreOp) {
        self.store.errors.inc(op);
    }

    /// Counts a rejected request, stream or connection.
    pub fn rejected(&self, reason: Rejection) {
        self.limits.rejected.inc(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics, observed: Observed) -> String {
        String::from_utf8(metrics.encode(observed).unwrap()).unwrap()
    }

    #[test]
    fn every_series_of_a_labelled_counter_starts_at_zero() {
        let text = text(&Metrics::new().unwrap(), Observed::default());
        for series in [
            "pipecast_rejected_total{reason=\"stream_limit\"} 0",
            "pipecast_streams_closed_total{reason=\"max_age\"} 0",
            "pipecast_gaps_total{reason=\"reset\"} 0",
            "pipecast_auth_read_failures_total{source=\"jwks_url\"} 0",
        ] {
            assert!(text.contains(&format!("\n{series}\n")), "{series} in {text}");
        }
    }

    #[test]
    fn observed_counters_follow_their_source_and_never_go_down() {
        let metrics = Metrics::new().unwrap();
        for (reconnects, shown) in [(2, 2), (5, 5), (4, 5)] {
            let text = text(&metrics, Observed { store_reconnects: reconnects, ..Observed::default() });
            assert!(text.contains(&format!("\npipecast_store_reconnects_total {shown}\n")), "{text}");
        }
    }

    #[test]
    fn tally_is_visible_once_it_is_flushed() {
        let metrics = Metrics::new().unwrap();
        let mut tally = metrics.deliveries();
        tally.add(100, Some(Duration::from_millis(2)));
        let delivered = |count: u64| format!("\npipecast_events_delivered_total {count}\n");
        assert!(text(&metrics, Observed::default()).contains(&delivered(0)));
        tally.flush();
        assert!(text(&metrics, Observed::default()).contains(&delivered(1)));
    }
}
