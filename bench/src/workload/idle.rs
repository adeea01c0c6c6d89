//! Idle streams: what it costs a server to hold them.

use std::time::Duration;

use super::measurement::{Measurement, seconds};
use crate::clock::nanos;
use crate::error::BenchError;
use crate::kernel::KernelMemory;

/// Time for allocators and kernel queues to come to rest before memory is measured.
const REST: Duration = Duration::from_secs(1);

/// Streams on which nothing is sent.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// How many streams.
    pub streams: usize,
    /// How many pipelines they are spread over.
    pub pipelines: usize,
    /// How long they are held.
    pub hold: Duration,
}

impl Idle {
    pub(super) fn run(&self, run: &mut Measurement) -> Result<(), BenchError> {
        let (memory, kernel) = (run.memory()?, KernelMemory::now()?);
        run.open_streams(self.streams)?;
        rest(run, REST)?;
        run.engine.progress.enter("holding", Some(run.engine.now() + nanos(self.hold)));
        let began = run.engine.now();
        let mark = run.mark()?;
        rest(run, self.hold)?;
        let units = run.engine.subscribers.opened as u64;
        run.report.seconds = seconds(run.engine.now() - began);
        run.note_cpu(mark, units, "stream")?;
        run.note_memory(memory, kernel)?;
        run.note_streams();
        run.report.interrupted = run.engine.is_stopped();
        Ok(())
    }
}

fn rest(run: &mut Measurement, time: Duration) -> Result<(), BenchError> {
    let ends = run.engine.now() + nanos(time);
    run.engine.run(ends, |_| false)?;
    Ok(())
}
