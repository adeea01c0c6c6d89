//! When a fan-out thread has to look at a client: a wheel visits each client once per keepalive period, and a heap holds single
//! alarms. What is to be done then, the client's life decides.
//!
//! When a client leaves, its entries stay and are skipped later. Before they outnumber those of open clients, all of
//! them are removed at once. So memory follows the streams that are open, not all that ever were, and each client costs
//! constant time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// A client while it is open: slab entries are reused, numbers are not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ClientKey {
    /// The entry in the slab.
    pub(super) entry: usize,
    /// The client's number on this thread.
    pub(super) number: u64,
}

/// Why a client needs to be looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Alarm {
    /// The stream may be due to end.
    End,
    /// The client may have read nothing for too long.
    Write,
    /// The client asked for a keepalive period of its own, and it has passed.
    Keepalive,
}

/// Slots of the wheel: how finely keepalives are spread over their period.
const SLOTS: u32 = 64;

/// The shortest tick, whatever the period.
const SHORTEST_TICK: Duration = Duration::from_millis(5);

/// Entries of closed clients that may stay, however few others there are.
const FEW: usize = 64;

#[derive(Debug)]
pub(super) struct Timers {
    tick: Duration,
    next_tick: Instant,
    slots: Vec<Vec<ClientKey>>,
    current: usize,
    alarms: BinaryHeap<Reverse<(Instant, ClientKey, Alarm)>>,
    /// Entries of the heap whose client is closed.
    dead_alarms: usize,
    /// Entries of the wheel.
    keepalives: usize,
    /// Entries of the wheel whose client is closed.
    dead_keepalives: usize,
}

impl Timers {
    /// Timers for keepalives of about this period.
    pub(super) fn new(period: Duration, now: Instant) -> Self {
        let tick = (period / SLOTS).max(SHORTEST_TICK);
        // The nearest whole number of ticks, at least one.
        let slots = usize::try_from((period.as_nanos() + tick.as_nanos() / 2) / tick.as_nanos()).unwrap_or(1).max(1);
        Self {
            tick,
            next_tick: now + tick,
            slots: vec![Vec::new(); slots],
            current: 0,
            alarms: BinaryHeap::new(),
            dead_alarms: 0,
            keepalives: 0,
            dead_keepalives: 0,
        }
    }

    /// The period of the wheel: a whole number of ticks.
    pub(super) fn period(&self) -> Duration {
        self.tick * u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// How much a visit may be early: a tick that was due when the client came, and a late one before one in time. A keepalive
    /// that is not sent for being early comes a whole period later.
    pub(super) fn tolerance(&self) -> Duration {
        2 * self.tick
    }

    /// Visits a client one period from now, and each period after. Called once for each client.
    pub(super) fn keep_alive(&mut self, client: ClientKey) {
        let slots = self.slots.len();
        self.slots[(self.current + slots - 1) % slots].push(client);
        self.keepalives += 1;
    }

    /// Sets an alarm. The caller counts the alarms of each client, for [`Timers::left`].
    pub(super) fn set(&mut self, at: Instant, client: ClientKey, alarm: Alarm) {
        self.alarms.push(Reverse((at, client, alarm)));
    }

    /// Records that a client has left which had this many alarms and keepalives on the wheel.
    pub(super) fn left(&mut self, alarms: u8, keepalives: u8, is_open: impl Fn(ClientKey) -> bool) {
        self.dead_alarms += usize::from(alarms);
        self.dead_keepalives += usize::from(keepalives);
        if self.dead_alarms > (self.alarms.len() / 2).max(FEW) {
            self.alarms.retain(|Reverse((_, client, _))| is_open(*client));
            self.alarms.shrink_to(2 * self.alarms.len());
            self.dead_alarms = 0;
        }
        if self.dead_keepalives > (self.keepalives / 2).max(FEW) {
            for slot in &mut self.slots {
                slot.retain(|client| is_open(*client));
                slot.shrink_to(2 * slot.len());
            }
            self.keepalives -= self.dead_keepalives;
            self.dead_keepalives = 0;
        }
    }

    /// How long until something is due. Nothing is while there are no clients.
    pub(super) fn wait(&self, now: Instant, has_clients: bool) -> Option<Duration> {
        if !has_clients {
            return None;
        }
        let alarm = self.alarms.peek().map(|Reverse((at, ..))| *at);
        [Some(self.next_tick), alarm].into_iter().flatten().min().map(|at| at.saturating_duration_since(now))
    }

    /// The open clients of the next slot, if its tick is due.
    pub(super) fn tick(&mut self, now: Instant, is_open: impl Fn(ClientKey) -> bool) -> Option<Vec<ClientKey>> {
        if now < self.next_tick {
            return None;
        }
        // A thread that was held up or idle does not hurry through the ticks that it has missed: visits would come early.
        let late = now - self.next_tick;
        self.next_tick = if late < self.tick { self.next_tick + self.tick } else { now + self.tick };
        let slot = &mut self.slots[self.current];
        let before = slot.len();
        slot.retain(|client| is_open(*client));
        let gone = before - slot.len();
        let due = slot.clone();
        self.keepalives -= gone;
        self.dead_keepalives -= gone;
        self.current = (self.current + 1) % self.slots.len();
        Some(due)
    }

    /// The next alarm that is due, of an open client.
    pub(super) fn due(&mut self, now: Instant, is_open: impl Fn(ClientKey) -> bool) -> Option<(ClientKey, Alarm)> {
        while self.alarms.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Reverse((_, client, alarm)) = self.alarms.pop()?;
            if is_open(client) {
                return Some((client, alarm));
            }
            self.dead_alarms -= 1;
        }
        None
    }

