//! The hub: the map from pipeline to log on this node, and the one loop that keeps logs true.
//!
//! A log is opened by its first reader and closed some time after its last one has left. The loop
//! subscribes, reads histories (each once, however many wait for it), compares open logs with the
//! store now and then, and closes what lingers.

pub mod log_memory;
pub mod open_log;
pub mod read_queue;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::event::PipelineId;
use crate::hub::log_memory::LogMemory;
use crate::hub::open_log::{LogView, OpenLog};
use crate::hub::read_queue::{ReadQueue, Waiting};
use crate::log::notification::Notification;
use crate::log::refresh::{Question, ReadRequest, Refresh, Ticket};
use crate::log::{Cursor, LogLimits};
use crate::metrics::{Metrics, ReadReason, StoreOp};
use crate::sse::frame::History;
use crate::store::{EventSink, Newest, Store, StoreError};

/// Histories read at the same time; more wait their turn. One that failed waits outside.
const READS_AT_ONCE: usize = 32;

/// Pipelines compared with the store in one call.
const CHECKED_AT_ONCE: usize = 500;

/// Section `hub` of the settings, and what of the others it follows.
#[derive(Clone, Copy, Debug)]
pub struct HubOptions {
    /// What each log keeps.
    pub log: LogLimits,
    /// Most bytes of memory that all logs take together, `store.memory`.
    pub log_memory: usize,
    /// Longest time that an acknowledgement waits for readers that lag.
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
    /// Logs that lost their last reader, by when they did; each once, however often readers come and go.
    idle: Mutex<BTreeMap<(Instant, PipelineId), Arc<OpenLog>>>,
    work: mpsc::UnboundedSender<HubCommand>,
    /// Over how long streams are to end. Set once, before all readers are woken.
    drain_window: OnceLock<Duration>,
}

/// What the hub's loop is asked to do.
#[derive(Debug)]
pub struct HubCommand(Task);

#[derive(Debug)]
enum Task {
    Watch(PipelineId),
    Read(Arc<OpenLog>),
    Answer(oneshot::Sender<()>),
    Relieve,
}

/// Membership in a log, of one client or of several that share it; leaves when dropped.
#[derive(Debug)]
pub struct Reader {
    hub: Arc<Hub>,
    log: Arc<OpenLog>,
    place: usize,
}

impl Hub {
    /// An empty hub, and the queue that [`Hub::run`] works on.
    pub fn new(options: HubOptions, metrics: Arc<Metrics>) -> (Arc<Self>, mpsc::UnboundedReceiver<HubCommand>) {
        let (work, queue) = mpsc::unbounded_channel();
        let hub = Self {
            options,
            metrics,
            logs: Mutex::default(),
            log_memory: Arc::new(LogMemory::new(options.log_memory)),
            idle: Mutex::default(),
            work,
            drain_window: OnceLock::new(),
        };
        (Arc::new(hub), queue)
    }

    /// Joins a pipeline's log, which is opened if it is not.
    pub fn join(self: &Arc<Self>, pipeline: &PipelineId) -> Reader {
        let mut logs = self.logs.lock();
        let log = logs.entry(pipeline.clone()).or_insert_with(|| {
            self.send(Task::Watch(pipeline.clone()));
            Arc::new(OpenLog::new(pipeline.clone(), self.options.log, self.log_memory.clone()))
        });
        let log = log.clone();
        // Under the map's lock: the log cannot be closed before it has its reader.
        let (place, is_to_be_read) = log.join();
        if is_to_be_read {
            self.send(Task::Read(log.clone()));
        }
        Reader { hub: self.clone(), log, place }
    }

    /// How many clients read a pipeline on this node.
    pub fn clients(&self, pipeline: &PipelineId) -> usize {
        self.find(pipeline.as_str()).map_or(0, |log| log.clients())
    }

    /// Waits while publishers of a pipeline outrun most of its clients on this node, at most
    /// `hub.hold`. Says whether it waited. Cancel safe.
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

    /// Bytes of memory that all logs take.
    pub fn event_buffer_bytes(&self) -> usize {
        self.log_memory.used()
    }

    /// Whether there is memory for a stream of this pipeline: always while its log is open.
    pub fn has_room(&self, pipeline: &PipelineId) -> bool {
        !self.log_memory.is_tight() || self.find(pipeline.as_str()).is_some()
    }

    /// Ends all streams; each is woken and chooses its moment within `window`.
    pub fn start_drain(&self, window: Duration) {
        // A second drain changes nothing.
        let _ = self.drain_window.set(window);
        for log in self.all() {
            log.wake_all();
        }
    }

