//! The prober: proves every few seconds, on a connection of its own, that the server stores and publishes.
//!
//! Whether the notification is heard is the listener's business. The prober judges no other connection; it only keeps idle
//! ones from being forgotten.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::{RedisError, Value};
use tokio::time::sleep;

use super::client_pool::ClientPool;
use super::failure::Failure;
use super::health::Health;
use super::millis;
use super::wire::Wire;
use crate::backoff::Backoff;

/// A probe's key outlives so many probes: less than a missed one, and Redis would be told of its end each time.
const LIVES: u32 = 3;

/// Least time between two probes, whatever happens.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Prober {
    pub(super) wire: Arc<Wire>,
    /// Connections of others, kept from being forgotten while they are idle.
    pub(super) others: Vec<Arc<Wire>>,
    pub(super) pool: ClientPool,
    pub(super) health: Arc<Health>,
    pub(super) interval: Duration,
    /// This node's own key and channel.
    pub(super) key: String,
    pub(super) channel: String,
}

impl Prober {
    /// Probes for ever: each interval, and at once when a command of others got no answer or the listener is new.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::for_connections();
        loop {
            let is_answered = self.probe().await;
            join_all(self.others.iter().map(|wire| wire.keep_warm())).await;
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

    /// Stores and publishes. Whether the server answered, with whatever.
    async fn probe(&self) -> bool {
        let sent = Instant::now();
        let Ok(mut line) = Box::pin(self.wire.line()).await else { return false };
        let mut probe = redis::pipe();
        // Each has its own answer: a server that refuses to store may still publish.
        probe.ignore_errors();
        probe.cmd("SET").arg(&self.key).arg("").arg("PX").arg(millis(self.interval * LIVES));
        probe.cmd("PUBLISH").arg(&self.channel).arg("");
        let answers: Result<Vec<Result<Value, RedisError>>, RedisError> = probe.query_async(&mut line.connection).await;
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => {
                self.wire.report(&line, &Err::<(), _>(error.into()));
                return false;
            }
        };
        for (answer, note) in answers.into_iter().zip([Health::stored, Health::published]) {
            let outcome = answer.map_err(Failure::from);
            self.wire.report(&line, &outcome);
            if outcome.is_ok() {
                note(&self.health, sent);
            }
        }
        true
    }
}
