//! A node: what the server needs to answer requests, put together once.

pub mod drain;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::Auth;
use crate::event::EventLimits;
use crate::hub::Hub;
use crate::limits::proxies::{ForwardedHeader, TrustedProxies};
use crate::limits::{Bodies, Budget, Limits};
use crate::logging::LogLines;
use crate::metrics::{Metrics, Observed};
use crate::node::drain::Drain;
use crate::settings::{Settings, StreamSettings};
use crate::store::Store;
use crate::store::memory::MemoryUse;
use crate::stream::fanout::Fanout;
use crate::stream::life::LifeRules;

/// A node's parts.
#[derive(Debug)]
pub struct Node {
    /// The open logs.
    pub hub: Arc<Hub>,
    /// Where events are kept.
    pub store: Arc<Store>,
    /// Who may do what.
    pub auth: Auth,
    /// The threads that write plain streams.
    pub fanout: Fanout,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether the node serves or stops.
    pub drain: Drain,
    /// How many may come, and how fast.
    pub limits: Arc<Limits>,
    /// Room for requests' bodies, `limits.bodies`.
    pub bodies: Arc<Bodies>,
    /// Room for histories as JSON, `limits.histories`.
    pub histories: Budget,
    /// What requests may be like.
    pub rules: Rules,
    /// The way into the log, for what it counts.
    pub log: LogLines,
}

/// What requests may be like, from the settings.
#[derive(Debug)]
pub struct Rules {
    /// How large events and batches may be.
    pub events: EventLimits,
    /// Most events kept per pipeline.
    pub history: usize,
    /// Most bytes of a request's body.
    pub max_request_size: usize,
    /// Bytes of histories as JSON that are under way together.
    pub histories_bytes: usize,
    /// Streams and requests on one connection of HTTP/2.
    pub http2_max_concurrent_streams: u32,
    /// Longest time for a request's body to arrive.
    pub request_timeout: Duration,
    /// How long a connection may be without a request.
    pub idle_timeout: Duration,
    /// How streams are kept.
    pub stream: StreamSettings,
    /// The same, for the lives of streams that hyper carries, and for the write deadline of every connection.
    pub life: Arc<LifeRules>,
    /// Origins whose pages may use the broker.
    pub cors_origins: Vec<String>,
    /// Which pages may publish and forget.
    pub changing_pages: ChangingPages,
    /// Proxies whose word on a client's address is taken.
    pub trusted_proxies: TrustedProxies,
    /// The header in which they name it.
    pub forwarded_header: ForwardedHeader,
    /// Whether connections begin with a PROXY header.
    pub has_proxy_header: bool,
    /// After so long without a probe the node is not ready.
    pub probe_limit: Duration,
}

/// How many probes may be missed before the node is not ready.
const PROBES: u32 = 3;

/// Which web pages may publish and forget. CORS alone would be too late: it keeps an answer from a page, not a request from
/// the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangingPages {
    /// All that CORS and `auth.publish` let: the operator has decided.
    All,
    /// Those of this machine and of the node: it is open only because nobody has decided anything.
    Near,
    /// These, and those that `server.cors_origins` lists: the operator has decided no more than that.
    Listed,
}

impl ChangingPages {
    fn of(settings: &Settings) -> Self {
        let lists_all = settings.server.cors_origins.iter().any(|origin| origin == "*");
        match (settings.auth.is_publish_decided, settings.server.are_origins_decided) {
            (true, _) => Self::All,
            (false, false) => Self::Near,
            (false, true) if lists_all => Self::All,
            (false, true) => Self::Listed,
        }
    }
}

impl Rules {
    /// The rules of these settings.
    pub fn new(settings: &Settings) -> Self {
        let probe_interval = settings.redis.as_ref().map(|redis| redis.options.probe_interval);
        Self {
            events: settings.events,
            history: settings.retention.limit,
            max_request_size: settings.max_request_size,
            histories_bytes: settings.histories_bytes,
            http2_max_concurrent_streams: settings.http2_max_concurrent_streams,
            request_timeout: settings.request_timeout,
            idle_timeout: settings.idle_timeout,
            stream: settings.stream,
            life: Arc::new(LifeRules::new(
                settings.stream.keepalive,
                settings.stream.write_timeout,
                settings.stream.max_age,
                Instant::now(),
            )),
            cors_origins: settings.server.cors_origins.clone(),
            changing_pages: ChangingPages::of(settings),
            trusted_proxies: settings.server.trusted_proxies.clone(),
            forwarded_header: settings.server.forwarded_header,
            has_proxy_header: settings.server.has_proxy_header,
            probe_limit: probe_interval.map_or(Duration::MAX, |interval| interval * PROBES),
        }
    }
}

impl Node {
    /// Whether the store is known to store and to announce.
    pub fn is_store_up(&self) -> bool {
        self.store.is_reachable() && self.store.probe_age().is_some_and(|age| age < self.rules.probe_limit)
    }

    /// What the metrics show of other parts.
    pub fn observe(&self) -> Observed {
        Observed {
            pipelines_open: self.hub.open_logs(),
            event_buffer_bytes: self.hub.event_buffer_bytes(),
            probe_age: self.store.probe_age(),
            is_store_up: self.is_store_up(),
            connections: self.limits.sockets(),
            bodies_bytes: self.bodies.used(),
            histories_bytes: self.histories.used(),
            streams_limit: self.limits.most_streams(),
            log_lines_dropped: self.log.dropped(),
            auth: self.auth.health(),
            store_memory: match &*self.store {
                Store::Memory(store) => store.memory_use(),
                Store::Redis(_) => MemoryUse::default(),
            },
            store_reconnects: match &*self.store {
                Store::Memory(_) => 0,
                Store::Redis(store) => store.health().reconnects(),
            },
        }
    }
}
