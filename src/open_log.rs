//! A log as this node shares it: one for all readers of a pipeline, kept true by re-reading.
//!
//! Announcements are hints; while a read of the store's history is under way they wait, so that
//! what is merged is never older than what is already shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;

use crate::announcement::Announcement;
use crate::frame::History;
use crate::log::{Announced, Log, LogLimits};
use crate::pace::Pace;
use crate::pipeline::PipelineId;

/// Announcements held back during one read, at most so many bytes; more is left to another read.
const PENDING_BYTES: usize = 8 << 20;

/// While publishers wait for readers: if none of these gets further for so long, they are not waited for.
const PATIENCE: Duration = Duration::from_millis(250);

/// A pipeline's log while it is open on this node.
#[derive(Debug)]
pub struct OpenLog {
    pipeline: PipelineId,
    /// Bytes of all logs of the node, for the metric; each log adds what it holds.
    total_bytes: Arc<AtomicUsize>,
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
    /// The store's announcements have been subscribed to at least once.
    is_subscribed: bool,
    reads_started: u64,
    reads_done: u64,
    /// A read is wanted that starts after the one under way.
    is_read_again: bool,
    pending: Vec<Announcement>,
    pending_bytes: usize,
    /// One place a reader: what wakes it, while it waits.
    readers: Slab<Option<Waker>>,
    /// Counts clients, of which many may share one reader's place.
    pace: Pace,
    idle_since: Option<Instant>,
    /// The hub has it in its queue of logs without readers, or is about to.
    is_queued: bool,
}

/// A read of the history that starts after it was asked for; compare with [`View::has_read`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(u64);

/// Whether the caller must start a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadRequest {
    /// The caller starts it now.
    Start(Ticket),
    /// It joins one that will start by itself.
    Joined(Ticket),
}

impl ReadRequest {
    /// The read to wait for.
    pub fn ticket(self) -> Ticket {
        match self {
            Self::Start(ticket) | Self::Joined(ticket) => ticket,
        }
    }
}

/// What a reader sees under the lock.
#[derive(Debug)]
pub struct View<'a> {
    /// The log.
    pub log: &'a Log,
    reads_done: u64,
}

impl View<'_> {
    /// Whether that read is done.
    pub fn has_read(&self, ticket: Ticket) -> bool {
        self.reads_done >= ticket.0
    }
}

impl OpenLog {
    /// The first read of the history.
    pub const FIRST_READ: Ticket = Ticket(1);

    /// A log that nothing has been read into. Its first read counts as started, and waits for the
    /// subscription: a history read before it could miss what comes in between.
    pub fn new(pipeline: PipelineId, limits: LogLimits, total_bytes: Arc<AtomicUsize>) -> Self {
        let state = State {
            log: Log::new(limits),
            is_subscribed: false,
            reads_started: 1,
            reads_done: 0,
            is_read_again: false,
            pending: Vec::new(),
            pending_bytes: 0,
            readers: Slab::new(),
            pace: Pace::new(limits.backlog_bytes),
            idle_since: None,
            is_queued: false,
        };
        Self { pipeline, total_bytes, mark: AtomicU64::new(0), relief: Notify::new(), state: Mutex::new(state) }
    }

    /// The pipeline's name.
    pub fn pipeline(&self) -> &PipelineId {
        &self.pipeline
    }

    /// Adds a reader; the number is its place.
    pub fn join(&self) -> usize {
        let mut state = self.state.lock();
        state.idle_since = None;
        state.readers.insert(None)
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

    /// The index that clients are to pass, see [`Pace`].
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
    pub fn poll<T>(&self, reader: usize, cx: &Context<'_>, look: impl FnOnce(View<'_>) -> Poll<T>) -> Poll<T> {
        let mut state = self.state.lock();
        let view = View { log: &state.log, reads_done: state.reads_done };
        let found = look(view);
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
    pub fn look<T>(&self, look: impl FnOnce(View<'_>) -> T) -> T {
        let state = self.state.lock();
        look(View { log: &state.log, reads_done: state.reads_done })
    }

    /// Takes an announcement. `None` when nothing is to be read.
    pub fn announce(&self, announcement: Announcement) -> Option<ReadRequest> {
        let mut state = self.state.lock();
        let bytes_before = state.log.bytes();
        let announced = state.announce(announcement);
        self.account(bytes_before, &mut state);
        match announced {
            Announced::Added => {
                let wakers = state.take_wakers();
                drop(state);
                wake(wakers);
                None
            }
            Announced::Known => None,
            Announced::Hole => Some(state.request_read()),
        }
    }

    /// Takes note that announcements come from here on, for the first time or again. What came
    /// before must be read.
    pub fn subscribed(&self) -> ReadRequest {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.is_subscribed, true) {
            state.request_read()
        } else {
            ReadRequest::Start(Self::FIRST_READ)
        }
    }

    /// Asks for a read that starts after this call.
    pub fn request_read(&self) -> ReadRequest {
        self.state.lock().request_read()
    }

    /// Takes over what a read found. Returns whether another read is wanted at once.
    #[must_use]
    pub fn finish_read(&self, history: History) -> bool {
        let mut state = self.state.lock();
        let bytes_before = state.log.bytes();
        state.log.merge(history, Instant::now());
        state.reads_done = state.reads_started;
        state.pending_bytes = 0;
        for announcement in std::mem::take(&mut state.pending) {
            if state.announce(announcement) == Announced::Hole {
                state.is_read_again = true;
            }
        }
        self.account(bytes_before, &mut state);
        let is_read_again = std::mem::take(&mut state.is_read_again);
        if is_read_again {
            state.reads_started += 1;
        }
        let wakers = state.take_wakers();
        drop(state);
        wake(wakers);
        is_read_again
    }

    /// Lets go of backlog that has had its time.
    pub fn trim(&self) {
        let mut state = self.state.lock();
        let bytes_before = state.log.bytes();
        state.log.trim(Instant::now());
        self.account(bytes_before, &mut state);
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
        let after = state.log.bytes();
        if after >= before {
            self.total_bytes.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.total_bytes.fetch_sub(before - after, Ordering::Relaxed);
        }
    }
}

impl Drop for OpenLog {
    fn drop(&mut self) {
        self.total_bytes.fetch_sub(self.state.get_mut().log.bytes(), Ordering::Relaxed);
    }
}

impl State {
    fn is_reading(&self) -> bool {
        self.reads_done < self.reads_started
    }

