//! What one subscriber has received: which events are missing, which arrived twice, and which late.

use std::ops::Range;

/// A subscriber's record of each publisher's sequence on its pipeline. Exact, however far events are out of order.
#[derive(Debug, Default)]
pub(crate) struct ReceivedEvents {
    /// For each publisher, the number after the highest one received.
    next: Box<[usize]>,
    /// What is missing below that.
    missing: Vec<Missing>,
}

/// Consecutive events that have not arrived.
#[derive(Debug)]
struct Missing {
    publisher: usize,
    sequences: Range<usize>,
}

/// How an event compares with those that arrived before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arrival {
    /// The first time, and after all earlier ones of its publisher that have arrived.
    InOrder,
    /// The first time, but after a later one of its publisher.
    Late,
    /// Not the first time.
    Duplicate,
}

impl ReceivedEvents {
    pub(crate) fn new(publishers: usize) -> Self {
        Self { next: vec![0; publishers].into(), missing: Vec::new() }
    }

    /// Notes an event. The publisher must be one of the run.
    pub(super) fn receive(&mut self, publisher: usize, sequence: usize) -> Arrival {
        let next = &mut self.next[publisher];
        if sequence < *next {
            return if self.fill(publisher, sequence) { Arrival::Late } else { Arrival::Duplicate };
        }
        if sequence > *next {
            self.missing.push(Missing { publisher, sequences: *next..sequence });
        }
        *next = sequence + 1;
        Arrival::InOrder
    }

    /// Which of the first `issued` events of a publisher have not arrived.
    pub(crate) fn missing(&self, publisher: usize, issued: usize) -> impl Iterator<Item = usize> {
        let missing = self.missing.iter().filter(move |range| range.publisher == publisher);
        missing.flat_map(|range| range.sequences.clone()).chain(self.next[publisher]..issued)
    }

    /// Removes a number from the missing ones. Whether it was among them.
    fn fill(&mut self, publisher: usize, sequence: usize) -> bool {
        let is_here = |range: &Missing| range.publisher == publisher && range.sequences.contains(&sequence);
        let Some(at) = self.missing.iter().position(is_here) else { return false };
        let range = self.missing.swap_remove(at).sequences;
        for sequences in [range.start..sequence, sequence + 1..range.end] {
            if !sequences.is_empty() {
                self.missing.push(Missing { publisher, sequences });
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn late_and_duplicate_events_are_distinguished() {
        let mut received = ReceivedEvents::new(2);
        let arrivals: Vec<_> = [0, 1, 4, 2, 4, 2, 6].map(|sequence| received.receive(0, sequence)).into();
        use Arrival::{Duplicate, InOrder, Late};
        assert_eq!(arrivals, [InOrder, InOrder, InOrder, Late, Duplicate, Duplicate, InOrder]);
        assert_eq!(received.missing(0, 9).collect::<Vec<_>>(), [3, 5, 7, 8]);
        assert_eq!(received.missing(1, 2).collect::<Vec<_>>(), [0, 1]);
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(events in prop::collection::vec((0usize..3, 0usize..20), 0..60)) {
            let mut received = ReceivedEvents::new(3);
            let mut sets = [const { BTreeSet::new() }; 3];
            for (publisher, sequence) in events {
                let set: &mut BTreeSet<usize> = &mut sets[publisher];
                let is_later = set.last().is_none_or(|last| sequence > *last);
                let expected = match set.insert(sequence) {
                    false => Arrival::Duplicate,
                    true if is_later => Arrival::InOrder,
                    true => Arrival::Late,
                };
                prop_assert_eq!(received.receive(publisher, sequence), expected);
            }
            for (publisher, set) in sets.iter().enumerate() {
                let missing: BTreeSet<_> = received.missing(publisher, 25).collect();
                prop_assert_eq!(missing, (0..25).filter(|sequence| !set.contains(sequence)).collect::<BTreeSet<_>>());
            }
        }
    }
}
