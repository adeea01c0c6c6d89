//! The embedded store: everything in this process, for a single node, within `store.memory`.
//!
//! When it is full, expired pipelines go first, then pipelines without subscribers, starting with those used longest ago. A
//! pipeline with subscribers is never evicted; an event for which there is no room is rejected. Clients that return to an
//! evicted pipeline get a gap, as after a restart, since its ids start over.

mod answers;
mod pipelines;
mod stored_pipeline;

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::idempotency::Digest;
use super::page::{About, Page, PageBounds, PageStart};
use super::{EventSink, IdempotencyKey, Newest, Origin, Receipt, Retention, StoreError};
use crate::clock::clock_ms;
use crate::event::{Batch, EventId, PipelineId};
use crate::log::notification::Notification;
use crate::sse::frame::{Frame, History, LossRecord};
use answers::Answers;
use pipelines::Pipelines;
use stored_pipeline::StoredPipeline;

/// The answers to `Idempotency-Key` may use one part in this many of the memory.
const ANSWERS_SHARE: usize = 8;

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    retention: Retention,
    sink: Arc<dyn EventSink>,
    /// Held while the sink is notified, so that notifications arrive in the order of ids. Released before readers are woken.
    contents: Mutex<Contents>,
}

/// What a store holds and has evicted, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemoryUse {
    /// Bytes of memory that pipelines and answers cost.
    pub bytes: usize,
    /// Pipelines evicted before they expired.
    pub pipelines_evicted: u64,
    /// Answers to an `Idempotency-Key` evicted before they expired.
    pub answers_evicted: u64,
}

#[derive(Debug)]
struct Contents {
    pipelines: Pipelines,
    answers: Answers,
}

impl MemoryStore {
    /// An empty store that notifies `sink` and uses at most `memory` bytes.
    pub fn new(retention: Retention, memory: usize, sink: Arc<dyn EventSink>) -> Self {
        let for_answers = memory / ANSWERS_SHARE;
        let contents = Contents {
            pipelines: Pipelines::new(memory - for_answers, clock_ms()),
            answers: Answers::new(for_answers),
        };
        Self { retention, sink, contents: Mutex::new(contents) }
    }

    /// See [`super::Store::append`].
    ///
    /// # Errors
    /// [`StoreError::KeyReused`] and [`StoreError::Full`]; then nothing was changed.
    pub fn append(
        &self,
        pipeline: &PipelineId,
        batch: Batch,
        key: Option<&IdempotencyKey>,
    ) -> Result<Receipt, StoreError> {
        // Before the lock: a digest takes time.
        let keyed = key.map(|key| ((pipeline.clone(), key.clone()), Digest::of(&batch)));
        let now = Instant::now();
        let mut contents = self.contents.lock();
        contents.expire(now);
        if let Some((key, digest)) = &keyed
            && let Some((receipt, first)) = contents.answers.find(key)
        {
            return match first == digest {
                true => Ok(Receipt { origin: Origin::Repeated, ..*receipt }),
                false => Err(StoreError::KeyReused),
            };
        }
        let after = contents.pipelines.get(pipeline, now).map(StoredPipeline::newest);
        let after = after.unwrap_or_else(|| EventId::at(contents.pipelines.kept_since_ms(pipeline)));
        let first = EventId { ms: clock_ms().max(after.ms), seq: after.seq + 1 };
        let events = batch.events.iter().zip(0..);
        // An event's body was checked when the event was made.
        let frames: Vec<_> = events.filter_map(|(event, n)| Frame::new(first.plus(n), event.body()).ok()).collect();
        contents.pipelines.add(pipeline, &frames, &self.retention, now)?;
        let receipt = Receipt { first, count: frames.len() as u64, shape: batch.shape, origin: Origin::Stored };
        if let Some((key, digest)) = keyed {
            contents.answers.add(key, (receipt, digest), now);
        }
        let wakers = self.sink.notify(pipeline.as_str(), Notification { after, frames });
        drop(contents);
        wakers.wake();
        Ok(receipt)
    }