    /// Asks whether the hub's loop turns. One that hangs or has ended never answers.
    pub fn ask(&self) -> oneshot::Receiver<()> {
        let (answer, answered) = oneshot::channel();
        self.send(Task::Answer(answer));
        answered
    }

    /// Within how long from the drain's start on streams are to end; `None` while they may go on.
    pub fn drain_window(&self) -> Option<Duration> {
        self.drain_window.get().copied()
    }

    /// The hub's life. Ends never by itself; dropping it stops all reads.
    pub async fn run(self: Arc<Self>, store: Arc<Store>, mut queue: mpsc::UnboundedReceiver<HubCommand>) {
        let mut waiting = ReadQueue::default();
        let mut reads = FuturesUnordered::new();
        let mut retries = FuturesUnordered::new();
        let mut checks = interval(self.options.check_interval);
        let mut closings = interval(self.options.linger.clamp(Duration::from_millis(100), Duration::from_secs(1)));
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        closings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut checking = FuturesUnordered::new();
        loop {
            while reads.len() < READS_AT_ONCE
                && let Some(next) = self.next_read(&mut waiting)
            {
                if let Some(question) = next.log.begin_read() {
                    reads.push(self.read(&store, next, question));
                }
            }
            tokio::select! {
                Some(HubCommand(task)) = queue.recv() => match task {
                    Task::Watch(pipeline) => store.watch(pipeline),
                    Task::Read(log) => waiting.push(log),
                    Task::Answer(answer) => _ = answer.send(()),
                    Task::Relieve => self.relieve(&store),
                },
                Some((read, answer)) = reads.next() => {
                    match self.take_over(&read.log, answer) {
                        Done::Whole => {}
                        Done::Again => waiting.push(read.log),
                        Done::Later(tries) => retries.push(later(read, tries)),
                    }
                }
                Some((retry, tries)) = retries.next() => {
                    if retry.log.retries_read(tries) {
                        waiting.push_again(retry);
                    }
                }
                _ = closings.tick() => {
                    while self.close_idle(&store, self.options.linger) {}
                    self.relieve(&store);
                }
                _ = checks.tick(), if checking.is_empty() => checking.push(self.check(&store)),
                Some(()) = checking.next() => {}
            }
        }
    }

    /// The next log to be read. Those that were closed while they waited are passed over: while the store is slow there may be more of
    /// them than of any others, and nobody would read what was found.
    fn next_read(&self, waiting: &mut ReadQueue) -> Option<Waiting> {
        std::iter::from_fn(|| waiting.pop()).find(|next| self.is_open(&next.log))
    }

    fn is_open(&self, log: &Arc<OpenLog>) -> bool {
        self.logs.lock().get(log.pipeline()).is_some_and(|open| Arc::ptr_eq(open, log))
    }

    /// Asks the store once.
    async fn read(&self, store: &Store, waiting: Waiting, question: Question) -> (Waiting, Result<Answer, StoreError>) {
        let log = &waiting.log;
        let reason = match question {
            Question::Newest(before) => match newest(store, log.pipeline()).await {
                Ok(newest) if log.agrees(newest, before) => return (waiting, Ok(Answer::NothingNew)),
                Ok(_) => ReadReason::Ahead,
                Err(error) => return (waiting, Err(error)),
            },
            Question::History(reason) => reason,
        };
        self.metrics.history_read(reason);
        let history = store.history(log.pipeline()).await;
        (waiting, history.map(Answer::History))
    }

    fn take_over(&self, log: &OpenLog, answer: Result<Answer, StoreError>) -> Done {
        let is_wanted_again = match answer {
            Ok(Answer::NothingNew) => log.finish_look(),
            Ok(Answer::History(history)) => {
                let is_wanted_again = log.finish_read(history);
                self.look_at_memory();
                is_wanted_again
            }
            Err(error) => {
                self.metrics.store_error(StoreOp::History);
                tracing::debug!(pipeline = %log.pipeline(), %error, "history could not be read");
                return log.fail_read().map_or(Done::Whole, Done::Later);
            }
        };
        if is_wanted_again { Done::Again } else { Done::Whole }
    }

