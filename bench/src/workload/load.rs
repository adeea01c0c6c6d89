//! Load: publishers send to subscribers, at a rate or as fast as the server accepts events.

use std::ops::Range;
use std::time::Duration;

use super::measurement::{Measurement, seconds};
use crate::clock::{Nanos, nanos};
use crate::error::BenchError;
use crate::publishers::Schedule;
use crate::report::Published;

/// After the last event: how long nothing may arrive before the rest counts as lost.
const QUIET: Duration = Duration::from_secs(3);

/// How long the wait for the rest may take in all.
const SETTLING: Duration = Duration::from_secs(30);

/// Events from publishers to subscribers.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many subscribers, spread evenly over the pipelines; none measures publishing by itself.
    pub subscribers: usize,
    /// How many pipelines; events go to each in turn.
    pub pipelines: usize,
    /// Connections to publish on, each with one request at a time.
    pub publishers: usize,
    /// Events per second over all pipelines; as fast as the server accepts them if not given.
    pub rate: Option<u64>,
    /// Events per request.
    pub batch: usize,
    /// Size of an event's payload, at least [`MIN_PAYLOAD_BYTES`](crate::MIN_PAYLOAD_BYTES).
    pub payload_bytes: usize,
    /// How long the load runs before it is measured.
    pub warm_up: Duration,
    /// How long it is measured.
    pub duration: Duration,
}

impl Load {
    pub(super) fn run(&self, run: &mut Measurement) -> Result<(), BenchError> {
        run.open_streams(self.subscribers)?;
        run.connect_publishers()?;
        let window = self.start(run);
        run.engine.progress.enter("warming up", Some(window.start));
        run.engine.run(window.start, |_| false)?;

        run.engine.progress.enter("measuring", Some(window.end));
        let mark = run.mark()?;
        let counts =
            |run: &Measurement| (run.engine.shared.tally.counts.all, run.engine.publishers.counts.all_requests);
        let before = counts(run);
        run.engine.run(window.end, |_| false)?;
        let after = counts(run);
        let measured = seconds(run.engine.now().min(window.end).saturating_sub(window.start));
        run.report.seconds = measured;
        match self.subscribers {
            0 => run.note_cpu(mark, after.1 - before.1, "request")?,
            _ => run.note_cpu(mark, after.0 - before.0, "delivery")?,
        }

        run.report.interrupted = run.engine.resume();
        let is_settled = settle(run, &window)?;
        let publishers = &run.engine.publishers;
        if publishers.counts.all_events == 0 && publishers.counts.all_errors > 0 {
            return Err(BenchError::NothingPublished(publishers.first_problem.clone().unwrap_or_default()));
        }
        note_publishing(run, measured);
        if self.subscribers > 0 {
            run.note_streams();
            run.note_deliveries(Some(measured), is_settled);
        }
        Ok(())
    }

    /// Begins to publish. When to measure.
    fn start(&self, run: &mut Measurement) -> Range<Nanos> {
        let begins = run.engine.now();
        let all = self.warm_up + self.duration;
        let window = begins + nanos(self.warm_up)..begins + nanos(all);
        run.engine.shared.tally.measure(window.clone());
        run.engine.publishers.follow(match self.rate {
            Some(rate) => Schedule::timed(begins, rate, self.batch, all),
            None => Schedule::unpaced(window.end),
        });
        window
    }
}

/// Waits for events and answers that are still under way. Whether all of them arrived.
fn settle(run: &mut Measurement, window: &Range<Nanos>) -> Result<bool, BenchError> {
    if run.report.interrupted {
        run.engine.publishers.follow(Schedule::empty());
    }
    run.engine.progress.enter("waiting for the last events", None);
    let ends = run.engine.now().max(window.end) + nanos(SETTLING);
    Ok(run.engine.run_while_moving(ends, QUIET.min(run.timeout), |engine| {
        engine.publishers.is_over(engine.now()) && engine.shared.tally.is_settled()
    })?)
}

fn note_publishing(run: &mut Measurement, measured: f64) {
    let publishers = &run.engine.publishers;
    let counts = publishers.counts;
    run.report.published = Some(Published {
        requests: counts.requests,
        events: counts.events,
        errors: counts.errors,
        unsent: publishers.unsent(),
        requests_per_second: counts.requests_within_window as f64 / measured,
        events_per_second: counts.events_within_window as f64 / measured,
        latency: publishers.latency.quantiles(),
        first_problem: publishers.first_problem.clone(),
    });
}
