//! A log as this node shares it: one for all readers of a pipeline, kept true by re-reading.
//!
//! Notifications are hints, but one that names the log's newest event is right: its events are added at once, also while
//! the store's history is read. What was announced meanwhile goes on top of the list that comes back, so that what is
//! merged is never older than what readers have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;

use crate::event::{EventId, PipelineId};
use crate::hub::log_memory::LogMemory;
use crate::log::notification::Notification;
use crate::log::notification_buffer::NotificationBuffer;
use crate::log::refresh::{Question, ReadRequest, Refresh, Ticket};
use crate::log::subscriber_progress::SubscriberProgress;
use crate::log::{Log, LogLimits, NotifyResult};
use crate::metrics::ReadReason;
use crate::sse::frame::History;
use crate::store::Newest;

/// While publishers wait for readers: if none of these gets further for so long, they are not waited for.
const PATIENCE: Duration = Duration::from_millis(250);

/// A pipeline's log while it is open on this node.
#[derive(Debug)]
pub struct OpenLog {
    pipeline: PipelineId,
    /// Of all logs of the node; each log counts itself in.
    memory: Arc<LogMemory>,
    /// What [`OpenLog::mark`] returns: the pace's mark, readable without the lock.
    mark: AtomicU64,
    /// Told when most clients have passed the mark again.
    relief: Notify,
    /// Guarded by the lock: written by whoever announces or merges, read by readers. Held for a
    /// few statements; wakers are called after it is let go.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    log: Log,
    refresh: Refresh,
    /// Since the read under way was started.
    heard: NotificationBuffer,
    /// Whether something of that did not follow the log.
    has_hole: bool,
    /// One place a reader: what wakes it, while it waits.
    readers: Slab<Option<Waker>>,
    /// Counts clients, of which many may share one reader's place.
    pace: SubscriberProgress,
    idle_since: Option<Instant>,
    /// The hub has it in its queue of logs without readers, or is about to.
    is_queued: bool,
}

/// How much a read of the history matters to clients, most first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Urgency {
    /// Some get nothing before it.
    Awaited,
    /// Some read on, and may lack something.
    Live,
    /// There are none.
    Lingering,
}

/// What a reader sees under the lock.
#[derive(Debug)]
pub struct LogView<'a> {
    /// The log.
    pub log: &'a Log,
    refresh: &'a Refresh,
}

impl LogView<'_> {
    /// Whether that read is done.
    pub fn has_read(&self, ticket: Ticket) -> bool {
        self.refresh.has_read(ticket)
    }
}

impl OpenLog {
    /// A log that nothing has been read into. Its first read waits for the subscription: a history
    /// read before it could miss what comes in between.
    pub fn new(pipeline: PipelineId, limits: LogLimits, memory: Arc<LogMemory>) -> Self {
        let state = State {
            log: Log::new(limits),
            refresh: Refresh::default(),
            heard: NotificationBuffer::default(),
            has_hole: false,
            readers: Slab::new(),
            pace: SubscriberProgress::new(limits.backlog_bytes),
            idle_since: None,
            is_queued: false,
        };
        memory.replace(0, state.log.memory());
        Self { pipeline, memory, mark: AtomicU64::new(0), relief: Notify::new(), state: Mutex::new(state) }
    }

    /// The pipeline's name.
    pub fn pipeline(&self) -> &PipelineId {
        &self.pipeline
    }

    /// Adds a reader; the number is its place. Also says whether the log is to be put into the queue of reads.
    pub fn join(&self) -> (usize, bool) {
        let mut state = self.state.lock();
        state.idle_since = None;
        let is_to_be_read = state.readers.is_empty() && state.refresh.joined();
        (state.readers.insert(None), is_to_be_read)
    }

    /// Takes a reader away. If it was the last one, and the log is not queued for closing already, says since when the log
    /// has none: the caller queues it then, and [`OpenLog::idle_since`] tells what came of it.
    pub fn leave(&self, reader: usize) -> Option<Instant> {
        let mut state = self.state.lock();
        state.readers.remove(reader);
        state.idle_since = state.readers.is_empty().then(Instant::now);
        let is_queued = state.is_queued;
        state.is_queued |= state.idle_since.is_some();
        state.idle_since.filter(|_| !is_queued)
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.state.lock().pace.clients()
    }

    /// Counts a client. Returns the mark that it counts as having passed.
    pub fn add_client(&self) -> u64 {
        self.state.lock().pace.joined()
    }

