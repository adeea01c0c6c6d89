//! The store: where events get their id, are kept and are announced.
//!
//! Two of them, so an enum; a trait when a third one comes. The store tells of announcements
//! through [`Audience`] and knows nothing else of the node.

mod appender;
mod connector;
pub mod keys;
pub mod listener;
pub mod memory;
pub mod redis;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::announcement::Announcement;
use crate::event::{Batch, Shape};
use crate::event_id::EventId;
use crate::frame::History;
use crate::pipeline::PipelineId;

use memory::MemoryStore;
use redis::RedisStore;

/// Where events are kept.
#[derive(Debug)]
pub enum Store {
    /// In this process: one node alone, gone when it stops.
    Memory(Arc<MemoryStore>),
    /// In Redis or Valkey, shared by all nodes.
    Redis(Arc<RedisStore>),
}

/// Who hears what the store announces.
///
/// Called from the store's own loop, which must not wait: implementations neither block nor do I/O.
pub trait Audience: Send + Sync + fmt::Debug {
    /// Events were accepted, as a hint: it may be lost, doubled or late.
    fn announced(&self, pipeline: &str, announcement: Announcement);
    /// An announcement that cannot be read.
    fn announced_damaged(&self, pipeline: &str);
    /// From here on announcements of these pipelines come; what came before is to be read.
    fn subscribed(&self, pipelines: &[PipelineId]);
}

/// How long things are kept. Section `history` of the settings.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Newest events kept per pipeline.
    pub limit: usize,
    /// Most bytes of their frames, but always the newest event.
    pub bytes: usize,
    /// How long a pipeline's history is kept after the last event; longer while it has readers.
    pub ttl: Duration,
}

/// For how long a repeated `Idempotency-Key` gets the first answer again.
pub const IDEMPOTENCY_TTL: Duration = Duration::from_secs(600);

/// A publisher's `Idempotency-Key`: 1-255 visible ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct IdempotencyKey(String);

/// What is wrong with an `Idempotency-Key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an Idempotency-Key is 1-255 visible ASCII characters")]
pub struct InvalidIdempotencyKey;

impl IdempotencyKey {
    /// The key as it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = InvalidIdempotencyKey;

    fn from_str(key: &str) -> Result<Self, InvalidIdempotencyKey> {
        if (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(key.to_owned()))
        } else {
            Err(InvalidIdempotencyKey)
        }
    }
}

/// The store's answer to a batch. Events of a batch share one `ms` and have consecutive `seq`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The first event's id.
    pub first: EventId,
    /// How many events.
    pub count: u64,
    /// What the request looked like.
    pub shape: Shape,
    /// Whether this is the first answer or a repetition.
    pub origin: Origin,
}

/// Where a receipt comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The events were stored by this call.
    Stored,
    /// An earlier call with the same `Idempotency-Key` stored them; this one changed nothing.
    Repeated,
}

impl Receipt {
    /// The events' ids, oldest first.
    pub fn ids(&self) -> impl Iterator<Item = EventId> {
        let first = self.first;
        (0..self.count).map(move |n| first.plus(n))
    }
}

/// The newest that a store has of a pipeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Newest {
    /// An event with this id.
    Event(EventId),
    /// No event, the last one had this id; `0-0` when nothing is known.
    Nothing(EventId),
}

/// Why the store could not do what was asked. Nothing was acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or did not answer in time. For an append: it may or may not have
    /// been stored.
    #[error("the store is away: {0}")]
    Away(String),
    /// It answered with something that this version does not understand.
    #[error("the store answered with something unexpected: {0}")]
    Unexpected(String),
    /// The embedded store has no room, and nothing that it may forget. Nothing was stored.
    #[error("the store is full and all that it keeps is being read (store.memory)")]
    Full,
}

impl Store {
    /// Stores a batch, whole or not at all, and announces it.
    ///
    /// With a key that was used in the last ten minutes on this pipeline, changes nothing and
    /// returns the first receipt again.
    ///
    /// # Errors
    /// [`StoreError::Away`] within `redis.timeout`; [`StoreError::Full`] by the embedded store.
    pub async fn append(
        &self,
        pipeline: &PipelineId,
        batch: Batch,
        key: Option<&IdempotencyKey>,
    ) -> Result<Receipt, StoreError> {
        match self {
            Self::Memory(store) => store.append(pipeline, batch, key),
            Self::Redis(store) => store.append(pipeline, batch, key).await,
        }
    }

    /// The newest frames of a pipeline.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn history(&self, pipeline: &PipelineId) -> Result<History, StoreError> {
        match self {
            Self::Memory(store) => Ok(store.history(pipeline)),
            Self::Redis(store) => store.history(pipeline).await,
        }
    }

    /// Forgets a pipeline's history; ids go on from where they were.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn forget(&self, pipeline: &PipelineId) -> Result<(), StoreError> {
        match self {
            Self::Memory(store) => {
                store.forget(pipeline);
                Ok(())
            }
            Self::Redis(store) => store.forget(pipeline).await,
        }
    }

    /// The newest of each pipeline, in the order asked; keeps their histories from expiring.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn newest(&self, pipelines: &[PipelineId]) -> Result<Vec<Newest>, StoreError> {
        match self {
            Self::Memory(store) => Ok(store.newest(pipelines)),
            Self::Redis(store) => store.newest(pipelines).await,
        }
    }

    /// Starts announcing a pipeline to the audience, which is told when it is so.
    pub fn watch(&self, pipeline: PipelineId) {
        match self {
            Self::Memory(store) => store.watch(&pipeline),
            Self::Redis(store) => store.watch(pipeline),
        }
    }

    /// Stops announcing a pipeline. The caller holds none of the audience's locks.
    pub fn unwatch(&self, pipeline: PipelineId) {
        match self {
            Self::Memory(store) => store.unwatch(&pipeline),
            Self::Redis(store) => store.unwatch(pipeline),
        }
    }

    /// How long ago the store was last known to answer and to announce; `None` when it never was.
    pub fn probe_age(&self) -> Option<Duration> {
        match self {
            Self::Memory(_) => Some(Duration::ZERO),
            Self::Redis(store) => store.probe_age(),
        }
    }
}
