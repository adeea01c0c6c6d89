//! Creates metrics and enters them into a registry. Nothing here knows what they measure.

use std::marker::PhantomData;

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, Result,
};

use super::label::Label;

/// Upper bounds of the buckets of all histograms, in seconds.
const SECONDS: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Where new metrics are entered. Two with the same name are an error.
pub(super) struct Registration<'a>(pub(super) &'a Registry);

impl Registration<'_> {
    pub(super) fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.enter(IntCounter::new(name, help)?)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.enter(IntGauge::new(name, help)?)
    }

    /// A gauge in seconds.
    pub(super) fn age(&self, name: &str, help: &str) -> Result<Gauge> {
        self.enter(Gauge::new(name, help)?)
    }

    /// A histogram in seconds.
    pub(super) fn durations(&self, name: &str, help: &str) -> Result<Histogram> {
        self.enter(Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()))?)
    }

    /// A counter for each value of the label `name_of_label`.
    pub(super) fn counter_by<L: Label>(&self, name: &str, help: &str, name_of_label: &str) -> Result<CounterBy<L>> {
        let counters = IntCounterVec::new(Opts::new(name, help), &[name_of_label])?;
        // Every series exists from the start: a rate over a counter that appears at 1 misses the 1.
        for value in L::ALL {
            counters.with_label_values(&[value.value()]);
        }
        Ok(CounterBy { counters: self.enter(counters)?, label: PhantomData })
    }

    /// A gauge for each value of a label. A series appears when it is set.
    pub(super) fn gauges(&self, name: &str, help: &str, name_of_label: &str) -> Result<IntGaugeVec> {
        self.enter(IntGaugeVec::new(Opts::new(name, help), &[name_of_label])?)
    }

    pub(super) fn enter<C: Collector + Clone + 'static>(&self, metric: C) -> Result<C> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

/// One counter for each value of a label.
pub(super) struct CounterBy<L> {
    counters: IntCounterVec,
    label: PhantomData<L>,
}

impl<L: Label> CounterBy<L> {
    pub(super) fn inc(&self, label: L) {
        self.counters.with_label_values(&[label.value()]).inc();
    }

    /// See [`raise`].
    pub(super) fn raise(&self, label: L, to: u64) {
        raise(&self.counters.with_label_values(&[label.value()]), to);
    }
}

/// Sets a counter to what another part of the program has counted. Counters never go down.
pub(super) fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

/// Sets a gauge to a count.
pub(super) fn set(gauge: &IntGauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}
