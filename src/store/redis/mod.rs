//! The store on Redis or Valkey: which connection carries what, and what is asked of it.
//!
//! Live streams come first: what they read has a connection of its own, as have publishes, notifications, probes and
//! comparisons. What clients ask for shares a pool, and can wait for nothing but each other.

mod append_script;
mod appender;
mod client_pool;
pub mod connector;
mod failure;
mod health;
pub mod keys;
mod listener;
mod newest;
mod page;
mod prober;
mod trial;
mod watched;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed;
use redis::aio::MultiplexedConnection;
use redis::{IntoConnectionInfo, RedisError, Script};

use super::page::{About, Page, PageBounds, PageStart};
use super::{EventSink, Hold, IdempotencyKey, Newest, Receipt, Retention, StoreError};
use crate::event::{Batch, PipelineId};
use crate::sse::frame::History;
use appender::Appender;
use client_pool::ClientPool;
use connector::{Connector, Unfit};
use failure::Failure;
use health::Health;
use keys::{Names, Prefix};
use listener::ListenerHandle;
use newest::NewestScript;
use page::{PageScripts, about_of, page_of};
use prober::Prober;
use wire::Wire;

/// How often a history is read from its beginning when another one takes its place meanwhile.
const HISTORY_ATTEMPTS: usize = 3;

/// Connections to Redis besides the pool: two that publish, and one each that listens, probes, reads for live streams and
/// compares.
pub const OWN_CONNECTIONS: usize = appender::LANES + 4;

/// How Redis is reached. Section `redis` of the settings.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://`, `rediss://` or `redis+unix://`, with user, password and database.
    pub url: String,
    /// File with the password, where the URL has none. Read for each connection.
    pub password_file: Option<PathBuf>,
    /// PEM file with the certificate authority of `rediss://`; the system's when absent.
    pub tls_ca: Option<Vec<u8>>,
    /// Client certificate and key, PEM, for servers that ask for one.
    pub tls_client: Option<(Vec<u8>, Vec<u8>)>,
    /// What all keys and channels begin with.
    pub prefix: Prefix,
    /// Connections for commands.
    pub pool_size: usize,
    /// Longest time that one command may take, waiting for a connection included.
    pub timeout: Duration,
    /// How often the pub/sub connection must hear its own probe.
    pub probe_interval: Duration,
}

/// Histories in Redis.
pub struct RedisStore {
    /// For what clients ask.
    pool: ClientPool,
    /// For what live streams need.
    live: Arc<Wire>,
    /// For comparing open logs with the store.
    checks: Arc<Wire>,
    names: Names,
    retention: Retention,
    timeout: Duration,
    appender: Appender,
    forget: Script,
    pages: PageScripts,
    newest: NewestScript,
    listener: ListenerHandle,
    health: Arc<Health>,
}

