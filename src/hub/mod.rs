//! The hub: the map from pipeline to log on this node.
//!
//! A log is opened by its first reader and closed some time after its last one has left. [`Hub::run`] is the one loop that
//! keeps logs equal to the store; what a log needs is decided by [`live_log`].

mod backpressure;
mod comparison;
mod event_loop;
mod history_reads;
mod idle_logs;
pub mod live_log;
pub mod log_memory;
pub mod open_log;
pub mod read_queue;
mod reader;
pub mod subscriber_progress;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::event::PipelineId;
use crate::log::LogLimits;
use crate::log::notification::Notification;
use crate::metrics::{Metrics, ReadReason};
use crate::store::{EventSink, Wakers};

use event_loop::Command;
use idle_logs::IdleLogs;
use live_log::Action;
use log_memory::LogMemory;
use open_log::OpenLog;

pub use event_loop::HubCommand;
pub use reader::Reader;

/// Section `hub` of the settings, and what the hub needs of the others.
#[derive(Clone, Copy, Debug)]
pub struct HubOptions {
    /// What each log keeps.
    pub log: LogLimits,
    /// Maximum bytes of memory for all logs together, `store.memory`.
    pub log_memory: usize,
    /// Maximum time that a publish waits for subscribers that are behind.
    pub hold: Duration,
    /// How long a log stays open without readers.
    pub linger: Duration,
    /// How often open logs are compared with the store.
    pub check_interval: Duration,
}

/// The open logs of this node.
#[derive(Debug)]
pub struct Hub {
    options: HubOptions,
    metrics: Arc<Metrics>,
    /// Guards opening and closing; a log has a lock of its own.
    logs: Mutex<HashMap<PipelineId, Arc<OpenLog>>>,
    log_memory: Arc<LogMemory>,
    /// Written by readers that leave, read by the loop.
    idle: Mutex<IdleLogs>,
    commands: mpsc::UnboundedSender<HubCommand>,
    /// How long after its start a drain ends the last stream. Set once, before all readers are woken.
    drain_window: OnceLock<Duration>,
}

impl Hub {
    /// An empty hub, and the queue of commands for [`Hub::run`].
    pub fn new(options: HubOptions, metrics: Arc<Metrics>) -> (Arc<Self>, mpsc::UnboundedReceiver<HubCommand>) {
        let (commands, queue) = mpsc::unbounded_channel();
        let hub = Self {
            options,
            metrics,
            logs: Mutex::default(),
            log_memory: Arc::new(LogMemory::new(options.log_memory)),
            idle: Mutex::default(),
            commands,
            drain_window: OnceLock::new(),
        };
        (Arc::new(hub), queue)
    }

    /// Joins a pipeline's log, and opens it if necessary.
    pub fn join(self: &Arc<Self>, pipeline: &PipelineId) -> Reader {
        let mut logs = self.logs.lock();
        let log = logs.entry(pipeline.clone()).or_insert_with(|| {
            self.send(Command::Watch(pipeline.clone()));
            Arc::new(OpenLog::new(pipeline.clone(), self.options.log, self.log_memory.clone()))
        });
        let log = log.clone();
        // Under the map's lock: the log cannot be closed before it has its reader.
        let (place, action) = log.join();
        self.act(&log, action);
        Reader::new(self.clone(), log, place)
    }

    /// How many clients read a pipeline on this node.
    pub fn clients(&self, pipeline: &PipelineId) -> usize {
        self.find(pipeline.as_str()).map_or(0, |log| log.clients())
    }

    /// Waits while publishers of a pipeline are too fast for most of its clients on this node, at most `hub.hold`. Returns
    /// whether it waited. Cancel safe.
    pub async fn keep_pace(&self, pipeline: &PipelineId) -> bool {
        match self.find(pipeline.as_str()) {
            Some(log) => log.keep_pace(self.options.hold).await,
            None => false,
        }
    }

    /// How many logs are open.
    pub fn open_logs(&self) -> usize {
        self.logs.lock().len()
    }

    /// Bytes of memory of all logs.
    pub fn event_buffer_bytes(&self) -> usize {
        self.log_memory.used()
    }

    /// Whether there is memory for a stream of this pipeline: always while its log is open.
    pub fn has_room(&self, pipeline: &PipelineId) -> bool {
        !self.log_memory.is_tight() || self.find(pipeline.as_str()).is_some()
    }

    /// Ends all streams: wakes each of them, to choose its moment within `window`.
    pub fn start_drain(&self, window: Duration) {
        // A second drain changes nothing.
        let _ = self.drain_window.set(window);
        for log in self.all() {
            log.wake_all();
        }
    }

    /// How long after its start a drain ends the last stream; `None` while there is no drain.
    pub fn drain_window(&self) -> Option<Duration> {
        self.drain_window.get().copied()
    }

    /// Asks the hub's loop for a sign of life. A loop that hangs or has ended never answers.
    pub fn ask(&self) -> oneshot::Receiver<()> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Answer(answer));
        answered
    }

    /// Does what a change to a log asks for, except waking its readers: the log does that.
    fn act(&self, log: &Arc<OpenLog>, action: Action) {
        if action == Action::QueueRead {
            self.send(Command::Read(log.clone()));
        }
    }

    fn report_memory(&self) {
        if self.log_memory.is_to_be_reported() {
            self.send(Command::FreeMemory);
        }
    }

    fn find(&self, pipeline: &str) -> Option<Arc<OpenLog>> {
        self.logs.lock().get(pipeline).cloned()
    }

    fn all(&self) -> Vec<Arc<OpenLog>> {
        self.logs.lock().values().cloned().collect()
    }

    fn send(&self, command: Command) {
        // A closed queue means that the node is stopping.
        let _ = self.commands.send(command.into());
    }
}

impl EventSink for Hub {
    fn notify(&self, pipeline: &str, notification: Notification) -> Wakers {
        let Some(log) = self.find(pipeline) else { return Wakers::default() };
        let (action, wakers) = log.notify(notification, now());
        self.act(&log, action);
        self.report_memory();
        wakers
    }

    fn notification_damaged(&self, pipeline: &str) {
        if let Some(log) = self.find(pipeline) {
            let (_, action) = log.request_read(ReadReason::MissedNotification);
            self.act(&log, action);
        }
    }

    fn subscribed(&self, pipelines: &[PipelineId]) {
        for pipeline in pipelines {
            if let Some(log) = self.find(pipeline.as_str()) {
                self.act(&log, log.subscribed());
            }
        }
    }
}

/// The hub's clock: the runtime's, so that tests can pause it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