    /// Counts one less, that last passed this mark.
    pub fn remove_client(&self, passed: u64) {
        self.state.lock().pace.left(passed);
        self.relief.notify_waiters();
    }

    /// The index that clients are to pass, see [`SubscriberProgress`].
    pub fn mark(&self) -> u64 {
        self.mark.load(Ordering::Relaxed)
    }

    /// A client that last passed one mark has passed another. Returns the mark that it is counted for.
    pub fn passed(&self, last: u64, mark: u64) -> u64 {
        let mut state = self.state.lock();
        let was_outrun = state.pace.is_outrun(state.log.end());
        let counted = state.pace.passed(last, mark);
        if was_outrun && !state.pace.is_outrun(state.log.end()) {
            drop(state);
            self.relief.notify_waiters();
        }
        counted
    }

    /// Waits, at most `longest`, while most clients cannot follow what is published and are getting
    /// further all the same. Returns at once when they can; says whether it waited. Cancel safe.
    pub async fn keep_pace(&self, longest: Duration) -> bool {
        if longest.is_zero() {
            return false;
        }
        let deadline = tokio::time::Instant::now() + longest;
        let mut last = None;
        loop {
            let relief = self.relief.notified();
            {
                let mut state = self.state.lock();
                let end = state.log.end();
                if !state.pace.is_outrun(end) {
                    return last.is_some();
                }
                let progress = state.pace.progress();
                let stand_still = last == Some(progress);
                if stand_still {
                    state.pace.give_up_late(end);
                } else if tokio::time::Instant::now() >= deadline {
                    state.pace.move_on(end);
                }
                if state.pace.mark() != progress.0 {
                    self.mark.store(end.index, Ordering::Relaxed);
                    drop(state);
                    self.relief.notify_waiters();
                    return true;
                }
                last = Some(progress);
            }
            // Either way the loop looks for itself.
            let _ = tokio::time::timeout_at(deadline.min(tokio::time::Instant::now() + PATIENCE), relief).await;
        }
    }

    /// How many readers there are.
    pub fn readers(&self) -> usize {
        self.state.lock().readers.len()
    }

    /// Since when the log has had no reader; one that has readers is not queued any more.
    pub fn idle_since(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        state.is_queued = state.idle_since.is_some();
        state.idle_since
    }

