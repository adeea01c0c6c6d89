//! The listener: one connection of its own on which a node hears announcements.
//!
//! It subscribes, hands on what it hears without waiting for anything, proves every few seconds
//! that it still hears, and is made anew when it does not. It never reads history: the audience is
//! told from when on announcements come, and reads what came before.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisError, Value};
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::Audience;
use super::connector::Connector;
use super::keys::Prefix;
use super::redis::{Pool, RedisOptions, RedisSetupError, check_version};
use crate::announcement::Announcement;
use crate::backoff::Backoff;
use crate::pipeline::PipelineId;

/// Channels in one SUBSCRIBE: a few commands for thousands of pipelines, none of them huge.
const CHANNELS_A_COMMAND: usize = 500;

/// What is known of the connection, for readiness and metrics.
#[derive(Debug, Default)]
pub struct Health {
    /// Written when a probe comes back.
    last_probe: Mutex<Option<Instant>>,
    reconnects: AtomicU64,
}

impl Health {
    /// How long ago a probe came back; `None` before the first.
    pub fn probe_age(&self) -> Option<Duration> {
        self.last_probe.lock().map(|at| at.elapsed())
    }

    /// How often the connection was lost and made again.
    pub fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }
}

/// Orders to the listener.
#[derive(Debug)]
enum Order {
    Watch(PipelineId),
    Unwatch(PipelineId),
}

/// The store's end of the listener.
#[derive(Debug, Clone)]
pub(super) struct ListenerHandle {
    // Unbounded, but never more than two orders for each pipeline that a client opened.
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
    connector: Connector,
    /// For sending probes, which the listening connection must only receive.
    pool: Pool,
    timeout: Duration,
    probe_interval: Duration,
    audience: Arc<dyn Audience>,
    health: Arc<Health>,
    orders: mpsc::UnboundedReceiver<Order>,
    watched: HashSet<PipelineId>,
    prefix: Prefix,
    /// This node's own channel.
    probe_channel: String,
}

/// Why a connection was given up.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("{0}")]
    Setup(#[from] RedisSetupError),
    #[error("no answer in time")]
    TimedOut,
    #[error("the connection was closed")]
    Closed,
    #[error("it did not hear its own probe")]
    Deaf,
}

/// The listener's handle and its life, to be run by whoever stops it.
pub(super) fn new(
    connector: Connector,
    pool: Pool,
    options: &RedisOptions,
    audience: Arc<dyn Audience>,
    health: Arc<Health>,
) -> (ListenerHandle, impl Future<Output = ()> + Send + use<>) {
    let (sender, orders) = mpsc::unbounded_channel();
    let listener = Listener {
        connector,
        pool,
        timeout: options.timeout,
        probe_interval: options.probe_interval,
        audience,
        health,
        orders,
        watched: HashSet::new(),
        prefix: options.prefix.clone(),
        probe_channel: options.prefix.new_probe_channel(),
    };
    (ListenerHandle { orders: sender }, listener.run())
}

/// What the connection's own task does with what arrives: nothing that waits.
struct Ear {
    audience: Arc<dyn Audience>,
    prefix: Prefix,
    health: Arc<Health>,
    probe_channel: String,
    closed: Notify,
}

impl Ear {
    fn hear(&self, push: PushInfo) {
        match push.kind {
            PushKind::Disconnection => self.closed.notify_one(),
            PushKind::Message | PushKind::SMessage => {
                let mut data = push.data.into_iter();
                if let (Some(Value::BulkString(channel)), Some(Value::BulkString(text))) = (data.next(), data.next()) {
                    self.hear_message(&channel, text.into());
                }
            }
            _ => {}
        }
    }

    fn hear_message(&self, channel: &[u8], text: Bytes) {
        let Ok(channel) = std::str::from_utf8(channel) else { return };
        if let Some(pipeline) = self.prefix.pipeline_of(channel) {
            match Announcement::parse(text) {
                Ok(announcement) => self.audience.announced(pipeline, announcement),
                Err(_) => self.audience.announced_damaged(pipeline),
            }
        } else if channel == self.probe_channel {
            *self.health.last_probe.lock() = Some(Instant::now());
        }
    }
}

