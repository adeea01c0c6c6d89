//! The listener: the connection on which a node receives notifications.
//!
//! It subscribes, passes on what arrives without waiting for anything, and connects again when the connection was lost or no
//! longer hears the probes that the server publishes. It never reads history: it reports to the sink once notifications arrive, and the
//! sink's owner reads earlier events. It sends no probes. Its decisions are in `subscriptions` and `liveness`.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::command_error::CommandError;
use super::connector::Connector;
use super::health::Health;
use super::keys::Names;
use super::liveness::{HearingCheck, Proof, Reconnection, Report};
use super::options::RedisOptions;
use super::push_handler::PushHandler;
use super::subscriptions::{COMMANDS_AT_ONCE, Changes, ListenerCommand, Subscriptions};
use crate::event::PipelineId;
use crate::store::EventSink;

/// The store's end of the listener.
#[derive(Debug, Clone)]
pub(super) struct ListenerHandle {
    // Unbounded, but read at all times, whether there is a connection or not.
    commands: mpsc::UnboundedSender<ListenerCommand>,
}

impl ListenerHandle {
    pub(super) fn watch(&self, pipeline: PipelineId) {
        // Fails when the node is stopping.
        let _ = self.commands.send(ListenerCommand::Watch(pipeline));
    }

    pub(super) fn unwatch(&self, pipeline: PipelineId) {
        let _ = self.commands.send(ListenerCommand::Unwatch(pipeline));
    }
}

struct Listener {
    dialer: Dialer,
    commands: mpsc::UnboundedReceiver<ListenerCommand>,
    subscriptions: Subscriptions,
}

struct Dialer {
    connector: Connector,
    timeout: Duration,
    sink: Arc<dyn EventSink>,
    health: Arc<Health>,
    names: Names,
    /// This node's own channel.
    probe_channel: String,
}

/// Why a connection was closed or not made.
#[derive(Debug, thiserror::Error)]
enum DisconnectReason {
    #[error(transparent)]
    Failed(#[from] CommandError),
    #[error("the connection was closed")]
    Closed,
    #[error("the server is no longer the primary")]
    NotPrimary,
    #[error("a probe that the server published did not arrive")]
    Deaf,
}

impl From<RedisError> for DisconnectReason {
    fn from(error: RedisError) -> Self {
        Self::Failed(error.into())
    }
}

struct ListeningConnection {
    connection: MultiplexedConnection,
    generation: u64,
    pushes: Arc<PushHandler>,
}

/// The listener's handle, and the future that does its work until it is dropped.
pub(super) fn new(
    connector: &Connector,
    options: &RedisOptions,
    names: &Names,
    probe_channel: &str,
    sink: Arc<dyn EventSink>,
    health: &Arc<Health>,
) -> (ListenerHandle, impl Future<Output = ()> + Send + use<>) {
    let (sender, commands) = mpsc::unbounded_channel();
    let dialer = Dialer {
        connector: connector.clone(),
        timeout: options.timeout,
        sink,
        health: health.clone(),
        names: names.clone(),
        probe_channel: probe_channel.to_owned(),
    };
    let listener = Listener { dialer, commands, subscriptions: Subscriptions::default() };
    (ListenerHandle { commands: sender }, listener.run())
}

impl Dialer {
    /// A connection that hears probes, and nothing else yet.
    async fn connect(&self) -> Result<ListeningConnection, DisconnectReason> {
        let pushes = PushHandler::new(&self.sink, &self.names, &self.health, &self.probe_channel);
        let handler = pushes.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_push_sender(move |push| {
                handler.handle(push);
                Ok::<_, std::convert::Infallible>(())
            });
        let (mut connection, generation) = self.connector.connect(&config, &self.health).await?;
        connection.subscribe(&self.probe_channel).await?;
        self.health.listening();
        Ok(ListeningConnection { connection, generation, pushes })
    }

    fn channels(&self, pipelines: &[PipelineId]) -> Vec<String> {
        pipelines.iter().map(|pipeline| self.names.channel(pipeline)).collect()
    }
}

impl Listener {
    async fn run(mut self) {
        let mut reconnection = Reconnection::new();
        loop {
            // In a box: rare, and larger than all the rest.
            let connected = follow_until(&mut self, async |dialer| Box::pin(dialer.connect()).await).await;
            let (reason, proof) = match connected {
                Ok(connection) => {
                    if reconnection.connected() {
                        tracing::info!("reconnected to Redis; notifications resumed");
                    }
                    self.use_up(connection).await
                }
                Err(reason) => (reason, Proof::Nothing),
            };
            let retry = reconnection.lost(proof, reason.to_string());
            match retry.report {
                Report::Lost => {
                    tracing::warn!(%reason, "lost the Redis pub/sub connection; keeping streams open and retrying");
                }
                Report::OtherReason => {
                    tracing::warn!(%reason, "cannot connect to Redis again; keeping streams open and retrying");
                }
                Report::Nothing => {}
            }
            follow_until(&mut self, async |dialer| pause(&dialer.health, retry.after).await).await;
        }
    }

    /// Listens until the connection is lost.
    async fn use_up(&mut self, connection: ListeningConnection) -> (DisconnectReason, Proof) {
        let (pushes, began) = (connection.pushes.clone(), Instant::now());
        self.subscriptions.start_over();
        let reason = self.listen(connection).await;
        pushes.finish();
        let health = &self.dialer.health;
        health.reconnected();
        (reason, if health.has_heard_since(began) { Proof::Heard } else { Proof::Nothing })
    }

