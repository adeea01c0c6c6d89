//! The embedded store: everything in this process, for one node alone, within `store.memory`.
//!
//! When that is full, what nobody needs goes first: pipelines that have expired, then pipelines without readers, those that
//! were used longest ago before others. A pipeline with readers is never forgotten; an event for which there is no room is
//! refused. Clients that come back to a forgotten pipeline are told of a gap as after a restart, since its ids begin anew.

mod answers;
mod kept;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::idempotency::Digest;
use super::page::{About, Page, PageBounds, PageStart};
use super::{EventSink, IdempotencyKey, Newest, Origin, Receipt, Retention, StoreError};
use crate::clock::clock_ms;
use crate::event::{Batch, EventId, PipelineId};
use crate::log::notification::Notification;
use crate::sse::frame::{Frame, History};
use answers::Answers;
use kept::{Fit, Kept};

/// The part of the memory that answers to `Idempotency-Key` may have: one in so many.
const SHARE_OF_ANSWERS: usize = 8;

/// Pipelines that are taken out at one go at most, once their time is over: a million that expire together must not hold
/// the lock for a second. Whoever asks for a pipeline looks whether it has expired as well.
const EXPIRED_AT_ONCE: usize = 64;

/// Histories in memory.
#[derive(Debug)]
pub struct MemoryStore {
    retention: Retention,
    sink: Arc<dyn EventSink>,
    /// Most bytes of pipelines.
    most_bytes: usize,
    /// Held while the sink is notified, so that notifications come in the order of ids; released before readers are woken.
    state: Mutex<State>,
}

/// What a store keeps and has forgotten, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemoryUse {
    /// Bytes of memory that pipelines and answers cost.
    pub bytes: usize,
    /// Pipelines forgotten before their time.
    pub pipelines_forgotten: u64,
    /// Answers to an `Idempotency-Key` forgotten before their time.
    pub answers_forgotten: u64,
}

#[derive(Debug)]
struct State {
    // In boxes: the map is moved when it grows.
    pipelines: HashMap<PipelineId, Box<Kept>>,
    /// Pipelines with readers, whether anything was published to them or not.
    watched: HashSet<PipelineId>,
    /// The other ones by their turn: in the order of their last use, which is the order in which they expire.
    unwatched: BTreeMap<u64, PipelineId>,
    next_turn: u64,
    /// None of `unwatched` expires before this: their turns are in the order in which they do.
    quiet_until: Option<Instant>,
    /// What all pipelines cost.
    bytes: usize,
    /// What those of `unwatched` cost.
    unwatched_bytes: usize,
    forgotten: u64,
    /// The latest moment in an id of a pipeline that is gone. One that begins again begins after it, so that its ids are
    /// greater than those that its clients have, whatever the clock does.
    gone_ms: u64,
    answers: Answers,
}

impl MemoryStore {
    /// An empty store that notifies `sink` and keeps at most `memory` bytes.
    pub fn new(retention: Retention, memory: usize, sink: Arc<dyn EventSink>) -> Self {
        let of_answers = memory / SHARE_OF_ANSWERS;
        let state = State {
            pipelines: HashMap::new(),
            watched: HashSet::new(),
            unwatched: BTreeMap::new(),
            next_turn: 0,
            quiet_until: None,
            bytes: 0,
            unwatched_bytes: 0,
            forgotten: 0,
            gone_ms: 0,
            answers: Answers::new(of_answers),
        };
        Self { retention, sink, most_bytes: memory - of_answers, state: Mutex::new(state) }
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
        // Before the lock: a digest takes its time.
        let digest = key.map(|_| Digest::of(&batch));
        let now = Instant::now();
        let mut state = self.state.lock();
        state.expire(now);
        let answer_key = key.map(|key| (pipeline.clone(), key.clone())).zip(digest);
        if let Some((key, digest)) = &answer_key
            && let Some((receipt, of)) = state.answers.find(key)
        {
            return match of == digest {
                true => Ok(Receipt { origin: Origin::Repeated, ..*receipt }),
                false => Err(StoreError::KeyReused),
            };
        }
        let after = state.newest(pipeline, now);
        let earliest = after.map_or(state.gone_ms + 1, |after| after.ms);
        let after = after.unwrap_or(EventId::ZERO);
        let first = EventId { ms: clock_ms().max(earliest), seq: after.seq + 1 };
        let frames: Vec<_> = batch
            .events
            .iter()
            .zip(0..)
            // An event's body was checked when the event was made.
            .filter_map(|(event, n)| Frame::new(first.plus(n), event.body()).ok())
            .collect();
        state.add(pipeline, &frames, &self.retention, self.most_bytes, now)?;
        let receipt = Receipt { first, count: frames.len() as u64, shape: batch.shape, origin: Origin::Stored };
        if let Some((key, digest)) = answer_key {
            state.answers.add(key, (receipt, digest), now);
        }
        let wakers = self.sink.notify(pipeline.as_str(), Notification { after, frames });
        drop(state);
        wakers.wake();
        Ok(receipt)
    }

