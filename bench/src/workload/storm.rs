//! A storm: many clients that connect at once and all want the same past events.

use super::measurement::{Measurement, seconds};
use crate::clock::Nanos;
use crate::error::BenchError;
use crate::kernel::KernelMemory;
use crate::publishers::Schedule;
use crate::report::Replay;

/// Publishers that fill the pipelines before the storm.
pub(super) const PUBLISHERS: usize = 4;

/// Many clients that connect at once and catch up.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// How many clients.
    pub clients: usize,
    /// How many pipelines they are spread over.
    pub pipelines: usize,
    /// Events that each pipeline is filled with first; no more than the server keeps.
    pub events: u64,
    /// Size of an event's payload, at least [`MIN_PAYLOAD_BYTES`](crate::MIN_PAYLOAD_BYTES).
    pub payload_bytes: usize,
}

impl Storm {
    pub(super) fn run(&self, run: &mut Measurement) -> Result<(), BenchError> {
        run.connect_publishers()?;
        self.fill(run)?;
        let (memory, kernel) = (run.memory()?, KernelMemory::now()?);
        let mark = run.mark()?;
        run.engine.progress.enter("catching up", None);
        run.engine.subscribers.await_replay(self.events);
        run.want_streams(self.clients, run.at_once);
        let is_settled =
            run.engine.run_while_moving(Nanos::MAX, run.timeout, |engine| engine.subscribers.are_caught_up())?;
        run.report.interrupted = run.engine.is_stopped();
        if !is_settled {
            run.give_up_streams();
        }
        run.note_cpu(mark, run.engine.subscribers.opened as u64, "client")?;
        run.note_memory(memory, kernel)?;
        run.note_streams();
        run.note_deliveries(None, is_settled);
        self.note_replay(run);
        let subscribers = &run.engine.subscribers;
        if subscribers.opened == 0 && !run.report.interrupted {
            return Err(BenchError::NoStream(subscribers.first_problem.clone().unwrap_or_default()));
        }
        Ok(())
    }

    /// Publishes the events that the clients catch up with.
    fn fill(&self, run: &mut Measurement) -> Result<(), BenchError> {
        let events = run.engine.shared.tally.pipelines() as u64 * self.events;
        run.engine.progress.enter("filling", None);
        run.engine.publishers.follow(Schedule::counted(events));
        run.engine.run_while_moving(Nanos::MAX, run.timeout, |engine| engine.publishers.is_over(engine.now()))?;
        let publishers = &run.engine.publishers;
        if publishers.counts.all_events == events {
            return Ok(());
        }
        let problem = publishers.first_problem.clone().unwrap_or_else(|| "no answer in time".into());
        Err(BenchError::Unfilled(problem))
    }

    fn note_replay(&self, run: &mut Measurement) {
        let subscribers = &run.engine.subscribers;
        let took = seconds(subscribers.caught_up_at.saturating_sub(run.opening_began));
        run.report.seconds = took;
        run.report.replay = Some(Replay {
            events_per_client: self.events,
            served: subscribers.caught_up,
            seconds: took,
            bytes: subscribers.that_opened().map(|stream| stream.bytes).sum(),
            catch_up: run.engine.shared.catch_up.quantiles(),
        });
    }
}
