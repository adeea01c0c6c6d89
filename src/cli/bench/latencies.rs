//! Latencies: recorded in a histogram, told as quantiles.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::clock::Nanos;

/// Times from about a microsecond to an hour, to three digits.
pub(super) struct Latencies(Histogram<u64>);

/// Some quantiles of some times, in microseconds.
#[derive(Serialize, Clone, Copy, Debug)]
pub(super) struct Quantiles {
    pub(super) count: u64,
    pub(super) p50_us: f64,
    pub(super) p90_us: f64,
    pub(super) p99_us: f64,
    pub(super) p99_9_us: f64,
    pub(super) max_us: f64,
}

impl Latencies {
    pub(super) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1_000, 3_600_000_000_000, 3);
        Self(histogram.expect("the bounds are right for a histogram"))
    }

    pub(super) fn record(&mut self, time: Nanos) {
        self.0.saturating_record(time);
    }

    pub(super) fn record_many(&mut self, time: Nanos, count: u64) {
        self.0.saturating_record_n(time, count);
    }

    pub(super) fn clear(&mut self) {
        self.0.reset();
    }

    /// None if nothing was recorded.
    pub(super) fn quantiles(&self) -> Option<Quantiles> {
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        let at = |quantile| micros(self.0.value_at_quantile(quantile).min(self.0.max()));
        (!self.0.is_empty()).then(|| Quantiles {
            count: self.0.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: micros(self.0.max()),
        })
    }
}
