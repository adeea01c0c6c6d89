//! A node's life: put together, bound, announced, run, drained.

pub mod background;
pub mod supervisor;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::app::background::{Background, Ended, Part};
use crate::app::supervisor::Supervisor;
use crate::auth::{Auth, AuthSetupError};
use crate::http::{Server, Tls, TlsError};
use crate::hub::{Hub, HubCommand};
use crate::limits::{Bodies, Budget, Limits, open_files};
use crate::logging::LogLines;
use crate::metrics::{Metrics, MetricsError};
use crate::node::Node;
use crate::node::drain::{Drain, Phase};
use crate::settings::{DrainSettings, Settings};
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::store::redis::{OWN_CONNECTIONS, Reached, RedisSetupError, RedisStore};
use crate::stream::fanout::Fanout;

/// A node that is bound and does not run yet.
pub struct App {
    node: Arc<Node>,
    server: Server,
    drain: DrainSettings,
    work: mpsc::UnboundedReceiver<HubCommand>,
    /// The store's own loop, if it has one.
    listener: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be had, or a file cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// This Redis will not do.
    #[error("{0}")]
    Redis(#[from] RedisSetupError),
    /// This certificate will not do.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// These keys will not do.
    #[error("{0}")]
    Auth(#[from] AuthSetupError),
    /// A fault in the program.
    #[error("{0}")]
    Metrics(#[from] MetricsError),
}

/// How a node ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// As planned, or at the deadline.
    Drained,
    /// At a second signal, with streams open.
    Cut,
    /// By a fault of its own.
    Broken,
}

/// From the drain's deadline to the end of the process, on a machine that has much else to do.
const EXIT_TIME: Duration = Duration::from_secs(10);

impl App {
    /// Puts a node together, looks whether its Redis will do, and binds its addresses.
    ///
    /// # Errors
    /// What no retry would mend.
    pub async fn bind(settings: &Settings, log: &LogLines) -> Result<Self, StartError> {
        let store_files = settings.redis.as_ref().map_or(0, |redis| redis.options.pool_size + OWN_CONNECTIONS);
        let limits = Limits::new(settings.limits, open_files::raise(), store_files);
        let metrics = Arc::new(Metrics::new()?);
        let (hub, work) = Hub::new(settings.hub, metrics.clone());
        let (store, listener) = open_store(settings, &hub).await?;
        let auth = Auth::load(settings.auth.clone())?;
        let rules = settings.rules();
        let fanout = Fanout::start(settings.fanout_threads, hub.clone(), metrics.clone(), settings.stream)?;
        let drain = Drain::new();
        let bodies = Arc::new(Bodies::new(settings.requests.bodies_bytes, settings.requests.max_request_size));
        let histories = Budget::new(settings.requests.histories_bytes);
        let (store, log) = (Arc::new(store), log.clone());
        let node = Node { hub, store, auth, fanout, metrics, drain, limits, bodies, histories, rules, log };
        let node = Arc::new(node);
        let tls = settings.server.tls.clone().map(Tls::load).transpose()?;
        let server = Server::bind(settings.server.listen, settings.server.admin_listen, tls, &node)?;
        Ok(Self { node, server, drain: settings.drain, work, listener })
    }

    /// Where publishers and readers connect.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn public_address(&self) -> io::Result<SocketAddr> {
        self.server.public_address()
    }

    /// Where metrics and health are.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        self.server.admin_address()
    }

    /// Serves until `stops` says to stop, or a part of the node ends by a fault; drains, and ends. The supervisor hears of
    /// all that.
    pub async fn run(self, stops: Stops, supervisor: Supervisor) -> End {
        let Self { node, server, drain, work, listener } = self;
        let mut background = Background::default();
        background.spawn(Part::Hub, node.hub.clone().run(node.store.clone(), work));
        background.spawn(Part::Store, listener);
        background.spawn(Part::Auth, {
            let node = node.clone();
            async move { node.auth.run().await }
        });
        background.spawn(Part::Server, server.run(node.clone()));
        // Not only when the store answers: a node starts without it, and `systemctl start` should not wait for Redis.
        supervisor.ready();
        background.spawn(Part::Supervisor, {
            let (node, supervisor) = (node.clone(), supervisor.clone());
            async move { supervisor.follow(&node).await }
        });
        Life { node, drain, stops, supervisor, background }.live().await
    }
}

