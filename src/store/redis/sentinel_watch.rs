//! Follows the sentinels, so that a failover is noticed at once, and also when the old primary still answers.
//!
//! A connection to each sentinel hears when a replica becomes the primary. It is only a hint: the sentinels are asked then,
//! and at each probe interval in any case.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;
use tokio::time::{interval, sleep};

use super::command_error::CommandError;
use super::connector::Connector;
use super::health::Health;
use super::sentinels::{Sentinel, Sentinels};
use crate::backoff::Backoff;

/// The sentinel that leads a failover knows the new primary before the others do, and before it has told the other replicas.
/// The old primary may still accept events then, which will be lost.
const CHANNELS: [&str; 2] = ["+promoted-slave", "+switch-master"];

pub(super) struct SentinelWatch {
    pub(super) connector: Connector,
    pub(super) health: Arc<Health>,
    pub(super) interval: Duration,
}

impl SentinelWatch {
    /// Never ends.
    pub(super) async fn run(self) {
        let Some(sentinels) = self.connector.sentinels() else { return std::future::pending().await };
        let switched = Arc::new(Notify::new());
        let listening = sentinels.all().iter().map(|sentinel| self.listen(sentinels, sentinel, &switched));
        tokio::join!(join_all(listening), self.ask(&switched));
    }

    async fn ask(&self, switched: &Notify) {
        loop {
            tokio::select! {
                () = sleep(self.interval) => {}
                () = switched.notified() => {}
            }
            // A failure is logged by whoever needs a connection.
            let _ = Box::pin(self.connector.follow(&self.health)).await;
        }
    }

    async fn listen(&self, sentinels: &Sentinels, sentinel: &Sentinel, switched: &Arc<Notify>) {
        let (mut backoff, mut is_denied) = (Backoff::for_store(), false);
        loop {
            match Box::pin(self.hear(sentinels, sentinel, switched)).await {
                Ok(()) => {
                    backoff.reset();
                    // What happened in the meantime was not heard.
                    switched.notify_one();
                }
                Err(error @ CommandError::Denied { .. }) if !std::mem::replace(&mut is_denied, true) => {
                    let sentinel = &sentinel.name;
                    tracing::warn!(sentinel, %error, "the sentinel does not announce failovers; polling (docs/operate/redis.md)");
                }
                // Logged when the sentinel is asked.
                Err(_) => {}
            }
            sleep(backoff.next_delay()).await;
        }
    }

    /// Passes switches on until the connection is lost.
    ///
    /// # Errors
    /// When the sentinel cannot be reached or refuses the subscription.
    async fn hear(
        &self,
        sentinels: &Sentinels,
        sentinel: &Sentinel,
        switched: &Arc<Notify>,
    ) -> Result<(), CommandError> {
        let (closed, hint, master) = (Arc::new(Notify::new()), switched.clone(), sentinels.master.clone());
        let is_closed = closed.clone();
        let config = sentinels.config().set_push_sender(move |push: PushInfo| {
            match push.kind {
                PushKind::Disconnection => is_closed.notify_one(),
                PushKind::Message if is_about(&push.data, &master) => hint.notify_one(),
                _ => {}
            }
            Ok::<_, std::convert::Infallible>(())
        });
        let mut connection = sentinels.connect(sentinel, &config).await?;
        connection.subscribe(&CHANNELS).await?;
        let mut pings = interval(self.interval);
        loop {
            tokio::select! {
                () = closed.notified() => return Ok(()),
                _ = pings.tick() => {
                    if redis::cmd("PING").query_async::<Value>(&mut connection).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Whether a message is about this primary: `<master> <old host> <old port> ...` or `slave <replica> ... @ <master> ...`.
fn is_about(data: &[Value], master: &str) -> bool {
    let [_, Value::BulkString(text)] = data else { return false };
    let mut words = text.split(|byte| *byte == b' ');
    let name = match words.next() {
        Some(b"slave") => words.skip_while(|word| word != b"@").nth(1),
        first => first,
    };
    name == Some(master.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_of_other_primaries_are_ignored() {
        for (text, is_ours) in [
            ("mine 10.0.0.1 1 10.0.0.2 2", true),
            ("mine2 10.0.0.1 1 10.0.0.2 2", false),
            ("slave 10.0.0.2:2 10.0.0.2 2 @ mine 10.0.0.1 1", true),
            ("slave 10.0.0.2:2 10.0.0.2 2 @ other 10.0.0.1 1", false),
            ("slave mine", false),
            ("", false),
        ] {
            let data = ["+switch-master", text].map(|part| Value::BulkString(part.as_bytes().to_vec()));
            assert_eq!(is_about(&data, "mine"), is_ours, "{text}");
        }
    }
}
