//! A fan-out thread's moments: keepalives from one wheel, and single deadlines from one heap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::metrics::StreamEnd;

/// A client, as long as it is there: slab entries are used again, numbers are not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ClientKey {
    /// The entry in the slab.
    pub(super) entry: usize,
    /// The client's number on this thread.
    pub(super) number: u64,
}

/// What a deadline is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Deadline {
    /// The client's stream is over, for this reason.
    End(StreamEnd),
    /// The client may have taken nothing for too long.
    Write,
}

/// Slots of the wheel: how finely keepalives are spread over their period.
const SLOTS: u32 = 64;

/// A tick is no shorter, whatever the period.
const SHORTEST_TICK: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct Timers {
    tick: Duration,
    next_tick: Instant,
    slots: Vec<Vec<ClientKey>>,
    current: usize,
    deadlines: BinaryHeap<Reverse<(Instant, ClientKey, Deadline)>>,
}

impl Timers {
    /// Timers for keepalives of this period.
    pub(super) fn new(period: Duration, now: Instant) -> Self {
        let tick = (period / SLOTS).max(SHORTEST_TICK);
        // The nearest whole number of ticks, at least one.
        let slots = usize::try_from((period.as_nanos() + tick.as_nanos() / 2) / tick.as_nanos()).unwrap_or(1).max(1);
        Self { tick, next_tick: now + tick, slots: vec![Vec::new(); slots], current: 0, deadlines: BinaryHeap::new() }
    }

    /// Gives a client a keepalive one period from here, and each period after.
    pub(super) fn keep_alive(&mut self, client: ClientKey) {
        let slots = self.slots.len();
        self.slots[(self.current + slots - 1) % slots].push(client);
    }

    /// Remembers a deadline.
    pub(super) fn at(&mut self, moment: Instant, client: ClientKey, deadline: Deadline) {
        self.deadlines.push(Reverse((moment, client, deadline)));
    }

    /// How long until something is due. Without clients, nothing is.
    pub(super) fn wait(&self, now: Instant, has_clients: bool) -> Option<Duration> {
        let tick = has_clients.then_some(self.next_tick);
        let deadline = self.deadlines.peek().map(|Reverse((moment, ..))| *moment);
        tick.into_iter().chain(deadline).min().map(|moment| moment.saturating_duration_since(now))
    }

    /// Whether a tick is due; then the clients of its slot, without those that `is_there` denies.
    pub(super) fn tick(&mut self, now: Instant, is_there: impl Fn(ClientKey) -> bool) -> Option<Vec<ClientKey>> {
        if now < self.next_tick {
            return None;
        }
        // A thread that was held up does not hurry through what it has missed.
        self.next_tick = (self.next_tick + self.tick).max(now);
        let slot = &mut self.slots[self.current];
        slot.retain(|client| is_there(*client));
        let due = slot.clone();
        self.current = (self.current + 1) % self.slots.len();
        Some(due)
    }

    /// The next deadline that is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<(ClientKey, Deadline)> {
        let Reverse((moment, ..)) = self.deadlines.peek()?;
        if *moment > now {
            return None;
        }
        self.deadlines.pop().map(|Reverse((_, client, deadline))| (client, deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(entry: usize) -> ClientKey {
        ClientKey { entry, number: entry as u64 }
    }

    #[test]
    fn each_client_gets_its_keepalive_once_a_period() {
        for period in [Duration::from_millis(5), Duration::from_millis(100), Duration::from_secs(15)] {
            let began = Instant::now();
            let mut timers = Timers::new(period, began);
            let mut now = began;
            let mut kept = Vec::new();
            for client in 0..10 {
                timers.keep_alive(key(client));
                for _ in 0..3 {
                    now = timers.next_tick;
                    kept.extend(
                        timers.tick(now, |_| true).unwrap().into_iter().map(|client| (client.entry, now - began)),
                    );
                }
            }
            while now < began + period * 10 {
                now = timers.next_tick;
                kept.extend(timers.tick(now, |_| true).unwrap().into_iter().map(|client| (client.entry, now - began)));
            }
            let of_one: Vec<_> = kept.iter().filter(|(client, _)| *client == 0).map(|(_, at)| *at).collect();
            let periods = (now - began).div_duration_f64(period);
            assert!((of_one.len() as f64 - periods).abs() <= 1.0, "{period:?}: {of_one:?}");
            let tolerance = timers.tick;
            for pair in of_one.windows(2) {
                let gap = pair[1] - pair[0];
                assert!(gap + tolerance >= period && gap <= period + tolerance, "{period:?}: {gap:?}");
            }
        }
    }

    #[test]
    fn deadlines_come_in_order_and_not_early() {
        let began = Instant::now();
        let mut timers = Timers::new(Duration::from_secs(15), began);
        let second = Duration::from_secs(1);
        timers.at(began + second * 2, key(2), Deadline::Write);
        timers.at(began + second, key(1), Deadline::End(StreamEnd::MaxAge));
        assert_eq!(timers.wait(began, false), Some(second));
        assert_eq!(timers.due(began), None);
        assert_eq!(timers.due(began + second), Some((key(1), Deadline::End(StreamEnd::MaxAge))));
        assert_eq!(timers.due(began + second), None);
        assert_eq!(timers.due(began + second * 3), Some((key(2), Deadline::Write)));
        assert_eq!(timers.wait(began, false), None);
        assert!(timers.wait(began, true).is_some());
    }
}