/// Why a node cannot start on this Redis. Retrying would not help.
#[derive(Debug, thiserror::Error)]
pub enum RedisSetupError {
    /// The URL is not one.
    #[error("{0}; write redis://host:6379, rediss://host:6379 or redis+unix:///path/to/socket")]
    Url(String),
    /// The file with the password cannot be used.
    #[error("{0}")]
    Password(String),
    /// The certificates cannot be used.
    #[error("redis TLS: {0}")]
    Tls(RedisError),
    /// The pool cannot be made.
    #[error("redis pool: {0}")]
    Pool(#[from] managed::BuildError),
    /// The server refuses the credentials or a command.
    #[error("Redis refused {doing}: {problem}; check the user, the password and the rights (README: Redis rights)")]
    Refused {
        /// What was tried.
        doing: &'static str,
        /// In the server's words.
        problem: String,
    },
    /// The server is of no use.
    #[error("{0}")]
    Unfit(#[from] Unfit),
}

impl RedisStore {
    /// Prepares the store. Reaches out only when it is used; see [`RedisStore::check`].
    ///
    /// The returned future is the life of what runs in the background; it never ends by itself.
    ///
    /// # Errors
    /// When the options cannot be right.
    pub fn open(
        options: &RedisOptions,
        retention: Retention,
        sink: Arc<dyn EventSink>,
    ) -> Result<(Arc<Self>, impl Future<Output = ()> + Send + use<>), RedisSetupError> {
        let connector = Connector::new(options)?;
        let health = Arc::new(Health::default());
        let names = Names::new(options.prefix.clone(), connector.database());
        let wire = || Wire::new(&connector, &health, options.timeout);
        let (live, checks, lanes) = (wire(), wire(), [wire(), wire()]);
        let pool = ClientPool::new(&connector, options, &health)?;
        let probe = names.new_probe();
        let prober = Prober {
            wire: wire(),
            others: [live.clone(), checks.clone()].into_iter().chain(lanes.clone()).collect(),
            pool: pool.clone(),
            health: health.clone(),
            interval: options.probe_interval,
            key: probe.clone(),
            channel: probe.clone(),
        };
        let (appender, appending) = appender::new(lanes, &names, retention);
        let (listener, listening) = listener::new(&connector, options, &names, &probe, sink, &health);
        let store = Self {
            pool,
            live,
            checks,
            names,
            retention,
            timeout: options.timeout,
            appender,
            forget: Script::new(include_str!("forget.lua")),
            pages: PageScripts::new(),
            newest: NewestScript::default(),
            listener,
            health,
        };
        let life = Box::pin(async {
            tokio::join!(listening, appending, prober.run());
        });
        Ok((Arc::new(store), life))
    }

    /// Tries the server, the credentials, and each call that is made later.
    ///
    /// # Errors
    /// What no retry would mend. A server that cannot be reached is not an error: the node waits for it.
    pub async fn check(&self) -> Result<Reached, RedisSetupError> {
        // In a box: it is large, and happens once.
        Box::pin(trial::run(self)).await
    }

    /// What is known of the server, for readiness and metrics.
    pub fn health(&self) -> &Health {
        &self.health
    }

    pub(super) async fn append(
        &self,
        pipeline: &PipelineId,
        batch: Batch,
        key: Option<&IdempotencyKey>,
        hold: Hold,
    ) -> Result<Receipt, StoreError> {
        match tokio::time::timeout(self.timeout, self.appender.append(pipeline, batch, key, hold)).await {
            Ok(done) => done,
            Err(_) => Err(self.no_answer().into_error()),
        }
    }

    pub(super) async fn history(&self, pipeline: &PipelineId) -> Result<History, StoreError> {
        let Retention { limit, bytes, .. } = self.retention;
        for _ in 0..HISTORY_ATTEMPTS {
            let start = PageStart::Newest { count: limit, channels: &[] };
            let Page { mut history, rest } = self.live_page(pipeline, start, PageBounds::WHOLE).await?;
            // Nodes are notified of what is newer than this: a history that grows while it is read would have no end.
            let Some(newest) = rest else { return Ok(history) };
            while history.newest() < newest {
                let next = self.live_page(pipeline, PageStart::Next(history.newest()), PageBounds::WHOLE).await?;
                let has_more = !next.history.frames.is_empty();
                history.go_on(next.history);
                if !has_more {
                    break;
                }
            }
            if history.newest() >= newest {
                history.keep_newest(limit, bytes);
                return Ok(history);
            }
            // It was forgotten, or lost its newest events: that is another history, to be read from its beginning.
        }
        Err(StoreError::Away("the history was begun anew each time that it was read".to_owned()))
    }

    /// A page for a client.
    pub(super) async fn page(
        &self,
        pipeline: &PipelineId,
        start: PageStart<'_>,
        bounds: PageBounds,
    ) -> Result<Page, StoreError> {
        let call = self.pages.page(&self.names.list(pipeline), self.retention, start, bounds);
        self.run(async |connection| call.invoke_async(connection).await).await.map(page_of)
    }

    /// A page for a log that live streams read.
    async fn live_page(
        &self,
        pipeline: &PipelineId,
        start: PageStart<'_>,
        bounds: PageBounds,
    ) -> Result<Page, StoreError> {
        let call = self.pages.page(&self.names.list(pipeline), self.retention, start, bounds);
        self.run_on(&self.live, async |connection| call.invoke_async(connection).await).await.map(page_of)
    }

    pub(super) async fn about(&self, pipeline: &PipelineId) -> Result<About, StoreError> {
        let call = self.pages.about(&self.names.list(pipeline), self.retention);
        let answer: Vec<Vec<u8>> = self.run(async |connection| call.invoke_async(connection).await).await?;
        Ok(about_of(&answer, self.retention.limit))
    }

    pub(super) async fn forget(&self, pipeline: &PipelineId) -> Result<(), StoreError> {
        let mut call = self.forget.key(self.names.list(pipeline));
        call.arg(millis(self.retention.ttl)).arg(self.names.channel(pipeline)).arg("PUBLISH");
        self.run(async |connection| call.invoke_async(connection).await).await
    }

    pub(super) async fn newest(&self, pipelines: &[PipelineId]) -> Vec<Result<Newest, StoreError>> {
        let mut newest = Vec::with_capacity(pipelines.len());
        for some in pipelines.chunks(newest::AT_ONCE) {
            let call = self.newest.call(some, &self.names, self.retention);
            let answers = self.run_on(&self.checks, async |connection| call.invoke_async(connection).await).await;
            newest.extend(newest::read(some.len(), answers));
        }
        newest
    }

    pub(super) fn watch(&self, pipeline: PipelineId) {
        self.listener.watch(pipeline);
    }

    pub(super) fn unwatch(&self, pipeline: PipelineId) {
        self.listener.unwatch(pipeline);
    }

    pub(super) fn probe_age(&self) -> Option<Duration> {
        self.health.probe_age()
    }

    /// Runs what a client asks for, within `redis.timeout`.
    async fn run<T>(
        &self,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        self.pool.run(command).await.map_err(Failure::into_error)
    }

    /// Runs a command on a connection of its own, within `redis.timeout`.
    async fn run_on<T>(
        &self,
        wire: &Wire,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        let outcome = tokio::time::timeout(self.timeout, wire.run(command)).await;
        outcome.unwrap_or_else(|_| Err(self.no_answer())).map_err(Failure::into_error)
    }

    fn no_answer(&self) -> Failure {
        Failure::away(format!("no answer within {:?} (redis.timeout)", self.timeout))
    }
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore").field("retention", &self.retention).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        f.debug_struct("RedisOptions").field("pool_size", &self.pool_size).finish_non_exhaustive()
    }
}

/// Whether the server answered at the start.
#[derive(Debug)]
pub enum Reached {
    /// It did, and it will do.
    Yes,
    /// It did not; the node starts and waits for it.
    No(StoreError),
}

/// Whether a URL can be that of a Redis; reaches out to nobody.
///
/// # Errors
/// [`RedisSetupError::Url`].
pub fn check_url(url: &str) -> Result<(), RedisSetupError> {
    let wrong = |problem: &str| RedisSetupError::Url(problem.to_owned());
    let info = url.into_connection_info().map_err(|error| RedisSetupError::Url(error.to_string()))?;
    if info.redis_settings().db() < 0 {
        return Err(wrong("the number of a database is 0 or more"));
    }
    // redis-rs passes over what it does not know, and so would the database that somebody meant.
    let parsed = url::Url::parse(url).map_err(|error| RedisSetupError::Url(error.to_string()))?;
    let known: &[&str] =
        if parsed.scheme().ends_with("unix") { &["db", "user", "pass", "protocol"] } else { &["protocol"] };
    match parsed.query_pairs().find(|(name, _)| !known.contains(&&**name)) {
        Some((name, _)) if name == "db" => Err(wrong("the database stands in the path, as in redis://host:6379/3")),
        // Not repeated: it may be a password that was not encoded.
        Some(_) => Err(wrong("what stands in its query means nothing here")),
        None => Ok(()),
    }
}

/// Whether a URL that [`check_url`] has passed holds a password.
pub fn has_password(url: &str) -> bool {
    url.into_connection_info().is_ok_and(|info| info.redis_settings().password().is_some())
}

/// As Redis wants durations.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
