//! The schedule: when each request is to be sent. With a rate it does not wait for the server, so that a slow server cannot hide its
//! latency by slowing the load down.

use std::time::Duration;

use crate::clock::{Nanos, nanos};

/// Requests that are still to be sent, in order; pipelines take turns.
#[derive(Debug)]
pub(crate) struct Schedule {
    pace: Pace,
    sent: u64,
}

#[derive(Debug, Clone, Copy)]
enum Pace {
    /// Open loop: each at its time, however long the server needs for those before it.
    Timed { begins: Nanos, rate: u64, batch: u64, requests: u64 },
    /// Closed loop: as soon as a publisher is free.
    Unpaced { ends: Nanos },
    /// The same, for this number of requests.
    Counted { requests: u64 },
}

impl Schedule {
    /// No requests.
    pub(crate) fn empty() -> Self {
        Self::counted(0)
    }

    /// `rate` events per second for `duration`, `batch` of them per request.
    pub(crate) fn timed(begins: Nanos, rate: u64, batch: usize, duration: Duration) -> Self {
        let events = u128::from(nanos(duration)) * u128::from(rate) / 1_000_000_000;
        let requests = events.div_ceil(batch as u128).try_into().unwrap_or(u64::MAX);
        Self { pace: Pace::Timed { begins, rate, batch: batch as u64, requests }, sent: 0 }
    }

    /// As fast as publishers become free, until `ends`.
    pub(crate) fn unpaced(ends: Nanos) -> Self {
        Self { pace: Pace::Unpaced { ends }, sent: 0 }
    }

    /// This number of requests, as fast as publishers become free.
    pub(crate) fn counted(requests: u64) -> Self {
        Self { pace: Pace::Counted { requests }, sent: 0 }
    }

    /// When the next request is to be sent: in the past if it is late. None after the last.
    pub(crate) fn next_due(&self, now: Nanos) -> Option<Nanos> {
        match self.pace {
            Pace::Timed { begins, rate, batch, requests } => (self.sent < requests).then(|| {
                let after = u128::from(self.sent) * u128::from(batch) * 1_000_000_000 / u128::from(rate);
                begins.saturating_add(after.try_into().unwrap_or(Nanos::MAX))
            }),
            Pace::Unpaced { ends } => (now < ends).then_some(now),
            Pace::Counted { requests } => (self.sent < requests).then_some(now),
        }
    }

    /// Takes the next request: its number.
    pub(crate) fn take(&mut self) -> u64 {
        self.sent += 1;
        self.sent - 1
    }

    /// Requests that were due and could not be sent, because every publisher waited for an answer.
    pub(crate) fn unsent(&self) -> u64 {
        match self.pace {
            Pace::Timed { requests, .. } | Pace::Counted { requests } => requests - self.sent,
            Pace::Unpaced { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_gives_exact_times() {
        let check = |rate, batch, millis, expected: &[Nanos]| {
            let mut schedule = Schedule::timed(1000, rate, batch, Duration::from_millis(millis));
            let mut times = Vec::new();
            while let Some(due) = schedule.next_due(0) {
                times.push(due - 1000);
                schedule.take();
            }
            assert_eq!(times, expected, "{rate}/s in batches of {batch} for {millis} ms");
        };
        check(1000, 1, 3, &[0, 1_000_000, 2_000_000]);
        check(1000, 2, 3, &[0, 2_000_000]);
        check(3, 1, 1000, &[0, 333_333_333, 666_666_666]);
        check(1, 1, 999, &[]);
    }
}
