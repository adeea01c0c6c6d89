//! How busy the bench itself is: whether it measures the server or itself.

use std::time::Duration;

use serde::Serialize;

use super::clock::Nanos;
use super::latencies::{Latencies, Quantiles};
use super::process::{thread_cpu, thread_queued};

/// Above this share of busy time it is the bench that was measured.
const BOTTLENECK: f64 = 0.85;

/// What lasted no longer says nothing of who waited for whom.
const TOO_SHORT: Duration = Duration::from_millis(10);

/// Measures the loop's own work.
pub(super) struct Meter {
    began: Nanos,
    /// Time spent waiting in epoll.
    waited: Nanos,
    cpu: Duration,
    queued: Duration,
    is_spinning: bool,
    /// How long the loop worked between two waits, counted once for every delivery in it.
    turns: Latencies,
}

/// The bench's own part in what it measured.
#[derive(Serialize, Clone, Copy, Debug)]
pub(super) struct Load {
    /// Share of the time outside of epoll: working, or waiting for a CPU.
    pub(super) busy: f64,
    /// Share of one CPU that was used, in epoll too.
    pub(super) cpu: f64,
    /// Share of the time in which it could have worked and something else had the CPU.
    pub(super) queued: f64,
    /// Longest that a delivery that was there may have waited for the bench.
    pub(super) delay: Option<Quantiles>,
    /// Whether the server could have done more than it was asked.
    pub(super) was_bottleneck: bool,
}

impl Meter {
    /// For a loop that sleeps when there is nothing to do, or for one that spins.
    pub(super) fn new(is_spinning: bool) -> Self {
        let zero = Duration::ZERO;
        Self { began: 0, waited: 0, cpu: zero, queued: zero, is_spinning, turns: Latencies::new() }
    }

    /// Begins to measure the thread that calls.
    pub(super) fn start(&mut self, now: Nanos) {
        self.began = now;
        self.waited = 0;
        self.cpu = thread_cpu();
        self.queued = thread_queued();
        self.turns.clear();
    }

    /// Notes one wait, and the work of the turn that it ended.
    pub(super) fn note(&mut self, waited: Nanos, worked: Nanos, deliveries: u64) {
        self.waited += waited;
        if deliveries > 0 {
            self.turns.record_many(worked, deliveries);
        }
    }

    /// The load since the start, to be called in the same thread.
    pub(super) fn load(&self, now: Nanos) -> Load {
        let wall = Duration::from_nanos((now - self.began).max(1));
        let busy = 1.0 - Duration::from_nanos(self.waited).div_duration_f64(wall);
        let cpu = thread_cpu().saturating_sub(self.cpu).div_duration_f64(wall);
        let queued = thread_queued().saturating_sub(self.queued).div_duration_f64(wall);
        // What epoll itself takes is work too, unless it is asked without end.
        let work = if self.is_spinning { busy } else { busy.max(cpu) };
        let was_bottleneck = work > BOTTLENECK && wall > TOO_SHORT;
        Load { busy, cpu, queued, delay: self.turns.quantiles(), was_bottleneck }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_hardly_waits_was_the_bottleneck() {
        let check = |waited: Nanos, is_spinning, expected| {
            let mut meter = Meter::new(is_spinning);
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
