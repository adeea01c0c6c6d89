//! What a run is doing, for a caller that shows it.

use std::time::Duration;

use crate::clock::Nanos;

/// What a run is doing.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Such as `measuring`.
    pub phase: &'static str,
    /// Until the phase ends, where that is known.
    pub left: Option<Duration>,
    /// Streams that have opened so far.
    pub streams: usize,
    /// Streams that are to open.
    pub streams_wanted: usize,
    /// Events published since the last report.
    pub events_per_second: u64,
    /// Deliveries since the last report.
    pub deliveries_per_second: u64,
}

/// Turns totals into rates and reports them.
pub(crate) struct ProgressReporter {
    show: Box<dyn FnMut(Progress) + Send>,
    phase: &'static str,
    ends: Option<Nanos>,
    last: Totals,
}

/// What has happened up to some moment.
#[derive(Default, Clone, Copy)]
pub(super) struct Totals {
    pub(super) at: Nanos,
    pub(super) deliveries: u64,
    pub(super) events: u64,
}

impl ProgressReporter {
    pub(super) fn new(show: impl FnMut(Progress) + Send + 'static) -> Self {
        Self { show: Box::new(show), phase: "connecting", ends: None, last: Totals::default() }
    }

    /// Begins a phase, with its end if that is known.
    pub(crate) fn enter(&mut self, phase: &'static str, ends: Option<Nanos>) {
        self.phase = phase;
        self.ends = ends;
    }

    pub(super) fn report(&mut self, now: Totals, streams: usize, streams_wanted: usize) {
        let elapsed = (now.at - self.last.at).max(1);
        let rate = |total: u64, before: u64| {
            let per_second = u128::from(total - before) * 1_000_000_000 / u128::from(elapsed);
            u64::try_from(per_second).unwrap_or(u64::MAX)
        };
        (self.show)(Progress {
            phase: self.phase,
            left: self.ends.map(|ends| Duration::from_nanos(ends.saturating_sub(now.at))),
            streams,
            streams_wanted,
            events_per_second: rate(now.events, self.last.events),
            deliveries_per_second: rate(now.deliveries, self.last.deliveries),
        });
        self.last = now;
    }
}
