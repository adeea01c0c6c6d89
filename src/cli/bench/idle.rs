//! Idle streams: what it costs to hold them.

use std::time::Duration;

use super::clock::nanos;
use super::process::Kernel;
use super::run::{Run, RunError, seconds};

/// Allocators and kernel queues come to rest before memory is looked at.
const REST: Duration = Duration::from_secs(1);

pub(super) fn idle(run: &mut Run, streams: usize, hold: Duration) -> Result<(), RunError> {
    let (memory, kernel) = (run.memory()?, Kernel::now()?);
    run.open_streams(streams)?;
    rest(run, REST)?;
    run.engine.progress.enter("holding", Some(run.engine.now() + nanos(hold)));
    let began = run.engine.now();
    let mark = run.mark()?;
    rest(run, hold)?;
    let units = run.engine.readers.opened as u64;
    run.report.seconds = seconds(run.engine.now() - began);
    run.note_cpu(mark, units, "stream")?;
    run.note_memory(memory, kernel)?;
    run.note_streams();
    run.report.interrupted = run.engine.is_stopped();
    Ok(())
}

fn rest(run: &mut Run, time: Duration) -> Result<(), RunError> {
    let ends = run.engine.now() + nanos(time);
    run.engine.run(ends, |_| false)?;
    Ok(())
}