    /// Compares open logs with the store, so that a lost last notification is found too, and keeps
    /// the histories of pipelines with readers from expiring.
    async fn check(&self, store: &Store) {
        let read: Vec<_> = self.all().into_iter().filter(|log| log.readers() > 0).collect();
        for some in read.chunks(CHECKED_AT_ONCE) {
            let before: Vec<_> = some.iter().map(|log| log.look(|view| view.log.tail())).collect();
            let pipelines: Vec<_> = some.iter().map(|log| log.pipeline().clone()).collect();
            for ((log, before), newest) in some.iter().zip(before).zip(store.newest(&pipelines).await) {
                match newest {
                    Ok(newest) if !log.agrees(newest, before) && log.look(|view| view.has_read(Refresh::FIRST)) => {
                        self.start_read(log, log.request_read(ReadReason::Check));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        self.metrics.store_error(StoreOp::Check);
                        tracing::debug!(pipeline = %log.pipeline(), %error, "it could not be compared with the store");
                    }
                }
                log.trim();
            }
        }
    }

    /// Closes the log that has been without readers for longest, if that is so long. Whether there may be more.
    fn close_idle(&self, store: &Store, longer_than: Duration) -> bool {
        let mut idle = self.idle.lock();
        let Some(entry) = idle.first_entry().filter(|entry| entry.key().0.elapsed() >= longer_than) else {
            return false;
        };
        let ((queued_since, _), log) = entry.remove_entry();
        drop(idle);
        let mut logs = self.logs.lock();
        match log.idle_since() {
            // The next reader that leaves it last queues it again.
            None => {}
            // Readers have come and gone meanwhile: it has its turn later.
            Some(since) if since != queued_since => self.queue_idle(since, log),
            Some(_) => {
                logs.remove(log.pipeline());
                // The memory store's lock comes before the map's. A reader that joins now opens another log, whose
                // order to watch comes after this one.
                drop(logs);
                store.unwatch(log.pipeline().clone());
            }
        }
        true
    }

    fn queue_idle(&self, since: Instant, log: Arc<OpenLog>) {
        self.idle.lock().insert((since, log.pipeline().clone()), log);
    }

    /// Lets go of memory that is too much: of logs without readers, longest idle first, then of backlogs. While that is
    /// not enough, streams of pipelines that are not open are refused.
    fn relieve(&self, store: &Store) {
        while self.log_memory.is_over() && self.close_idle(store, Duration::ZERO) {}
        if self.log_memory.is_over() {
            self.all().iter().for_each(|log| log.drop_backlog());
        }
        match self.log_memory.relieved(Instant::now()) {
            Some(true) => tracing::warn!(
                bytes = self.log_memory.used(),
                "open pipelines take more than store.memory; streams of others are refused until there is room"
            ),
            Some(false) => tracing::info!(bytes = self.log_memory.used(), "there is room for more pipelines again"),
            None => {}
        }
    }

    fn look_at_memory(&self) {
        if self.log_memory.is_to_be_reported() {
            self.send(Task::Relieve);
        }
    }

    fn start_read(&self, log: &Arc<OpenLog>, request: ReadRequest) {
        if let ReadRequest::Start(_) = request {
            self.send(Task::Read(log.clone()));
        }
    }

    fn find(&self, pipeline: &str) -> Option<Arc<OpenLog>> {
        self.logs.lock().get(pipeline).cloned()
    }

    fn all(&self) -> Vec<Arc<OpenLog>> {
        self.logs.lock().values().cloned().collect()
    }

    fn send(&self, task: Task) {
        // A queue that nobody reads means that the node is stopping.
        let _ = self.work.send(HubCommand(task));
    }
}

/// What the store answered.
enum Answer {
    /// It has what the log has.
    NothingNew,
    History(History),
}

/// What a read leaves to be done.
enum Done {
    Whole,
    /// Another read, at once.
    Again,
    /// The same, after a while, when it was tried so often.
    Later(u64),
}

/// Waits outside of the reads that are under way.
async fn later(mut waiting: Waiting, tries: u64) -> (Waiting, u64) {
    sleep(waiting.backoff.next_delay()).await;
    (waiting, tries)
}

/// The newest of one pipeline.
async fn newest(store: &Store, pipeline: &PipelineId) -> Result<Newest, StoreError> {
    let one = store.newest(std::slice::from_ref(pipeline)).await;
    one.into_iter().next().unwrap_or_else(|| Err(StoreError::Unexpected("no answer about a pipeline".into())))
}

impl EventSink for Hub {
    fn notify(&self, pipeline: &str, notification: Notification) {
        let Some(log) = self.find(pipeline) else { return };
        if let Some(request) = log.notify(notification) {
            self.start_read(&log, request);
        }
        self.look_at_memory();
    }

    fn notification_damaged(&self, pipeline: &str) {
        if let Some(log) = self.find(pipeline) {
            self.start_read(&log, log.request_read(ReadReason::MissedNotification));
        }
    }

