//! The listener: the connection on which a node receives notifications.
//!
//! It subscribes, passes on what arrives without waiting for anything, and connects again when the connection was lost or no
//! longer hears the probes that the server publishes. It never reads history: it reports to the sink once notifications arrive, and the
//! sink's owner reads earlier events. It sends no probes. Its decisions are in `subscriptions` and `liveness`.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisError, Value};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::command_error::CommandError;
use super::connector::Connector;
use super::health::Health;
use super::keys::Names;
use super::liveness::{HearingCheck, Proof, Reconnection};
use super::options::RedisOptions;
use super::subscriptions::{COMMANDS_AT_ONCE, Changes, ListenerCommand, Subscriptions};
use crate::event::PipelineId;
use crate::log::notification::Notification;
use crate::store::{EventSink, Wakers};

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

/// Handles what arrives, on the connection's own task: nothing here waits.
struct PushHandler {
    sink: Arc<dyn EventSink>,
    names: Names,
    health: Arc<Health>,
    probe_channel: String,
    /// Messages of any kind that have arrived.
    arrived: AtomicU64,
    closed: Notify,
    /// Whether the listener is done with the connection. Held while a message is passed on: messages of an old connection must
    /// not mix with those of the next, or the sink would believe that the next one has brought them.
    is_over: Mutex<bool>,
}

impl PushHandler {
    fn handle(&self, push: PushInfo) {
        let is_over = self.is_over.lock();
        if *is_over {
            return;
        }
        self.arrived.fetch_add(1, Ordering::Relaxed);
        match push.kind {
            PushKind::Disconnection => self.closed.notify_one(),
            PushKind::Message | PushKind::SMessage => {
                let mut data = push.data.into_iter();
                if let (Some(Value::BulkString(channel)), Some(Value::BulkString(text))) = (data.next(), data.next()) {
                    let wakers = self.handle_message(&channel, text.into());
                    drop(is_over);
                    wakers.wake();
                }
            }
            _ => {}
        }
    }

    fn handle_message(&self, channel: &[u8], text: Bytes) -> Wakers {
        let Ok(channel) = std::str::from_utf8(channel) else { return Wakers::default() };
        if let Some(pipeline) = self.names.pipeline_of(channel) {
            match Notification::parse(text) {
                Ok(notification) => return self.sink.notify(pipeline, notification),
                Err(_) => self.sink.notification_damaged(pipeline),
            }
        } else if channel == self.probe_channel {
            self.health.heard();
        }
        Wakers::default()
    }
}

impl Dialer {
    fn push_handler(&self) -> Arc<PushHandler> {
        Arc::new(PushHandler {
            sink: self.sink.clone(),
            names: self.names.clone(),
            health: self.health.clone(),
            probe_channel: self.probe_channel.clone(),
            arrived: AtomicU64::new(0),
            closed: Notify::new(),
            is_over: Mutex::new(false),
        })
    }

    /// A connection that hears probes, and nothing else yet.
    async fn connect(&self) -> Result<ListeningConnection, DisconnectReason> {
        let pushes = self.push_handler();
        let handler = pushes.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_push_sender(move |push| {
                handler.handle(push);
                Ok::<_, std::convert::Infallible>(())
            });
        let generation = self.health.generation();
        let mut connection = self.connector.connect(&config, &self.health).await?;
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
            let retry = reconnection.lost(proof);
            if retry.is_first {
                tracing::warn!(%reason, "lost the Redis pub/sub connection; keeping streams open and retrying");
            }
            follow_until(&mut self, async |dialer| pause(&dialer.health, retry.after).await).await;
        }
    }

    /// Listens until the connection is lost.
    async fn use_up(&mut self, connection: ListeningConnection) -> (DisconnectReason, Proof) {
        let (pushes, began) = (connection.pushes.clone(), Instant::now());
        self.subscriptions.start_over();
        let reason = self.listen(connection).await;
        *pushes.is_over.lock() = true;
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
                () = pushes.closed.notified() => Err(DisconnectReason::Closed),
                () = health.condemned(*generation) => Err(DisconnectReason::NotPrimary),
                _ = checks.tick() => {
                    let unheard_for = health.unheard_since(began).map(|sent| sent.elapsed());
                    match hearing.is_deaf(pushes.arrived.load(Ordering::Relaxed), unheard_for, timeout) {
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

    const SECOND: Duration = Duration::from_secs(1);

    #[derive(Debug, Default)]
    struct Recorder(Mutex<Vec<String>>);

    impl EventSink for Recorder {
        fn notify(&self, pipeline: &str, _: Notification) -> Wakers {
            self.0.lock().push(format!("{pipeline} notified"));
            Wakers::default()
        }

        fn notification_damaged(&self, pipeline: &str) {
            self.0.lock().push(format!("{pipeline} damaged"));
        }

        fn subscribed(&self, _: &[PipelineId]) {}
    }

    fn listener() -> (ListenerHandle, Listener, Arc<Recorder>) {
        // Nothing here connects.
        let options = RedisOptions {
            url: "redis://127.0.0.1:1".to_owned(),
            password_file: None,
            tls_ca: None,
            tls_client: None,
            prefix: "pipecast".parse().unwrap(),
            pool_size: 1,
            timeout: SECOND,
            probe_interval: SECOND,
        };
        let (sender, commands) = mpsc::unbounded_channel();
        let sink = Arc::<Recorder>::default();
        let dialer = Dialer {
            connector: Connector::new(&options).unwrap(),
            timeout: options.timeout,
            sink: sink.clone(),
            health: Arc::default(),
            names: Names::new(options.prefix.clone(), 0),
            probe_channel: "pipecast:probe:1".to_owned(),
        };
        let listener = Listener { dialer, commands, subscriptions: Subscriptions::default() };
        (ListenerHandle { commands: sender }, listener, sink)
    }

    fn message(channel: &str, text: &str) -> PushInfo {
        let data = [channel, text].map(|part| Value::BulkString(part.as_bytes().to_vec())).to_vec();
        PushInfo { kind: PushKind::Message, data }
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
        let (handle, mut listener, _) = listener();
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

    #[tokio::test]
    async fn messages_are_passed_on_until_the_connection_is_over() {
        let (_handle, listener, sink) = listener();
        let pushes = listener.dialer.push_handler();
        let began = Instant::now();
        pushes.handle(message("pipecast:{p}", "0-0\n"));
        pushes.handle(message("pipecast:{p}", "damaged"));
        pushes.handle(message("other:{p}", "0-0\n"));
        assert!(!listener.dialer.health.has_heard_since(began));
        pushes.handle(message("pipecast:probe:1", ""));
        assert!(listener.dialer.health.has_heard_since(began));
        assert_eq!(pushes.arrived.load(Ordering::Relaxed), 4);
        *pushes.is_over.lock() = true;
        pushes.handle(message("pipecast:{p}", "0-0\n"));
        assert_eq!(*sink.0.lock(), ["p notified", "p damaged"]);
    }
}
