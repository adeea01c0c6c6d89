//! A live log as a node's threads share it: with a lock, and with what wakes its readers.
//!
//! What the log needs is decided by [`LiveLog`]; this file locks, wakes and counts memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;

use super::live_log::{Action, AfterRead, LiveLog, Question, Ticket, Urgency};
use super::log_memory::LogMemory;
use super::subscriber_progress::{ProgressMark, SubscriberProgress};
use crate::event::{EventId, PipelineId};
use crate::log::notification::Notification;
use crate::log::{Log, LogLimits};
use crate::metrics::ReadReason;
use crate::sse::frame::History;
use crate::store::{Newest, Wakers};

/// A pipeline's log while it is open on this node.
#[derive(Debug)]
pub struct OpenLog {
    pipeline: PipelineId,
    /// Of all logs of the node; each log counts itself in.
    memory: Arc<LogMemory>,
    /// The index that clients are to pass, readable without the lock. Written whenever the log or the progress changes.
    pub(super) mark: AtomicU64,
    /// Notified when most clients have passed the mark again.
    pub(super) caught_up: Notify,
    /// Held for a few statements, by publishers' and the hub's threads to write and by readers to look. Wakers are called
    /// after it is released.
    pub(super) state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) live: LiveLog,
    /// One place per reader: what wakes it, while it waits.
    wakers: Slab<Option<Waker>>,
    /// Counts clients, of which many may share one reader's place.
    pub(super) progress: SubscriberProgress,
    idle_since: Option<Instant>,
    /// Whether the hub has the log among its idle ones, or is about to.
    is_queued: bool,
}

/// What a reader sees under the lock.
#[derive(Debug)]
pub struct LogView<'a> {
    /// The log.
    pub log: &'a Log,
    live: &'a LiveLog,
}

impl LogView<'_> {
    /// Whether that read is done.
    pub fn has_read(&self, ticket: Ticket) -> bool {
        self.live.has_read(ticket)
    }
}

impl OpenLog {
    /// A log without events. Its first read waits for the subscription.
    pub fn new(pipeline: PipelineId, limits: LogLimits, memory: Arc<LogMemory>) -> Self {
        let state = State {
            live: LiveLog::new(limits),
            wakers: Slab::new(),
            progress: SubscriberProgress::new(limits.backlog_bytes),
            idle_since: None,
            is_queued: false,
        };
        memory.replace(0, state.live.log().memory());
        Self { pipeline, memory, mark: AtomicU64::new(0), caught_up: Notify::new(), state: Mutex::new(state) }
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &PipelineId {
        &self.pipeline
    }

    /// Adds a reader, and returns the number of its place.
    pub fn join(&self) -> (usize, Action) {
        let mut state = self.state.lock();
        state.idle_since = None;
        let place = state.wakers.insert(None);
        (place, state.live.reader_joined())
    }

    /// Removes a reader. If it was the last one and the log is not among the hub's idle ones, returns the time: the caller
    /// adds it there, and asks [`OpenLog::idle_since`] later.
    pub fn leave(&self, place: usize, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        state.wakers.remove(place);
        state.live.reader_left();
        state.idle_since = (state.live.readers() == 0).then_some(now);
        let was_queued = state.is_queued;
        state.is_queued |= state.idle_since.is_some();
        state.idle_since.filter(|_| !was_queued)
    }

    /// Since when the log has had no reader. The hub has taken it from its idle ones, and adds it again if there is a time.
    pub fn idle_since(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        state.is_queued = state.idle_since.is_some();
        state.idle_since
    }

    /// How many readers there are.
    pub fn readers(&self) -> usize {
        self.state.lock().live.readers()
    }

    /// Shows the log to `look`. If that finds nothing to do, the reader is woken at the next change.
    ///
    /// Cancel safe: the next call replaces the waker.
    pub fn poll<T>(&self, place: usize, cx: &Context<'_>, look: impl FnOnce(LogView<'_>) -> Poll<T>) -> Poll<T> {
        let mut state = self.state.lock();
        let found = look(state.view());
        if found.is_pending()
            && let Some(place) = state.wakers.get_mut(place)
        {
            match place {
                Some(waker) if waker.will_wake(cx.waker()) => {}
                _ => *place = Some(cx.waker().clone()),
            }
        }
        found
    }

