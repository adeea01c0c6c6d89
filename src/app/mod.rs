//! A node's life, phase by phase: assemble, bind, announce the addresses, run, drain with a deadline.
//!
//! `bind` and `run` are two steps, so that the addresses can be announced, and port 0 be asked for, in between.

pub mod background;
mod shutdown;
pub mod stop_signals;
pub mod supervisor;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::app::background::{Background, Part};
use crate::app::shutdown::Running;
use crate::app::supervisor::Supervisor;
use crate::auth::{Auth, AuthSetupError};
use crate::http::{Server, Tls, TlsError};
use crate::hub::{Hub, HubCommand};
use crate::limits::{Bodies, Budget, Limits, open_files};
use crate::logging::LogLines;
use crate::metrics::{Metrics, MetricsError};
use crate::node::Node;
use crate::node::drain::Drain;
use crate::settings::{DrainSettings, Settings};
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::store::redis::{OWN_CONNECTIONS, Reached, RedisSetupError, RedisStore};
use crate::stream::fanout::Fanout;

pub use shutdown::NodeExit;
pub use stop_signals::StopSignals;

/// A node that is bound and does not run yet.
pub struct App {
    node: Arc<Node>,
    server: Server,
    drain: DrainSettings,
    loops: Loops,
}

/// What runs in the background of the store and the hub.
struct Loops {
    hub_commands: mpsc::UnboundedReceiver<HubCommand>,
    store: BackgroundLoop,
}

type BackgroundLoop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound, or a file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// This Redis cannot be used.
    #[error(transparent)]
    Redis(#[from] RedisSetupError),
    /// This certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// These keys cannot be used.
    #[error(transparent)]
    Auth(#[from] AuthSetupError),
    /// A bug in Pipecast.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

impl App {
    /// Assembles a node, checks its Redis, and binds its addresses.
    ///
    /// # Errors
    /// What no retry would fix. A Redis that cannot be reached is not an error: the node waits for it.
    pub async fn bind(settings: &Settings, log: &LogLines) -> Result<Self, StartError> {
        let (node, loops) = assemble(settings, log).await?;
        let tls = settings.server.tls.clone().map(Tls::load).transpose()?;
        let server = Server::bind(settings.server.listen, settings.server.admin_listen, tls, &node)?;
        Ok(Self { node, server, drain: settings.drain, loops })
    }

    /// The address for publishers and subscribers.
    ///
    /// # Errors
    /// When the system does not report it.
    pub fn public_address(&self) -> io::Result<SocketAddr> {
        self.server.public_address()
    }

    /// The address for metrics and health checks.
    ///
    /// # Errors
    /// When the system does not report it.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        self.server.admin_address()
    }

    /// Serves until a signal arrives or a part of the node fails, then drains. Notifies the supervisor of each phase.
    pub async fn run(self, signals: StopSignals, supervisor: Supervisor) -> NodeExit {
        let Self { node, server, drain, loops } = self;
        let background = start(&node, server, loops, &supervisor);
        let mut running = Running { node, drain, signals, supervisor, background };
        let reason = running.until_stop().await;
        running.drain(reason).await
    }
}

/// Puts the parts of a node together.
async fn assemble(settings: &Settings, log: &LogLines) -> Result<(Arc<Node>, Loops), StartError> {
    let store_files = settings.redis.as_ref().map_or(0, |redis| redis.options.pool_size + OWN_CONNECTIONS);
    let limits = Limits::new(settings.limits, open_files::raise(), store_files);
    let metrics = Arc::new(Metrics::new()?);
    let (hub, hub_commands) = Hub::new(settings.hub, metrics.clone());
    let (store, store_loop) = open_store(settings, &hub).await?;
    let fanout = Fanout::start(settings.fanout_threads, hub.clone(), metrics.clone(), settings.stream)?;
    let node = Node {
        hub,
        store: Arc::new(store),
        auth: Auth::load(settings.auth.clone())?,
        fanout,
        metrics,
        drain: Drain::new(),
        limits,
        bodies: Arc::new(Bodies::new(settings.requests.bodies_bytes, settings.requests.max_request_size)),
        histories: Budget::new(settings.requests.histories_bytes),
        rules: settings.rules(),
        log: log.clone(),
    };
    Ok((Arc::new(node), Loops { hub_commands, store: store_loop }))
}

async fn open_store(settings: &Settings, hub: &Arc<Hub>) -> Result<(Store, BackgroundLoop), StartError> {
    let Some(redis) = &settings.redis else {
        let store = MemoryStore::new(settings.retention, settings.store_memory, hub.clone());
        return Ok((Store::Memory(Arc::new(store)), Box::pin(std::future::pending())));
    };
    let (store, store_loop) = RedisStore::open(&redis.load_files()?, settings.retention, hub.clone())?;
    if let Reached::No(error) = store.check().await? {
        tracing::warn!(%error, "the node starts without Redis and keeps trying to reach it");
    }
    Ok((Store::Redis(store), Box::pin(store_loop)))
}

/// Starts everything that lives as long as the node.
fn start(node: &Arc<Node>, server: Server, loops: Loops, supervisor: &Supervisor) -> Background {
    let mut background = Background::default();
    background.spawn(Part::Hub, node.hub.clone().run(node.store.clone(), loops.hub_commands));
    background.spawn(Part::Store, loops.store);
    background.spawn(Part::Auth, {
        let node = node.clone();
        async move { node.auth.run().await }
    });
    background.spawn(Part::Server, server.run(node.clone()));
    // Not only once the store answers: a node starts without it, and `systemctl start` should not wait for Redis.
    supervisor.ready();
    background.spawn(Part::Supervisor, {
        let (node, supervisor) = (node.clone(), supervisor.clone());
        async move { supervisor.follow(&node).await }
    });
    background
}
