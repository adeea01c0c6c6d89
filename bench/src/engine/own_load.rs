//! How busy the load generator itself is: whether it measures the server or itself.

use std::time::Duration;

use serde::Serialize;

use crate::clock::Nanos;
use crate::kernel::{thread_cpu, thread_queued};
use crate::tally::{LatencyHistogram, Quantiles};

/// Above this share of busy time it was the load generator that was measured.
const BOTTLENECK: f64 = 0.85;

/// A shorter measurement does not show which side waited for the other.
const TOO_SHORT: Duration = Duration::from_millis(10);

/// Measures the work of the loop itself.
pub(crate) struct LoadMeter {
    began: Nanos,
    /// Time spent waiting in epoll.
    waited: Nanos,
    cpu: Duration,
    queued: Duration,
    is_spinning: bool,
    /// How long the loop worked between two waits, counted once per delivery in it.
    turns: LatencyHistogram,
}

/// The load generator's own part in what it measured. Shares are from 0 to 1.
#[derive(Serialize, Clone, Copy, Debug)]
pub struct OwnLoad {
    /// Share of the time outside of epoll: working, or waiting for a CPU.
    pub busy: f64,
    /// Share of one CPU that was used, in epoll too.
    pub cpu: f64,
    /// Share of the time in which it had work to do and another process had the CPU.
    pub queued: f64,
    /// Upper bound of how long a delivery waited in its socket until the load generator read it.
    pub delay: Option<Quantiles>,
    /// Whether the server could have done more than it was asked.
    pub was_bottleneck: bool,
}

impl LoadMeter {
    /// For a loop that sleeps when there is nothing to do, or for one that never does.
    pub(crate) fn new(is_spinning: bool) -> Self {
        let zero = Duration::ZERO;
        Self { began: 0, waited: 0, cpu: zero, queued: zero, is_spinning, turns: LatencyHistogram::new() }
    }

    /// Begins to measure the calling thread.
    pub(crate) fn start(&mut self, now: Nanos) {
        self.began = now;
        self.waited = 0;
        self.cpu = thread_cpu();
        self.queued = thread_queued();
        self.turns.clear();
    }

    /// Notes one wait, and the work of the turn that it ended.
    pub(crate) fn note(&mut self, waited: Nanos, worked: Nanos, deliveries: u64) {
        self.waited += waited;
        if deliveries > 0 {
            self.turns.record_many(worked, deliveries);
        }
    }

    /// The load since the start, to be called in the same thread.
    pub(crate) fn load(&self, now: Nanos) -> OwnLoad {
        let wall = Duration::from_nanos((now - self.began).max(1));
        let busy = 1.0 - Duration::from_nanos(self.waited).div_duration_f64(wall);
        let cpu = thread_cpu().saturating_sub(self.cpu).div_duration_f64(wall);
        let queued = thread_queued().saturating_sub(self.queued).div_duration_f64(wall);
        // Time within epoll is work too, unless the loop calls it without pause.
        let work = if self.is_spinning { busy } else { busy.max(cpu) };
        let was_bottleneck = work > BOTTLENECK && wall > TOO_SHORT;
        OwnLoad { busy, cpu, queued, delay: self.turns.quantiles(), was_bottleneck }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loop_that_hardly_waits_was_the_bottleneck() {
        let check = |waited: Nanos, is_spinning, expected| {
            let mut meter = LoadMeter::new(is_spinning);
            meter.start(0);
            meter.note(waited * 1_000_000_000, 5_000, 3);
            let load = meter.load(100_000_000_000);
            assert_eq!(load.was_bottleneck, expected, "{load:?}");
            assert_eq!(load.delay.map(|delay| delay.count), Some(3));
        };
        check(10, false, true);
        check(10, true, true);
        check(20, false, false);
    }
}
