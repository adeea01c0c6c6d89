//! Time within a run, and a timer that is exact to microseconds.
//!
//! The timeout of epoll counts whole milliseconds: with it, 5,000 events per second would leave in bursts.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// Nanoseconds since the run began.
pub(crate) type Nanos = u64;

/// A duration in nanoseconds; the maximum if it is longer than 584 years.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    duration.as_nanos().try_into().unwrap_or(Nanos::MAX)
}

/// The one clock of a run: events are stamped and measured with it.
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Nanos {
        nanos(self.0.elapsed())
    }
}

/// A timer that makes its token ready.
pub(crate) struct Timer {
    descriptor: OwnedFd,
    armed: Option<Nanos>,
}

impl Timer {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&descriptor.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { descriptor, armed: None })
    }

    /// Makes the timer fire at `at`, and no longer at the time set before.
    pub(crate) fn arm(&mut self, at: Nanos, now: Nanos) -> io::Result<()> {
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

    /// Notes that it has fired. A timer needs only to be set again; its count is never read.
    pub(crate) fn fired(&mut self) {
        self.armed = None;
    }
}