    /// Entries of the heap and of the wheel.
    #[cfg(test)]
    pub(super) fn entries(&self) -> (usize, usize) {
        assert_eq!(self.slots.iter().map(Vec::len).sum::<usize>(), self.keepalives);
        (self.alarms.len(), self.keepalives)
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
    fn alarms_ring_in_order_and_not_early() {
        let began = Instant::now();
        let mut timers = Timers::new(Duration::from_secs(6400), began);
        let second = Duration::from_secs(1);
        timers.set(began + second * 2, key(2), Alarm::Write);
        timers.set(began + second, key(1), Alarm::End);
        assert_eq!(timers.wait(began, true), Some(second));
        assert_eq!(timers.due(began, |_| true), None);
        assert_eq!(timers.due(began + second, |_| true), Some((key(1), Alarm::End)));
        assert_eq!(timers.due(began + second, |_| true), None);
        assert_eq!(timers.due(began + second * 3, |_| true), Some((key(2), Alarm::Write)));
        assert_eq!(timers.wait(began, false), None);
        assert_eq!(timers.wait(began, true), Some(second * 100));
    }

    /// Day-long tokens, and clients that come back each minute.
    #[test]
    fn entries_follow_open_clients_not_all_that_ever_were() {
        const OPEN: usize = 1000;
        const TURNS: usize = 200 * OPEN;
        let day = Duration::from_secs(86_400);
        let began = Instant::now();
        let mut timers = Timers::new(day, began);
        let mut open = VecDeque::new();
        for turn in 0..TURNS {
            let client = key(turn);
            timers.keep_alive(client);
            timers.set(began + day, client, Alarm::End);
            timers.set(began + day / 2, client, Alarm::Write);
            open.push_back(client);
            if open.len() > OPEN {
                let oldest = open.pop_front().unwrap();
                timers.left(2, 1, |client| client.number > oldest.number);
            }
            let (alarms, keepalives) = timers.entries();
            assert!(alarms <= 2 * 2 * open.len() + FEW + 1, "{alarms} alarms of {} clients", open.len());
            assert!(keepalives <= 2 * open.len() + FEW + 1, "{keepalives} keepalives of {} clients", open.len());
        }
        for n in 0..OPEN {
            timers.left(2, 1, |client| client.number > (TURNS - OPEN + n) as u64);
        }
        let (alarms, keepalives) = timers.entries();
        assert!(alarms <= FEW && keepalives <= FEW, "{alarms} alarms and {keepalives} keepalives of closed clients");
        assert!(timers.alarms.capacity() <= 4 * FEW, "{}", timers.alarms.capacity());
        // Those of the last ones are passed over.
        assert_eq!(timers.due(began + day, |_| false), None);
        assert_eq!(timers.entries().0, 0);
    }
}
