//! The log: a node's in-memory copy of a pipeline's history, and the older frames that connected readers still need.
//!
//! The newest `window` frames are the history as the store has it; a client without a cursor can get no others. Older frames
//! may stay for a moment as backlog, so that one large batch or one slow turn of the scheduler costs no connected reader a
//! gap. No I/O, no locks, no clock.

mod cursor;
pub mod notification;
pub mod notification_buffer;
mod resume;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::event::EventId;
use crate::log::notification::Notification;
use crate::sse::frame::{Frame, History, LossRecord};

pub use cursor::{Cursor, Read, ReadLimits};
pub use resume::is_from_the_future;

/// What a log keeps.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// Maximum frames of history, `history.limit`.
    pub history: usize,
    /// Maximum bytes of history, `history.bytes`. The newest frame is always kept.
    pub history_bytes: usize,
    /// Maximum bytes of frames older than the history, `hub.backlog`.
    pub backlog_bytes: usize,
    /// How long such frames are kept, `hub.backlog_age`.
    pub backlog_age: Duration,
    /// Whether frames have room for their compressed form, `stream.compression`.
    pub compresses: bool,
}

/// Memory of an empty log, of a frame without its text (both as `bench/capacity` measures them), and of a compressed form
/// without its bytes.
const LOG_BYTES: usize = 2 << 10;
const FRAME_BYTES: usize = 160;
const COMPRESSED_BYTES: usize = 128;

/// A pipeline's recent frames, oldest first.
#[derive(Debug)]
pub struct Log {
    limits: LogLimits,
    frames: VecDeque<Kept>,
    /// Index of the first frame kept; indexes count all frames that the log ever held.
    start: u64,
    /// How many of the newest frames are the history.
    window: usize,
    /// The event before the first frame, see [`History::floor`]. Without frames, the newest id.
    floor: EventId,
    /// If the floor is no event: a moment when the pipeline had none, the latest that is known.
    empty_at_ms: u64,
    /// What the store knew about itself when it was read last.
    loss: LossRecord,
    /// Cursors below this index were placed in a history that is no longer the store's.
    reset_at: u64,
    /// The newest event of all histories that were replaced.
    replaced: EventId,
    /// Ids of replaced events that other events have now: a failover to a server whose clock is behind can do that.
    reused: Vec<EventId>,
    bytes: usize,
    /// Bytes of all frames that were ever held.
    bytes_ever: u64,
    /// Bytes of the history's frames.
    window_bytes: usize,
}

#[derive(Debug)]
struct Kept {
    frame: Frame,
    since: Instant,
}

/// What a notification did to a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotifyResult {
    /// Frames were added.
    Added,
    /// All of it was known.
    Known,
    /// It does not follow what is known: events are missing, so the store's list is to be read.
    Missing,
}

impl Log {
    /// An empty log.
    pub fn new(limits: LogLimits) -> Self {
        Self {
            limits,
            frames: VecDeque::new(),
            start: 0,
            window: 0,
            floor: EventId::ZERO,
            empty_at_ms: 0,
            loss: LossRecord::default(),
            reset_at: 0,
            replaced: EventId::ZERO,
            reused: Vec::new(),
            bytes: 0,
            bytes_ever: 0,
            window_bytes: 0,
        }
    }

    /// The newest event's id. Without events, the resume point that new ones will follow: for a pipeline without history, the
    /// moment when the store had none.
    pub fn tail(&self) -> EventId {
        match self.frames.back() {
            Some(newest) => newest.frame.id(),
            None if self.floor.is_beginning() => EventId::at(self.empty_at_ms),
            None => self.floor,
        }
    }

    /// Bytes of all frames held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory that the log uses. A compressed form counts from the beginning, with the size of the text: it is made
    /// without the log's lock.
    pub fn memory(&self) -> usize {
        let (copies, compressed) = if self.limits.compresses { (2, COMPRESSED_BYTES) } else { (1, 0) };
        LOG_BYTES + self.frames.len() * (FRAME_BYTES + compressed) + self.bytes * copies
    }

    /// How many frames the history has.
    pub fn history_len(&self) -> usize {
        self.window
    }

