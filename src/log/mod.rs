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
use crate::sse::frame::{Frame, History};

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
    /// The resume point before the history, as the store reported it.
    floor: EventId,
    /// Cursors below this index were placed in a history that is no longer the store's.
    reset_at: u64,
    /// The newest event of all histories that were replaced.
    replaced: EventId,
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
            reset_at: 0,
            replaced: EventId::ZERO,
            bytes: 0,
            bytes_ever: 0,
            window_bytes: 0,
        }
    }

    /// The newest event's id. Without events, the resume point that new ones will follow.
    pub fn tail(&self) -> EventId {
        self.frames.back().map_or(self.floor, |kept| kept.frame.id())
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
        let window_starts = self.frames.len() - self.window;
        match (window_starts.checked_sub(1), self.frames.get(window_starts)) {
            (Some(before), _) => self.frames[before].frame.id(),
            (None, Some(first)) if !self.floor.is_followed_by(first.frame.id()) => first.frame.id().just_before(),
            (None, _) => self.floor,
        }
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
        // Every history begins after 0-0. If one was lost and the list is empty, a late copy of its first notification
        // would be added, and sent twice. The events of a new history have greater ids, unless the store's clock stepped
        // back; then it costs a read.
        if self.tail() == EventId::ZERO && notification.frames[start].id() <= self.replaced {
            return NotifyResult::Missing;
        }
        self.push(notification.frames.into_iter().skip(start), now);
        NotifyResult::Added
    }

    /// Whether a history continues what is known, so that merging it moves no cursor.
    pub fn is_continued_by(&self, history: &History) -> bool {
        self.continues_at(history).is_some()
    }

    /// How many frames of a history are known, if the history continues what is known.
    fn continues_at(&self, history: &History) -> Option<usize> {
        let tail = self.tail();
        let position = history.frames.iter().position(|frame| frame.id() == tail).map(|index| index + 1);
        position.or_else(|| match history.frames.first() {
            _ if history.floor == tail => Some(0),
            // Only the number decides if the list does not name the event before its first.
            Some(first) if tail.is_followed_by(first.id()) && history.floor == first.id().just_before() => Some(0),
            _ => None,
        })
    }

    /// Adopts the store's history. If it continues what is known, cursors stay valid. If not, each reader is placed again by
    /// the id that it has reached.
    pub fn merge(&mut self, history: History, now: Instant) {
        let continues_at = self.continues_at(&history);
        let History { floor, frames } = history;
        let length = frames.len();
        let bytes: usize = frames.iter().map(|frame| frame.text().len()).sum();
        if let Some(known) = continues_at {
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
            self.drop_oldest(self.frames.len());
            // One further, so that a cursor at the old end is below it, too: its reader has read all of a history that
            // the new one does not continue.
            self.start = end + 1;
            self.reset_at = self.start;
            self.push(frames.into_iter(), now);
        }
        self.widen_window(length);
        self.floor = floor;
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
        let index = self.frames.partition_point(|kept| kept.frame.id() < id);
        self.frames.get(index).is_some_and(|kept| kept.frame.id() == id)
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
        }
        self.start += count as u64;
        if self.window > self.frames.len() {
            self.window = self.frames.len();
            self.window_bytes = self.bytes;
        }
    }
}
