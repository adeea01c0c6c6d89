//! A node: the parts that answer requests, and the rules that requests must follow.

pub mod drain;

use std::sync::Arc;
use std::time::Duration;

use crate::auth::Auth;
use crate::event::EventLimits;
use crate::hub::Hub;
use crate::limits::proxies::{ForwardedHeader, TrustedProxies};
use crate::limits::{Bodies, Budget, Limits};
use crate::logging::LogLines;
use crate::metrics::{Metrics, Observed};
use crate::node::drain::Drain;
use crate::store::Store;
use crate::store::memory::MemoryUse;
use crate::stream::StreamOptions;
use crate::stream::fanout::Fanout;
use crate::stream::life::LifeRules;

/// The parts of a node.
#[derive(Debug)]
pub struct Node {
    /// The map of open logs.
    pub hub: Arc<Hub>,
    /// Where events are kept.
    pub store: Arc<Store>,
    /// Checks tokens and permissions.
    pub auth: Auth,
    /// The threads that write streams to plain sockets.
    pub fanout: Fanout,
    /// The counters that `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// The phase of serving or stopping.
    pub drain: Drain,
    /// How many streams and connections there may be, and how fast they and events may arrive.
    pub limits: Arc<Limits>,
    /// Memory for requests' bodies, `limits.bodies`.
    pub bodies: Arc<Bodies>,
    /// Memory for histories as JSON, `limits.histories`.
    pub histories: Budget,
    /// The rules for requests.
    pub rules: Rules,
    /// The log, for its count of dropped lines.
    pub log: LogLines,
}

/// The rules for requests, from the settings.
#[derive(Debug)]
pub struct Rules {
    /// Maximum sizes of events and batches.
    pub events: EventLimits,
    /// Maximum events kept per pipeline.
    pub history: usize,
    /// Maximum bytes of a request's body.
    pub max_request_size: usize,
    /// Maximum bytes of all histories that are being sent as JSON.
    pub histories_bytes: usize,
    /// Maximum streams and requests on one HTTP/2 connection.
    pub http2_max_concurrent_streams: u32,
    /// Maximum time for a request's body to arrive.
    pub request_timeout: Duration,
    /// Maximum time that a connection may be without a request.
    pub idle_timeout: Duration,
    /// Keepalives, timeouts and ages of streams.
    pub stream: StreamOptions,
    /// The same, for streams that hyper carries, and for the write deadline of every connection.
    pub life: Arc<LifeRules>,
    /// Origins whose pages may use the broker.
    pub cors_origins: Vec<String>,
    /// Which pages may publish and delete.
    pub changing_pages: ChangingPages,
    /// Proxies that are trusted to name a client's address.
    pub trusted_proxies: TrustedProxies,
    /// The header in which they name it.
    pub forwarded_header: ForwardedHeader,
    /// Whether connections begin with a PROXY protocol header.
    pub has_proxy_header: bool,
    /// The node is not ready after this time without a probe.
    pub probe_limit: Duration,
}

/// Which web pages may publish and delete. CORS would be too late: it keeps an answer from a page, not a request from the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangingPages {
    /// All that CORS and `auth.publish` allow: the operator has decided.
    All,
    /// Those of this machine and of the node: publishing is open only by default.
    Near,
    /// Those, and the ones that `server.cors_origins` lists: the operator has decided only that.
    Listed,
}

impl Node {
    /// Whether the store is known to store and to notify.
    pub fn is_store_up(&self) -> bool {
        self.store.is_reachable() && self.store.probe_age().is_some_and(|age| age < self.rules.probe_limit)
    }

    /// What the metrics show about other parts.
    pub fn observe(&self) -> Observed {
        Observed {
            pipelines_open: self.hub.open_logs(),
            event_buffer_bytes: self.hub.event_buffer_bytes(),
            probe_age: self.store.probe_age(),
            is_store_up: self.is_store_up(),
            connections: self.limits.connections(),
            bodies_bytes: self.bodies.used(),
            histories_bytes: self.histories.used(),
            streams_limit: self.limits.max_streams(),
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
