//! The ledger: every event that was published, and who got it when.

use std::ops::Range;

use super::clock::Nanos;
use super::latencies::Latencies;
use super::scanner::Found;
use super::seen::{Seen, Sight};
use super::stamp::Stamp;

/// What was published and delivered in a run. Faults are counted for all events, times and
/// deliveries for those that were to be sent within the window.
pub(super) struct Ledger {
    pipelines: Vec<Pipeline>,
    window: Range<Nanos>,
    /// Acknowledged events that not all readers have.
    unfinished: u64,
    pub(super) counts: Counts,
    /// From when an event was to be sent until a reader had it.
    pub(super) latency: Latencies,
    /// Until the last of its readers had it.
    pub(super) last_reader: Latencies,
}

/// Deliveries, counted.
#[derive(Default, Clone, Copy, Debug)]
pub(super) struct Counts {
    /// Of events of the window, each reader's counted once.
    pub(super) measured: u64,
    /// Of any event, while the window was open.
    pub(super) within_window: u64,
    /// Of any event at any time.
    pub(super) all: u64,
    pub(super) doubled: u64,
    pub(super) reordered: u64,
    /// Gaps that readers were told of.
    pub(super) gaps: u64,
    /// Other events that this run did not publish.
    pub(super) others: u64,
}

struct Pipeline {
    readers: u32,
    /// For every publisher, its events in order.
    lanes: Vec<Vec<Event>>,
}

#[derive(Clone, Copy)]
struct Event {
    received: u32,
    is_acknowledged: bool,
}

impl Ledger {
    pub(super) fn new(pipelines: usize, publishers: usize) -> Self {
        let pipelines = (0..pipelines).map(|_| Pipeline { readers: 0, lanes: vec![Vec::new(); publishers] });
        Self {
            pipelines: pipelines.collect(),
            window: 0..Nanos::MAX,
            unfinished: 0,
            counts: Counts::default(),
            latency: Latencies::new(),
            last_reader: Latencies::new(),
        }
    }

    /// Says what is measured: events that are to be sent within `window`.
    pub(super) fn measure(&mut self, window: Range<Nanos>) {
        self.window = window;
    }

    pub(super) fn is_measured(&self, time: Nanos) -> bool {
        self.window.contains(&time)
    }

    pub(super) fn pipelines(&self) -> usize {
        self.pipelines.len()
    }

    /// Notes a reader of a pipeline, before anything is published.
    pub(super) fn add_reader(&mut self, pipeline: usize) {
        self.pipelines[pipeline].readers += 1;
    }

    /// The sequences of the next `count` events of a publisher.
    pub(super) fn issue(&mut self, publisher: usize, pipeline: usize, count: usize) -> Range<usize> {
        let lane = &mut self.pipelines[pipeline].lanes[publisher];
        let begins = lane.len();
        lane.resize(begins + count, Event { received: 0, is_acknowledged: false });
        begins..lane.len()
    }

    /// Notes that the server has taken events.
    pub(super) fn acknowledge(&mut self, publisher: usize, pipeline: usize, sequences: Range<usize>) {
        let pipeline = &mut self.pipelines[pipeline];
        for event in &mut pipeline.lanes[publisher][sequences] {
            event.is_acknowledged = true;
            self.unfinished += u64::from(event.received < pipeline.readers);
        }
    }

    /// Notes an event that a reader got. Whether it is one of ours that it had not got before.
    pub(super) fn note(&mut self, pipeline: usize, seen: &mut Seen, found: Found, now: Nanos) -> bool {
        match found {
            Found::Ours(stamp) => return self.deliver(pipeline, seen, stamp, now),
            Found::Gap => self.counts.gaps += 1,
            Found::Other => self.counts.others += 1,
        }
        false
    }

    fn deliver(&mut self, pipeline: usize, seen: &mut Seen, stamp: Stamp, now: Nanos) -> bool {
        let Pipeline { readers, lanes } = &mut self.pipelines[pipeline];
        let Some(event) = lanes.get_mut(stamp.publisher).and_then(|lane| lane.get_mut(stamp.sequence)) else {
            self.counts.others += 1;
            return false;
        };
        match seen.see(stamp.publisher, stamp.sequence) {
            Sight::New => {}
            Sight::Late => self.counts.reordered += 1,
            Sight::Again => {
                self.counts.doubled += 1;
                return false;
            }
        }
        event.received += 1;
        let is_last = event.received == *readers;
        self.unfinished -= u64::from(is_last && event.is_acknowledged);
        self.counts.all += 1;
        self.counts.within_window += u64::from(self.window.contains(&now));
        if self.window.contains(&stamp.sent) {
            let latency = now.saturating_sub(stamp.sent);
            self.counts.measured += 1;
            self.latency.record(latency);
            if is_last {
                self.last_reader.record(latency);
            }
        }
        true
    }

    /// Whether every reader has every acknowledged event.
    pub(super) fn is_settled(&self) -> bool {
        self.unfinished == 0
    }

    /// How many acknowledged events of its pipeline a reader has not seen.
    pub(super) fn lost(&self, pipeline: usize, seen: &Seen) -> u64 {
        let lanes = self.pipelines[pipeline].lanes.iter().enumerate();
        let lost = lanes.map(|(publisher, lane)| {
            seen.missing(publisher, lane.len()).filter(|sequence| lane[*sequence].is_acknowledged).count() as u64
        });
        lost.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_acknowledged_can_be_lost() {
        let mut ledger = Ledger::new(2, 2);
        ledger.measure(100..200);
        let mut readers = [Seen::new(2), Seen::new(2)];
        ledger.add_reader(1);
        ledger.add_reader(1);
        assert_eq!((ledger.issue(1, 1, 3), ledger.issue(1, 1, 2), ledger.issue(0, 0, 9)), (0..3, 3..5, 0..9));
        ledger.acknowledge(1, 1, 0..3);
        ledger.acknowledge(0, 0, 0..9);
        assert!(!ledger.is_settled());
        let mut deliver = |reader: usize, sequence, sent, now| {
            let stamp = Stamp { publisher: 1, sequence, sent };
            ledger.note(1, &mut readers[reader], Found::Ours(stamp), now)
        };
        // The window is open, then closed.
        assert!(
            deliver(0, 0, 99, 110) && deliver(0, 2, 150, 160) && deliver(0, 1, 150, 199) && !deliver(0, 2, 150, 199)
        );
        assert!(deliver(1, 0, 150, 210) && deliver(1, 3, 200, 210));
        assert!(!deliver(1, 7, 150, 210), "never published");
        assert!([Found::Gap, Found::Other].iter().all(|found| !ledger.note(1, &mut readers[0], *found, 210)));
        let Counts { measured, within_window, all, doubled, reordered, gaps, others } = ledger.counts;
        assert_eq!((measured, within_window, all, doubled, reordered, gaps, others), (3, 3, 5, 1, 1, 1, 2));
        assert_eq!(readers.each_ref().map(|seen| ledger.lost(1, seen)), [0, 2]);
        assert_eq!(ledger.last_reader.quantiles().unwrap().count, 1);
        for sequence in [1, 2] {
            ledger.note(1, &mut readers[1], Found::Ours(Stamp { publisher: 1, sequence, sent: 0 }), 0);
        }
        assert!(ledger.is_settled());
    }
}
