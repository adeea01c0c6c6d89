//! The engine: one thread, one epoll loop, all connections.
//!
//! Publishing happens between the reads of that loop, at the microsecond that the schedule asks for:
//! a reader's data waits in its socket meanwhile, for less time than a second thread would cost.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};

use super::clock::{Clock, Nanos, Timer, nanos};
use super::latencies::Latencies;
use super::ledger::Ledger;
use super::meter::Meter;
use super::progress::Progress;
use super::publishing::Publishing;
use super::readers::Readers;
use super::stamp::Stamper;
use super::target::Target;

/// Publishers' tokens begin here, after those of all readers that there can be.
const PUBLISHERS: usize = 1 << 30;
const TIMER: Token = Token(usize::MAX - 1);
const STOP: Token = Token(usize::MAX);

/// Between two looks at time-outs and at the progress that is shown.
const TICK: Nanos = 100_000_000;

/// How much is read from one connection at once.
const BUFFER_BYTES: usize = 256 << 10;

/// What all connections of a run share.
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) target: Target,
    pub(super) stamper: Stamper,
    pub(super) ledger: Ledger,
    pub(super) publishers: usize,
    /// From a reader's connecting until it has the whole replay.
    pub(super) catch_up: Latencies,
    /// What was just read.
    pub(super) buffer: Box<[u8]>,
}

/// How an engine is laid out.
pub(super) struct Layout {
    pub(super) pipelines: usize,
    pub(super) publishers: usize,
    pub(super) batch: usize,
    /// How long an answer may take.
    pub(super) timeout: Duration,
    /// Whether the loop never sleeps.
    pub(super) is_spinning: bool,
}

/// The loop and everything in it.
pub(super) struct Engine {
    poll: Poll,
    timer: Timer,
    is_stopped: Arc<AtomicBool>,
    is_spinning: bool,
    next_tick: Nanos,
    pub(super) shared: Shared,
    pub(super) readers: Readers,
    pub(super) publishing: Publishing,
    pub(super) meter: Meter,
    pub(super) progress: Progress,
}

/// Ends a run from outside.
pub(super) struct Stopper {
    is_stopped: Arc<AtomicBool>,
    waker: Waker,
}

impl Stopper {
    pub(super) fn stop(&self) -> io::Result<()> {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.waker.wake()
    }
}

impl Engine {
    /// An engine and what stops it. To be run in one thread alone.
    pub(super) fn new(target: Target, stamper: Stamper, layout: &Layout) -> io::Result<(Self, Stopper)> {
        let poll = Poll::new()?;
        let timer = Timer::new(poll.registry(), TIMER)?;
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stopper = Stopper { is_stopped: is_stopped.clone(), waker: Waker::new(poll.registry(), STOP)? };
        let clock = Clock::start();
        let shared = Shared {
            clock,
            target,
            stamper,
            ledger: Ledger::new(layout.pipelines, layout.publishers),
            publishers: layout.publishers,
            catch_up: Latencies::new(),
            buffer: vec![0; BUFFER_BYTES].into(),
        };
        let publishing = Publishing::new(layout.publishers, PUBLISHERS, layout.batch, nanos(layout.timeout));
        let engine = Self {
            poll,
            timer,
            is_stopped,
            is_spinning: layout.is_spinning,
            next_tick: 0,
            shared,
            readers: Readers::default(),
            publishing,
            meter: Meter::new(layout.is_spinning),
            progress: Progress::new(),
        };
        Ok((engine, stopper))
    }

    pub(super) fn now(&self) -> Nanos {
        self.shared.clock.now()
    }

    /// Whether somebody wants the results so far.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Goes on after a stop, until the next one. Whether there was one.
    pub(super) fn resume(&self) -> bool {
        self.is_stopped.swap(false, Ordering::Relaxed)
    }

    /// Begins to connect all publishers.
    pub(super) fn connect_publishers(&mut self) {
        self.publishing.connect(&self.shared, self.poll.registry());
    }

    /// Runs until `is_done`, or `until`, or it is stopped. Whether it is done.
    pub(super) fn run(&mut self, until: Nanos, is_done: impl Fn(&Self) -> bool) -> io::Result<bool> {
        let mut events = Events::with_capacity(1024);
        let mut turn_began = self.now();
        let mut deliveries = self.shared.ledger.counts.all;
        loop {
            if is_done(self) {
                return Ok(true);
            }
            let now = self.now();
            if now >= until || self.is_stopped() {
                return Ok(false);
            }
            if now >= self.next_tick {
                self.tick(now);
            }
            if self.publishing.is_short {
                self.connect_publishers();
            }
            self.publishing.send_due(now, &mut self.shared);
            let has_more = self.readers.open_more(&self.shared, self.poll.registry());
            let waiting = self.waiting(until, has_more)?;
            let before = self.now();
            match self.poll.poll(&mut events, waiting) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let after = self.now();
            let all = self.shared.ledger.counts.all;
            // A question that was answered at once was work.
            let waited = if self.is_spinning && !events.is_empty() { 0 } else { after - before };
            self.meter.note(waited, before - turn_began, all - deliveries);
            (turn_began, deliveries) = (after, all);
            self.take(&events);
        }
    }

    /// Runs until `is_done`, or nothing has moved for `patience`, or `until`. Whether it is done.
    pub(super) fn run_while_moving(
        &mut self,
        until: Nanos,
        patience: Duration,
        is_done: impl Fn(&Self) -> bool,
    ) -> io::Result<bool> {
        loop {
            let movement = self.movement();
            let ends = self.now().saturating_add(nanos(patience)).min(until);
            if self.run(ends, &is_done)? {
                return Ok(true);
            }
            if self.is_stopped() || self.now() >= until || self.movement() == movement {
                return Ok(false);
            }
        }
    }

    /// A number that changes with everything that happens.
    fn movement(&self) -> u64 {
        let counts = self.publishing.counts;
        let readers = self.readers.opened + self.readers.failed + self.readers.ended;
        self.shared.ledger.counts.all + counts.all_events + counts.all_errors + readers as u64
    }

    fn take(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                TIMER => self.timer.fired(),
                STOP => {}
                Token(token) if token >= PUBLISHERS => self.publishing.ready(token, event, &mut self.shared),
                Token(number) => self.readers.ready(number, event, &mut self.shared),
            }
            // A schedule does not wait until a thousand sockets were read.
            let now = self.shared.clock.now();
            self.publishing.send_due(now, &mut self.shared);
        }
    }

    fn tick(&mut self, now: Nanos) {
        self.publishing.tick(now, &mut self.shared, self.poll.registry());
        self.next_tick = now + TICK;
        let (readers, counts) = (&self.readers, self.shared.ledger.counts);
        self.progress.show(now, readers.opened, readers.wanted(), counts.all, self.publishing.counts.all_events);
    }

    /// How long to wait for events: not at all, or until the timer fires for whatever comes next.
    fn waiting(&mut self, until: Nanos, has_more: bool) -> io::Result<Option<Duration>> {
        if has_more || self.is_spinning {
            return Ok(Some(Duration::ZERO));
        }
        let now = self.now();
        let next = until.min(self.next_tick).min(self.publishing.next_due(now).unwrap_or(Nanos::MAX));
        self.timer.arm(next, now)?;
        Ok(None)
    }
}
