//! A storm: many clients at once that all want the same past events.

use super::clock::Nanos;
use super::process::Kernel;
use super::report::Replay;
use super::run::{Run, RunError, seconds};
use super::schedule::Schedule;

/// What is to be done.
pub(super) struct StormPlan {
    /// Events that every pipeline is filled with.
    pub(super) events: u64,
}

pub(super) fn storm(run: &mut Run, clients: usize, plan: &StormPlan) -> Result<(), RunError> {
    run.connect_publishers()?;
    fill(run, plan)?;
    let (memory, kernel) = (run.memory()?, Kernel::now()?);
    let mark = run.mark()?;
    run.engine.progress.enter("catching up", None);
    run.engine.readers.await_replay(plan.events);
    run.want_streams(clients, run.at_once);
    let is_settled = run.engine.run_while_moving(Nanos::MAX, run.timeout, |engine| engine.readers.are_caught_up())?;
    run.report.interrupted = run.engine.is_stopped();
    if !is_settled {
        run.give_up_streams();
    }
    run.note_cpu(mark, run.engine.readers.opened as u64, "client")?;
    run.note_memory(memory, kernel)?;
    run.note_streams();
    run.note_deliveries(None, is_settled);
    note_replay(run, plan);
    let readers = &run.engine.readers;
    if readers.opened == 0 && !run.report.interrupted {
        return Err(RunError::NoStream(readers.first_problem.clone().unwrap_or_default()));
    }
    Ok(())
}

/// Publishes what the clients are to catch up with.
fn fill(run: &mut Run, plan: &StormPlan) -> Result<(), RunError> {
    let pipelines = run.engine.shared.ledger.pipelines() as u64;
    run.engine.progress.enter("filling", None);
    run.engine.publishing.follow(Schedule::counted(pipelines * plan.events));
    run.engine.run_while_moving(Nanos::MAX, run.timeout, |engine| engine.publishing.is_over(engine.now()))?;
    let publishing = &run.engine.publishing;
    if publishing.counts.all_events == pipelines * plan.events {
        return Ok(());
    }
    let problem = publishing.first_problem.clone().unwrap_or_else(|| "no answer in time".into());
    Err(RunError::Unfilled(problem))
}

fn note_replay(run: &mut Run, plan: &StormPlan) {
    let readers = &run.engine.readers;
    let took = seconds(readers.caught_up_at.saturating_sub(run.opening_began));
    run.report.seconds = took;
    run.report.replay = Some(Replay {
        events_per_client: plan.events,
        served: readers.caught_up,
        seconds: took,
        bytes: readers.that_opened().map(|stream| stream.bytes).sum(),
        catch_up: run.engine.shared.catch_up.quantiles(),
    });
}
