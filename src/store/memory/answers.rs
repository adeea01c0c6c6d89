//! The embedded store's answers to publishes with an `Idempotency-Key`, for at most ten minutes.
//!
//! Answers have their own share of the memory. When it is full, the oldest are evicted: a publisher repeats an unanswered
//! request within seconds, so the newest matter most, and to reject publishes for the sake of repeats that hardly ever happen
//! would harm every publisher. With more keys in ten minutes than there is room for, the time gets shorter, down to seconds;
//! a larger `store.memory` makes it longer.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::event::PipelineId;
use crate::store::idempotency::Digest;
use crate::store::{IDEMPOTENCY_TTL, IdempotencyKey, Receipt};

/// Bytes that an answer costs besides its names: its entries in the map and the queue, which are half empty when they have
/// just grown. Measured.
const ANSWER_BYTES: usize = 240;

/// Maximum answers removed at once when they have expired.
const EXPIRED_AT_ONCE: usize = 64;

type Key = (PipelineId, IdempotencyKey);

/// What was answered, and the digest of the events.
type KeptReceipt = (Receipt, Digest);

#[derive(Debug)]
pub(super) struct Answers {
    max_bytes: usize,
    bytes: usize,
    given: HashMap<Arc<Key>, KeptReceipt>,
    /// All of them, oldest first, and when each expires.
    order: VecDeque<(Instant, Arc<Key>)>,
    evicted: u64,
}

impl Answers {
    /// No answers, and never more than `max_bytes` of them.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, bytes: 0, given: HashMap::new(), order: VecDeque::new(), evicted: 0 }
    }

    /// The answer to an earlier publish with this key, unless it has expired.
    pub(super) fn find(&self, key: &Key) -> Option<&KeptReceipt> {
        self.given.get(key)
    }

    /// Keeps the answer to a key that has none.
    pub(super) fn add(&mut self, key: Key, answer: KeptReceipt, now: Instant) {
        let cost = cost(&key);
        while self.bytes + cost > self.max_bytes && self.take_oldest() {
            self.evicted += 1;
        }
        let key = Arc::new(key);
        self.bytes += cost;
        self.order.push_back((now + IDEMPOTENCY_TTL, key.clone()));
        self.given.insert(key, answer);
    }

    /// Removes expired answers, at most a bounded number of them.
    pub(super) fn expire(&mut self, now: Instant) {
        for _ in 0..EXPIRED_AT_ONCE {
            if self.order.front().is_none_or(|(until, _)| *until > now) {
                return;
            }
            self.take_oldest();
        }
    }

    /// Bytes of memory that they cost.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many were evicted before they expired.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Removes the oldest answer. Returns whether there was one.
    fn take_oldest(&mut self) -> bool {
        let Some((_, key)) = self.order.pop_front() else { return false };
        self.bytes -= cost(&key);
        self.given.remove(&*key);
        true
    }
}

fn cost((pipeline, key): &Key) -> usize {
    ANSWER_BYTES + pipeline.as_str().len() + key.as_str().len()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::{Batch, EventId, EventLimits, Shape};
    use crate::store::Origin;

    #[test]
    fn oldest_answers_are_evicted_when_full_and_all_expire() {
        const MOST: usize = 100 * ANSWER_BYTES;
        let key = |n: u64| ("p".parse().unwrap(), format!("key-{n}").parse().unwrap());
        let limits = EventLimits { max_event_size: 1000, max_batch_events: 1, max_json_depth: 1 };
        let digest = Digest::of(&Batch::from_json(br#"{"channel":"a","payload":1}"#, &limits).unwrap());
        let receipt = |seq| {
            let first = EventId { ms: 1, seq };
            (Receipt { first, count: 1, shape: Shape::Single, origin: Origin::Stored }, digest)
        };
        let mut answers = Answers::new(MOST);
        let began = Instant::now();
        for n in 0..10_000 {
            answers.add(key(n), receipt(n), began);
            assert!(answers.bytes() <= MOST);
            assert_eq!(answers.given.len(), answers.order.len());
        }
        assert!(answers.given.len() > 90, "{}", answers.given.len());
        assert_eq!(answers.evicted(), 10_000 - answers.given.len() as u64);
        assert_eq!(answers.find(&key(9999)), Some(&receipt(9999)));
        assert_eq!(answers.find(&key(9950)), Some(&receipt(9950)));
        assert_eq!(answers.find(&key(1)), None);
        answers.expire(began + IDEMPOTENCY_TTL - Duration::from_secs(1));
        assert!(answers.find(&key(9999)).is_some());
        for _ in 0..2 {
            answers.expire(began + IDEMPOTENCY_TTL);
        }
        assert_eq!((answers.given.len(), answers.order.len(), answers.bytes()), (0, 0, 0));
    }
}
