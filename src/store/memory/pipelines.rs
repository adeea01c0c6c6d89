//! All pipelines of the embedded store, and which of them goes when there is no room.
//!
//! Those without subscribers are in one queue, in the order of their last use, which is also the order in which they expire.
//! So the next to go is always the first of the queue, whether it has expired or is evicted. Those with subscribers are not in
//! the queue. Knows no time of its own.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::stored_pipeline::{Fit, StoredPipeline};
use crate::event::PipelineId;
use crate::sse::frame::Frame;
use crate::store::{Retention, StoreError};

/// Maximum pipelines removed at once when they have expired: a million that expire together must not hold the store's lock
/// for a second. The others are removed later, and whenever one of them is asked for.
const EXPIRED_AT_ONCE: usize = 64;

#[derive(Debug)]
pub(super) struct Pipelines {
    max_bytes: usize,
    // In boxes: the map moves its entries when it grows.
    by_id: HashMap<PipelineId, Box<StoredPipeline>>,
    /// Pipelines with subscribers, whether anything was published to them or not, and since when no event of them can have been
    /// removed: they are not removed while they are watched.
    watched: HashMap<PipelineId, u64>,
    /// The queue of the others, by their turn.
    unwatched: BTreeMap<u64, PipelineId>,
    next_turn: u64,
    /// None of `unwatched` expires before this.
    quiet_until: Option<Instant>,
    /// The cost of all pipelines.
    bytes: usize,
    /// The cost of those in `unwatched`.
    unwatched_bytes: usize,
    evicted: u64,
    /// No pipeline that was removed has an event from this moment or later. One that starts again begins here at the earliest,
    /// so that its ids are greater than those that its clients have, whatever the clock does.
    kept_since_ms: u64,
}

impl Pipelines {
    /// No pipelines, and never more than `max_bytes` of them. No event of an earlier store is from `began_ms` or later.
    pub(super) fn new(max_bytes: usize, began_ms: u64) -> Self {
        Self {
            max_bytes,
            by_id: HashMap::new(),
            watched: HashMap::new(),
            unwatched: BTreeMap::new(),
            next_turn: 0,
            quiet_until: None,
            bytes: 0,
            unwatched_bytes: 0,
            evicted: 0,
            kept_since_ms: began_ms,
        }
    }

    /// What all pipelines cost, in bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many were evicted to make room.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Since when no event of this pipeline can have been lost, if it has no history.
    pub(super) fn kept_since_ms(&self, pipeline: &PipelineId) -> u64 {
        self.watched.get(pipeline).copied().unwrap_or(self.kept_since_ms)
    }

    /// A pipeline, unless it has expired.
    pub(super) fn get(&mut self, pipeline: &PipelineId, now: Instant) -> Option<&StoredPipeline> {
        if self.by_id.get(pipeline).is_some_and(|stored| stored.has_expired(now)) {
            self.remove(pipeline);
        }
        self.by_id.get(pipeline).map(|stored| &**stored)
    }

    /// Adds frames to a pipeline, evicting others if need be.
    ///
    /// # Errors
    /// [`StoreError::Full`] when that would not make enough room; then nothing was changed.
    pub(super) fn add(
        &mut self,
        pipeline: &PipelineId,
        frames: &[Frame],
        retention: &Retention,
        now: Instant,
    ) -> Result<(), StoreError> {
        let expires_at = now + retention.ttl;
        let kept_since_ms = self.kept_since_ms(pipeline);
        let name_bytes = pipeline.as_str().len();
        let (cost, is_evictable, fit) = match self.by_id.get(pipeline) {
            Some(stored) => (stored.cost(name_bytes), stored.turn.is_some(), stored.fit(frames, retention)),
            None => (0, false, StoredPipeline::new(kept_since_ms, expires_at).fit(frames, retention)),
        };
        let others = self.bytes - cost;
        let evictable = self.unwatched_bytes - if is_evictable { cost } else { 0 };
        let cost_after = fit.cost(name_bytes);
        if others - evictable + cost_after > self.max_bytes {
            return Err(StoreError::Full);
        }
        if others + cost_after <= self.max_bytes
            && let Some(stored) = self.by_id.get_mut(pipeline)
        {
            // Nothing has to be evicted, which is nearly always so.
            stored.add(frames, fit);
            stored.expires_at = expires_at;
            self.bytes = others + cost_after;
            if let Some(turn) = stored.turn {
                self.unwatched_bytes = evictable + cost_after;
                self.renew_turn(pipeline, turn);
            }
            return Ok(());
        }
        let stored = self.take(pipeline);
        self.make_room(fit, name_bytes);
        let mut stored = stored.unwrap_or_else(|| Box::new(StoredPipeline::new(kept_since_ms, expires_at)));
        stored.add(frames, fit);
        self.put(pipeline, stored, expires_at);
        Ok(())
    }

    /// Deletes a pipeline's events. Its newest id stays, until `expires_at`.
    pub(super) fn clear(&mut self, pipeline: &PipelineId, expires_at: Instant) {
        if let Some(mut stored) = self.take(pipeline) {
            stored.clear();
            self.put(pipeline, stored, expires_at);
        }
    }

