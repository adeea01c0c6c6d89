//! Load: readers and publishers at a rate, or as fast as they can.

use std::ops::Range;
use std::time::Duration;

use super::clock::{Nanos, nanos};
use super::report::Published;
use super::run::{Run, RunError, seconds};
use super::schedule::Schedule;

/// After the last event: how long nothing may come before the rest is given up.
const QUIET: Duration = Duration::from_secs(3);

/// And how long it may take in all.
const SETTLING: Duration = Duration::from_secs(30);

/// What is to be done.
pub(super) struct LoadPlan {
    /// Events a second over all pipelines; none for as fast as publishers can.
    pub(super) rate: Option<u64>,
    pub(super) batch: usize,
    pub(super) warm_up: Duration,
    pub(super) duration: Duration,
}

pub(super) fn load(run: &mut Run, readers: usize, plan: &LoadPlan) -> Result<(), RunError> {
    run.open_streams(readers)?;
    run.connect_publishers()?;
    let begins = run.engine.now();
    let window = begins + nanos(plan.warm_up)..begins + nanos(plan.warm_up + plan.duration);
    run.engine.shared.ledger.measure(window.clone());
    run.engine.publishing.follow(match plan.rate {
        Some(rate) => Schedule::timed(begins, rate, plan.batch, plan.warm_up + plan.duration),
        None => Schedule::unpaced(window.end),
    });
    run.engine.progress.enter("warming up", Some(window.start));
    run.engine.run(window.start, |_| false)?;

    run.engine.progress.enter("measuring", Some(window.end));
    let mark = run.mark()?;
    let counts = |run: &Run| (run.engine.shared.ledger.counts.all, run.engine.publishing.counts.all_requests);
    let before = counts(run);
    run.engine.run(window.end, |_| false)?;
    let after = counts(run);
    let measured = seconds(run.engine.now().min(window.end).saturating_sub(window.start));
    run.report.seconds = measured;
    match readers {
        0 => run.note_cpu(mark, after.1 - before.1, "request")?,
        _ => run.note_cpu(mark, after.0 - before.0, "delivery")?,
    }

    run.report.interrupted = run.engine.resume();
    let is_settled = settle(run, &window)?;
    let publishing = &run.engine.publishing;
    if publishing.counts.all_events == 0 && publishing.counts.all_errors > 0 {
        return Err(RunError::NothingPublished(publishing.first_problem.clone().unwrap_or_default()));
    }
    note_publishing(run, measured);
    if readers > 0 {
        run.note_streams();
        run.note_deliveries(Some(measured), is_settled);
    }
    Ok(())
}

/// Waits for what is on its way. Whether all of it came.
fn settle(run: &mut Run, window: &Range<Nanos>) -> Result<bool, RunError> {
    if run.report.interrupted {
        run.engine.publishing.follow(Schedule::empty());
    }
    run.engine.progress.enter("waiting for the last events", None);
    let ends = run.engine.now().max(window.end) + nanos(SETTLING);
    Ok(run.engine.run_while_moving(ends, QUIET.min(run.timeout), |engine| {
        engine.publishing.is_over(engine.now()) && engine.shared.ledger.is_settled()
    })?)
}

fn note_publishing(run: &mut Run, measured: f64) {
    let publishing = &run.engine.publishing;
    let counts = publishing.counts;
    run.report.published = Some(Published {
        requests: counts.requests,
        events: counts.events,
        errors: counts.errors,
        unsent: publishing.unsent(),
        requests_per_second: counts.requests_within_window as f64 / measured,
        events_per_second: counts.events_within_window as f64 / measured,
        latency: publishing.latency.quantiles(),
        first_problem: publishing.first_problem.clone(),
    });
}
