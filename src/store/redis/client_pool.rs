//! The pool: connections for what clients ask, apart from those that live streams depend on.
//!
//! `deadpool-redis` keeps the connections and proves at each checkout, by a round trip, that the one it gives out works.
//! A pool belongs to one password and to one generation of connections. When either is over, a new pool replaces it, and
//! the old connections are closed with the old pool: none of them can be given out again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::{Connection, Hook, HookError, Manager, Pool, PoolConfig};
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError};
use tokio::time::{Instant, timeout_at};

use super::command_error::{CommandError, Unreachable};
use super::connector::{self, Connector};
use super::health::Health;
use super::options::RedisOptions;

/// A connection that was not used for so long is closed: nothing has to keep it alive.
const IDLE: Duration = Duration::from_secs(60);

/// Connections for what clients ask.
#[derive(Clone)]
pub(super) struct ClientPool {
    connector: Connector,
    health: Arc<Health>,
    size: usize,
    timeout: Duration,
    /// Written and read by every checkout. Held for a few statements.
    current: Arc<Mutex<Option<Arc<CurrentPool>>>>,
}

struct CurrentPool {
    pool: Pool,
    generation: u64,
    password: Option<String>,
}

/// A connection that was given out.
struct CheckedOut {
    connection: Connection,
    generation: u64,
}

impl ClientPool {
    /// No connection yet.
    pub(super) fn new(connector: &Connector, options: &RedisOptions, health: &Arc<Health>) -> Self {
        let RedisOptions { pool_size: size, timeout, .. } = *options;
        Self { connector: connector.clone(), health: health.clone(), size, timeout, current: Arc::default() }
    }

    /// Runs a command when one of the connections is free. All of it takes at most `redis.timeout`.
    ///
    /// # Errors
    /// No connection became free or could be made, or the command failed.
    pub(super) async fn run<T>(
        &self,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, CommandError> {
        let deadline = Instant::now() + self.timeout;
        let no_answer = || CommandError::from(Unreachable::NoAnswer(self.timeout));
        let checkout = timeout_at(deadline, self.check_out()).await;
        let CheckedOut { mut connection, generation } = checkout.map_err(|_| no_answer())??;
        let outcome = match timeout_at(deadline, command(&mut connection)).await {
            Ok(outcome) => outcome.map_err(CommandError::from),
            Err(_) => Err(no_answer()),
        };
        self.health.outcome(generation, &outcome);
        if let Err(CommandError::Unreachable(_)) = outcome {
            // A later answer may be lost on this connection as well.
            drop(Connection::take(connection));
        }
        outcome
    }

    /// Closes connections that are not used, and those to a server that is no longer the primary.
    pub(super) fn close_idle(&self) {
        let mut current = self.current.lock();
        current.take_if(|current| current.generation != self.health.generation());
        if let Some(current) = &*current {
            current.pool.retain(|_, metrics| metrics.last_used() < IDLE);
        }
    }

    async fn check_out(&self) -> Result<CheckedOut, CommandError> {
        let began = Instant::now();
        let checked_out = self.try_check_out().await;
        if checked_out.is_err() {
            self.health.connected(began, false);
        }
        checked_out
    }

    async fn try_check_out(&self) -> Result<CheckedOut, CommandError> {
        let mut current = self.current(None).await?;
        let mut connection = current.get().await;
        if let Err(CommandError::Denied { .. }) = connection {
            // The password file may hold a newer one. To read it at each checkout would slow down every request.
            if let Ok(newest) = self.current(Some(&current)).await
                && newest.password != current.password
            {
                connection = newest.get().await;
                current = newest;
            }
        }
        if let Err(CommandError::Unreachable(_) | CommandError::NotPrimary { .. }) = connection
            && self.connector.sentinels().is_some()
        {
            // The next pool asks the sentinels.
            self.current.lock().take_if(|pool| Arc::ptr_eq(pool, &current));
        }
        Ok(CheckedOut { connection: connection?, generation: current.generation })
    }

    /// The pool to use, a new one if the last is over; `refused` is one whose password Redis rejects.
    async fn current(&self, refused: Option<&CurrentPool>) -> Result<Arc<CurrentPool>, CommandError> {
        let generation = self.health.generation();
        let usable = |current: &&Arc<CurrentPool>| {
            current.generation == generation && refused.is_none_or(|refused| current.password != refused.password)
        };
        if let Some(current) = self.current.lock().as_ref().filter(usable) {
            return Ok(current.clone());
        }
        // In a box, as above: with sentinels it is large.
        let new = Arc::new(Box::pin(self.open()).await?);
        let mut current = self.current.lock();
        // Another request may have been faster.
        match current.as_ref().filter(|other| other.generation >= new.generation && other.password == new.password) {
            Some(other) => Ok(other.clone()),
            None => Ok(current.insert(new).clone()),
        }
    }

    async fn open(&self) -> Result<CurrentPool, CommandError> {
        let (info, generation) = self.connector.connection_info(&self.health).await?;
        let password = info.redis_settings().password().map(str::to_owned);
        // redis-rs' own default of half a second would turn a slow fork of Redis into errors.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let health = self.health.clone();
        let verify = Hook::async_fn(move |connection: &mut MultiplexedConnection, _| {
            let health = health.clone();
            Box::pin(async move {
                let verified = connector::verify(connection).await;
                verified.map_err(|error| HookError::Backend(error.into()))?;
                health.connected(Instant::now(), true);
                Ok(())
            })
        });
        let health = self.health.clone();
        let is_current =
            Hook::sync_fn(move |_: &mut MultiplexedConnection, _| match health.generation() == generation {
                true => Ok(()),
                // Whoever waited for this connection may get a new one instead; the pool is replaced by the next checkout.
                false => Err(HookError::message("the server is no longer the primary")),
            });
        // Without timeouts: the whole checkout has one.
        let pool = Pool::builder(Manager::new_with_config(info, config)?)
            .config(PoolConfig::new(self.size))
            .pre_recycle(is_current)
            .post_create(verify)
            .build()
            .map_err(|error| Unreachable::Pool(error.to_string()))?;
        Ok(CurrentPool { pool, generation, password })
    }
}

impl CurrentPool {
    async fn get(&self) -> Result<Connection, CommandError> {
        // In a box: what makes a connection is several kilobytes of state, which every request that may need one would
        // carry along.
        Ok(Box::pin(self.pool.get()).await?)
    }
}

impl fmt::Debug for ClientPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Knows the password.
        f.debug_struct("ClientPool").field("size", &self.size).finish_non_exhaustive()
    }
}
