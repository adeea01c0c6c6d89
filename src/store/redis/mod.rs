//! The store on Redis or Valkey: which connection carries what.
//!
//! Live streams come first: their reads have a connection of their own, as have publishes, notifications, probes and
//! comparisons. Clients' reads share a pool and wait only for each other.

mod append_script;
mod appender;
mod client_pool;
mod command_error;
mod connector;
mod delete_script;
mod health;
mod histories;
pub mod keys;
mod listener;
mod liveness;
mod millis;
mod newest;
mod options;
mod page_scripts;
mod prober;
mod push_handler;
mod sentinel_answer;
mod sentinel_url;
mod sentinel_watch;
mod sentinels;
mod setup_error;
mod shared_connection;
mod subscriptions;
mod trial;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;
use redis::aio::MultiplexedConnection;

use super::page::{About, Page, PageBounds, PageStart};
use super::{Cause, EventSink, IdempotencyKey, Newest, Receipt, ReservedResources, Retention, StoreError};
use crate::event::{Batch, PipelineId};
use crate::sse::frame::History;
use appender::Appender;
use client_pool::ClientPool;
use command_error::{CommandError, Unreachable};
use connector::Connector;
use delete_script::DeleteScript;
use health::Health;
use histories::{Histories, HistoryReading};
use keys::Names;
use listener::ListenerHandle;
use newest::NewestScript;
use prober::Prober;
use sentinel_watch::SentinelWatch;
use shared_connection::SharedConnection;
use trial::TrialCalls;

pub use command_error::{PasswordError, PasswordProblem, Unfit};
pub use options::{RedisOptions, check_url, has_password, is_sentinel_url, redact_sentinel_url};
pub use setup_error::{RedisSetupError, UrlError};
pub use trial::Reached;

/// Connections to Redis besides the pool: two that publish, and one each that listens, probes, reads for live streams and
/// compares.
pub const OWN_CONNECTIONS: usize = appender::LANES + 4;

/// A store in Redis.
pub struct RedisStore {
    /// For clients' reads.
    pool: ClientPool,
    /// For live streams' reads.
    live: Arc<SharedConnection>,
    /// For comparing open logs with the store.
    checks: Arc<SharedConnection>,
    names: Names,
    retention: Retention,
    timeout: Duration,
    appender: Appender,
    histories: Histories,
    delete: DeleteScript,
    newest: NewestScript,
    listener: ListenerHandle,
    health: Arc<Health>,
}

impl RedisStore {
    /// Prepares the store. Connects only when it is used; see [`RedisStore::check`].
    ///
    /// The returned future runs the background tasks; it never ends by itself.
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
        let connection = || SharedConnection::new(&connector, &health, options.timeout);
        let (live, checks, lanes) = (connection(), connection(), [connection(), connection()]);
        let pool = ClientPool::new(&connector, options, &health);
        let probe = names.new_probe();
        let prober = Prober {
            connection: connection(),
            others: [&live, &checks].into_iter().chain(&lanes).cloned().collect(),
            pool: pool.clone(),
            health: health.clone(),
            interval: options.probe_interval,
            name: probe.clone(),
        };
        let watch =
            SentinelWatch { connector: connector.clone(), health: health.clone(), interval: options.probe_interval };
        let (appender, appending) = appender::new(lanes, &names, retention);
        let (listener, listening) = listener::new(&connector, options, &names, &probe, sink, &health);
        let store = Self {
            pool,
            live,
            checks,
            histories: Histories::new(&names, retention),
            names,
            retention,
            timeout: options.timeout,
            appender,
            delete: DeleteScript::default(),
            newest: NewestScript::default(),
            listener,
            health,
        };
        let background = Box::pin(async {
            tokio::join!(listening, appending, prober.run(), watch.run());
        });
        Ok((Arc::new(store), background))
    }

    /// Tries the server, the credentials, and each call that is made later.
    ///
    /// # Errors
    /// What no retry would fix. A server that cannot be reached is not an error: the node waits for it.
    pub async fn check(&self) -> Result<Reached, RedisSetupError> {
        let Self { live, names, retention, histories, delete, newest, .. } = self;
        // In a box: it is large, and happens once.
        let calls = TrialCalls::new(names, *retention, histories, delete, newest);
        Box::pin(trial::run(live, calls)).await
    }

    /// What is known about the server, for readiness and metrics.
    pub fn health(&self) -> &Health {
        &self.health
    }

    pub(super) async fn append(
        &self,
        pipeline: &PipelineId,
        batch: Batch,
        key: Option<&IdempotencyKey>,
        reserved: ReservedResources,
    ) -> Result<Receipt, StoreError> {
        match tokio::time::timeout(self.timeout, self.appender.append(pipeline, batch, key, reserved)).await {
            Ok(done) => done,
            Err(_) => Err(self.no_answer().into_error()),
        }
    }

    pub(super) async fn history(&self, pipeline: &PipelineId) -> Result<History, StoreError> {
        let mut reading = HistoryReading::new(self.retention);
        loop {
            let call = self.histories.page(pipeline, reading.start(), PageBounds::WHOLE);
            let page = self.run_on(&self.live, async |connection| call.run(connection).await).await?;
            match reading.add(page) {
                Ok(None) => {}
                Ok(Some(history)) => return Ok(history),
                Err(error) => return Err(StoreError::Unreachable(Cause::new(error))),
            }
        }
    }

    pub(super) async fn page(
        &self,
        pipeline: &PipelineId,
        start: PageStart<'_>,
        bounds: PageBounds,
    ) -> Result<Page, StoreError> {
        let call = self.histories.page(pipeline, start, bounds);
        self.run_pooled(async |connection| call.run(connection).await).await
    }

    pub(super) async fn about(&self, pipeline: &PipelineId) -> Result<About, StoreError> {
        let call = self.histories.about(pipeline);
        self.run_pooled(async |connection| call.run(connection).await).await
    }

    pub(super) async fn delete_history(&self, pipeline: &PipelineId) -> Result<(), StoreError> {
        let (list, channel) = (self.names.list(pipeline), self.names.channel(pipeline));
        let call = self.delete.call(&list, &channel, self.retention.ttl);
        self.run_pooled(async |connection| call.invoke_async(connection).await).await
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
    async fn run_pooled<T>(
        &self,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        self.pool.run(command).await.map_err(CommandError::into_error)
    }

    /// Runs a command on a connection of its own, within `redis.timeout`.
    async fn run_on<T>(
        &self,
        shared: &SharedConnection,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        let outcome = tokio::time::timeout(self.timeout, shared.run(command)).await;
        outcome.unwrap_or_else(|_| Err(self.no_answer())).map_err(CommandError::into_error)
    }

    fn no_answer(&self) -> CommandError {
        Unreachable::NoAnswer(self.timeout).into()
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("retention", &self.retention).finish_non_exhaustive()
    }
}
