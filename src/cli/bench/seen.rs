//! What one reader has seen: which events are missing, came again, or came late.

use std::ops::Range;

/// A reader's record of every publisher's sequence on its pipeline. Exact, however far apart things come.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// For every publisher, the sequence after the highest seen.
    next: Box<[usize]>,
    /// What is missing below, in the order in which it was missed.
    holes: Vec<Hole>,
}

#[derive(Debug)]
struct Hole {
    publisher: usize,
    sequences: Range<usize>,
}

/// How an event compares with those that came before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sight {
    /// After all that came before.
    New,
    /// For the first time, after a later one of the same publisher.
    Late,
    /// Not for the first time.
    Again,
}

impl Seen {
    pub(super) fn new(publishers: usize) -> Self {
        Self { next: vec![0; publishers].into(), holes: Vec::new() }
    }

    /// Notes an event of a publisher that there is.
    pub(super) fn see(&mut self, publisher: usize, sequence: usize) -> Sight {
        let next = &mut self.next[publisher];
        if sequence < *next {
            return if self.fill(publisher, sequence) { Sight::Late } else { Sight::Again };
        }
        if sequence > *next {
            self.holes.push(Hole { publisher, sequences: *next..sequence });
        }
        *next = sequence + 1;
        Sight::New
    }

    /// What was not seen of `issued` events of a publisher.
    pub(super) fn missing(&self, publisher: usize, issued: usize) -> impl Iterator<Item = usize> {
        let holes = self.holes.iter().filter(move |hole| hole.publisher == publisher);
        holes.flat_map(|hole| hole.sequences.clone()).chain(self.next[publisher]..issued)
    }

    /// Takes a sequence out of the hole that it is in.
    fn fill(&mut self, publisher: usize, sequence: usize) -> bool {
        let is_it = |hole: &Hole| hole.publisher == publisher && hole.sequences.contains(&sequence);
        let Some(at) = self.holes.iter().position(is_it) else { return false };
        let hole = self.holes.swap_remove(at).sequences;
        for sequences in [hole.start..sequence, sequence + 1..hole.end] {
            if !sequences.is_empty() {
                self.holes.push(Hole { publisher, sequences });
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
    fn every_kind_of_fault_is_told_apart() {
        let mut seen = Seen::new(2);
        let sights: Vec<_> = [0, 1, 4, 2, 4, 2, 6].map(|sequence| seen.see(0, sequence)).into();
        use Sight::{Again, Late, New};
        assert_eq!(sights, [New, New, New, Late, Again, Again, New]);
        assert_eq!(seen.missing(0, 9).collect::<Vec<_>>(), [3, 5, 7, 8]);
        assert_eq!(seen.missing(1, 2).collect::<Vec<_>>(), [0, 1]);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(events in prop::collection::vec((0usize..3, 0usize..20), 0..60)) {
            let mut seen = Seen::new(3);
            let mut sets = [const { BTreeSet::new() }; 3];
            for (publisher, sequence) in events {
                let set: &mut BTreeSet<usize> = &mut sets[publisher];
                let is_later = set.last().is_none_or(|last| sequence > *last);
                let expected = match set.insert(sequence) {
                    false => Sight::Again,
                    true if is_later => Sight::New,
                    true => Sight::Late,
                };
                prop_assert_eq!(seen.see(publisher, sequence), expected);
            }
            for (publisher, set) in sets.iter().enumerate() {
                let missing: BTreeSet<_> = seen.missing(publisher, 25).collect();
                prop_assert_eq!(missing, (0..25).filter(|sequence| !set.contains(sequence)).collect::<BTreeSet<_>>());
            }
        }
    }
}
