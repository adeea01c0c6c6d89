//! A fan-out thread's moments: keepalives from one wheel, and single deadlines from one heap, where the few clients that asked
//! for a keepalive of their own have theirs too.
//!
//! A client that leaves is not looked for: its entries are passed over when their moment comes. Before they are more than
//! those of clients that are there, all of them are taken out at once, so that what is kept follows the streams that are
//! open and not those that ever were, whatever the moments are. That costs each client a constant.

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
    /// The client asked for a period of its own, and it has passed.
    KeepAlive,
}

/// Slots of the wheel: how finely keepalives are spread over their period.
const SLOTS: u32 = 64;

/// A tick is no shorter, whatever the period.
const SHORTEST_TICK: Duration = Duration::from_millis(5);

/// So many entries of clients that are gone may stay however few others there are.
const FEW: usize = 64;

#[derive(Debug)]
pub(super) struct Timers {
    tick: Duration,
    next_tick: Instant,
    slots: Vec<Vec<ClientKey>>,
    current: usize,
    deadlines: BinaryHeap<Reverse<(Instant, ClientKey, Deadline)>>,
    /// Entries of the heap whose client is gone.
    dead_deadlines: usize,
    /// Entries of the wheel.
    keepalives: usize,
    /// Those of them whose client is gone.
    dead_keepalives: usize,
}

impl Timers {
    /// Timers for keepalives of this period.
    pub(super) fn new(period: Duration, now: Instant) -> Self {
        let tick = (period / SLOTS).max(SHORTEST_TICK);
        // The nearest whole number of ticks, at least one.
        let slots = usize::try_from((period.as_nanos() + tick.as_nanos() / 2) / tick.as_nanos()).unwrap_or(1).max(1);
        Self {
            tick,
            next_tick: now + tick,
            slots: vec![Vec::new(); slots],
            current: 0,
            deadlines: BinaryHeap::new(),
            dead_deadlines: 0,
            keepalives: 0,
            dead_keepalives: 0,
        }
    }

    /// Gives a client a keepalive one period from here, and each period after. Once a client.
    pub(super) fn keep_alive(&mut self, client: ClientKey) {
        let slots = self.slots.len();
        self.slots[(self.current + slots - 1) % slots].push(client);
        self.keepalives += 1;
    }

    /// Remembers a deadline. The caller counts how many each client has, for [`Timers::left`].
    pub(super) fn at(&mut self, moment: Instant, client: ClientKey, deadline: Deadline) {
        self.deadlines.push(Reverse((moment, client, deadline)));
    }

    /// Takes note that a client has left, which had so many deadlines and keepalives on the wheel.
    pub(super) fn left(&mut self, deadlines: u8, keepalives: u8, is_there: impl Fn(ClientKey) -> bool) {
        self.dead_deadlines += usize::from(deadlines);
        self.dead_keepalives += usize::from(keepalives);
        if self.dead_deadlines > (self.deadlines.len() / 2).max(FEW) {
            self.deadlines.retain(|Reverse((_, client, _))| is_there(*client));
            self.deadlines.shrink_to(2 * self.deadlines.len());
            self.dead_deadlines = 0;
        }
        if self.dead_keepalives > (self.keepalives / 2).max(FEW) {
            for slot in &mut self.slots {
                slot.retain(|client| is_there(*client));
                slot.shrink_to(2 * slot.len());
            }
            self.keepalives -= self.dead_keepalives;
            self.dead_keepalives = 0;
        }
    }

    /// How long until something is due. Without clients, nothing is.
    pub(super) fn wait(&self, now: Instant, has_clients: bool) -> Option<Duration> {
        if !has_clients {
            return None;
        }
        let deadline = self.deadlines.peek().map(|Reverse((moment, ..))| *moment);
        [Some(self.next_tick), deadline].into_iter().flatten().min().map(|moment| moment.saturating_duration_since(now))
    }

