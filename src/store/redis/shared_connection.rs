//! A connection to Redis that is made when it is first needed, and again after it was lost.
//!
//! Commands share it: it is multiplexed, so none waits for the answer to another. Knows no scripts and no keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisError};
use tokio::time::{Instant, sleep_until};

use super::command_error::CommandError;
use super::connector::Connector;
use super::health::Health;
use crate::backoff::Backoff;

/// One connection, for one purpose.
#[derive(Debug)]
pub(super) struct SharedConnection {
    connector: Connector,
    health: Arc<Health>,
    timeout: Duration,
    /// Held for a few statements.
    state: Mutex<ConnectionState>,
}

/// A connection that is being made. All callers wait for the same attempt, each for as long as it has time. It belongs to
/// none of them: otherwise callers with little time left would each start over what the one before had nearly finished.
type Attempt = Shared<BoxFuture<'static, Result<OpenConnection, CommandError>>>;

#[derive(Debug)]
struct ConnectionState {
    open: Option<OpenConnection>,
    attempt: Option<Attempt>,
    backoff: Backoff,
    /// No attempt starts before this moment.
    retry_at: Option<Instant>,
}

/// A connection that is open, as far as is known.
#[derive(Clone, Debug)]
pub(super) struct OpenConnection {
    pub(super) connection: MultiplexedConnection,
    generation: u64,
    flags: Arc<ConnectionFlags>,
}

#[derive(Debug, Default)]
struct ConnectionFlags {
    /// Written by the connection's own task.
    is_closed: AtomicBool,
    /// Whether a command has succeeded: only then does the backoff start over.
    is_proven: AtomicBool,
}

impl SharedConnection {
    /// No connection yet.
    pub(super) fn new(connector: &Connector, health: &Arc<Health>, timeout: Duration) -> Arc<Self> {
        let backoff = Backoff::for_connections();
        let state = Mutex::new(ConnectionState { open: None, attempt: None, backoff, retry_at: None });
        Arc::new(Self { connector: connector.clone(), health: health.clone(), timeout, state })
    }

    /// Runs a command, on a new connection if none is usable. Only the caller bounds the wait for a connection; the wait
    /// for an answer is also bounded by `redis.timeout`.
    ///
    /// # Errors
    /// The connection could not be made, or the command failed.
    pub(super) async fn run<T>(
        &self,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, CommandError> {
        // In a box: what makes a connection is several kilobytes of state, which every caller would carry along.
        let mut open = Box::pin(self.get()).await?;
        let outcome = command(&mut open.connection).await.map_err(CommandError::from);
        self.report(&open, &outcome);
        outcome
    }

    /// Records the outcome of a command on this connection.
    pub(super) fn report<T>(&self, open: &OpenConnection, outcome: &Result<T, CommandError>) {
        self.health.outcome(open.generation, outcome);
        match outcome {
            Ok(_) if open.flags.is_proven.load(Ordering::Relaxed) => {}
            Ok(_) => {
                open.flags.is_proven.store(true, Ordering::Relaxed);
                self.state.lock().backoff.reset();
            }
            // A later answer may be lost on this connection as well.
            Err(CommandError::Unreachable(_)) => open.flags.is_closed.store(true, Ordering::Release),
            Err(_) => {}
        }
    }

    /// The open connection, or a new one.
    ///
    /// # Errors
    /// When none can be made.
    pub(super) async fn get(&self) -> Result<OpenConnection, CommandError> {
        let attempt = {
            let mut state = self.state.lock();
            if let Some(open) = state.open.as_ref().filter(|open| open.is_usable(self.health.generation())) {
                return Ok(open.clone());
            }
            state.open = None;
            let attempt = state.attempt.take().unwrap_or_else(|| self.connect(&mut state));
            state.attempt.insert(attempt).clone()
        };
        let connected = attempt.clone().await;
        let mut state = self.state.lock();
        // The first caller to resume stores the connection for all.
        if state.attempt.take_if(|other| other.ptr_eq(&attempt)).is_some() {
            state.open = connected.as_ref().ok().cloned();
        }
        connected
    }

    /// A new connection, once the backoff is over.
    fn connect(&self, state: &mut ConnectionState) -> Attempt {
        let (now, retry_at) = (Instant::now(), state.retry_at);
        state.retry_at = Some(retry_at.map_or(now, |retry_at| retry_at.max(now)) + state.backoff.next_delay());
        let (connector, health, timeout) = (self.connector.clone(), self.health.clone(), self.timeout);
        let attempt = async move {
            if let Some(retry_at) = retry_at {
                tokio::select! {
                    () = sleep_until(retry_at) => {}
                    () = health.recovered() => {}
                }
            }
            let flags = Arc::new(ConnectionFlags::default());
            let pushed = flags.clone();
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(timeout))
                .set_response_timeout(Some(timeout))
                .set_push_sender(move |push: PushInfo| {
                    if push.kind == PushKind::Disconnection {
                        pushed.is_closed.store(true, Ordering::Release);
                    }
                    Ok::<_, std::convert::Infallible>(())
                });
            let (connection, generation) = connector.connect(&config, &health).await?;
            Ok(OpenConnection { connection, generation, flags })
        };
        attempt.boxed().shared()
    }

    /// Sends a `PING` over an open connection, so that no router drops it as idle and a dead one is noticed. Closes one that
    /// is no longer usable, and does nothing without one.
    pub(super) async fn keep_alive(&self) {
        let open = {
            let mut state = self.state.lock();
            state.open.take_if(|open| !open.is_usable(self.health.generation()));
            state.open.clone()
        };
        let Some(mut open) = open else { return };
        let answer = redis::cmd("PING").query_async::<()>(&mut open.connection).await.map_err(CommandError::from);
        self.report(&open, &answer);
    }
}

impl OpenConnection {
    fn is_usable(&self, generation: u64) -> bool {
        self.generation == generation && !self.flags.is_closed.load(Ordering::Acquire)
    }
}
