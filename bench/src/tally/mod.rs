//! The tally of a run: every event that was published, and when each subscriber received it.

mod latency;
mod received;
mod stamp;

use std::ops::Range;

use crate::clock::Nanos;

pub(crate) use latency::LatencyHistogram;
pub use latency::Quantiles;
use received::Arrival;
pub(crate) use received::ReceivedEvents;
pub use stamp::MIN_PAYLOAD_BYTES;
pub(crate) use stamp::{Stamp, Stamper};

/// An event in a stream, as far as the load generator distinguishes events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamEvent {
    /// One that this run published.
    Ours(Stamp),
    /// Pipecast's report that events are missing.
    Gap,
    /// A ping, or an event of another publisher.
    Other,
}

/// What was published and delivered in a run. Faults are counted for all events, times and deliveries only for events that were to
/// be sent within the measured window.
pub(crate) struct DeliveryTally {
    pipelines: Vec<Pipeline>,
    window: Range<Nanos>,
    /// Acknowledged events that at least one subscriber does not have yet.
    unfinished: u64,
    pub(crate) counts: DeliveryCounts,
    /// From when an event was to be sent until a subscriber had it.
    pub(crate) latency: LatencyHistogram,
    /// Until the last of its subscribers had it.
    pub(crate) last_subscriber: LatencyHistogram,
}

/// Deliveries, counted.
#[derive(Default, Clone, Copy, Debug)]
pub(crate) struct DeliveryCounts {
    /// Of events of the window, counted once per subscriber.
    pub(crate) measured: u64,
    /// Of any event, while the window was open.
    pub(crate) within_window: u64,
    /// Of any event at any time.
    pub(crate) all: u64,
    /// The same event to the same subscriber again.
    pub(crate) duplicated: u64,
    /// After a later one of the same publisher.
    pub(crate) reordered: u64,
    /// Gaps that were reported to subscribers.
    pub(crate) gaps: u64,
    /// Events that this run did not publish.
    pub(crate) others: u64,
}

struct Pipeline {
    subscribers: u32,
    /// Each publisher's events, in order.
    lanes: Vec<Vec<Event>>,
}

#[derive(Clone, Copy)]
struct Event {
    /// How many subscribers have it.
    received: u32,
    is_acknowledged: bool,
}

impl DeliveryTally {
    pub(crate) fn new(pipelines: usize, publishers: usize) -> Self {
        let pipelines = (0..pipelines).map(|_| Pipeline { subscribers: 0, lanes: vec![Vec::new(); publishers] });
        Self {
            pipelines: pipelines.collect(),
            window: 0..Nanos::MAX,
            unfinished: 0,
            counts: DeliveryCounts::default(),
            latency: LatencyHistogram::new(),
            last_subscriber: LatencyHistogram::new(),
        }
    }

    /// Sets what is measured: events that are to be sent within `window`.
    pub(crate) fn measure(&mut self, window: Range<Nanos>) {
        self.window = window;
    }

    pub(crate) fn is_measured(&self, time: Nanos) -> bool {
        self.window.contains(&time)
    }

    pub(crate) fn pipelines(&self) -> usize {
        self.pipelines.len()
    }

    /// Adds a subscriber to a pipeline. Only before anything is published there.
    pub(crate) fn add_subscriber(&mut self, pipeline: usize) {
        self.pipelines[pipeline].subscribers += 1;
    }

    /// Numbers the next `count` events of a publisher on a pipeline.
    pub(crate) fn issue(&mut self, publisher: usize, pipeline: usize, count: usize) -> Range<usize> {
        let lane = &mut self.pipelines[pipeline].lanes[publisher];
        let begins = lane.len();
        lane.resize(begins + count, Event { received: 0, is_acknowledged: false });
        begins..lane.len()
    }

    /// Notes that the server accepted events.
    pub(crate) fn acknowledge(&mut self, publisher: usize, pipeline: usize, sequences: Range<usize>) {
        let pipeline = &mut self.pipelines[pipeline];
        for event in &mut pipeline.lanes[publisher][sequences] {
            event.is_acknowledged = true;
            self.unfinished += u64::from(event.received < pipeline.subscribers);
        }
    }