    /// Shows the log.
    pub fn look<T>(&self, look: impl FnOnce(LogView<'_>) -> T) -> T {
        look(self.state.lock().view())
    }

    /// Wakes all readers, to look at something that is not in the log.
    pub fn wake_all(&self) {
        let wakers = self.state.lock().take_wakers();
        wakers.wake();
    }

    /// See [`LiveLog::subscribed`].
    pub fn subscribed(&self) -> Action {
        self.state.lock().live.subscribed()
    }

    /// See [`LiveLog::notify`]. Wakes nobody: the caller may hold a lock, and wakes the readers when it has released that.
    pub fn notify(&self, notification: Notification, now: Instant) -> (Action, Wakers) {
        let mut state = self.state.lock();
        let action = self.change(&mut state, |live| {
            if self.memory.is_tight() {
                // Before the new events are added: readers that are up to date must receive those.
                live.drop_backlog();
            }
            live.notify(notification, now)
        });
        match action {
            Action::WakeReaders => (action, state.take_wakers()),
            Action::Nothing | Action::QueueRead => (action, Wakers::default()),
        }
    }

    /// See [`LiveLog::request_read`].
    pub fn request_read(&self, reason: ReadReason) -> (Ticket, Action) {
        self.state.lock().live.request_read(reason)
    }

    /// See [`LiveLog::urgency`].
    pub fn urgency(&self) -> Urgency {
        self.state.lock().live.urgency()
    }

    /// See [`LiveLog::start_read`].
    pub fn start_read(&self) -> Option<Question> {
        self.state.lock().live.start_read()
    }

    /// See [`LiveLog::newest_arrived`].
    pub fn newest_arrived(&self, newest: Newest) -> Option<AfterRead> {
        let mut state = self.state.lock();
        let after = state.live.newest_arrived(newest)?;
        let wakers = state.take_wakers();
        drop(state);
        wakers.wake();
        Some(after)
    }

    /// See [`LiveLog::history_arrived`].
    pub fn history_arrived(&self, history: History, now: Instant) -> AfterRead {
        let mut state = self.state.lock();
        let after = self.change(&mut state, |live| live.history_arrived(history, now));
        let wakers = state.take_wakers();
        drop(state);
        wakers.wake();
        after
    }

    /// See [`LiveLog::read_failed`].
    pub fn read_failed(&self) -> AfterRead {
        self.state.lock().live.read_failed()
    }

    /// See [`LiveLog::retry_due`].
    pub fn retry_due(&self, attempts: u64) -> Action {
        self.state.lock().live.retry_due(attempts)
    }

    /// See [`LiveLog::checked`].
    pub fn checked(&self, newest: Newest, before: EventId) -> Action {
        self.state.lock().live.checked(newest, before)
    }

    /// See [`Log::trim`].
    pub fn trim(&self, now: Instant) {
        self.change(&mut self.state.lock(), |live| live.trim(now));
    }

    /// See [`Log::drop_backlog`].
    pub fn drop_backlog(&self) {
        self.change(&mut self.state.lock(), LiveLog::drop_backlog);
    }

    /// Changes the log's events, and counts what that adds or frees.
    fn change<T>(&self, state: &mut State, change: impl FnOnce(&mut LiveLog) -> T) -> T {
        let before = state.live.log().memory();
        let result = change(&mut state.live);
        state.progress.grown(state.end());
        self.mark.store(state.progress.mark(), Ordering::Relaxed);
        self.memory.replace(before, state.live.log().memory());
        result
    }
}

impl Drop for OpenLog {
    fn drop(&mut self) {
        self.memory.replace(self.state.get_mut().live.log().memory(), 0);
    }
}

impl State {
    pub(super) fn end(&self) -> ProgressMark {
        let log = self.live.log();
        ProgressMark { index: log.end_index(), bytes: log.bytes_ever() }
    }

    fn view(&self) -> LogView<'_> {
        LogView { log: self.live.log(), live: &self.live }
    }

    fn take_wakers(&mut self) -> Wakers {
        self.wakers.iter_mut().filter_map(|(_, place)| place.take()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sse::frame::{Frame, LossRecord};

    fn frames(seqs: std::ops::RangeInclusive<u64>) -> Vec<Frame> {
        seqs.map(|seq| Frame::new(EventId { ms: 9, seq }, b"event: a\ndata: 1\n\n").unwrap()).collect()
    }

    fn notify(log: &OpenLog, seqs: std::ops::RangeInclusive<u64>) -> (Action, Wakers) {
        let after = EventId { ms: 9, seq: seqs.start() - 1 };
        log.notify(Notification { after, frames: frames(seqs) }, Instant::now())
    }

    /// A log that keeps so many events and no others, whose first read found these.
    fn open_log(
        memory: &Arc<LogMemory>,
        keeps: usize,
        backlog_bytes: usize,
        seqs: std::ops::RangeInclusive<u64>,
    ) -> OpenLog {
        let limits = LogLimits {
            history: keeps,
            history_bytes: usize::MAX,
            backlog_bytes,
            backlog_age: Duration::from_secs(60),
            compresses: false,
        };
        let log = OpenLog::new("p".parse().unwrap(), limits, memory.clone());
        let _ = log.subscribed();
        log.start_read().unwrap();
        let floor = EventId { ms: 9, seq: seqs.start() - 1 };
        let list = History { floor, frames: frames(seqs), loss: LossRecord::default() };
        assert_eq!(log.history_arrived(list, Instant::now()), AfterRead::Done);
        log
    }

    #[test]
    fn bytes_are_counted_until_the_log_is_gone() {
        let memory = Arc::new(LogMemory::default());
        let log = open_log(&memory, 2, 0, 1..=1);
        let one = memory.used();
        let _ = notify(&log, 2..=2);
        let two = memory.used();
        let _ = notify(&log, 3..=3);
        assert!(one > 0 && two >= one + 26, "{one} then {two}");
        assert_eq!(memory.used(), two);
        drop(log);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn backlog_goes_before_new_events_come_when_memory_is_tight() {
        let memory = Arc::new(LogMemory::new(1));
        let log = open_log(&memory, 1, 1 << 20, 1..=1);
        let held = || log.look(|view| view.log.bytes()) / 26;
        let _ = notify(&log, 2..=4);
        let _ = notify(&log, 5..=8);
        assert_eq!(held(), 8, "the hub closes idle logs first");
        assert_eq!(memory.freed(Instant::now()), Some(true));
        let _ = notify(&log, 9..=9);
        assert_eq!(held(), 2);
        log.drop_backlog();
        assert_eq!(held(), 1);
    }
}