    /// Shows the log to `look`; if it finds nothing to do the reader is woken at the next change.
    ///
    /// Cancel safe: the waker is replaced by the next call.
    pub fn poll<T>(&self, reader: usize, cx: &Context<'_>, look: impl FnOnce(LogView<'_>) -> Poll<T>) -> Poll<T> {
        let mut state = self.state.lock();
        let found = look(LogView { log: &state.log, refresh: &state.refresh });
        if found.is_pending()
            && let Some(place) = state.readers.get_mut(reader)
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
        let state = self.state.lock();
        look(LogView { log: &state.log, refresh: &state.refresh })
    }

    /// Takes a notification. `None` when nothing is to be read.
    pub fn notify(&self, notification: Notification) -> Option<ReadRequest> {
        let mut state = self.state.lock();
        let before = state.log.memory();
        if self.memory.is_tight() {
            // Before the new ones come, which readers who are up to date must get.
            state.log.drop_backlog();
        }
        let announced = state.notify(notification);
        self.account(before, &mut state);
        match announced {
            NotifyResult::Added => {
                state.refresh.continued();
                let wakers = state.take_wakers();
                drop(state);
                wake(wakers);
                None
            }
            NotifyResult::Known => None,
            NotifyResult::Missing => state.refresh.missed(),
        }
    }

    /// Takes note that notifications come from here on, for the first time or again. What came
    /// before must be read, unless the next one shows that nothing did.
    pub fn subscribed(&self) -> ReadRequest {
        self.state.lock().refresh.subscribed()
    }

    /// Asks for a read that starts after this call.
    pub fn request_read(&self, reason: ReadReason) -> ReadRequest {
        self.state.lock().refresh.request(reason)
    }

    /// How much the read that is wanted matters to clients.
    pub fn urgency(&self) -> Urgency {
        let state = self.state.lock();
        match (state.readers.is_empty(), state.refresh.is_awaited()) {
            (true, _) => Urgency::Lingering,
            (false, false) => Urgency::Live,
            (false, true) => Urgency::Awaited,
        }
    }

    /// The log's turn in the queue of reads has come: what the store is to be asked now. `None` when nothing is, any more.
    pub fn begin_read(&self) -> Option<Question> {
        let mut state = self.state.lock();
        let tail = state.log.tail();
        let question = state.refresh.begin(tail)?;
        // What was announced before is in the list that is read now, or was lost by the store.
        state.heard = NotificationBuffer::default();
        state.has_hole = false;
        Some(question)
    }

    /// Whether a store that has this as its newest has nothing that the log lacked when its own newest was `before`.
    pub fn agrees(&self, newest: Newest, before: EventId) -> bool {
        let state = self.state.lock();
        match newest {
            // Fewer than the log has, and no event later: some were forgotten while notifications were missed.
            Newest::Event { id, events } if id == state.log.tail() && events < state.log.history_len() => false,
            Newest::Event { id, .. } => id >= before && state.log.holds(id),
            Newest::Nothing(id) => id == before && (state.log.history_len() == 0 || state.log.tail() != before),
        }
    }

    /// The store had nothing new. Returns whether a read is wanted at once.
    #[must_use]
    pub fn finish_look(&self) -> bool {
        let mut state = self.state.lock();
        state.heard = NotificationBuffer::default();
        let is_whole = !std::mem::take(&mut state.has_hole);
        let is_wanted = state.refresh.succeeded(is_whole);
        let wakers = state.take_wakers();
        drop(state);
        wake(wakers);
        is_wanted
    }

    /// Takes over what a read found. Returns whether another read is wanted at once.
    #[must_use]
    pub fn finish_read(&self, mut history: History) -> bool {
        let mut state = self.state.lock();
        let heard = std::mem::take(&mut state.heard);
        state.has_hole = false;
        let is_whole = heard.extend(&mut history);
        if !is_whole && state.refresh.has_first() && !state.log.is_continued_by(&history) {
            // What was announced meanwhile does not go with the list. Either may be of a history that the store has lost,
            // and a reset on the word of the wrong one would show events twice. Clients that wait for this read wait for
            // the next.
            state.refresh.failed();
            state.refresh.missed();
            return true;
        }
        let before = state.log.memory();
        state.log.merge(history, Instant::now());
        self.account(before, &mut state);
        let is_wanted = state.refresh.succeeded(is_whole);
        let wakers = state.take_wakers();
        drop(state);
        wake(wakers);
        is_wanted
    }

    /// The store did not answer. If it is to be asked again, returns how often it has been asked. `None` when there are no
    /// readers, since the next one asks again.
    #[must_use]
    pub fn fail_read(&self) -> Option<u64> {
        let mut state = self.state.lock();
        state.heard = NotificationBuffer::default();
        state.refresh.failed();
        if std::mem::take(&mut state.has_hole) {
            state.refresh.missed();
        }
        let has_readers = !state.readers.is_empty();
        if !has_readers {
            state.refresh.drop_queued();
        }
        has_readers.then(|| state.refresh.tries())
    }

    /// The time has come to ask the store again, after it was asked so often. Returns whether that is still wanted: not
    /// without readers, and not when it was asked since, or each of them would bring a further round of tries.
    #[must_use]
    pub fn retries_read(&self, tries: u64) -> bool {
        let mut state = self.state.lock();
        if state.refresh.tries() != tries {
            return false;
        }
        let has_readers = !state.readers.is_empty();
        if !has_readers {
            state.refresh.drop_queued();
        }
        has_readers
    }

    /// Lets go of backlog that has had its time.
    pub fn trim(&self) {
        let mut state = self.state.lock();
        let before = state.log.memory();
        state.log.trim(Instant::now());
        self.account(before, &mut state);
    }

    /// Lets go of all backlog.
    pub fn drop_backlog(&self) {
        let mut state = self.state.lock();
        let before = state.log.memory();
        state.log.drop_backlog();
        self.account(before, &mut state);
    }

    /// Wakes every reader, to look at what is not in the log.
    pub fn wake_all(&self) {
        let wakers = self.state.lock().take_wakers();
        wake(wakers);
    }

    fn account(&self, before: usize, state: &mut State) {
        let end = state.log.end();
        state.pace.grown(end);
        self.mark.store(state.pace.mark(), Ordering::Relaxed);
        self.memory.replace(before, state.log.memory());
    }
}

impl Drop for OpenLog {
    fn drop(&mut self) {
        self.memory.replace(self.state.get_mut().log.memory(), 0);
    }
}