    fn subscribed(&self, pipelines: &[PipelineId]) {
        for pipeline in pipelines {
            if let Some(log) = self.find(pipeline.as_str()) {
                self.start_read(&log, log.subscribed());
            }
        }
    }
}

impl Reader {
    /// Shows the log to `look`; the task is woken at the next change if that finds nothing to do.
    pub fn poll<T>(&self, cx: &Context<'_>, look: impl FnOnce(LogView<'_>) -> Poll<T>) -> Poll<T> {
        self.log.poll(self.place, cx, look)
    }

    /// The pipeline that is read.
    pub fn pipeline(&self) -> &PipelineId {
        self.log.pipeline()
    }

    /// Shows the log.
    pub fn look<T>(&self, look: impl FnOnce(LogView<'_>) -> T) -> T {
        self.log.look(look)
    }

    /// Wakes the task at the next change, whatever the log holds by then.
    pub fn wake_at_change(&self, waker: &Waker) {
        let never: Poll<()> = self.log.poll(self.place, &Context::from_waker(waker), |_| Poll::Pending);
        debug_assert!(never.is_pending());
    }

    /// Counts a client that reads through this membership. Returns the mark that it counts as having passed.
    pub fn add_client(&self) -> u64 {
        self.log.add_client()
    }

    /// Counts one less, that last passed this mark.
    pub fn remove_client(&self, passed: u64) {
        self.log.remove_client(passed);
    }

    /// Takes note of how far a client has come; `passed` is the mark that it passed last.
    pub fn keep_pace(&self, cursor: Option<Cursor>, passed: &mut u64) {
        let mark = self.log.mark();
        if *passed != mark && cursor.is_some_and(|cursor| cursor.index() >= mark) {
            *passed = self.log.passed(*passed, mark);
        }
    }

    /// Asks for a history read that starts after this call.
    pub fn request_read(&self, reason: ReadReason) -> Ticket {
        let request = self.log.request_read(reason);
        self.hub.start_read(&self.log, request);
        request.ticket()
    }

    /// See [`Hub::drain_window`].
    pub fn drain_window(&self) -> Option<Duration> {
        self.hub.drain_window()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(since) = self.log.leave(self.place) {
            self.hub.queue_idle(since, self.log.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Retention;
    use crate::store::memory::MemoryStore;

    fn hub() -> (Arc<Hub>, mpsc::UnboundedReceiver<HubCommand>) {
        let log = LogLimits {
            history: 100,
            history_bytes: 1 << 20,
            backlog_bytes: 0,
            backlog_age: Duration::ZERO,
            compresses: false,
        };
        let options = HubOptions {
            log,
            log_memory: usize::MAX,
            hold: Duration::ZERO,
            linger: Duration::from_secs(3600),
            check_interval: Duration::from_secs(3600),
        };
        Hub::new(options, Arc::new(Metrics::new().unwrap()))
    }

    #[test]
    fn logs_that_were_closed_while_they_waited_are_not_read() {
        let (hub, _work) = hub();
        let retention = Retention { limit: 100, bytes: 1 << 20, ttl: Duration::from_secs(3600) };
        let store = Store::Memory(Arc::new(MemoryStore::new(retention, 1 << 20, hub.clone())));
        let mut waiting = ReadQueue::default();
        let mut open = |name: String| {
            let reader = hub.join(&name.parse().unwrap());
            waiting.push(reader.log.clone());
            reader
        };
        for n in 0..10_000 {
            drop(open(format!("left-{n}")));
        }
        let kept = open("kept".to_owned());
        // One that is opened again is another log.
        drop(open("again".to_owned()));
        while hub.close_idle(&store, Duration::ZERO) {}
        let again = hub.join(&"again".parse().unwrap());
        assert_eq!(hub.open_logs(), 2);
        let read = hub.next_read(&mut waiting).unwrap();
        assert!(Arc::ptr_eq(&read.log, &kept.log));
        assert!(hub.next_read(&mut waiting).is_none() && waiting.pop().is_none());
        drop(again);
    }

    #[test]
    fn a_pipeline_that_is_opened_and_left_over_and_over_waits_once_to_be_closed() {
        let (hub, mut queue) = hub();
        let pipelines = ["a", "b"].map(|name| name.parse::<PipelineId>().unwrap());
        for _ in 0..10_000 {
            for pipeline in &pipelines {
                drop(hub.join(pipeline));
            }
        }
        assert_eq!((hub.idle.lock().len(), hub.open_logs()), (2, 2));
        let orders = std::iter::from_fn(|| queue.try_recv().ok()).count();
        assert_eq!(orders, 2, "each was opened once");
    }
}