async fn open_store(
    settings: &Settings,
    hub: &Arc<Hub>,
) -> Result<(Store, Pin<Box<dyn Future<Output = ()> + Send>>), StartError> {
    let Some(redis) = &settings.redis else {
        let store = MemoryStore::new(settings.retention, settings.store_memory, hub.clone());
        return Ok((Store::Memory(Arc::new(store)), Box::pin(std::future::pending())));
    };
    let (store, listener) = RedisStore::open(&redis.load_files()?, settings.retention, hub.clone())?;
    if let Reached::No(error) = store.check().await? {
        tracing::warn!(%error, "Redis cannot be reached; the node starts and waits for it");
    }
    Ok((Store::Redis(store), Box::pin(listener)))
}

/// A node that runs, and all that can end it.
struct Life {
    node: Arc<Node>,
    drain: DrainSettings,
    stops: Stops,
    supervisor: Supervisor,
    background: Background,
}

/// Why a node stops.
enum Cause {
    Asked(Stop),
    Broken(Ended),
}

impl Life {
    /// The order of stopping: not ready, then no new connections, then streams end, then the deadline.
    async fn live(mut self) -> End {
        let cause = self.cause().await;
        let began = Instant::now();
        let (lead, window) = match &cause {
            Cause::Asked(Stop::Terminate) => (self.drain.lead, self.drain.window),
            // A person at a terminal has no load balancer that must notice, and does not like to wait.
            Cause::Asked(Stop::Interrupt) => (Duration::ZERO, Duration::ZERO),
            Cause::Broken(Ended { part, why }) => {
                tracing::error!(%part, why, "a part of this node has ended, so the node stops; start it again");
                if !part.leaves_a_drain() {
                    return End::Broken;
                }
                (self.drain.lead, self.drain.window)
            }
        };
        let (node, deadline) = (&self.node, self.drain.deadline);
        self.supervisor.stopping(deadline + EXIT_TIME);
        tracing::info!(
            streams = node.metrics.streams_open(),
            ?lead,
            ?window,
            "stopping; a second signal stops at once"
        );
        node.drain.enter(Phase::Leaving);
        tokio::select! {
            () = sleep_until(began + lead.min(deadline)) => {}
            _ = self.stops.next() => return self.cut(),
        }
        node.drain.enter(Phase::Draining);
        node.hub.start_drain(window);
        tokio::select! {
            () = drained(&mut self.background) => tracing::info!("stopped; all connections are closed"),
            () = sleep_until(began + deadline) => {
                tracing::warn!(streams = node.metrics.streams_open(), "stopped at drain.deadline with streams open");
            }
            _ = self.stops.next() => return self.cut(),
        }
        match cause {
            Cause::Asked(_) => End::Drained,
            Cause::Broken(_) => End::Broken,
        }
    }

    async fn cause(&mut self) -> Cause {
        tokio::select! {
            stop = self.stops.next() => Cause::Asked(stop),
            ended = self.background.ended() => Cause::Broken(ended),
            why = self.node.fanout.ended() => Cause::Broken(Ended { part: Part::Fanout, why }),
        }
    }

    fn cut(&self) -> End {
        tracing::warn!(streams = self.node.metrics.streams_open(), "stopped at the second signal");
        End::Cut
    }
}

/// Waits until the listeners have let go of their last connection. What else ends meanwhile changes nothing.
async fn drained(background: &mut Background) {
    loop {
        let Ended { part, why } = background.ended().await;
        if part == Part::Server {
            return;
        }
        tracing::error!(%part, why, "a part of this node has ended while it stops");
    }
}

/// A wish to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// SIGTERM: by whoever runs the node.
    Terminate,
    /// SIGINT: by a person at the terminal.
    Interrupt,
}

/// The signals that stop a node.
pub struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    /// Takes SIGTERM and SIGINT over from the system.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn from_signals() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next wish. Cancel safe.
    pub async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
        }
    }
}
