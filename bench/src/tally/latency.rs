//! Latencies, recorded in a histogram and reported as quantiles.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::clock::Nanos;

/// Times from a microsecond to an hour, with three significant digits.
pub(crate) struct LatencyHistogram(Histogram<u64>);

/// Quantiles of a number of times, in microseconds.
#[derive(Serialize, Clone, Copy, Debug)]
pub struct Quantiles {
    /// How many times were recorded.
    pub count: u64,
    /// Median.
    pub p50_us: f64,
    /// Nine in ten were not longer.
    pub p90_us: f64,
    /// 99 in 100 were not longer.
    pub p99_us: f64,
    /// 999 in 1,000 were not longer.
    pub p99_9_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl LatencyHistogram {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1_000, 3_600_000_000_000, 3);
        Self(histogram.expect("the bounds are valid for a histogram"))
    }

    pub(crate) fn record(&mut self, time: Nanos) {
        self.0.saturating_record(time);
    }

    pub(crate) fn record_many(&mut self, time: Nanos, count: u64) {
        self.0.saturating_record_n(time, count);
    }

    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    /// Absent if nothing was recorded.
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
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