    /// Records that a pipeline was used.
    pub(super) fn touch(&mut self, pipeline: &PipelineId, expires_at: Instant) {
        if let Some(stored) = self.take(pipeline) {
            self.put(pipeline, stored, expires_at);
        }
    }

    /// From now on the pipeline has subscribers: it neither expires nor is evicted.
    pub(super) fn watch(&mut self, pipeline: &PipelineId, now: Instant) {
        let expires_at = self.get(pipeline, now).map(|stored| stored.expires_at);
        self.watched.entry(pipeline.clone()).or_insert(self.kept_since_ms);
        if let Some(expires_at) = expires_at {
            self.touch(pipeline, expires_at);
        }
    }

    /// The pipeline's last subscriber has left.
    pub(super) fn unwatch(&mut self, pipeline: &PipelineId, expires_at: Instant) {
        self.watched.remove(pipeline);
        self.touch(pipeline, expires_at);
    }

    /// Removes expired pipelines, at most a bounded number of them.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.quiet_until.is_none_or(|until| until <= now) {
            self.quiet_until = self.expire_some(now);
        }
    }

    /// When the next of the remaining ones expires, if that is known.
    fn expire_some(&mut self, now: Instant) -> Option<Instant> {
        for _ in 0..EXPIRED_AT_ONCE {
            let oldest = self.unwatched.first_key_value()?.1.clone();
            match self.by_id.get(&oldest) {
                Some(stored) if stored.expires_at > now => return Some(stored.expires_at),
                _ => self.remove(&oldest),
            }
        }
        None
    }

    /// Moves a pipeline to the end of the queue.
    fn renew_turn(&mut self, pipeline: &PipelineId, turn: u64) {
        let is_last = turn + 1 == self.next_turn;
        if is_last {
            return;
        }
        if let Some(stored) = self.by_id.get_mut(pipeline)
            && let Some(name) = self.unwatched.remove(&turn)
        {
            stored.turn = Some(self.next_turn);
            self.unwatched.insert(self.next_turn, name);
            self.next_turn += 1;
        }
    }

    /// Evicts from the beginning of the queue until a pipeline that was taken out has room.
    fn make_room(&mut self, fit: Fit, name_bytes: usize) {
        while self.bytes + fit.cost(name_bytes) > self.max_bytes {
            let Some(oldest) = self.unwatched.first_key_value().map(|(_, pipeline)| pipeline.clone()) else { return };
            self.remove(&oldest);
            self.evicted += 1;
        }
    }

    /// Removes a pipeline for good.
    fn remove(&mut self, pipeline: &PipelineId) {
        if let Some(stored) = self.take(pipeline) {
            self.kept_since_ms = self.kept_since_ms.max(stored.newest().ms + 1);
        }
    }

    /// Takes a pipeline out of everything except the set of those with subscribers.
    fn take(&mut self, pipeline: &PipelineId) -> Option<Box<StoredPipeline>> {
        let mut stored = self.by_id.remove(pipeline)?;
        let cost = stored.cost(pipeline.as_str().len());
        self.bytes -= cost;
        if let Some(turn) = stored.turn.take() {
            self.unwatched.remove(&turn);
            self.unwatched_bytes -= cost;
        }
        Some(stored)
    }

    /// Puts a pipeline in, as the one that was used last.
    fn put(&mut self, pipeline: &PipelineId, mut stored: Box<StoredPipeline>, expires_at: Instant) {
        let cost = stored.cost(pipeline.as_str().len());
        self.bytes += cost;
        stored.expires_at = expires_at;
        if !self.watched.contains_key(pipeline) {
            stored.turn = Some(self.next_turn);
            self.unwatched.insert(self.next_turn, pipeline.clone());
            self.unwatched_bytes += cost;
            self.next_turn += 1;
        }
        self.by_id.insert(pipeline.clone(), stored);
    }
}

#[cfg(test)]
impl Pipelines {
    /// Checks that the running sums are what they should be.
    pub(super) fn assert_consistent(&self) {
        let all = self.by_id.iter();
        let costs: Vec<_> = all.map(|(id, stored)| (stored.cost(id.as_str().len()), stored.turn.is_some())).collect();
        assert_eq!(self.bytes, costs.iter().map(|(cost, _)| cost).sum::<usize>());
        let unwatched: Vec<_> = costs.iter().filter(|(_, is_unwatched)| *is_unwatched).collect();
        assert_eq!(self.unwatched_bytes, unwatched.iter().map(|(cost, _)| cost).sum::<usize>());
        assert_eq!(self.unwatched.len(), unwatched.len());
        assert!(self.bytes <= self.max_bytes, "{} bytes", self.bytes);
    }

    /// Removes a pipeline as if it had expired.
    pub(super) fn lose(&mut self, pipeline: &PipelineId) {
        self.remove(pipeline);
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn contains(&self, pipeline: &PipelineId) -> bool {
        self.by_id.contains_key(pipeline)
    }
}
