//! Metrics: one struct, handed in, with a registry of its own. A leaf: of other modules it knows two enums and three counts.
//!
//! Labels come from enums, so the number of series is fixed. What other modules already count is
//! read when it is scraped, through [`Observed`].

use std::fmt;
use std::time::Duration;

use prometheus::core::{AtomicU64, Collector, GenericCounter, GenericCounterVec};
use prometheus::local::LocalHistogram;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::auth::{AuthHealth, Source};
use crate::event::GapReason;
use crate::logging::Dropped;
use crate::store::memory::MemoryUse;

type Counter = GenericCounter<AtomicU64>;

/// An enum whose variants are the values of a label.
trait Label: Copy + 'static {
    const ALL: &'static [Self];
    fn value(self) -> &'static str;
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            fn value(self) -> &'static str {
                match self { $(Self::$variant => $value,)* }
            }
        }
    };
}

label! {
    /// Why a stream ended.
    StreamEnd {
        /// The client closed it, or is gone.
        Client => "client",
        /// The node is stopping.
        Drain => "drain",
        /// It reached `stream.max_age`.
        MaxAge => "max_age",
        /// The client took nothing for `stream.write_timeout`.
        WriteTimeout => "write_timeout",
        /// Its token's time was over.
        Token => "token",
        /// Its token or key was revoked.
        Revoked => "revoked",
    }
}
label! {
    /// Why a history was read from the store.
    ReadReason {
        /// The pipeline's first reader arrived.
        Open => "open",
        /// A notification showed that earlier ones are missing.
        MissedNotification => "missed_notification",
        /// The pub/sub connection was made anew.
        Reconnect => "reconnect",
        /// A client came with a newer event than this node had.
        Ahead => "ahead",
        /// The regular comparison found a difference.
        Check => "check",
        /// A client asked for the history as JSON.
        Request => "request",
    }
}
label! {
    /// What a new stream began with.
    StreamStart {
        /// The newest events; no resume point was given.
        History => "history",
        /// Everything after its resume point.
        Resumed => "resumed",
        /// A gap, then what is kept.
        Gap => "gap",
    }
}
label! {
    /// What failed in the store.
    StoreOp {
        /// Storing events.
        Append => "append",
        /// Reading a history.
        History => "history",
        /// Comparing open logs.
        Check => "check",
        /// Forgetting a history.
        Forget => "forget",
    }
}
label! {
    /// Why a stream or a request was rejected.
    Rejection {
        /// The node is stopping.
        Draining => "draining",
        /// The request is not as it must be.
        BadRequest => "bad_request",
        /// Body, batch or event over a limit.
        TooLarge => "too_large",
        /// The body did not arrive in time.
        RequestTimeout => "request_timeout",
        /// The store is away.
        StoreUnavailable => "store_unavailable",
        /// No room for a body (`limits.bodies`).
        BodyMemoryLimit => "body_memory_limit",
        /// No room for a history as JSON (`limits.histories`).
        HistoryMemoryLimit => "history_memory_limit",
        /// The embedded store is full, and all that it keeps has readers.
        StoreMemoryLimit => "store_memory_limit",
        /// `limits.streams` streams are open.
        StreamLimit => "stream_limit",
        /// Its address has `limits.streams_per_address` streams.
        AddressStreamLimit => "address_stream_limit",
        /// The pipeline has `limits.streams_per_pipeline` streams here.
        PipelineStreamLimit => "pipeline_stream_limit",
        /// The logs of open pipelines take `store.memory`, and this one is not open.
        EventBufferLimit => "event_buffer_limit",
        /// A connection beyond those of all streams and the room above them.
        ConnectionLimit => "connection_limit",
        /// The same for its address.
        AddressConnectionLimit => "address_connection_limit",
        /// A connection beyond `limits.connection_rate`.
        ConnectionRate => "connection_rate",
        /// A connection beyond `limits.connection_rate_per_address`.
        AddressConnectionRate => "address_connection_rate",
        /// A publish beyond `limits.publish_rate_per_publisher`.
        PublishRate => "publish_rate",
        /// A publish beyond `limits.publish_rate_per_pipeline`.
        PipelinePublishRate => "pipeline_publish_rate",
        /// A connection that the system could not hand over, for want of files mostly.
        AcceptFailed => "accept_failed",
        /// A connection without a PROXY header from a trusted proxy.
        ProxyHeader => "proxy_header",
        /// A TLS handshake that failed, or that the client broke off.
        TlsHandshake => "tls_handshake",
        /// A connection of HTTP/2 with too many frames that ask for nothing.
        Http2Flood => "http2_flood",
        /// A connection to the admin listener beyond its few.
        AdminConnectionLimit => "admin_connection_limit",
        /// No token, or none that is valid.
        Unauthorized => "unauthorized",
        /// A valid token without the right.
        Forbidden => "forbidden",
        /// The keys that tokens are checked with could not be fetched yet.
        JwksUnavailable => "jwks_unavailable",
    }
}
label! {
    /// What the embedded store forgot before its time, for want of room.
    Forgotten {
        /// A pipeline without readers.
        Pipeline => "pipeline",
        /// The answer to an `Idempotency-Key`.
        Answer => "answer",
    }
}
label! {
    /// Why a log line was dropped.
    LineLoss {
        /// `log.buffer` was full: the log is read more slowly than it is written.
        Full => "full",
        /// It could not be written.
        Failed => "failed",
    }
}
impl Label for GapReason {
    const ALL: &'static [Self] = &Self::ALL;

