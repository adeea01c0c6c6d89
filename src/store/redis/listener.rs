//! The listener: one connection of its own on which a node hears notifications.
//!
//! It subscribes, hands on what it hears without waiting for anything, and is made again when it was lost or no longer
//! hears the probes that the server says it has published. It never reads history: it tells the
//! sink from when on notifications arrive, which reads what came before. It sends no probes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisError, Value};
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::RedisOptions;
use super::connector::Connector;
use super::failure::Failure;
use super::health::Health;
use super::keys::Names;
use super::watched::{Heard, ORDERS_AT_ONCE, Order, Watched};
use crate::backoff::Backoff;
use crate::event::PipelineId;
use crate::log::notification::Notification;
use crate::store::{EventSink, Wakers};

/// Channels in one SUBSCRIBE: a few commands for thousands of pipelines, none of them huge. Twice as many as orders are followed
/// at once: what a command has room for besides belongs to pipelines that were heard before, which have their turn although orders
/// may come without an end.
const CHANNELS_A_COMMAND: usize = 2 * ORDERS_AT_ONCE;

/// The store's end of the listener.
#[derive(Debug, Clone)]
pub(super) struct ListenerHandle {
    // Unbounded, but followed at all times, whether there is a connection or not.
    orders: mpsc::UnboundedSender<Order>,
}

impl ListenerHandle {
    pub(super) fn watch(&self, pipeline: PipelineId) {
        // A listener that is gone means that the node is stopping.
        let _ = self.orders.send(Order::Watch(pipeline));
    }

    pub(super) fn unwatch(&self, pipeline: PipelineId) {
        let _ = self.orders.send(Order::Unwatch(pipeline));
    }
}

struct Listener {
    dialer: Dialer,
    watched: Watched,
}

/// What makes connections, and what they are made with.
struct Dialer {
    connector: Connector,
    timeout: Duration,
    sink: Arc<dyn EventSink>,
    health: Arc<Health>,
    names: Names,
    /// This node's own channel.
    probe_channel: String,
}

/// Why a connection was given up.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{0}")]
    Failed(#[from] Failure),
    #[error("the connection was closed")]
    Closed,
    #[error("the server is no primary any more")]
    Condemned,
    #[error("it did not hear a probe that the server published")]
    Deaf,
}

impl From<RedisError> for Lost {
    fn from(error: RedisError) -> Self {
        Self::Failed(error.into())
    }
}

/// A connection that listens.
struct Listening {
    connection: MultiplexedConnection,
    generation: u64,
    ear: Arc<Ear>,
    /// Pipelines that are not subscribed to yet on this connection.
    pending: VecDeque<PipelineId>,
}

/// The listener's handle and its life, to be run by whoever stops it.
pub(super) fn new(
    connector: &Connector,
    options: &RedisOptions,
    names: &Names,
    probe_channel: &str,
    sink: Arc<dyn EventSink>,
    health: &Arc<Health>,
) -> (ListenerHandle, impl Future<Output = ()> + Send + use<>) {
    let (sender, orders) = mpsc::unbounded_channel();
    let dialer = Dialer {
        connector: connector.clone(),
        timeout: options.timeout,
        sink,
        health: health.clone(),
        names: names.clone(),
        probe_channel: probe_channel.to_owned(),
    };
    let listener = Listener { dialer, watched: Watched::new(orders) };
    (ListenerHandle { orders: sender }, listener.run())
}

/// What the connection's own task does with what arrives: nothing that waits.
struct Ear {
    sink: Arc<dyn EventSink>,
    names: Names,
    health: Arc<Health>,
    probe_channel: String,
    /// Messages that have arrived, of whatever kind.
    arrived: AtomicU64,
    closed: Notify,
    /// Whether the connection was given up. Held while a message is handed on: what an old connection still hears must not
    /// come between what the next one does, or the sink would take it for the next one's.
    is_over: Mutex<bool>,
}

impl Ear {
    fn hear(&self, push: PushInfo) {
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
                    let wakers = self.hear_message(&channel, text.into());
                    drop(is_over);
                    wakers.wake();
                }
            }
            _ => {}
        }
    }

    fn hear_message(&self, channel: &[u8], text: Bytes) -> Wakers {
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
    /// A connection that hears probes, and nothing else yet.
    async fn connect(&self) -> Result<Listening, Lost> {
        let ear = Arc::new(Ear {
            sink: self.sink.clone(),
            names: self.names.clone(),
            health: self.health.clone(),
            probe_channel: self.probe_channel.clone(),
            arrived: AtomicU64::new(0),
            closed: Notify::new(),
            is_over: Mutex::new(false),
        });
        let hears = ear.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_push_sender(move |push| {
                hears.hear(push);
                Ok::<_, std::convert::Infallible>(())
            });
        let generation = self.health.generation();
        let mut connection = self.connector.connect(&config, &self.health).await?;
        connection.subscribe(&self.probe_channel).await?;
        self.health.listening();
        Ok(Listening { connection, generation, ear, pending: VecDeque::new() })
    }
}