    /// See [`super::Store::history`].
    pub fn history(&self, pipeline: &PipelineId) -> History {
        let mut state = self.state.lock();
        state.live(pipeline, Instant::now()).map_or_else(History::default, |kept| kept.history())
    }

    /// See [`super::Store::page`].
    pub fn page(&self, pipeline: &PipelineId, start: PageStart<'_>, bounds: PageBounds) -> Page {
        let mut state = self.state.lock();
        state.live(pipeline, Instant::now()).map_or_else(Page::default, |kept| kept.page(start, bounds))
    }

    /// See [`super::Store::about`].
    pub fn about(&self, pipeline: &PipelineId) -> About {
        let mut state = self.state.lock();
        let about = |kept: &Kept| About { newest: kept.newest(), events: kept.events() };
        state.live(pipeline, Instant::now()).map_or_else(About::default, about)
    }

    /// See [`super::Store::forget`].
    pub fn forget(&self, pipeline: &PipelineId) {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.live(pipeline, now).is_none() {
            return;
        }
        let Some(mut kept) = state.take(pipeline) else { return };
        kept.clear();
        let after = kept.newest();
        state.put(pipeline, kept, now + self.retention.ttl);
        let wakers = self.sink.notify(pipeline.as_str(), Notification { after, frames: Vec::new() });
        drop(state);
        wakers.wake();
    }

    /// See [`super::Store::newest`].
    pub fn newest(&self, pipelines: &[PipelineId]) -> Vec<Newest> {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.expire(now);
        let newest = |pipeline: &PipelineId| {
            let Some(kept) = state.live(pipeline, now) else {
                return Newest::Nothing(EventId::ZERO);
            };
            let (id, events) = (kept.newest(), kept.events());
            // One with readers does not expire.
            if kept.turn.is_some() {
                state.touch(pipeline, now + self.retention.ttl);
            }
            if events > 0 { Newest::Event { id, events } } else { Newest::Nothing(id) }
        };
        pipelines.iter().map(newest).collect()
    }

    /// See [`super::Store::watch`]: it is so at once. From here on the pipeline is not forgotten.
    pub fn watch(&self, pipeline: &PipelineId) {
        self.state.lock().watch(pipeline, Instant::now());
        self.sink.subscribed(std::slice::from_ref(pipeline));
    }

    /// See [`super::Store::unwatch`]. The pipeline's time begins with this: while it had readers it did not expire.
    pub fn unwatch(&self, pipeline: &PipelineId) {
        let expires_at = Instant::now() + self.retention.ttl;
        let mut state = self.state.lock();
        state.watched.remove(pipeline);
        state.touch(pipeline, expires_at);
    }

    /// What is kept, and what was forgotten before its time.
    pub fn memory_use(&self) -> MemoryUse {
        let state = self.state.lock();
        MemoryUse {
            bytes: state.bytes + state.answers.bytes(),
            pipelines_forgotten: state.forgotten,
            answers_forgotten: state.answers.forgotten(),
        }
    }
}

impl State {
    /// A pipeline that has not expired.
    fn live(&mut self, pipeline: &PipelineId, now: Instant) -> Option<&Kept> {
        if self.pipelines.get(pipeline).is_some_and(|kept| kept.is_over(now)) {
            self.lose(pipeline);
        }
        self.pipelines.get(pipeline).map(|kept| &**kept)
    }

    /// The newest id of a pipeline that has not expired.
    fn newest(&mut self, pipeline: &PipelineId, now: Instant) -> Option<EventId> {
        let kept = self.pipelines.get(pipeline)?;
        if kept.is_over(now) {
            self.lose(pipeline);
            return None;
        }
        Some(kept.newest())
    }