    /// Whether a tick is due; then the clients of its slot, without those that `is_there` denies.
    pub(super) fn tick(&mut self, now: Instant, is_there: impl Fn(ClientKey) -> bool) -> Option<Vec<ClientKey>> {
        if now < self.next_tick {
            return None;
        }
        // A thread that was held up does not hurry through what it has missed.
        self.next_tick = (self.next_tick + self.tick).max(now);
        let slot = &mut self.slots[self.current];
        let before = slot.len();
        slot.retain(|client| is_there(*client));
        let gone = before - slot.len();
        let due = slot.clone();
        self.keepalives -= gone;
        self.dead_keepalives -= gone;
        self.current = (self.current + 1) % self.slots.len();
        Some(due)
    }

    /// The next deadline that is due, of a client that is there.
    pub(super) fn due(&mut self, now: Instant, is_there: impl Fn(ClientKey) -> bool) -> Option<(ClientKey, Deadline)> {
        while self.deadlines.peek().is_some_and(|Reverse((moment, ..))| *moment <= now) {
            let Reverse((_, client, deadline)) = self.deadlines.pop()?;
            if is_there(client) {
                return Some((client, deadline));
            }
            self.dead_deadlines -= 1;
        }
        None
    }

    /// Entries of the heap and of the wheel.
    #[cfg(test)]
    pub(super) fn entries(&self) -> (usize, usize) {
        assert_eq!(self.slots.iter().map(Vec::len).sum::<usize>(), self.keepalives);
        (self.deadlines.len(), self.keepalives)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

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
        let mut timers = Timers::new(Duration::from_secs(6400), began);
        let second = Duration::from_secs(1);
        timers.at(began + second * 2, key(2), Deadline::Write);
        timers.at(began + second, key(1), Deadline::End(StreamEnd::MaxAge));
        assert_eq!(timers.wait(began, true), Some(second));
        assert_eq!(timers.due(began, |_| true), None);
        assert_eq!(timers.due(began + second, |_| true), Some((key(1), Deadline::End(StreamEnd::MaxAge))));
        assert_eq!(timers.due(began + second, |_| true), None);
        assert_eq!(timers.due(began + second * 3, |_| true), Some((key(2), Deadline::Write)));
        assert_eq!(timers.wait(began, false), None);
        assert_eq!(timers.wait(began, true), Some(second * 100));
    }

    /// Day-long tokens, and clients that come back each minute.
    #[test]
    fn timer_entries_follow_present_clients_only() {
        const OPEN: usize = 1000;
        const TURNS: usize = 200 * OPEN;
        let day = Duration::from_secs(86_400);
        let began = Instant::now();
        let mut timers = Timers::new(day, began);
        let mut there = VecDeque::new();
        for turn in 0..TURNS {
            let client = key(turn);
            timers.keep_alive(client);
            timers.at(began + day, client, Deadline::End(StreamEnd::Token));
            timers.at(began + day / 2, client, Deadline::Write);
            there.push_back(client);
            if there.len() > OPEN {
                let oldest = there.pop_front().unwrap();
                timers.left(2, 1, |client| client.number > oldest.number);
            }
            let (deadlines, keepalives) = timers.entries();
            assert!(deadlines <= 2 * 2 * there.len() + FEW + 1, "{deadlines} deadlines of {} clients", there.len());
            assert!(keepalives <= 2 * there.len() + FEW + 1, "{keepalives} keepalives of {} clients", there.len());
        }
        for n in 0..OPEN {
            timers.left(2, 1, |client| client.number > (TURNS - OPEN + n) as u64);
        }
        let (deadlines, keepalives) = timers.entries();
        assert!(deadlines <= FEW && keepalives <= FEW, "{deadlines} and {keepalives} entries of nobody");
        assert!(timers.deadlines.capacity() <= 4 * FEW, "{}", timers.deadlines.capacity());
        // Those of the last ones are passed over.
        assert_eq!(timers.due(began + day, |_| false), None);
        assert_eq!(timers.entries().0, 0);
    }
}
