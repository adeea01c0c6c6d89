//! Time within a run, and a timer that is exact to microseconds.
//!
//! epoll's own time-out counts whole milliseconds: with it a schedule of 5,000 events a second would
//! leave in lumps.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// Nanoseconds since the bench began.
pub(super) type Nanos = u64;

/// A duration in nanoseconds; the longest there is if it takes more than 584 years.
pub(super) fn nanos(duration: Duration) -> Nanos {
    duration.as_nanos().try_into().unwrap_or(Nanos::MAX)
}

/// The clock that stamps and measures.
#[derive(Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> Nanos {
        nanos(self.0.elapsed())
    }
}

/// A timer that makes its token ready.
pub(super) struct Timer {
    descriptor: OwnedFd,
    armed: Option<Nanos>,
}

impl Timer {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&descriptor.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { descriptor, armed: None })
    }

    /// Makes the timer fire at `at`, instead of when it was to fire before.
    pub(super) fn arm(&mut self, at: Nanos, now: Nanos) -> io::Result<()> {
        if self.armed == Some(at) {
            return Ok(());
        }
        // Zero would disarm it.
        let wait = Timespec::try_from(Duration::from_nanos(at.saturating_sub(now).max(1)))
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        let once = Itimerspec { it_interval: Timespec::default(), it_value: wait };
        timerfd_settime(&self.descriptor, TimerfdTimerFlags::empty(), &once)?;
        self.armed = Some(at);
        Ok(())
    }

    /// Notes that it has fired. Setting it anew is all that a timer needs; its count is never read.
    pub(super) fn fired(&mut self) {
        self.armed = None;
    }
}