    /// See [`super::Store::history`].
    pub fn history(&self, pipeline: &PipelineId) -> History {
        let nothing = |floor, loss| History { floor, frames: Vec::new(), loss };
        self.read(pipeline, StoredPipeline::history, nothing)
    }

    /// See [`super::Store::page`].
    pub fn page(&self, pipeline: &PipelineId, start: PageStart<'_>, bounds: PageBounds) -> Page {
        let nothing = |floor, loss| Page { history: History { floor, frames: Vec::new(), loss }, rest: None };
        self.read(pipeline, |stored, loss| stored.page(loss, start, bounds), nothing)
    }

    /// See [`super::Store::about`].
    pub fn about(&self, pipeline: &PipelineId) -> About {
        let about = |stored: &StoredPipeline, _| About { newest: stored.newest(), events: stored.events() };
        self.read(pipeline, about, |_, _| About::default())
    }

    /// Reads a pipeline. If there is none, `nothing` gets what the first event would name.
    fn read<T>(
        &self,
        pipeline: &PipelineId,
        read: impl FnOnce(&StoredPipeline, LossRecord) -> T,
        nothing: impl FnOnce(EventId, LossRecord) -> T,
    ) -> T {
        let mut contents = self.contents.lock();
        let now = Instant::now();
        // Before the moment is asked for: one that has expired is removed.
        let _ = contents.pipelines.get(pipeline, now);
        let since_ms = contents.pipelines.kept_since_ms(pipeline);
        let ttl_ms = u64::try_from(self.retention.ttl.as_millis()).unwrap_or(u64::MAX);
        let loss = LossRecord { since_ms, now_ms: clock_ms(), ttl_ms };
        match contents.pipelines.get(pipeline, now) {
            Some(stored) => read(stored, loss),
            None => nothing(EventId::at(since_ms), loss),
        }
    }

    /// See [`super::Store::delete_history`].
    pub fn delete_history(&self, pipeline: &PipelineId) {
        let now = Instant::now();
        let mut contents = self.contents.lock();
        let Some(after) = contents.pipelines.get(pipeline, now).map(StoredPipeline::newest) else { return };
        contents.pipelines.clear(pipeline, now + self.retention.ttl);
        let wakers = self.sink.notify(pipeline.as_str(), Notification { after, frames: Vec::new() });
        drop(contents);
        wakers.wake();
    }

    /// See [`super::Store::newest`].
    pub fn newest(&self, pipelines: &[PipelineId]) -> Vec<Newest> {
        let now = Instant::now();
        let mut contents = self.contents.lock();
        contents.expire(now);
        let newest = |pipeline: &PipelineId| {
            let Some(stored) = contents.pipelines.get(pipeline, now) else {
                return Newest::Unknown { since_ms: contents.pipelines.kept_since_ms(pipeline), now_ms: clock_ms() };
            };
            let (id, events, may_expire) = (stored.newest(), stored.events(), stored.turn.is_some());
            if may_expire {
                contents.pipelines.touch(pipeline, now + self.retention.ttl);
            }
            if events > 0 { Newest::Event { id, events } } else { Newest::Nothing(id) }
        };
        pipelines.iter().map(newest).collect()
    }

    /// See [`super::Store::watch`]. Takes effect at once: from now on the pipeline is not evicted.
    pub fn watch(&self, pipeline: &PipelineId) {
        self.contents.lock().pipelines.watch(pipeline, Instant::now());
        self.sink.subscribed(std::slice::from_ref(pipeline));
    }

    /// See [`super::Store::unwatch`]. The pipeline's time to live starts now: with subscribers it did not expire.
    pub fn unwatch(&self, pipeline: &PipelineId) {
        let expires_at = Instant::now() + self.retention.ttl;
        self.contents.lock().pipelines.unwatch(pipeline, expires_at);
    }