    /// The history's frames, oldest first.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &Frame> {
        self.frames.range(self.frames.len() - self.window..).map(|kept| &kept.frame)
    }

    /// The resume point just before the history.
    pub fn base(&self) -> EventId {
        let named = self.named();
        match self.history().next() {
            Some(first) if named.is_beginning() => first.id().just_before(),
            Some(_) => named,
            None => self.tail(),
        }
    }

    /// The event before the history, as its first event names it, or the moment that is named in place of one.
    fn named(&self) -> EventId {
        let older = self.frames.len() - self.window;
        older.checked_sub(1).map_or(self.floor, |newest_older| self.frames[newest_older].frame.id())
    }

    /// The newest event of all histories that were replaced.
    pub fn replaced(&self) -> EventId {
        self.replaced
    }

    /// Adds the new events of a notification if they follow what is known.
    pub fn notify(&mut self, notification: Notification, now: Instant) -> NotifyResult {
        let Some(start) = notification.start_after(self.tail()) else {
            let is_known = notification.frames.last().is_some_and(|newest| self.holds(newest.id()));
            return if is_known { NotifyResult::Known } else { NotifyResult::Missing };
        };
        if start == notification.frames.len() {
            return NotifyResult::Known;
        }
        // If a history was lost and the list is empty, a late copy of its first notification would be added, and sent twice.
        // The events of a new history have greater ids, unless the store's clock stepped back; then it costs a read.
        let first = notification.frames[start].id();
        if self.tail().is_beginning() && (first <= self.replaced || !self.is_empty_until(first.ms)) {
            return NotifyResult::Missing;
        }
        if self.frames.is_empty() && start == 0 {
            self.floor = notification.after;
        }
        self.push(notification.frames.into_iter().skip(start), now);
        NotifyResult::Added
    }

    /// Whether no history can have come and expired unseen between the moment when there was none and this one. After an outage
    /// longer than the time to live, one can.
    pub fn is_empty_until(&self, now_ms: u64) -> bool {
        self.loss.spans(self.empty_at_ms, now_ms)
    }

    /// The store still had no event of this pipeline at `now_ms` by its clock, and has lost none since the log was read.
    pub fn confirm_empty(&mut self, now_ms: u64) {
        if self.frames.is_empty() {
            self.empty_at_ms = self.empty_at_ms.max(now_ms);
        }
    }

    /// Whether a history continues what is known, so that merging it moves no cursor.
    pub fn is_continued_by(&self, history: &History) -> bool {
        self.continues_at(history).is_some()
    }

    /// How many frames of a history are known, if the history continues what is known.
    fn continues_at(&self, history: &History) -> Option<usize> {
        let (tail, newest) = (self.tail(), self.frames.back());
        let is_newest = |frame: &Frame| match newest {
            // Not the id alone: another event may have it.
            Some(newest) => *frame == newest.frame,
            None => frame.id() == tail,
        };
        let position = history.frames.iter().position(is_newest).map(|index| index + 1);
        position.or_else(|| {
            let is_beginning = tail.is_beginning() && history.floor.is_beginning();
            // None was lost since the log was empty, and none can have expired.
            let next = history.frames.first().map_or(history.newest(), Frame::id);
            let is_first = is_beginning
                && history.floor <= tail
                && (tail < next || history.frames.is_empty())
                && history.loss.spans(tail.ms, next.ms);
            let is_next = history.floor == tail && !tail.is_beginning();
            (is_next || is_first).then_some(0)
        })
    }

    /// Adopts the store's history. If it continues what is known, cursors stay valid. If not, each reader is placed again by
    /// the id that it has reached.
    pub fn merge(&mut self, history: History, now: Instant) {
        let continues_at = self.continues_at(&history);
        let newest = history.newest();
        let History { floor, frames, loss } = history;
        let length = frames.len();
        let bytes: usize = frames.iter().map(|frame| frame.text().len()).sum();
        if let Some(known) = continues_at {
            if self.frames.is_empty() && known == 0 {
                self.floor = floor;
            }
            if length == 0 && floor.is_beginning() {
                self.confirm_empty(newest.ms);
            }
            self.push(frames.into_iter().skip(known), now);
            let older = self.frames.len().saturating_sub(length);
            if self.were_deleted(older, length, bytes) {
                self.drop_oldest(older);
                // Readers that had not read them were not slow.
                self.reset_at = self.start;
            }
        } else {
            let end = self.end_index();
            self.replaced = self.replaced.max(self.tail());
            self.reused = frames.iter().filter(|frame| self.has_other(frame)).map(Frame::id).collect();
            self.drop_oldest(self.frames.len());
            self.floor = floor;
            self.empty_at_ms = frames.first().map_or(newest, Frame::id).ms;
            // One further, so that a cursor at the old end is below it, too: its reader has read all of a history that
            // the new one does not continue.
            self.start = end + 1;
            self.reset_at = self.start;
            self.push(frames.into_iter(), now);
        }
        self.widen_window(length);
        self.loss = loss;
    }

    /// Whether the log has another event with this one's id.
    fn has_other(&self, frame: &Frame) -> bool {
        self.find(frame.id()).is_some_and(|held| held != frame)
    }

    /// Makes the newest frames the history: as many as the limits allow, and no more than the store's list has.
    fn widen_window(&mut self, list_length: usize) {
        (self.window, self.window_bytes) = (0, 0);
        for kept in self.frames.iter().rev().take(list_length.min(self.limits.history)) {
            let bytes = self.window_bytes + kept.frame.text().len();
            if self.window > 0 && bytes > self.limits.history_bytes {
                break;
            }
            (self.window, self.window_bytes) = (self.window + 1, bytes);
        }
    }

    /// Whether the oldest `older` frames were deleted on request. The store trims only what does not fit: if the newest of
    /// them would fit in front of a list of this length and size, the store did not trim it.
    fn were_deleted(&self, older: usize, length: usize, bytes: usize) -> bool {
        let Some(newest) = older.checked_sub(1).and_then(|index| self.frames.get(index)) else { return false };
        let is_room = length < self.limits.history && bytes + newest.frame.text().len() <= self.limits.history_bytes;
        length == 0 || is_room
    }

    /// Drops backlog that is too old.
    pub fn trim(&mut self, now: Instant) {
        self.trim_but(0, now);
    }

    /// Drops all backlog. Readers that have not read it receive a gap.
    pub fn drop_backlog(&mut self) {
        self.drop_oldest(self.frames.len() - self.window);
    }

    /// The index after the newest frame.
    pub fn end_index(&self) -> u64 {
        self.start + self.frames.len() as u64
    }

    /// Bytes of all frames that the log ever held.
    pub fn bytes_ever(&self) -> u64 {
        self.bytes_ever
    }

    /// Whether an event is among the frames held.
    pub fn holds(&self, id: EventId) -> bool {
        self.find(id).is_some()
    }

    fn find(&self, id: EventId) -> Option<&Frame> {
        let index = self.frames.partition_point(|kept| kept.frame.id() < id);
        self.frames.get(index).map(|kept| &kept.frame).filter(|frame| frame.id() == id)
    }

    fn push(&mut self, frames: impl Iterator<Item = Frame>, now: Instant) {
        let mut added = 0;
        for frame in frames {
            added += 1;
            self.bytes += frame.text().len();
            self.bytes_ever += frame.text().len() as u64;
            self.window_bytes += frame.text().len();
            self.window += 1;
            let frame = if self.limits.compresses { frame.compressible() } else { frame };
            self.frames.push_back(Kept { frame, since: now });
            while self.is_window_too_large() {
                self.shrink_window();
            }
        }
        self.trim_but(added, now);
    }

    fn is_window_too_large(&self) -> bool {
        let is_over_bytes = self.window_bytes > self.limits.history_bytes;
        self.window > self.limits.history || (self.window > 1 && is_over_bytes)
    }

    /// Turns the history's oldest frame into backlog.
    fn shrink_window(&mut self) {
        if let Some(oldest) = self.frames.len().checked_sub(self.window).and_then(|index| self.frames.get(index)) {
            self.window_bytes -= oldest.frame.text().len();
            self.window -= 1;
        }
    }

    /// Drops old and surplus backlog, but never the newest `added` frames: a reader that is up to date receives a batch
    /// without a gap, however large.
    fn trim_but(&mut self, added: usize, now: Instant) {
        while self.frames.len() > self.window.max(added) {
            let is_old = now.saturating_duration_since(self.frames[0].since) > self.limits.backlog_age;
            if !is_old && self.bytes - self.window_bytes <= self.limits.backlog_bytes {
                break;
            }
            self.drop_oldest(1);
        }
    }

    fn drop_oldest(&mut self, count: usize) {
        for kept in self.frames.drain(..count) {
            self.bytes -= kept.frame.text().len();
            self.floor = kept.frame.id();
        }
        self.start += count as u64;
        if self.window > self.frames.len() {
            self.window = self.frames.len();
            self.window_bytes = self.bytes;
        }
    }
}
