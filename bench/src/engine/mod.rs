//! The engine: one thread, one epoll loop, all connections.
//!
//! Publishing happens between the reads of that loop, at the microsecond that the schedule asks for: a subscriber's data waits in its
//! socket meanwhile, for less time than a second thread would cost.

mod own_load;
mod progress;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};

use crate::clock::{Clock, Nanos, Timer, nanos};
use crate::http::Target;
use crate::publishers::Publishers;
use crate::shared::Shared;
use crate::subscribers::Subscribers;
use crate::tally::{DeliveryTally, LatencyHistogram, Stamper};

use own_load::LoadMeter;
pub use own_load::OwnLoad;
pub use progress::Progress;
use progress::{ProgressReporter, Totals};

/// The tokens of publishers begin here, after those of all subscribers that there can be.
const PUBLISHERS: usize = 1 << 30;
const TIMER: Token = Token(usize::MAX - 1);
const STOP: Token = Token(usize::MAX);

/// Between two checks of timeouts and two reports of progress.
const TICK: Nanos = 100_000_000;

/// Maximum bytes per read.
const BUFFER_BYTES: usize = 256 << 10;

/// The size of a run, and how its loop waits.
pub(crate) struct EngineOptions {
    pub(crate) pipelines: usize,
    pub(crate) publishers: usize,
    pub(crate) batch: usize,
    /// How long an answer may take.
    pub(crate) timeout: Nanos,
    /// Whether the loop never sleeps.
    pub(crate) is_spinning: bool,
}

/// The loop and everything in it.
pub(crate) struct Engine {
    poll: Poll,
    timer: Timer,
    is_stopped: Arc<AtomicBool>,
    is_spinning: bool,
    next_tick: Nanos,
    pub(crate) shared: Shared,
    pub(crate) subscribers: Subscribers,
    pub(crate) publishers: Publishers,
    pub(crate) meter: LoadMeter,
    pub(crate) progress: ProgressReporter,
}

/// Ends a running bench early, from any thread.
pub struct Stopper {
    is_stopped: Arc<AtomicBool>,
    waker: Waker,
}

impl Stopper {
    /// Ends the run: it reports what it has measured so far.
    ///
    /// # Errors
    /// When the loop cannot be woken.
    pub fn stop(&self) -> io::Result<()> {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.waker.wake()
    }
}

impl Engine {
    /// An engine and what stops it. All of a run must happen in one thread: the CPU time of that thread is measured.
    pub(crate) fn new(
        target: Target,
        stamper: Stamper,
        options: &EngineOptions,
        show: impl FnMut(Progress) + Send + 'static,
    ) -> io::Result<(Self, Stopper)> {
        let poll = Poll::new()?;
        let timer = Timer::new(poll.registry(), TIMER)?;
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stopper = Stopper { is_stopped: is_stopped.clone(), waker: Waker::new(poll.registry(), STOP)? };
        let clock = Clock::start();
        let shared = Shared {
            clock,
            target,
            stamper,
            tally: DeliveryTally::new(options.pipelines, options.publishers),
            publishers: options.publishers,
            catch_up: LatencyHistogram::new(),
            buffer: vec![0; BUFFER_BYTES].into(),
        };
        let publishers = Publishers::new(options.publishers, PUBLISHERS, options.batch, options.timeout);
        let engine = Self {
            poll,
            timer,
            is_stopped,
            is_spinning: options.is_spinning,
            next_tick: 0,
            shared,
            subscribers: Subscribers::default(),
            publishers,
            meter: LoadMeter::new(options.is_spinning),
            progress: ProgressReporter::new(show),
        };
        Ok((engine, stopper))
    }

    pub(crate) fn now(&self) -> Nanos {
        self.shared.clock.now()
    }

    /// Whether the run is to end early.
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Continues after a stop, until the next one. Whether there was one.
    pub(crate) fn resume(&self) -> bool {
        self.is_stopped.swap(false, Ordering::Relaxed)
    }

    /// Begins to connect all publishers.
    pub(crate) fn connect_publishers(&mut self) {
        self.publishers.connect(&self.shared, self.poll.registry());
    }

    /// Runs until `is_done`, or `until`, or it is stopped. Whether it is done.
    pub(crate) fn run(&mut self, until: Nanos, is_done: impl Fn(&Self) -> bool) -> io::Result<bool> {
        let mut events = Events::with_capacity(1024);
        let mut turn_began = self.now();
        let mut deliveries = self.shared.tally.counts.all;
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
            if self.publishers.needs_connection {
                self.connect_publishers();
            }
            self.publishers.send_due(now, &mut self.shared);
            let has_more = self.subscribers.open_more(&self.shared, self.poll.registry());
            let waiting = self.waiting(until, has_more)?;
            let before = self.now();
            match self.poll.poll(&mut events, waiting) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let after = self.now();
            let all = self.shared.tally.counts.all;
            // A call of epoll that returned events at once was work.
            let waited = if self.is_spinning && !events.is_empty() { 0 } else { after - before };
            self.meter.note(waited, before - turn_began, all - deliveries);
            (turn_began, deliveries) = (after, all);
            self.dispatch(&events);
        }
    }

    /// Runs until `is_done`, or nothing has moved for `patience`, or `until`. Whether it is done.
    pub(crate) fn run_while_moving(
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

    /// A number that changes whenever a connection makes progress.
    fn movement(&self) -> u64 {
        let counts = self.publishers.counts;
        let streams = self.subscribers.opened + self.subscribers.failed + self.subscribers.ended;
        self.shared.tally.counts.all + counts.all_events + counts.all_errors + streams as u64
    }

    fn dispatch(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                TIMER => self.timer.fired(),
                STOP => {}
                Token(token) if token >= PUBLISHERS => self.publishers.ready(token, event, &mut self.shared),
                Token(number) => self.subscribers.ready(number, event, &mut self.shared),
            }
            // A schedule does not wait until a thousand sockets have been read.
            let now = self.shared.clock.now();
            self.publishers.send_due(now, &mut self.shared);
        }
    }

    fn tick(&mut self, now: Nanos) {
        self.publishers.tick(now, &mut self.shared, self.poll.registry());
        self.next_tick = now + TICK;
        let totals =
            Totals { at: now, deliveries: self.shared.tally.counts.all, events: self.publishers.counts.all_events };
        self.progress.report(totals, self.subscribers.opened, self.subscribers.wanted());
    }

    /// How long to wait for events: not at all, or until the timer fires for the next thing to do.
    fn waiting(&mut self, until: Nanos, has_more: bool) -> io::Result<Option<Duration>> {
        if has_more || self.is_spinning {
            return Ok(Some(Duration::ZERO));
        }
        let now = self.now();
        let next = until.min(self.next_tick).min(self.publishers.next_due(now).unwrap_or(Nanos::MAX));
        self.timer.arm(next, now)?;
        Ok(None)
    }
}
