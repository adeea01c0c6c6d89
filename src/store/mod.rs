//! The store: where events get their id and are kept, and what notifies nodes of them.
//!
//! There are two, hence an enum. The store notifies the node through [`EventSink`] and knows nothing else of it.

mod error;
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

pub use error::{Cause, StoreError};
pub use event_sink::{EventSink, Wakers};
pub use idempotency::{IDEMPOTENCY_TTL, IdempotencyKey, InvalidIdempotencyKey};

/// Where events are kept.
#[derive(Debug)]
pub enum Store {
    /// In this process: for a single node, lost when it stops.
    Memory(Arc<MemoryStore>),
    /// In Redis or Valkey, shared by all nodes.
    Redis(Arc<RedisStore>),
}

/// How long things are kept. Section `history` of the settings.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Maximum events kept per pipeline, the newest ones.
    pub limit: usize,
    /// Maximum bytes of their frames. The newest event is kept whatever its size.
    pub bytes: usize,
    /// How long a pipeline's history is kept after the last event; longer while it has subscribers.
    pub ttl: Duration,
}

/// The store's answer to a batch. Events of a batch share one `ms` and have consecutive `seq`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The first event's id.
    pub first: EventId,
    /// How many events there are.
    pub count: u64,
    /// Whether the request was a single event or a list.
    pub shape: Shape,
    /// Whether this call stored the events or an earlier one did.
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

/// The newest event that a store has of a pipeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Newest {
    /// There is one.
    Event {
        /// Its id.
        id: EventId,
        /// How many events are kept.
        events: usize,
    },
    /// No event is kept, and the last one had this id.
    Nothing(EventId),
    /// Neither an event nor an id is kept.
    Unknown {
        /// The store has lost no data since this moment, see [`crate::sse::frame::LossRecord`].
        since_ms: u64,
        /// Its clock, now.
        now_ms: u64,
    },
}

/// What a publisher has reserved, of memory for instance, for as long as its events wait.
type ReservedResources = Box<dyn Send + Sync>;

impl Store {
    /// Stores a batch, whole or not at all, and notifies nodes.
    ///
    /// With a key that was used in the last ten minutes on this pipeline, changes nothing and returns the first receipt
    /// again. The store drops `reserved` with the events, which may wait for longer than their publisher does.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] within `redis.timeout`; [`StoreError::KeyReused`] when the key was used for other events;
    /// [`StoreError::Full`] from the embedded store.
    pub async fn append(
        &self,
        pipeline: &PipelineId,
        batch: Batch,
        key: Option<&IdempotencyKey>,
        reserved: impl Send + Sync + 'static,
    ) -> Result<Receipt, StoreError> {
        match self {
            Self::Memory(store) => store.append(pipeline, batch, key),
            Self::Redis(store) => store.append(pipeline, batch, key, Box::new(reserved)).await,
        }
    }

    /// The newest frames of a pipeline, read page by page: each page has its own timeout.
    ///
    /// # Errors
    /// Those of [`Store::append`], but without a bound for all pages together.
    pub async fn history(&self, pipeline: &PipelineId) -> Result<History, StoreError> {
        match self {
            Self::Memory(store) => Ok(store.history(pipeline)),
            Self::Redis(store) => store.history(pipeline).await,
        }
    }

    /// A page of a pipeline's history.
    ///
    /// # Errors
    /// Those of [`Store::append`].
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

    /// What is known about a pipeline, without reading its events.
    ///
    /// # Errors
    /// Those of [`Store::append`].
    pub async fn about(&self, pipeline: &PipelineId) -> Result<About, StoreError> {
        match self {
            Self::Memory(store) => Ok(store.about(pipeline)),
            Self::Redis(store) => store.about(pipeline).await,
        }
    }

    /// Deletes a pipeline's history; ids continue from where they were.
    ///
    /// # Errors
    /// Those of [`Store::append`].
    pub async fn delete_history(&self, pipeline: &PipelineId) -> Result<(), StoreError> {
        match self {
            Self::Memory(store) => {
                store.delete_history(pipeline);
                Ok(())
            }
            Self::Redis(store) => store.delete_history(pipeline).await,
        }
    }

    /// The newest event of each pipeline, in the order asked; keeps their histories from expiring.
    ///
    /// Each pipeline has its own answer or error, one of those of [`Store::append`]: a damaged list affects no other.
    pub async fn newest(&self, pipelines: &[PipelineId]) -> Vec<Result<Newest, StoreError>> {
        match self {
            Self::Memory(store) => store.newest(pipelines).into_iter().map(Ok).collect(),
            Self::Redis(store) => store.newest(pipelines).await,
        }
    }

    /// Starts sending notifications of a pipeline to the sink, and reports once this has taken effect.
    pub fn watch(&self, pipeline: PipelineId) {
        match self {
            Self::Memory(store) => store.watch(&pipeline),
            Self::Redis(store) => store.watch(pipeline),
        }
    }

    /// Stops the notifications of a pipeline. The caller holds none of the sink's locks.
    pub fn unwatch(&self, pipeline: PipelineId) {
        match self {
            Self::Memory(store) => store.unwatch(&pipeline),
            Self::Redis(store) => store.unwatch(pipeline),
        }
    }

    /// The age of the last proof that the store stores and notifies; `None` when there never was one.
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