    /// Adds frames to a pipeline, or changes nothing.
    fn add(
        &mut self,
        pipeline: &PipelineId,
        frames: &[Frame],
        retention: &Retention,
        most_bytes: usize,
        now: Instant,
    ) -> Result<(), StoreError> {
        let expires_at = now + retention.ttl;
        let name = pipeline.as_str().len();
        let (known, fit) = match self.pipelines.get(pipeline) {
            Some(kept) => (Some((kept.cost(name), kept.turn)), kept.fit(frames, retention)),
            None => (None, Kept::new(expires_at).fit(frames, retention)),
        };
        let (cost, turn) = known.unwrap_or_default();
        // What would be there with everything forgotten that may be, but for the pipeline itself.
        let others_unwatched = self.unwatched_bytes - if turn.is_some() { cost } else { 0 };
        let cost_after = fit.cost(name);
        if self.bytes - cost - others_unwatched + cost_after > most_bytes {
            return Err(StoreError::Full);
        }
        if self.bytes - cost + cost_after <= most_bytes
            && let Some(kept) = self.pipelines.get_mut(pipeline)
        {
            // Nobody has to go for it, which is nearly always so.
            kept.add(frames, fit);
            kept.expires_at = expires_at;
            self.bytes = self.bytes - cost + cost_after;
            if let Some(turn) = &mut kept.turn {
                self.unwatched_bytes = self.unwatched_bytes - cost + cost_after;
                // The one that was used last has the last turn already.
                if *turn + 1 < self.next_turn
                    && let Some(pipeline) = self.unwatched.remove(turn)
                {
                    *turn = self.next_turn;
                    self.next_turn += 1;
                    self.unwatched.insert(*turn, pipeline);
                }
            }
            return Ok(());
        }
        let kept = self.take(pipeline);
        self.make_room(fit, name, most_bytes);
        let mut kept = kept.unwrap_or_else(|| Box::new(Kept::new(expires_at)));
        kept.add(frames, fit);
        self.put(pipeline, kept, expires_at);
        Ok(())
    }

    /// Forgets pipelines without readers, those used longest ago first, until one that is not in the map has room.
    fn make_room(&mut self, fit: Fit, name: usize, most_bytes: usize) {
        while self.bytes + fit.cost(name) > most_bytes {
            let Some(oldest) = self.unwatched.first_key_value().map(|(_, pipeline)| pipeline.clone()) else { return };
            self.lose(&oldest);
            self.forgotten += 1;
        }
    }

    /// Takes a pipeline out of everything but the set of those with readers.
    fn take(&mut self, pipeline: &PipelineId) -> Option<Box<Kept>> {
        let mut kept = self.pipelines.remove(pipeline)?;
        let cost = kept.cost(pipeline.as_str().len());
        self.bytes -= cost;
        if let Some(turn) = kept.turn.take() {
            self.unwatched.remove(&turn);
            self.unwatched_bytes -= cost;
        }
        Some(kept)
    }

    /// Takes a pipeline out for good.
    fn lose(&mut self, pipeline: &PipelineId) {
        if let Some(kept) = self.take(pipeline) {
            self.gone_ms = self.gone_ms.max(kept.newest().ms);
        }
    }

    /// Puts a pipeline in, as the one that was used last.
    fn put(&mut self, pipeline: &PipelineId, mut kept: Box<Kept>, expires_at: Instant) {
        let cost = kept.cost(pipeline.as_str().len());
        self.bytes += cost;
        kept.expires_at = expires_at;
        if !self.watched.contains(pipeline) {
            kept.turn = Some(self.next_turn);
            self.unwatched.insert(self.next_turn, pipeline.clone());
            self.unwatched_bytes += cost;
            self.next_turn += 1;
        }
        self.pipelines.insert(pipeline.clone(), kept);
    }

    /// Takes note that a pipeline is used.
    fn touch(&mut self, pipeline: &PipelineId, expires_at: Instant) {
        if let Some(kept) = self.take(pipeline) {
            self.put(pipeline, kept, expires_at);
        }
    }

    fn watch(&mut self, pipeline: &PipelineId, now: Instant) {
        let expires_at = self.live(pipeline, now).map(|kept| kept.expires_at);
        self.watched.insert(pipeline.clone());
        if let Some(expires_at) = expires_at {
            self.touch(pipeline, expires_at);
        }
    }

    fn expire(&mut self, now: Instant) {
        if self.quiet_until.is_none_or(|until| until <= now) {
            self.quiet_until = self.expire_some(now);
        }
        self.answers.expire(now);
    }

