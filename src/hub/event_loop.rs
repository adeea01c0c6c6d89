//! The hub's one loop: it watches pipelines, starts reads, compares logs with the store and closes logs without readers.
//!
//! It never waits for the store, a client or a lock that is held across a wait.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::live_log::{Action, AfterRead};
use super::open_log::OpenLog;
use super::read_queue::ReadQueue;
use super::{Hub, history_reads, now};
use crate::event::PipelineId;
use crate::store::Store;

/// Histories read at the same time; more wait their turn. One that failed waits outside.
const READS_AT_ONCE: usize = 32;

/// A command for the hub's loop.
#[derive(Debug)]
pub struct HubCommand(Command);

#[derive(Debug)]
pub(super) enum Command {
    Watch(PipelineId),
    Read(Arc<OpenLog>),
    Answer(oneshot::Sender<()>),
    FreeMemory,
}

impl From<Command> for HubCommand {
    fn from(command: Command) -> Self {
        Self(command)
    }
}

impl Hub {
    /// The hub's life. Never ends by itself; dropping it stops all reads.
    pub async fn run(self: Arc<Self>, store: Arc<Store>, mut commands: mpsc::UnboundedReceiver<HubCommand>) {
        let mut waiting = ReadQueue::default();
        let mut reads = FuturesUnordered::new();
        let mut retries = FuturesUnordered::new();
        let mut comparison = FuturesUnordered::new();
        let mut comparisons = every(self.options.check_interval);
        let mut closings = every(self.options.linger.clamp(Duration::from_millis(100), Duration::from_secs(1)));
        loop {
            while reads.len() < READS_AT_ONCE
                && let Some(next) = self.next_read(&mut waiting)
            {
                if let Some(question) = next.log.start_read() {
                    reads.push(self.read(&store, next, question));
                }
            }
            tokio::select! {
                Some(HubCommand(command)) = commands.recv() => match command {
                    Command::Watch(pipeline) => store.watch(pipeline),
                    Command::Read(log) => waiting.push(log),
                    Command::Answer(answer) => _ = answer.send(()),
                    Command::FreeMemory => self.free_memory(&store),
                },
                Some((read, after)) = reads.next() => match after {
                    AfterRead::Done => {}
                    AfterRead::Queue => waiting.push(read.log),
                    AfterRead::Retry(attempts) => retries.push(history_reads::wait(read, attempts)),
                },
                Some((retry, attempts)) = retries.next() => {
                    if retry.log.retry_due(attempts) == Action::QueueRead {
                        waiting.push_again(retry);
                    }
                }
                _ = comparisons.tick(), if comparison.is_empty() => comparison.push(self.compare(&store)),
                Some(()) = comparison.next() => {}
                _ = closings.tick() => {
                    while self.close_idle(&store, self.options.linger) {}
                    self.free_memory(&store);
                }
            }
        }
    }

    /// Closes the log that has been without readers for longest, if that is `at_least`. Returns whether there may be more.
    pub(super) fn close_idle(&self, store: &Store, at_least: Duration) -> bool {
        let Some((queued_since, log)) = self.idle.lock().take_first(now(), at_least) else { return false };
        let mut logs = self.logs.lock();
        match log.idle_since() {
            // The last reader that leaves it queues it again.
            None => {}
            // Readers have come and left in the meantime: it has its turn later.
            Some(since) if since != queued_since => self.idle.lock().add(since, log),
            Some(_) => {
                logs.remove(log.pipeline());
                // The memory store's lock comes before the map's. A reader that joins at this point opens another log,
                // whose command to watch comes after this one.
                drop(logs);
                store.unwatch(log.pipeline().clone());
            }
        }
        true
    }

    /// Frees memory when logs use too much: closes those without readers, the longest idle first, then drops backlogs. While
    /// that is not enough, streams of pipelines that are not open are turned away.
    fn free_memory(&self, store: &Store) {
        while self.log_memory.is_over() && self.close_idle(store, Duration::ZERO) {}
        if self.log_memory.is_over() {
            self.all().iter().for_each(|log| log.drop_backlog());
        }
        match self.log_memory.freed(now()) {
            Some(true) => tracing::warn!(
                bytes = self.log_memory.used(),
                "open pipelines need more than store.memory; streams of other pipelines are turned away until there is room"
            ),
            Some(false) => tracing::info!(bytes = self.log_memory.used(), "there is room for more pipelines again"),
            None => {}
        }
    }
}

/// Ticks that are not caught up when one comes late.
fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