    /// What is held, and what was evicted before it expired.
    pub fn memory_use(&self) -> MemoryUse {
        let Contents { pipelines, answers } = &*self.contents.lock();
        MemoryUse {
            bytes: pipelines.bytes() + answers.bytes(),
            pipelines_evicted: pipelines.evicted(),
            answers_evicted: answers.evicted(),
        }
    }
}

impl Contents {
    fn expire(&mut self, now: Instant) {
        self.pipelines.expire(now);
        self.answers.expire(now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::EventLimits;
    use crate::store::Wakers;

    const MEMORY: usize = 1 << 20;

    #[derive(Debug)]
    struct Deaf;

    impl EventSink for Deaf {
        fn notify(&self, _: &str, _: Notification) -> Wakers {
            Wakers::default()
        }

        fn notification_damaged(&self, _: &str) {}

        fn subscribed(&self, _: &[PipelineId]) {}
    }

    fn store(ttl: Duration) -> MemoryStore {
        let retention = Retention { limit: 100, bytes: 32 << 20, ttl };
        MemoryStore::new(retention, MEMORY, Arc::new(Deaf))
    }

    fn id(name: &str) -> PipelineId {
        name.parse().unwrap()
    }

    fn publish(store: &MemoryStore, pipeline: &str, bytes: usize) -> Result<Receipt, StoreError> {
        let event = serde_json::json!({"channel": "a", "payload": "x".repeat(bytes)}).to_string();
        let limits = EventLimits { max_event_size: 1 << 20, max_batch_events: 1000, max_json_depth: 128 };
        store.append(&id(pipeline), Batch::from_json(event.as_bytes(), &limits).unwrap(), None)
    }

    fn events(store: &MemoryStore, pipeline: &str) -> usize {
        store.history(&id(pipeline)).frames.len()
    }

    fn assert_consistent(store: &MemoryStore) {
        store.contents.lock().pipelines.assert_consistent();
        assert!(store.memory_use().bytes <= MEMORY);
    }

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn flood_of_pipelines_evicts_those_used_longest_ago() {
        let store = store(DAY);
        for n in 0..100_000 {
            publish(&store, &format!("made-up-{n}"), 10).unwrap();
            if n % 100 == 0 {
                publish(&store, "used", 10).unwrap();
            }
        }
        assert_consistent(&store);
        let MemoryUse { bytes, pipelines_evicted, .. } = store.memory_use();
        assert!(bytes > MEMORY / 2 && pipelines_evicted > 90_000, "{bytes} bytes, {pipelines_evicted} evicted");
        assert_eq!([events(&store, "made-up-99999"), events(&store, "made-up-1"), events(&store, "used")], [1, 0, 100]);
    }

    #[test]
    fn watched_pipeline_is_never_evicted_until_unwatched() {
        let store = store(DAY);
        store.watch(&id("watched-before-its-first-event"));
        publish(&store, "watched-before-its-first-event", 10).unwrap();
        publish(&store, "read", 10).unwrap();
        store.watch(&id("read"));
        let flood = |round: &str| {
            for n in 0..5000 {
                publish(&store, &format!("{round}-{n}"), 10).unwrap();
            }
        };
        flood("first");
        assert_eq!([events(&store, "read"), events(&store, "watched-before-its-first-event")], [1, 1]);
        store.unwatch(&id("read"));
        publish(&store, "later", 10).unwrap();
        assert_eq!(events(&store, "read"), 1, "losing its last subscriber is a use");
        flood("second");
        assert_eq!([events(&store, "read"), events(&store, "watched-before-its-first-event")], [0, 1]);
        assert_consistent(&store);
    }

    #[test]
    fn full_store_of_watched_pipelines_rejects_an_event() {
        let store = store(DAY);
        let mut read = Vec::new();
        let mut refused = None;
        while refused.is_none() {
            let name = format!("read-{}", read.len());
            store.watch(&id(&name));
            refused = publish(&store, &name, 50 << 10).err();
            read.push(name);
        }
        assert!(matches!(refused, Some(StoreError::Full)));
        publish(&store, "small", 10).unwrap();
        let before = store.memory_use();
        // More than evicting the small one would free.
        assert!(matches!(publish(&store, "large", 100 << 10), Err(StoreError::Full)));
        assert_eq!((store.memory_use(), events(&store, "small"), events(&store, "large")), (before, 1, 0));
        assert!(publish(&store, &read[0], 50 << 10).is_err());
        assert_eq!(events(&store, &read[0]), 1);
        // There is room again once a pipeline has no subscribers.
        store.unwatch(&id(&read[1]));
        publish(&store, &read[0], 40 << 10).unwrap();
        assert_eq!([events(&store, &read[0]), events(&store, &read[1])], [2, 0]);
        assert_consistent(&store);
    }

    #[test]
    fn evicted_pipeline_starts_over_with_greater_ids() {
        let store = store(DAY);
        let mut newest = EventId::ZERO;
        for round in 0..20 {
            // Often within one millisecond.
            let first = publish(&store, "p", 10).unwrap().first;
            assert!(first > newest && first.seq == 1, "{first} after {newest}");
            newest = publish(&store, "p", 10).unwrap().first;
            store.contents.lock().pipelines.lose(&id("p"));
            publish(&store, &format!("other-{round}"), 10).unwrap();
        }
    }

    #[test]
    fn pipeline_at_its_limit_continues_in_a_full_store() {
        let retention = Retention { limit: 10, bytes: 32 << 20, ttl: DAY };
        let store = MemoryStore::new(retention, MEMORY, Arc::new(Deaf));
        store.watch(&id("p"));
        // So large that there is no room for eleven.
        for _ in 0..50 {
            publish(&store, "p", 70 << 10).unwrap();
        }
        assert_eq!(events(&store, "p"), 10);
        assert_consistent(&store);
    }

    #[test]
    fn expired_pipeline_is_removed_by_a_later_publish() {
        let store = store(Duration::from_millis(20));
        publish(&store, "first", 10).unwrap();
        let began = Instant::now();
        while store.contents.lock().pipelines.contains(&id("first")) {
            assert!(began.elapsed() < Duration::from_secs(30), "it is still there");
            publish(&store, "second", 10).unwrap();
        }
        assert!(began.elapsed() >= Duration::from_millis(10));
        assert_consistent(&store);
    }

    #[test]
    fn expired_pipelines_use_no_memory_unless_watched() {
        let store = store(Duration::ZERO);
        store.watch(&id("read"));
        publish(&store, "read", 10).unwrap();
        for n in 0..1000 {
            publish(&store, &format!("p-{n}"), 10).unwrap();
        }
        assert_eq!(events(&store, "p-999"), 0);
        assert_eq!(store.newest(&[id("read"), id("p-999")]).len(), 2);
        assert_eq!((events(&store, "read"), store.contents.lock().pipelines.len()), (1, 1));
        assert_eq!(store.memory_use().pipelines_evicted, 0);
        store.unwatch(&id("read"));
        assert_eq!(events(&store, "read"), 0);
        assert_consistent(&store);
    }

    #[test]
    fn first_event_names_the_moment_since_when_none_can_have_been_lost() {
        let store = store(DAY);
        let floor = |name: &str| store.history(&id(name)).floor;
        let began = floor("p");
        assert!(began.is_beginning() && began.ms > 0);
        store.watch(&id("p"));
        let lost = publish(&store, "lost", 10).unwrap().first;
        store.contents.lock().pipelines.lose(&id("lost"));
        // Of a pipeline with subscribers, none was removed.
        publish(&store, "p", 10).unwrap();
        assert_eq!(floor("p"), began);
        assert_eq!(floor("q"), EventId::at(lost.ms + 1));
        let first = publish(&store, "q", 10).unwrap().first;
        assert!(first > lost && floor("q") == EventId::at(lost.ms + 1));
    }
}