    /// Notes an event that a subscriber received. Whether it is one of ours, and new to this subscriber.
    pub(crate) fn note(
        &mut self,
        pipeline: usize,
        received: &mut ReceivedEvents,
        event: StreamEvent,
        now: Nanos,
    ) -> bool {
        match event {
            StreamEvent::Ours(stamp) => return self.deliver(pipeline, received, stamp, now),
            StreamEvent::Gap => self.counts.gaps += 1,
            StreamEvent::Other => self.counts.others += 1,
        }
        false
    }

    fn deliver(&mut self, pipeline: usize, received: &mut ReceivedEvents, stamp: Stamp, now: Nanos) -> bool {
        let Pipeline { subscribers, lanes } = &mut self.pipelines[pipeline];
        let Some(event) = lanes.get_mut(stamp.publisher).and_then(|lane| lane.get_mut(stamp.sequence)) else {
            self.counts.others += 1;
            return false;
        };
        match received.receive(stamp.publisher, stamp.sequence) {
            Arrival::InOrder => {}
            Arrival::Late => self.counts.reordered += 1,
            Arrival::Duplicate => {
                self.counts.duplicated += 1;
                return false;
            }
        }
        event.received += 1;
        let is_last = event.received == *subscribers;
        self.unfinished -= u64::from(is_last && event.is_acknowledged);
        self.counts.all += 1;
        self.counts.within_window += u64::from(self.window.contains(&now));
        if self.window.contains(&stamp.sent) {
            let latency = now.saturating_sub(stamp.sent);
            self.counts.measured += 1;
            self.latency.record(latency);
            if is_last {
                self.last_subscriber.record(latency);
            }
        }
        true
    }

    /// Whether every subscriber has every acknowledged event.
    pub(crate) fn is_settled(&self) -> bool {
        self.unfinished == 0
    }

    /// How many acknowledged events of its pipeline a subscriber has not received.
    pub(crate) fn lost(&self, pipeline: usize, received: &ReceivedEvents) -> u64 {
        let lanes = self.pipelines[pipeline].lanes.iter().enumerate();
        let lost = lanes.map(|(publisher, lane)| {
            received.missing(publisher, lane.len()).filter(|sequence| lane[*sequence].is_acknowledged).count() as u64
        });
        lost.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_acknowledged_events_can_be_lost() {
        let mut tally = DeliveryTally::new(2, 2);
        tally.measure(100..200);
        let mut subscribers = [ReceivedEvents::new(2), ReceivedEvents::new(2)];
        tally.add_subscriber(1);
        tally.add_subscriber(1);
        assert_eq!((tally.issue(1, 1, 3), tally.issue(1, 1, 2), tally.issue(0, 0, 9)), (0..3, 3..5, 0..9));
        tally.acknowledge(1, 1, 0..3);
        tally.acknowledge(0, 0, 0..9);
        assert!(!tally.is_settled());
        let mut deliver = |subscriber: usize, sequence, sent, now| {
            let stamp = Stamp { publisher: 1, sequence, sent };
            tally.note(1, &mut subscribers[subscriber], StreamEvent::Ours(stamp), now)
        };
        // While the window is open, then after it.
        assert!(
            deliver(0, 0, 99, 110) && deliver(0, 2, 150, 160) && deliver(0, 1, 150, 199) && !deliver(0, 2, 150, 199)
        );
        assert!(deliver(1, 0, 150, 210) && deliver(1, 3, 200, 210));
        assert!(!deliver(1, 7, 150, 210), "never published");
        for event in [StreamEvent::Gap, StreamEvent::Other] {
            assert!(!tally.note(1, &mut subscribers[0], event, 210));
        }
        let DeliveryCounts { measured, within_window, all, duplicated, reordered, gaps, others } = tally.counts;
        assert_eq!((measured, within_window, all, duplicated, reordered, gaps, others), (3, 3, 5, 1, 1, 1, 2));
        assert_eq!(subscribers.each_ref().map(|received| tally.lost(1, received)), [0, 2]);
        assert_eq!(tally.last_subscriber.quantiles().unwrap().count, 1);
        for sequence in [1, 2] {
            tally.note(1, &mut subscribers[1], StreamEvent::Ours(Stamp { publisher: 1, sequence, sent: 0 }), 0);
        }
        assert!(tally.is_settled());
    }
}
