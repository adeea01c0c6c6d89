//! The prober: proves every few seconds, on a connection of its own, that the server stores and publishes.
//!
//! The listener judges whether the message arrives. The prober judges no other connection; it only keeps idle ones
//! alive.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{RedisError, Value};
use tokio::time::{Instant, sleep};

use super::client_pool::ClientPool;
use super::command_error::CommandError;
use super::health::Health;
use super::millis::millis;
use super::shared_connection::SharedConnection;
use crate::backoff::Backoff;

/// Intervals that a probe's key lives for: a shorter life would have Redis expire it between two probes.
const KEY_LIFETIME_INTERVALS: u32 = 3;

/// Minimum time between two probes.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Prober {
    pub(super) connection: Arc<SharedConnection>,
    /// The connections of others, kept alive while they are idle.
    pub(super) others: Vec<Arc<SharedConnection>>,
    pub(super) pool: ClientPool,
    pub(super) health: Arc<Health>,
    pub(super) interval: Duration,
    /// This node's own key and channel.
    pub(super) name: String,
}

impl Prober {
    /// Probes at each interval, and at once when another command got no answer or the listener has a new connection. Never
    /// ends.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::for_connections();
        loop {
            let is_answered = self.probe().await;
            join_all(self.others.iter().map(|other| other.keep_alive())).await;
            self.pool.close_idle();
            self.health.forget_refusals(self.interval * 2);
            if is_answered {
                backoff.reset();
                sleep(SHORTEST_PAUSE.min(self.interval)).await;
                tokio::select! {
                    () = sleep(self.interval.saturating_sub(SHORTEST_PAUSE)) => {}
                    () = self.health.probe_wanted() => {}
                }
            } else {
                sleep(backoff.next_delay().min(self.interval)).await;
            }
        }
    }

    /// Stores and publishes. Returns whether the server answered at all.
    async fn probe(&self) -> bool {
        let sent = Instant::now();
        let Ok(mut open) = Box::pin(self.connection.get()).await else { return false };
        let mut probe = redis::pipe();
        // Each has its own answer: a server that refuses to store may still publish.
        probe.ignore_errors();
        probe.cmd("SET").arg(&self.name).arg("").arg("PX").arg(millis(self.interval * KEY_LIFETIME_INTERVALS));
        probe.cmd("PUBLISH").arg(&self.name).arg("");
        let answers: Result<Vec<Result<Value, RedisError>>, RedisError> = probe.query_async(&mut open.connection).await;
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => {
                self.connection.report(&open, &Err::<(), _>(error.into()));
                return false;
            }
        };
        for (answer, note) in answers.into_iter().zip([Health::stored, Health::published]) {
            let outcome = answer.map_err(CommandError::from);
            self.connection.report(&open, &outcome);
            if outcome.is_ok() {
                note(&self.health, sent);
            }
        }
        true
    }
}