    fn value(self) -> &'static str {
        self.as_str()
    }
}

impl Label for Source {
    const ALL: &'static [Self] = &Self::ALL;

    fn value(self) -> &'static str {
        self.as_str()
    }
}

/// A fault of the metrics themselves.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// What other modules know when they are asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observed {
    /// Open logs.
    pub pipelines_open: usize,
    /// Bytes of frames in open logs.
    pub event_buffer_bytes: usize,
    /// How long ago the store's probe came back.
    pub probe_age: Option<Duration>,
    /// Whether that is recent enough.
    pub is_store_up: bool,
    /// How often the pub/sub connection was made anew.
    pub store_reconnects: u64,
    /// Connections of the public listener.
    pub connections: usize,
    /// Most streams on this node.
    pub streams_limit: usize,
    /// Log lines that were dropped.
    pub log_lines_dropped: Dropped,
    /// Memory reserved for requests' bodies.
    pub bodies_bytes: usize,
    /// Memory reserved for histories as JSON.
    pub histories_bytes: usize,
    /// What the embedded store keeps.
    pub store_memory: MemoryUse,
    /// How the reading of keys and revocations goes.
    pub auth: AuthHealth,
}

/// All metrics of a node.
pub struct Metrics {
    registry: Registry,
    bodies_bytes: IntGauge,
    histories_bytes: IntGauge,
    streams: IntGauge,
    streams_limit: IntGauge,
    connections: IntGauge,
    streams_closed: IntCounterVec,
    events_published: Counter,
    publish_duration: Histogram,
    publishes_delayed: Counter,
    events_delivered: Counter,
    delivered_bytes: Counter,
    compressions: Counter,
    delivery_lag: Histogram,
    streams_opened: GenericCounterVec<AtomicU64>,
    gaps: GenericCounterVec<AtomicU64>,
    pipelines_open: IntGauge,
    event_buffer_bytes: IntGauge,
    history_reads: GenericCounterVec<AtomicU64>,
    store_up: IntGauge,
    store_reconnects: Counter,
    store_errors: GenericCounterVec<AtomicU64>,
    store_probe_age: Gauge,
    rejections: GenericCounterVec<AtomicU64>,
    log_lines_dropped: GenericCounterVec<AtomicU64>,
    store_memory: IntGauge,
    store_forgotten: GenericCounterVec<AtomicU64>,
    auth_read_failures: GenericCounterVec<AtomicU64>,
    auth_stale: IntGaugeVec,
    auth_keys_age: Gauge,
    auth_keys_left_out: IntGauge,
    auth_revocations: IntGauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn vec<L: Label>(registry: &Registry, name: &str, help: &str, label: &str) -> prometheus::Result<IntCounterVec> {
    let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
    // Every series exists from the start: a rate over a counter that appears at 1 misses the 1.
    for value in L::ALL {
        counters.with_label_values(&[value.value()]);
    }
    register(registry, counters)
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

impl Metrics {
    /// All metrics at zero.
    ///
    /// # Errors
    /// When two metrics have one name: a fault of this file, which a test finds.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let r = &registry;
        let counter = |name: &str, help: &str| register(r, Counter::new(name, help)?);
        let gauge = |name: &str, help: &str| register(r, IntGauge::new(name, help)?);
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            register(r, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
        };
        let seconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
        let build_info = IntGauge::with_opts(
            Opts::new("pipecast_build_info", "Always 1; the label says which version runs.")
                .const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        build_info.set(1);
        register(r, build_info)?;
        #[cfg(target_os = "linux")]
        r.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let metrics = Self {
            bodies_bytes: gauge(
                "pipecast_bodies_bytes",
                "Memory reserved for the bodies of requests under way, of limits.bodies.",
            )?,
            histories_bytes: gauge(
                "pipecast_histories_bytes",
                "Memory reserved for histories being sent as JSON, of limits.histories.",
            )?,
            streams: gauge("pipecast_streams", "Streams open on this node.")?,
            streams_limit: gauge(
                "pipecast_streams_limit",
                "Streams that this node takes: limits.streams, or what the limit on open files allows.",
            )?,
            connections: gauge(
                "pipecast_connections",
                "Connections open on the public listener, those of streams included.",
            )?,
            streams_closed: vec::<StreamEnd>(
                r,
                "pipecast_streams_closed_total",
                "Streams closed, by reason.",
                "reason",
            )?,
            events_published: counter(
                "pipecast_events_published_total",
                "Events stored through this node; repetitions by Idempotency-Key are not counted.",
            )?,
            publish_duration: histogram(
                "pipecast_publish_duration_seconds",
                "Seconds from a whole publish request to the store's acknowledgement, or its failure.",
                &seconds,
            )?,
            publishes_delayed: counter(
                "pipecast_publishes_delayed_total",
                "Publish requests whose acknowledgement waited because most of the pipeline's readers on this node lagged.",
            )?,
            events_delivered: counter(
                "pipecast_events_delivered_total",
                "Events handed to connections of this node, replayed ones included.",
            )?,
            delivered_bytes: counter(
                "pipecast_delivered_bytes_total",
                "Bytes of events handed to connections of this node, without HTTP framing.",
            )?,
            compressions: counter(
                "pipecast_compressions_total",
                "Events compressed (`stream.compression`), each once for all connections that get it so.",
            )?,
            delivery_lag: histogram(
                "pipecast_delivery_lag_seconds",
                "Seconds from a live event's acceptance by the store to its hand-over to a connection, by the clocks of both; replayed events are not counted.",
                &seconds,
            )?,
            streams_opened: vec::<StreamStart>(
                r,
                "pipecast_streams_opened_total",
                "Streams opened, by what they began with.",
                "start",
            )?,
            gaps: vec::<GapReason>(r, "pipecast_gaps_total", "Gaps told to clients, by reason.", "reason")?,
            pipelines_open: gauge(
                "pipecast_pipelines_open",
                "Pipelines with a log on this node: those with readers, and for a while after the last has left.",
            )?,
            event_buffer_bytes: gauge(
                "pipecast_event_buffer_bytes",
                "Bytes of memory of all logs of this node, at most store.memory as long as something can be let go.",
            )?,
            history_reads: vec::<ReadReason>(
                r,
                "pipecast_history_reads_total",
                "Reads of a pipeline's history from the store, by reason.",
                "reason",
            )?,
            store_up: gauge(
                "pipecast_store_up",
                "1 while the store is known to answer, else 0; readiness follows it.",
            )?,
            store_reconnects: counter("pipecast_store_reconnects_total", "How often the pub/sub connection was lost.")?,
            store_errors: vec::<StoreOp>(
                r,
                "pipecast_store_errors_total",
                "Calls to the store that failed, by operation.",
                "op",
            )?,
            store_probe_age: register(
                r,
                Gauge::new(
                    "pipecast_store_probe_age_seconds",
                    "Seconds since a probe was last both stored by Redis and heard on the pub/sub connection; 0 with the embedded store, -1 before the first.",
                )?,
            )?,
            rejections: vec::<Rejection>(
                r,
                "pipecast_rejected_total",
                "Requests, streams and connections rejected, by reason.",
                "reason",
            )?,
            store_memory: gauge(
                "pipecast_store_memory_bytes",
                "Bytes of memory that the embedded store takes, at most `store.memory`; 0 on Redis.",
            )?,
            store_forgotten: vec::<Forgotten>(
                r,
                "pipecast_store_forgotten_total",
                "What the embedded store forgot before its time because `store.memory` was full: pipelines without readers, and answers to `Idempotency-Key`.",
                "what",
            )?,
            log_lines_dropped: vec::<LineLoss>(
                r,
                "pipecast_log_lines_dropped_total",
                "Lines missing from the log, by reason: `log.buffer` was full, or they could not be written.",
                "reason",
            )?,
            auth_read_failures: vec::<Source>(
                r,
                "pipecast_auth_read_failures_total",
                "How often keys or revocations could not be read, by source.",
                "source",
            )?,
            auth_stale: {
                let help = "1 while the last try to read keys or revocations failed, so that those in use may be out of date; by source.";
                register(r, IntGaugeVec::new(Opts::new("pipecast_auth_stale", help), &["source"])?)?
            },
            auth_keys_age: register(
                r,
                Gauge::new(
                    "pipecast_auth_keys_age_seconds",
                    "Seconds since the keys at auth.jwks_url were fetched, which are trusted for auth.jwks_max_age; -1 before the first time, and without a URL.",
                )?,
            )?,
            auth_keys_left_out: gauge(
                "pipecast_auth_keys_left_out",
                "Keys at auth.jwks_url that no token can be verified with: broken, or of a kind that is not known.",
            )?,
            auth_revocations: gauge("pipecast_auth_revocations", "Names in auth.revocation_file.")?,
            registry: registry.clone(),
        };
        Ok(metrics)
    }

    /// The metrics in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    /// When the process' own figures cannot be written; nothing else can fail.
    pub fn encode(&self, observed: Observed) -> Result<Vec<u8>, MetricsError> {
        let set = |gauge: &IntGauge, count: usize| gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        set(&self.pipelines_open, observed.pipelines_open);
        set(&self.event_buffer_bytes, observed.event_buffer_bytes);
        set(&self.bodies_bytes, observed.bodies_bytes);
        set(&self.histories_bytes, observed.histories_bytes);
        set(&self.connections, observed.connections);
        set(&self.streams_limit, observed.streams_limit);
        self.store_up.set(observed.is_store_up.into());
        self.store_probe_age.set(observed.probe_age.map_or(-1.0, |age| age.as_secs_f64()));
        let raise = |counter: &Counter, to: u64| counter.inc_by(to.saturating_sub(counter.get()));
        raise(&self.store_reconnects, observed.store_reconnects);
        let MemoryUse { bytes, pipelines_forgotten, answers_forgotten } = observed.store_memory;
        set(&self.store_memory, bytes);
        for (what, count) in [(Forgotten::Pipeline, pipelines_forgotten), (Forgotten::Answer, answers_forgotten)] {
            raise(&self.store_forgotten.with_label_values(&[what.value()]), count);
        }
        let Dropped { full, failed } = observed.log_lines_dropped;
        for (loss, lines) in [(LineLoss::Full, full), (LineLoss::Failed, failed)] {
            raise(&self.log_lines_dropped.with_label_values(&[loss.value()]), lines);
        }
        self.observe_auth(&observed.auth);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    fn observe_auth(&self, health: &AuthHealth) {
        for (source, health) in Source::ALL.iter().zip(&health.sources) {
            let failures = self.auth_read_failures.with_label_values(&[source.value()]);
            failures.inc_by(health.failures.saturating_sub(failures.get()));
            self.auth_stale.with_label_values(&[source.value()]).set(health.is_stale.into());
        }
        self.auth_keys_age.set(health.keys_age.map_or(-1.0, |age| age.as_secs_f64()));
        self.auth_keys_left_out.set(i64::try_from(health.keys_left_out).unwrap_or(i64::MAX));
        self.auth_revocations.set(i64::try_from(health.revocations).unwrap_or(i64::MAX));
    }

    /// A stream was opened.
    pub fn stream_opened(&self) {
        self.streams.inc();
    }

    /// A stream has ended.
    pub fn stream_ended(&self, end: StreamEnd) {
        self.streams.dec();
        self.streams_closed.with_label_values(&[end.value()]).inc();
    }

    /// Streams open.
    pub fn streams_open(&self) -> usize {
        usize::try_from(self.streams.get()).unwrap_or_default()
    }

    /// A publish request was answered by the store, with so many events stored.
    pub fn published(&self, events: u64, took: Duration) {
        self.events_published.inc_by(events);
        self.publish_duration.observe(took.as_secs_f64());
    }

    /// An acknowledgement had to wait for readers.
    pub fn publish_delayed(&self) {
        self.publishes_delayed.inc();
    }

    /// A tally for one thread, which is added to the metrics when it is flushed.
    pub fn deliveries(&self) -> Deliveries {
        Deliveries {
            events: 0,
            bytes: 0,
            lag: self.delivery_lag.local(),
            events_delivered: self.events_delivered.clone(),
            delivered_bytes: self.delivered_bytes.clone(),
        }
    }

    /// An event was handed to a connection; `lag` for live ones.
    pub fn delivered(&self, bytes: usize, lag: Option<Duration>) {
        self.events_delivered.inc();
        self.delivered_bytes.inc_by(bytes as u64);
        if let Some(lag) = lag {
            self.delivery_lag.observe(lag.as_secs_f64());
        }
    }

    /// An event was compressed.
    pub fn compressed(&self) {
        self.compressions.inc();
    }

    /// A client was placed.
    pub fn stream_started(&self, start: StreamStart) {
        self.streams_opened.with_label_values(&[start.value()]).inc();
    }

    /// A client was told of a gap.
    pub fn gap_told(&self, reason: GapReason) {
        self.gaps.with_label_values(&[reason.value()]).inc();
    }

    /// A history is read.
    pub fn history_read(&self, reason: ReadReason) {
        self.history_reads.with_label_values(&[reason.value()]).inc();
    }

    /// A call to the store failed.
    pub fn store_error(&self, op: StoreOp) {
        self.store_errors.with_label_values(&[op.value()]).inc();
    }

    /// Something was rejected.
    pub fn rejected(&self, reason: Rejection) {
        self.rejections.with_label_values(&[reason.value()]).inc();
    }
}

/// Deliveries of one thread, counted without touching what other threads count.
#[derive(Debug)]
pub struct Deliveries {
    events: u64,
    bytes: u64,
    lag: LocalHistogram,
    events_delivered: Counter,
    delivered_bytes: Counter,
}

impl Deliveries {
    /// As [`Metrics::delivered`].
    pub fn add(&mut self, bytes: usize, lag: Option<Duration>) {
        self.events += 1;
        self.bytes += bytes as u64;
        if let Some(lag) = lag {
            self.lag.observe(lag.as_secs_f64());
        }
    }

    /// Adds the tally to the metrics.
    pub fn flush(&mut self) {
        if self.events > 0 {
            self.events_delivered.inc_by(std::mem::take(&mut self.events));
            self.delivered_bytes.inc_by(std::mem::take(&mut self.bytes));
            self.lag.flush();
        }
    }
}