    fn announce(&mut self, announcement: Announcement) -> Announced {
        if !self.is_reading() {
            return self.log.announce(announcement, Instant::now());
        }
        self.pending_bytes += announcement.bytes();
        self.pending.push(announcement);
        if self.pending_bytes > PENDING_BYTES {
            self.pending.clear();
            self.pending_bytes = 0;
            self.is_read_again = true;
        }
        Announced::Known
    }

    fn request_read(&mut self) -> ReadRequest {
        if self.is_reading() {
            self.is_read_again = true;
            ReadRequest::Joined(Ticket(self.reads_started + 1))
        } else {
            self.reads_started += 1;
            ReadRequest::Start(Ticket(self.reads_started))
        }
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
    use crate::event_id::EventId;
    use crate::frame::Frame;
    use std::time::Duration;

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

    fn announcement(seqs: std::ops::RangeInclusive<u64>) -> Announcement {
        let first = frames(seqs.clone())[0].id();
        Announcement { after: first.just_before(), frames: frames(seqs) }
    }

    fn history(seqs: std::ops::RangeInclusive<u64>) -> History {
        History::from_entries(frames(seqs).iter().map(|frame| frame.shared_text()))
    }

    fn tail(log: &OpenLog) -> u64 {
        log.look(|view| view.log.tail().seq)
    }

    #[test]
    fn an_announcement_during_a_read_comes_after_it() {
        let log = open_log();
        assert_eq!(log.announce(announcement(4..=4)), None);
        assert_eq!(log.announce(announcement(5..=6)), None);
        assert_eq!(tail(&log), 0);
        assert!(!log.finish_read(history(1..=4)));
        assert_eq!(tail(&log), 6);
    }

    #[test]
    fn a_read_that_is_older_than_an_announcement_is_followed_by_another() {
        let log = open_log();
        assert_eq!(log.announce(announcement(6..=6)), None);
        assert!(log.finish_read(history(1..=4)), "5 is missing");
        assert_eq!(tail(&log), 4);
        assert!(!log.finish_read(history(1..=6)));
        assert_eq!(tail(&log), 6);
    }

    #[test]
    fn a_read_asked_for_during_a_read_is_a_new_one_and_shared() {
        let log = open_log();
        let first = log.request_read();
        assert!(matches!(first, ReadRequest::Joined(_)));
        assert_eq!(log.request_read(), first);
        assert!(log.finish_read(history(1..=1)));
        log.look(|view| assert!(view.has_read(OpenLog::FIRST_READ) && !view.has_read(first.ticket())));
        assert!(!log.finish_read(history(1..=2)));
        log.look(|view| assert!(view.has_read(first.ticket())));
        assert!(matches!(log.request_read(), ReadRequest::Start(_)));
    }

    #[test]
    fn bytes_are_counted_until_the_log_is_gone() {
        let total = Arc::new(AtomicUsize::new(0));
        let limits = LogLimits {
            history: 2,
            history_bytes: usize::MAX,
            backlog_bytes: 0,
            backlog_age: Duration::ZERO,
            compresses: false,
        };
        let log = OpenLog::new("p".parse().unwrap(), limits, total.clone());
        let _ = log.finish_read(history(1..=2));
        let two = total.load(Ordering::Relaxed);
        log.announce(announcement(3..=3));
        assert_eq!((two, total.load(Ordering::Relaxed)), (52, 52));
        drop(log);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }
}