    /// Follows commands until the connection can no longer be used. New pipelines come before those that were subscribed to
    /// before.
    async fn listen(&mut self, mut listening: ListeningConnection) -> DisconnectReason {
        let (health, timeout) = (self.dialer.health.clone(), self.dialer.timeout);
        let mut checks = interval(timeout / 2);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut hearing, began) = (HearingCheck::default(), Instant::now());
        let mut commands = Vec::new();
        let ListeningConnection { connection, generation, pushes } = &mut listening;
        loop {
            let followed = tokio::select! {
                biased;
                () = pushes.closed() => Err(DisconnectReason::Closed),
                () = health.condemned(*generation) => Err(DisconnectReason::NotPrimary),
                _ = checks.tick() => {
                    let unheard_for = health.unheard_since(began).map(|sent| sent.elapsed());
                    match hearing.is_deaf(pushes.arrived(), unheard_for, timeout) {
                        true => Err(DisconnectReason::Deaf),
                        false => Ok(()),
                    }
                }
                count = self.commands.recv_many(&mut commands, COMMANDS_AT_ONCE) => {
                    if count == 0 {
                        // The node has dropped its store; its runtime ends this task.
                        return std::future::pending().await;
                    }
                    self.follow(connection, commands.drain(..)).await
                }
                () = std::future::ready(()), if self.subscriptions.has_pending() => {
                    self.follow(connection, std::iter::empty()).await
                }
            };
            if let Err(reason) = followed {
                return reason;
            }
        }
    }

    /// Follows commands, and waits until the server confirms what they change.
    async fn follow(
        &mut self,
        connection: &mut MultiplexedConnection,
        commands: impl Iterator<Item = ListenerCommand>,
    ) -> Result<(), DisconnectReason> {
        let Changes { unsubscribe, subscribe } = self.subscriptions.next_changes(commands);
        if !unsubscribe.is_empty() {
            connection.unsubscribe(&self.dialer.channels(&unsubscribe)).await?;
        }
        if !subscribe.is_empty() {
            connection.subscribe(&self.dialer.channels(&subscribe)).await?;
            self.subscriptions.confirm(&subscribe);
            self.dialer.sink.subscribed(&subscribe);
        }
        Ok(())
    }
}

/// Waits before the next attempt, but not after Redis has recovered.
async fn pause(health: &Health, delay: Duration) {
    tokio::select! {
        () = sleep(delay) => {}
        () = health.recovered() => {}
    }
}

/// Follows commands while something else is done that needs no connection. Otherwise commands would pile up with each
/// pipeline that opens and closes while the server is unreachable.
async fn follow_until<T>(listener: &mut Listener, other: impl AsyncFnOnce(&Dialer) -> T) -> T {
    let Listener { dialer, commands, subscriptions } = listener;
    let mut other = pin!(other(dialer));
    let mut received = Vec::new();
    loop {
        tokio::select! {
            biased;
            done = &mut other => return done,
            count = commands.recv_many(&mut received, COMMANDS_AT_ONCE) => {
                if count == 0 {
                    // As above.
                    return std::future::pending().await;
                }
                received.drain(..).for_each(|command| subscriptions.follow(command));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::notification::Notification;
    use crate::store::Wakers;

    const SECOND: Duration = Duration::from_secs(1);

    #[derive(Debug)]
    struct NoSink;

    impl EventSink for NoSink {
        fn notify(&self, _: &str, _: Notification) -> Wakers {
            Wakers::default()
        }

        fn notification_damaged(&self, _: &str) {}

        fn subscribed(&self, _: &[PipelineId]) {}
    }

    fn listener() -> (ListenerHandle, Listener) {
        // Nothing here connects.
        let options = RedisOptions {
            url: "redis://127.0.0.1:1".to_owned(),
            password_file: None,
            sentinel_user: None,
            sentinel_password_file: None,
            tls_ca: None,
            tls_client: None,
            prefix: "pipecast".parse().unwrap(),
            pool_size: 1,
            timeout: SECOND,
            probe_interval: SECOND,
        };
        let (sender, commands) = mpsc::unbounded_channel();
        let dialer = Dialer {
            connector: Connector::new(&options).unwrap(),
            timeout: options.timeout,
            sink: Arc::new(NoSink),
            health: Arc::default(),
            names: Names::new(options.prefix.clone(), 0),
            probe_channel: "pipecast:probe:1".to_owned(),
        };
        let listener = Listener { dialer, commands, subscriptions: Subscriptions::default() };
        (ListenerHandle { commands: sender }, listener)
    }

    #[tokio::test(start_paused = true)]
    async fn pause_ends_when_redis_recovers() {
        let health = Health::default();
        let began = Instant::now();
        pause(&health, SECOND).await;
        assert_eq!(began.elapsed(), SECOND);
        health.connected(Instant::now(), false);
        let recovery = async {
            sleep(SECOND / 4).await;
            health.connected(Instant::now(), true);
        };
        tokio::join!(pause(&health, SECOND), recovery);
        assert_eq!(began.elapsed(), SECOND + SECOND / 4);
    }

    #[tokio::test]
    async fn commands_do_not_pile_up_without_a_connection() {
        const PIPELINES: usize = 200_000;
        let (handle, mut listener) = listener();
        let pipeline = |n: usize| format!("p_{n}").parse::<PipelineId>().unwrap();
        handle.watch(pipeline(PIPELINES));
        for n in 0..PIPELINES {
            handle.watch(pipeline(n));
            handle.unwatch(pipeline(n));
        }
        follow_until(&mut listener, async |_| {
            for _ in 0..4 * PIPELINES / COMMANDS_AT_ONCE {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!((listener.commands.len(), listener.subscriptions.len()), (0, 1));
    }
}
