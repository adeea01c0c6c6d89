//! The pool: connections for what clients ask, apart from those that live streams depend on.
//!
//! A checkout proves by a `PING` that its connection is good, which costs a round trip.

use std::sync::Arc;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{self, Metrics, PoolConfig, RecycleError, RecycleResult, Timeouts};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError};
use tokio::time::{Instant, timeout_at};

use super::connector::Connector;
use super::failure::Failure;
use super::health::Health;
use super::{RedisOptions, RedisSetupError};

/// A connection that was not used for so long is closed: nothing has to keep it alive.
const IDLE: Duration = Duration::from_secs(60);

/// Connections for what clients ask.
#[derive(Debug, Clone)]
pub(super) struct ClientPool {
    pool: managed::Pool<Manager>,
    health: Arc<Health>,
    timeout: Duration,
}

impl ClientPool {
    /// No connection yet.
    ///
    /// # Errors
    /// When the options cannot be right.
    pub(super) fn new(
        connector: &Connector,
        options: &RedisOptions,
        health: &Arc<Health>,
    ) -> Result<Self, RedisSetupError> {
        // redis-rs' own default of half a second would turn a slow fork of Redis into errors.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.timeout))
            .set_response_timeout(Some(options.timeout));
        let manager = Manager { connector: connector.clone(), health: health.clone(), config };
        let mut pool = PoolConfig::new(options.pool_size);
        let each = Some(options.timeout);
        pool.timeouts = Timeouts { wait: each, create: each, recycle: each };
        let pool = managed::Pool::builder(manager).config(pool).runtime(Runtime::Tokio1).build()?;
        Ok(Self { pool, health: health.clone(), timeout: options.timeout })
    }

    /// Runs a command when one of the connections is free.
    ///
    /// # Errors
    /// None became free or could be made, or the command failed.
    ///
    /// All of it takes `redis.timeout` at most.
    pub(super) async fn run<T>(
        &self,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, Failure> {
        let until = Instant::now() + self.timeout;
        let no_answer = || Failure::away(format!("no answer within {:?} (redis.timeout)", self.timeout));
        // In a box: what makes a connection is several kilobytes of state, which every request that may come to
        // need one would carry along.
        let taking = timeout_at(until, Box::pin(self.pool.get())).await;
        let mut pooled = taking.map_err(|_| no_answer())?.map_err(Failure::from)?;
        let outcome = match timeout_at(until, command(&mut pooled.connection)).await {
            Ok(outcome) => outcome.map_err(Failure::from),
            Err(_) => Err(no_answer()),
        };
        self.health.outcome(pooled.generation, &outcome);
        if let Err(Failure::Away(_)) = outcome {
            // Without an answer the next one on this connection may never come either.
            drop(managed::Object::take(pooled));
        }
        outcome
    }

    /// Closes connections that nobody uses, and those to a server that is no primary any more.
    pub(super) fn close_idle(&self) {
        let generation = self.health.generation();
        self.pool.retain(|pooled, metrics| pooled.generation == generation && metrics.last_used() < IDLE);
    }
}

#[derive(Debug)]
struct Pooled {
    connection: MultiplexedConnection,
    generation: u64,
}

struct Manager {
    connector: Connector,
    health: Arc<Health>,
    config: AsyncConnectionConfig,
}

impl managed::Manager for Manager {
    type Type = Pooled;
    type Error = Failure;

    async fn create(&self) -> Result<Pooled, Failure> {
        let generation = self.health.generation();
        Ok(Pooled { connection: self.connector.connect(&self.config, &self.health).await?, generation })
    }

    async fn recycle(&self, pooled: &mut Pooled, _: &Metrics) -> RecycleResult<Failure> {
        if pooled.generation != self.health.generation() {
            return Err(RecycleError::message("the server was no primary any more"));
        }
        redis::cmd("PING")
            .query_async::<()>(&mut pooled.connection)
            .await
            .map_err(|error| RecycleError::Backend(error.into()))
    }
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manager").finish_non_exhaustive()
    }
}