    /// Takes out what has expired, and no more than can be done at one go; when the next of the others does, if that is known.
    fn expire_some(&mut self, now: Instant) -> Option<Instant> {
        for _ in 0..EXPIRED_AT_ONCE {
            let oldest = self.unwatched.first_key_value()?.1.clone();
            match self.pipelines.get(&oldest) {
                Some(kept) if kept.expires_at > now => return Some(kept.expires_at),
                _ => self.lose(&oldest),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::EventLimits;
    use crate::store::Wakers;

    const MEMORY: usize = 1 << 20;

    /// Nobody.
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

    /// Adds up what the running sums should be.
    fn assert_consistent(store: &MemoryStore) {
        let state = store.state.lock();
        let costs: Vec<_> =
            state.pipelines.iter().map(|(name, kept)| (kept.cost(name.as_str().len()), kept.turn.is_some())).collect();
        assert_eq!(state.bytes, costs.iter().map(|(cost, _)| cost).sum::<usize>());
        let unwatched: Vec<_> = costs.iter().filter(|(_, is_unwatched)| *is_unwatched).collect();
        assert_eq!(state.unwatched_bytes, unwatched.iter().map(|(cost, _)| cost).sum::<usize>());
        assert_eq!(state.unwatched.len(), unwatched.len());
        assert!(state.bytes + state.answers.bytes() <= MEMORY, "{} bytes", state.bytes);
    }

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn made_up_pipelines_keep_the_bound_and_push_out_those_used_longest_ago() {
        let store = store(DAY);
        for n in 0..100_000 {
            publish(&store, &format!("made-up-{n}"), 10).unwrap();
            if n % 100 == 0 {
                publish(&store, "used", 10).unwrap();
            }
        }
        assert_consistent(&store);
        let MemoryUse { bytes, pipelines_forgotten, .. } = store.memory_use();
        assert!(bytes > MEMORY / 2 && pipelines_forgotten > 90_000, "{bytes} bytes, {pipelines_forgotten} forgotten");
        assert_eq!([events(&store, "made-up-99999"), events(&store, "made-up-1"), events(&store, "used")], [1, 0, 100]);
    }

    #[test]
    fn a_pipeline_with_readers_is_never_forgotten_and_one_that_had_some_takes_its_turn() {
        let store = store(DAY);
        store.watch(&id("read-before-it-is-published-to"));
        publish(&store, "read-before-it-is-published-to", 10).unwrap();
        publish(&store, "read", 10).unwrap();
        store.watch(&id("read"));
        let flood = |round: &str| {
            for n in 0..5000 {
                publish(&store, &format!("{round}-{n}"), 10).unwrap();
            }
        };
        flood("first");
        assert_eq!([events(&store, "read"), events(&store, "read-before-it-is-published-to")], [1, 1]);
        store.unwatch(&id("read"));
        publish(&store, "later", 10).unwrap();
        assert_eq!(events(&store, "read"), 1, "the last reader is a use");
        flood("second");
        assert_eq!([events(&store, "read"), events(&store, "read-before-it-is-published-to")], [0, 1]);
        assert_consistent(&store);
    }

    #[test]
    fn an_event_is_refused_and_nothing_changes_when_all_that_could_go_is_read() {
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
        // More than could be had by forgetting the small one.
        assert!(matches!(publish(&store, "large", 100 << 10), Err(StoreError::Full)));
        assert_eq!((store.memory_use(), events(&store, "small"), events(&store, "large")), (before, 1, 0));
        assert!(publish(&store, &read[0], 50 << 10).is_err());
        assert_eq!(events(&store, &read[0]), 1);
        // There is room again once a pipeline has no reader.
        store.unwatch(&id(&read[1]));
        publish(&store, &read[0], 40 << 10).unwrap();
        assert_eq!([events(&store, &read[0]), events(&store, &read[1])], [2, 0]);
        assert_consistent(&store);
    }

    #[test]
    fn a_pipeline_that_was_forgotten_begins_again_with_greater_ids() {
        let store = store(DAY);
        let mut newest = EventId::ZERO;
        for round in 0..20 {
            // Often within one millisecond.
            let first = publish(&store, "p", 10).unwrap().first;
            assert!(first > newest && first.seq == 1, "{first} after {newest}");
            newest = publish(&store, "p", 10).unwrap().first;
            store.state.lock().lose(&id("p"));
            publish(&store, &format!("other-{round}"), 10).unwrap();
        }
    }

    #[test]
    fn a_pipeline_at_its_limit_goes_on_when_the_store_is_full() {
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
    fn what_expires_later_goes_when_its_time_has_come() {
        let store = store(Duration::from_millis(20));
        publish(&store, "first", 10).unwrap();
        let began = Instant::now();
        while store.state.lock().pipelines.contains_key(&id("first")) {
            assert!(began.elapsed() < Duration::from_secs(30), "it is still there");
            publish(&store, "second", 10).unwrap();
        }
        assert!(began.elapsed() >= Duration::from_millis(10));
        assert_consistent(&store);
    }

    #[test]
    fn what_has_expired_takes_no_room_and_what_is_read_does_not_expire() {
        let store = store(Duration::ZERO);
        store.watch(&id("read"));
        publish(&store, "read", 10).unwrap();
        for n in 0..1000 {
            publish(&store, &format!("p-{n}"), 10).unwrap();
        }
        assert_eq!(events(&store, "p-999"), 0);
        assert_eq!(store.newest(&[id("read"), id("p-999")]).len(), 2);
        assert_eq!((events(&store, "read"), store.state.lock().pipelines.len()), (1, 1));
        assert_eq!(store.memory_use().pipelines_forgotten, 0);
        store.unwatch(&id("read"));
        assert_eq!(events(&store, "read"), 0);
        assert_consistent(&store);
    }
}