impl State {
    fn notify(&mut self, notification: Notification) -> NotifyResult {
        let is_reading = self.refresh.is_under_way();
        if !self.refresh.has_first() {
            // Nobody is placed yet, and there is nothing that it could follow. Before the store was asked the list to
            // come has it.
            if is_reading {
                self.heard.add(notification);
            }
            return NotifyResult::Known;
        }
        if !is_reading {
            return self.log.notify(notification, Instant::now());
        }
        let announced = self.log.notify(notification.clone(), Instant::now());
        if announced == NotifyResult::Known {
            return announced;
        }
        self.heard.add(notification);
        if announced == NotifyResult::Missing {
            // The list that is being read may have what is missing.
            self.has_hole = true;
            return NotifyResult::Known;
        }
        announced
    }

    fn take_wakers(&mut self) -> Vec<Waker> {
        self.readers.iter_mut().filter_map(|(_, place)| place.take()).collect()
    }
}

fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::frame::Frame;

    fn open_log() -> OpenLog {
        let limits = LogLimits {
            history: 100,
            history_bytes: usize::MAX,
            backlog_bytes: 1 << 20,
            backlog_age: Duration::from_secs(5),
            compresses: false,
        };
        OpenLog::new("p".parse().unwrap(), limits, Arc::default())
    }

    fn frames(seqs: std::ops::RangeInclusive<u64>) -> Vec<Frame> {
        seqs.map(|seq| Frame::new(EventId { ms: 9, seq }, b"event: a\ndata: 1\n\n").unwrap()).collect()
    }

    fn notification(seqs: std::ops::RangeInclusive<u64>) -> Notification {
        let first = frames(seqs.clone())[0].id();
        Notification { after: first.just_before(), frames: frames(seqs) }
    }

    fn history(seqs: std::ops::RangeInclusive<u64>) -> History {
        History::from_entries(frames(seqs).iter().map(|frame| frame.shared_text()))
    }

    fn tail(log: &OpenLog) -> u64 {
        log.look(|view| view.log.tail().seq)
    }

    fn begin(log: &OpenLog) -> Question {
        log.begin_read().unwrap()
    }

    /// A log whose first read found these.
    fn read_log(seqs: std::ops::RangeInclusive<u64>) -> OpenLog {
        let log = open_log();
        log.subscribed();
        begin(&log);
        assert!(!log.finish_read(history(seqs)));
        log
    }

    #[test]
    fn notifications_during_the_first_read_come_after_it() {
        let log = open_log();
        log.subscribed();
        assert_eq!(log.notify(notification(3..=3)), None, "the list has it, since the read comes later");
        begin(&log);
        assert_eq!(log.notify(notification(4..=4)), None);
        assert_eq!(log.notify(notification(5..=6)), None);
        assert_eq!(tail(&log), 0);
        assert!(!log.finish_read(history(1..=4)));
        assert_eq!(tail(&log), 6);
    }

    #[test]
    fn notifications_that_follow_are_added_at_once_during_a_read() {
        let log = read_log(1..=3);
        log.request_read(ReadReason::Check);
        begin(&log);
        log.notify(notification(4..=5));
        assert_eq!(tail(&log), 5);
        assert!(!log.finish_read(history(1..=3)), "an older list");
        assert_eq!(tail(&log), 5);
        log.look(|view| assert!(view.log.holds(EventId { ms: 9, seq: 1 }), "and no reset"));
        // Also while it fails, again and again.
        log.request_read(ReadReason::Check);
        log.join();
        for seq in 6..=9 {
            begin(&log);
            log.notify(notification(seq..=seq));
            assert!(log.fail_read().is_some());
            assert_eq!(tail(&log), seq);
        }
        begin(&log);
        assert!(!log.finish_read(history(1..=9)));
        assert_eq!(tail(&log), 9);
    }

    #[test]
    fn a_list_that_lost_its_tail_is_followed_in_spite_of_what_was_heard() {
        let log = read_log(1..=6);
        log.request_read(ReadReason::Check);
        begin(&log);
        log.notify(notification(7..=7));
        // The store has lost 5 and 6, so 7 is of what is lost, too.
        assert!(log.finish_read(history(1..=4)), "7 has no place");
        assert_eq!(tail(&log), 7);
        begin(&log);
        assert!(!log.finish_read(history(1..=4)));
        assert_eq!(tail(&log), 4);
    }

    #[test]
    fn a_read_that_is_older_than_a_notification_is_followed_by_another() {
        let log = read_log(1..=3);
        assert!(matches!(log.notify(notification(5..=5)), Some(ReadRequest::Start(_))));
        begin(&log);
        assert_eq!(log.notify(notification(7..=7)), None);
        assert!(log.finish_read(history(1..=5)), "6 is missing");
        assert_eq!(tail(&log), 5);
        begin(&log);
        assert!(!log.finish_read(history(1..=7)));
        assert_eq!(tail(&log), 7);
    }

    #[test]
    fn more_than_is_kept_during_one_read_costs_another_and_no_reset() {
        let log = read_log(1..=3);
        let ticket = log.request_read(ReadReason::Check).ticket();
        begin(&log);
        let body = format!("event: a\ndata: \"{}\"\n\n", "x".repeat(1 << 20));
        for seq in 4..=20 {
            let frames = vec![Frame::new(EventId { ms: 9, seq }, body.as_bytes()).unwrap()];
            log.notify(Notification { after: EventId { ms: 9, seq: seq - 1 }, frames });
            assert_eq!(tail(&log), seq);
        }
        assert!(log.finish_read(history(1..=3)));
        assert_eq!(tail(&log), 20);
        log.look(|view| assert!(!view.has_read(ticket)));
    }

    #[test]
    fn a_store_that_has_nothing_newer_needs_no_read() {
        let log = read_log(1..=3);
        let ticket = log.request_read(ReadReason::Ahead).ticket();
        let Question::Newest(before) = begin(&log) else { panic!("the newest is enough") };
        let newest = |seq, events| Newest::Event { id: EventId { ms: 9, seq }, events };
        assert!(!log.agrees(Newest::Nothing(EventId { ms: 9, seq: 3 }), before), "all was forgotten");
        log.notify(notification(4..=4));
        for (newest, agrees) in [
            (newest(3, 3), true),
            (newest(4, 4), true),
            (newest(5, 5), false),
            (newest(2, 2), false),
            (newest(4, 1), false),
            (Newest::Nothing(EventId::ZERO), false),
        ] {
            assert_eq!(log.agrees(newest, before), agrees, "{newest:?}");
        }
        assert!(!log.finish_look());
        log.look(|view| assert!(view.has_read(ticket)));
        // What did not follow is read about all the same.
        log.request_read(ReadReason::Ahead);
        begin(&log);
        log.notify(notification(6..=6));
        assert!(log.finish_look());
        assert_eq!(begin(&log), Question::History(ReadReason::MissedNotification));
    }

    #[test]
    fn a_read_that_fails_is_dropped_without_readers_and_begun_again_by_the_next() {
        let log = open_log();
        let (place, is_to_be_read) = log.join();
        assert!(!is_to_be_read, "not before notifications come");
        log.subscribed();
        begin(&log);
        let first = log.fail_read().unwrap();
        assert!(log.retries_read(first));
        begin(&log);
        let second = log.fail_read().unwrap();
        assert!(!log.retries_read(first), "it was asked since");
        log.leave(place);
        assert!(!log.retries_read(second));
        assert_eq!(log.begin_read(), None);
        let (_, is_to_be_read) = log.join();
        assert!(is_to_be_read);
        begin(&log);
        assert!(!log.finish_read(history(1..=1)));
        log.look(|view| assert!(view.has_read(Refresh::FIRST)));
    }

    #[test]
    fn bytes_are_counted_until_the_log_is_gone() {
        let memory = Arc::new(LogMemory::default());
        let limits = LogLimits {
            history: 2,
            history_bytes: usize::MAX,
            backlog_bytes: 0,
            backlog_age: Duration::ZERO,
            compresses: false,
        };
        let log = OpenLog::new("p".parse().unwrap(), limits, memory.clone());
        let empty = memory.used();
        log.subscribed();
        begin(&log);
        let _ = log.finish_read(history(1..=2));
        let two = memory.used();
        log.notify(notification(3..=3));
        assert!(empty > 0 && two >= empty + 52, "{empty} then {two}");
        assert_eq!(memory.used(), two);
        drop(log);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn backlog_goes_before_new_events_come_when_memory_is_tight() {
        let memory = Arc::new(LogMemory::new(1));
        let limits = LogLimits {
            history: 1,
            history_bytes: usize::MAX,
            backlog_bytes: 1 << 20,
            backlog_age: Duration::from_secs(60),
            compresses: false,
        };
        let log = OpenLog::new("p".parse().unwrap(), limits, memory.clone());
        log.subscribed();
        begin(&log);
        let _ = log.finish_read(history(1..=1));
        let held = || log.look(|view| view.log.bytes()) / 26;
        log.notify(notification(2..=4));
        log.notify(notification(5..=8));
        assert_eq!(held(), 8, "the hub closes idle logs first");
        assert_eq!(memory.relieved(Instant::now()), Some(true));
        log.notify(notification(9..=9));
        assert_eq!(held(), 2);
        log.drop_backlog();
        assert_eq!(held(), 1);
    }
}