impl Listener {
    async fn run(mut self) {
        let mut backoff = Backoff::for_connections();
        let mut is_known_lost = false;
        loop {
            // In a box: rare, and larger than all the rest.
            let lost = match self.watched.follow_until(Box::pin(self.dialer.connect())).await {
                Ok(mut listening) => {
                    listening.pending = self.watched.by_urgency();
                    if is_known_lost {
                        tracing::info!("notifications come again");
                        is_known_lost = false;
                    }
                    let (ear, began) = (listening.ear.clone(), Instant::now());
                    let lost = self.listen(listening).await;
                    *ear.is_over.lock() = true;
                    let health = &self.dialer.health;
                    health.reconnected();
                    // A connection on which a probe was heard was no failed attempt. That it could subscribe says less: a
                    // server may end it for all the confirmations that it then has to send.
                    if health.has_heard_since(began) {
                        backoff.reset();
                    }
                    lost
                }
                Err(lost) => lost,
            };
            if !is_known_lost {
                tracing::warn!(reason = %lost, "notifications have stopped; streams stay open while the store is tried again");
                is_known_lost = true;
            }
            let pause = async {
                tokio::select! {
                    () = sleep(backoff.next_delay()) => {}
                    () = self.dialer.health.recovered() => {}
                }
            };
            self.watched.follow_until(pause).await;
        }
    }

    /// Follows orders until the connection is no good any more. New pipelines come before those that were heard before.
    async fn listen(&mut self, mut listening: Listening) -> Lost {
        let (health, timeout) = (self.dialer.health.clone(), self.dialer.timeout);
        let mut looks = interval(timeout / 2);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut orders = Vec::new();
        let mut arrived = 0;
        let began = Instant::now();
        let Listening { connection, generation, ear, pending } = &mut listening;
        loop {
            let done = tokio::select! {
                biased;
                () = ear.closed.notified() => Err(Lost::Closed),
                () = health.condemned(*generation) => Err(Lost::Condemned),
                _ = looks.tick() => {
                    let before = std::mem::replace(&mut arrived, ear.arrived.load(Ordering::Relaxed));
                    let unheard = health.unheard_since(began);
                    // What arrives late is not deaf: there may be megabytes before the probe.
                    match unheard.is_some_and(|sent| sent.elapsed() >= timeout) && arrived == before {
                        true => Err(Lost::Deaf),
                        false => Ok(()),
                    }
                }
                count = self.watched.orders.recv_many(&mut orders, ORDERS_AT_ONCE) => {
                    if count == 0 {
                        // As above.
                        return std::future::pending().await;
                    }
                    self.follow(connection, orders.drain(..), pending).await
                }
                () = std::future::ready(()), if !pending.is_empty() => {
                    self.follow(connection, std::iter::empty(), pending).await
                }
            };
            if let Err(lost) = done {
                return lost;
            }
        }
    }

    /// Follows orders, and subscribes to as many of those that are pending as there is room for.
    async fn follow(
        &mut self,
        connection: &mut MultiplexedConnection,
        orders: impl Iterator<Item = Order>,
        pending: &mut VecDeque<PipelineId>,
    ) -> Result<(), Lost> {
        // The last order about a pipeline counts: one that was left and opened again stays.
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for order in orders {
            self.watched.follow(&order);
            match order {
                Order::Watch(pipeline) => {
                    removed.retain(|other| *other != pipeline);
                    added.push(pipeline);
                }
                Order::Unwatch(pipeline) => {
                    added.retain(|other| *other != pipeline);
                    removed.push(pipeline);
                }
            }
        }
        if !removed.is_empty() {
            let channels: Vec<_> = removed.iter().map(|pipeline| self.dialer.names.channel(pipeline)).collect();
            connection.unsubscribe(&channels).await?;
        }
        let room = CHANNELS_A_COMMAND.saturating_sub(added.len()).min(pending.len());
        // Some may have been left meanwhile.
        added.extend(pending.drain(..room).filter(|pipeline| self.watched.pipelines.contains_key(pipeline)));
        self.subscribe(connection, &added).await
    }

    /// Subscribes to pipelines, at most [`CHANNELS_A_COMMAND`] of them, and waits for the confirmation.
    async fn subscribe(
        &mut self,
        connection: &mut MultiplexedConnection,
        pipelines: &[PipelineId],
    ) -> Result<(), Lost> {
        if pipelines.is_empty() {
            return Ok(());
        }
        let channels: Vec<_> = pipelines.iter().map(|pipeline| self.dialer.names.channel(pipeline)).collect();
        connection.subscribe(&channels).await?;
        for pipeline in pipelines {
            self.watched.pipelines.insert(pipeline.clone(), Heard::Before);
        }
        self.dialer.sink.subscribed(pipelines);
        Ok(())
    }
}
