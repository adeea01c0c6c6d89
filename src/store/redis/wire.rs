//! A connection to Redis that is made when it is first needed, and again when it was lost or given up.
//!
//! Commands share it: it is multiplexed, so none waits for the answer to another. It knows no scripts and no keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisError};
use tokio::time::{Instant, sleep_until};

use super::connector::Connector;
use super::failure::Failure;
use super::health::Health;
use crate::backoff::Backoff;

/// One connection for a purpose of its own.
#[derive(Debug)]
pub(super) struct Wire {
    connector: Connector,
    health: Arc<Health>,
    timeout: Duration,
    /// Held for a few statements.
    slot: Mutex<Slot>,
}

/// A connection that is being made. All who want one wait for the same, each for as long as it has time: it belongs to
/// none of them, or many who have little time left would each begin again what the one before had nearly done.
type Making = Shared<BoxFuture<'static, Result<Line, Failure>>>;

#[derive(Debug)]
struct Slot {
    line: Option<Line>,
    making: Option<Making>,
    backoff: Backoff,
    /// Not before this moment is a connection tried again.
    retry_at: Option<Instant>,
}

/// A connection that is open, as far as is known.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) connection: MultiplexedConnection,
    generation: u64,
    state: Arc<LineState>,
}

#[derive(Debug, Default)]
struct LineState {
    /// Written by the connection's own task.
    is_closed: AtomicBool,
    /// Whether a command has succeeded: only then does the back-off begin again.
    is_proven: AtomicBool,
}

impl Wire {
    /// No connection yet.
    pub(super) fn new(connector: &Connector, health: &Arc<Health>, timeout: Duration) -> Arc<Self> {
        let slot = Mutex::new(Slot { line: None, making: None, backoff: Backoff::for_connections(), retry_at: None });
        Arc::new(Self { connector: connector.clone(), health: health.clone(), timeout, slot })
    }

    /// Runs a command, on a new connection if there is none that is good. The wait for a connection is bounded by
    /// the caller alone, that for an answer also by `redis.timeout`.
    ///
    /// # Errors
    /// The connection could not be made, or the command failed.
    pub(super) async fn run<T>(
        &self,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, Failure> {
        // In a box: what makes a connection is several kilobytes of state, which every caller would carry along.
        let mut line = Box::pin(self.line()).await?;
        let outcome = command(&mut line.connection).await.map_err(Failure::from);
        self.report(&line, &outcome);
        outcome
    }

    /// Takes note of what became of a command on this line.
    pub(super) fn report<T>(&self, line: &Line, outcome: &Result<T, Failure>) {
        self.health.outcome(line.generation, outcome);
        match outcome {
            Ok(_) if line.state.is_proven.load(Ordering::Relaxed) => {}
            Ok(_) => {
                line.state.is_proven.store(true, Ordering::Relaxed);
                self.slot.lock().backoff.reset();
            }
            // Without an answer the next one on this connection may never come either.
            Err(Failure::Away(_)) => line.state.is_closed.store(true, Ordering::Release),
            Err(_) => {}
        }
    }

    /// The open connection, or a new one.
    ///
    /// # Errors
    /// When none can be made.
    pub(super) async fn line(&self) -> Result<Line, Failure> {
        let making = {
            let mut slot = self.slot.lock();
            if let Some(line) = slot.line.as_ref().filter(|line| line.is_good(self.health.generation())) {
                return Ok(line.clone());
            }
            slot.line = None;
            let making = slot.making.take().unwrap_or_else(|| self.make(&mut slot));
            slot.making.insert(making).clone()
        };
        let made = making.clone().await;
        let mut slot = self.slot.lock();
        // The first to hear of it takes note for all.
        if slot.making.take_if(|other| other.ptr_eq(&making)).is_some() {
            slot.line = made.as_ref().ok().cloned();
        }
        made
    }

    /// A new connection, not before its time.
    fn make(&self, slot: &mut Slot) -> Making {
        let (now, retry_at) = (Instant::now(), slot.retry_at);
        slot.retry_at = Some(retry_at.map_or(now, |retry_at| retry_at.max(now)) + slot.backoff.next_delay());
        let (connector, health, timeout) = (self.connector.clone(), self.health.clone(), self.timeout);
        let making = async move {
            if let Some(retry_at) = retry_at {
                tokio::select! {
                    () = sleep_until(retry_at) => {}
                    () = health.recovered() => {}
                }
            }
            let state = Arc::new(LineState::default());
            let told = state.clone();
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(timeout))
                .set_response_timeout(Some(timeout))
                .set_push_sender(move |push: PushInfo| {
                    if push.kind == PushKind::Disconnection {
                        told.is_closed.store(true, Ordering::Release);
                    }
                    Ok::<_, std::convert::Infallible>(())
                });
            let generation = health.generation();
            let connection = connector.connect(&config, &health).await?;
            Ok(Line { connection, generation, state })
        };
        making.boxed().shared()
    }

    /// Sends something over an open connection, so that whatever is between does not forget it, and a dead one is
    /// noticed. One that is no good is closed; without one, nothing happens.
    pub(super) async fn keep_warm(&self) {
        let open = {
            let mut slot = self.slot.lock();
            slot.line.take_if(|line| !line.is_good(self.health.generation()));
            slot.line.clone()
        };
        let Some(mut line) = open else { return };
        let answer = redis::cmd("PING").query_async::<()>(&mut line.connection).await.map_err(Failure::from);
        self.report(&line, &answer);
    }
}

impl Line {
    fn is_good(&self, generation: u64) -> bool {
        self.generation == generation && !self.state.is_closed.load(Ordering::Acquire)
    }
}