impl Listener {
    async fn run(mut self) {
        let mut backoff = Backoff::for_store();
        let mut is_known_lost = false;
        loop {
            let began = Instant::now();
            let lost = match self.connect().await {
                Ok((connection, ear)) => {
                    if is_known_lost {
                        tracing::info!("announcements come again");
                        is_known_lost = false;
                    }
                    let lost = self.listen(connection, &ear).await;
                    self.health.reconnects.fetch_add(1, Ordering::Relaxed);
                    lost
                }
                Err(lost) => lost,
            };
            if !is_known_lost {
                tracing::warn!(reason = %lost, "announcements have stopped; streams stay open while the store is tried again");
                is_known_lost = true;
            }
            // A connection on which something was heard was no failed attempt.
            if self.has_heard_since(began) {
                backoff.reset();
            }
            sleep(backoff.next_delay()).await;
        }
    }

    /// A connection that has all subscriptions.
    async fn connect(&mut self) -> Result<(MultiplexedConnection, Arc<Ear>), Lost> {
        let ear = Arc::new(Ear {
            audience: self.audience.clone(),
            prefix: self.prefix.clone(),
            health: self.health.clone(),
            probe_channel: self.probe_channel.clone(),
            closed: Notify::new(),
        });
        let hears = ear.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_push_sender(move |push| {
                hears.hear(push);
                Ok::<_, std::convert::Infallible>(())
            });
        let connecting = self.connector.connect(&config);
        let mut connection = timeout(self.timeout, connecting).await.map_err(|_| Lost::TimedOut)??;
        // Again at every connection: behind one address there may be another server.
        check_version(&redis::cmd("HELLO").query_async(&mut connection).await?)?;
        connection.subscribe(&self.probe_channel).await?;
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Watch(pipeline) => self.watched.insert(pipeline),
                Order::Unwatch(pipeline) => self.watched.remove(&pipeline),
            };
        }
        let watched: Vec<_> = self.watched.iter().cloned().collect();
        self.subscribe(&mut connection, &watched).await?;
        Ok((connection, ear))
    }

    /// Follows orders and sends probes until the connection is no good any more.
    async fn listen(&mut self, mut connection: MultiplexedConnection, ear: &Ear) -> Lost {
        let mut probes = interval(self.probe_interval);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut orders = Vec::new();
        let mut probed_at: Option<Instant> = None;
        loop {
            let done = tokio::select! {
                () = ear.closed.notified() => Err(Lost::Closed),
                _ = probes.tick() => {
                    if probed_at.is_some_and(|at| !self.has_heard_since(at)) {
                        Err(Lost::Deaf)
                    } else {
                        probed_at = Some(Instant::now());
                        self.probe().await
                    }
                }
                count = self.orders.recv_many(&mut orders, CHANNELS_A_COMMAND) => {
                    if count == 0 {
                        // The node has let go of its store; its runtime ends this task.
                        return std::future::pending().await;
                    }
                    self.follow(&mut connection, orders.drain(..)).await
                }
            };
            if let Err(lost) = done {
                return lost;
            }
        }
    }

    fn has_heard_since(&self, at: Instant) -> bool {
        self.health.last_probe.lock().is_some_and(|heard| heard >= at)
    }

    /// Sends a probe by way of the pool; the listening connection is to hear it.
    async fn probe(&self) -> Result<(), Lost> {
        let sent = async {
            let mut connection = Box::pin(self.pool.get()).await.map_err(|_| Lost::TimedOut)?;
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(&self.probe_channel).arg("");
            Ok(publish.query_async::<()>(&mut *connection).await?)
        };
        timeout(self.timeout, sent).await.map_err(|_| Lost::TimedOut)?
    }

    async fn follow(
        &mut self,
        connection: &mut MultiplexedConnection,
        orders: impl Iterator<Item = Order>,
    ) -> Result<(), Lost> {
        // The last order about a pipeline counts: one that was left and opened again stays.
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for order in orders {
            match order {
                Order::Watch(pipeline) => {
                    removed.retain(|other| *other != pipeline);
                    self.watched.insert(pipeline.clone());
                    added.push(pipeline);
                }
                Order::Unwatch(pipeline) => {
                    added.retain(|other| *other != pipeline);
                    self.watched.remove(&pipeline);
                    removed.push(pipeline);
                }
            }
        }
        if !removed.is_empty() {
            let channels: Vec<_> = removed.iter().map(|pipeline| self.prefix.channel(pipeline)).collect();
            connection.unsubscribe(&channels).await?;
        }
        self.subscribe(connection, &added).await
    }

    async fn subscribe(&self, connection: &mut MultiplexedConnection, pipelines: &[PipelineId]) -> Result<(), Lost> {
        for some in pipelines.chunks(CHANNELS_A_COMMAND) {
            let channels: Vec<_> = some.iter().map(|pipeline| self.prefix.channel(pipeline)).collect();
            connection.subscribe(&channels).await?;
            self.audience.subscribed(some);
        }
        Ok(())
    }
}
