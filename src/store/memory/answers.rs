//! What the embedded store answered to publishes with an `Idempotency-Key`, for ten minutes at most.
//!
//! Answers have a share of the memory of their own. When that is full the oldest ones go before their time: a publisher
//! repeats a request that was not answered within seconds, so the newest matter most, and refusing publishes for the sake
//! of repeats that hardly ever come would harm everybody. Who uses more keys in ten minutes than there is room for gets
//! a shorter time, down to seconds; `store.memory` makes it longer.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::event::PipelineId;
use crate::store::idempotency::Digest;
use crate::store::{IDEMPOTENCY_TTL, IdempotencyKey, Receipt};

/// What an answer costs beside its names: its entries in the map and the queue, which are half empty when they have just
/// grown, and its key's. Measured.
const ANSWER_BYTES: usize = 240;

/// Answers that are taken out at one go at most, once their time is over.
const EXPIRED_AT_ONCE: usize = 64;

type Key = (PipelineId, IdempotencyKey);

/// What was answered, and to what.
type Answer = (Receipt, Digest);

/// The newest answers.
#[derive(Debug)]
pub(super) struct Answers {
    most_bytes: usize,
    bytes: usize,
    given: HashMap<Arc<Key>, Answer>,
    /// All of them, oldest first, and when each is over.
    order: VecDeque<(Instant, Arc<Key>)>,
    /// So many were taken out before their time.
    forgotten: u64,
}

impl Answers {
    /// None yet, and never more than so many bytes of them.
    pub(super) fn new(most_bytes: usize) -> Self {
        Self { most_bytes, bytes: 0, given: HashMap::new(), order: VecDeque::new(), forgotten: 0 }
    }

    /// The answer that a key was given within its time.
    pub(super) fn find(&self, key: &Key) -> Option<&Answer> {
        self.given.get(key)
    }

    /// Remembers an answer to a key that has none.
    pub(super) fn add(&mut self, key: Key, answer: Answer, now: Instant) {
        let cost = cost(&key);
        while self.bytes + cost > self.most_bytes && self.take_oldest() {
            self.forgotten += 1;
        }
        let key = Arc::new(key);
        self.bytes += cost;
        self.order.push_back((now + IDEMPOTENCY_TTL, key.clone()));
        self.given.insert(key, answer);
    }

    /// Takes out those whose time is over.
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

    /// How many were taken out before their time.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Whether there was one.
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
    fn the_oldest_go_when_the_share_is_full_and_all_when_their_time_is_over() {
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
        assert_eq!(answers.forgotten(), 10_000 - answers.given.len() as u64);
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
