//! The store: where events get their id and are kept, and what notifies nodes of them.
//!
//! Two of them, so an enum; a trait when a third one comes. The store notifies the node
//! through [`EventSink`] and knows nothing else of it.

mod event_sink;
mod idempotency;
pub mod memory;
pub mod page;
pub mod redis;

use std::sync::Arc;
use std::time::Duration;

use crate::event::{Batch, EventId, PipelineId, Shape};
use crate::sse::frame::History;

use memory::MemoryStore;
use page::{About, Page, PageBounds, PageStart};
use redis::RedisStore;

pub use event_sink::{EventSink, Wakers};
pub use idempotency::{IDEMPOTENCY_TTL, IdempotencyKey, InvalidIdempotencyKey};
pub use redis::connector::Unfit;

/// Where events are kept.
#[derive(Debug)]
pub enum Store {
    /// In this process: one node alone, gone when it stops.
    Memory(Arc<MemoryStore>),
    /// In Redis or Valkey, shared by all nodes.
    Redis(Arc<RedisStore>),
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
    /// An event.
    Event {
        /// Its id.
        id: EventId,
        /// How many events are kept.
        events: usize,
    },
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
    /// It stores nothing for now, until there is room in it, or replicas. Nothing was stored.
    #[error("the store refuses to store: {0}")]
    Refusing(String),
    /// It answered with something that this version does not understand, or does not let us do this. Trying again
    /// would not help.
    #[error("the store answered with something unexpected: {0}")]
    Unexpected(String),
    /// The `Idempotency-Key` was used for other events. Nothing was stored.
    #[error("the Idempotency-Key was used for other events")]
    KeyReused,
    /// The embedded store has no room, and nothing that it may forget. Nothing was stored.
    #[error("the store is full and all that it keeps is being read (store.memory)")]
    Full,
}

/// What a publisher has reserved for its events, where they wait.
type Hold = Box<dyn Send + Sync>;

impl Store {
    /// Stores a batch, whole or not at all, and notifies nodes.
    ///
    /// With a key that was used in the last ten minutes on this pipeline, changes nothing and
    /// returns the first receipt again. What the publisher has reserved for its events is dropped when the store lets go of
    /// them: they may wait for longer than their publisher does.
    ///
    /// # Errors
    /// [`StoreError::Away`] within `redis.timeout`; [`StoreError::KeyReused`] when the key came with other events;
    /// [`StoreError::Full`] by the embedded store.
    pub async fn append(
        &self,
        pipeline: &PipelineId,
        batch: Batch,
        key: Option<&IdempotencyKey>,
        hold: impl Send + Sync + 'static,
    ) -> Result<Receipt, StoreError> {
        match self {
            Self::Memory(store) => store.append(pipeline, batch, key),
            Self::Redis(store) => store.append(pipeline, batch, key, Box::new(hold)).await,
        }
    }

    /// The newest frames of a pipeline, read page by page: each has its own time-out.
    ///
    /// # Errors
    /// As [`Store::append`], but for the time: it lasts for as long as pages come.
    pub async fn history(&self, pipeline: &PipelineId) -> Result<History, StoreError> {
        match self {
            Self::Memory(store) => Ok(store.history(pipeline)),
            Self::Redis(store) => store.history(pipeline).await,
        }
    }

    /// A page of a pipeline's history.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn page(
        &self,
        pipeline: &PipelineId,
        start: PageStart<'_>,
        bounds: PageBounds,
    ) -> Result<Page, StoreError> {
        match self {
            Self::Memory(store) => Ok(store.page(pipeline, start, bounds)),
            Self::Redis(store) => store.page(pipeline, start, bounds).await,
        }
    }

    /// What is known of a pipeline, without reading its events.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn about(&self, pipeline: &PipelineId) -> Result<About, StoreError> {
        match self {
            Self::Memory(store) => Ok(store.about(pipeline)),
            Self::Redis(store) => store.about(pipeline).await,
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
    /// Each has its own answer or error, as of [`Store::append`]: what one list has wrong says nothing of the others.
    pub async fn newest(&self, pipelines: &[PipelineId]) -> Vec<Result<Newest, StoreError>> {
        match self {
            Self::Memory(store) => store.newest(pipelines).into_iter().map(Ok).collect(),
            Self::Redis(store) => store.newest(pipelines).await,
        }
    }

    /// Starts sending a pipeline's notifications to the sink, and tells it when that is so.
    pub fn watch(&self, pipeline: PipelineId) {
        match self {
            Self::Memory(store) => store.watch(&pipeline),
            Self::Redis(store) => store.watch(pipeline),
        }
    }

    /// Stops a pipeline's notifications. The caller holds none of the sink's locks.
    pub fn unwatch(&self, pipeline: PipelineId) {
        match self {
            Self::Memory(store) => store.unwatch(&pipeline),
            Self::Redis(store) => store.unwatch(pipeline),
        }
    }

    /// How long ago the store was last known to store and to notify; `None` when it never was.
    pub fn probe_age(&self) -> Option<Duration> {
        match self {
            Self::Memory(_) => Some(Duration::ZERO),
            Self::Redis(store) => store.probe_age(),
        }
    }

    /// Whether the store can be reached, as far as is known.
    pub fn is_reachable(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Redis(store) => store.health().is_reachable(),
        }
    }
}
