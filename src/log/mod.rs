//! The log: a node's in-memory copy of a pipeline's history, and what else of the recent past its
//! connected readers still need.
//!
//! Readers hold cursors; nothing is queued per reader. The newest `window` frames are the history
//! as the store has it, and all that a client without a cursor can get. Older frames may stay for
//! a moment as backlog, so that one large batch or one slow turn of the scheduler costs no
//! connected reader a gap. No I/O, no locks: [`crate::hub::open_log`] shares a log.

pub mod notification;
pub mod notification_buffer;
pub mod refresh;
pub mod subscriber_progress;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::event::{EventId, Gap, GapReason, ResumePoint};
use crate::log::notification::Notification;
use crate::log::subscriber_progress::ProgressMark;
use crate::sse::frame::{Frame, History};

/// What a log keeps.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// Frames of history, `history.limit`.
    pub history: usize,
    /// Most bytes of history, `history.bytes`; the newest frame is always kept.
    pub history_bytes: usize,
    /// Most bytes of frames older than the history, `hub.backlog`.
    pub backlog_bytes: usize,
    /// How long such frames stay at most.
    pub backlog_age: Duration,
    /// Whether frames have room for their compressed form, `stream.compression`.
    pub compresses: bool,
}

/// A clock of ours may run behind the store's by this much before an id counts as from the future.
const CLOCK_TOLERANCE_MS: u64 = 60_000;

/// What a log takes with no frame in it, and a frame beside its text, as `bench/capacity` measures both; and a compressed
/// form beside its bytes.
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
    /// The resume point before the history, as the store told it.
    floor: EventId,
    /// Cursors below this index were placed in a history that is no longer the store's.
    reset_at: u64,
    bytes: usize,
    /// Bytes of all frames that were ever held.
    bytes_ever: u64,
    /// Bytes of the history alone.
    window_bytes: usize,
}

#[derive(Debug)]
struct Kept {
    frame: Frame,
    since: Instant,
}

/// A reader's place in a log: an index, and the id of the event before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    next: u64,
    after: EventId,
}

impl Cursor {
    /// The index of the first frame that the reader has not passed.
    pub fn index(&self) -> u64 {
        self.next
    }

    /// The resume point: the newest event that the reader has passed.
    pub fn after(&self) -> EventId {
        self.after
    }
}

/// What a notification did to a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotifyResult {
    /// Frames were added.
    Added,
    /// All of it was known.
    Known,
    /// It does not follow what is known: the list must be read.
    Missing,
}

/// What a cursor found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Read {
    /// Frames after the cursor, oldest first.
    Frames(Vec<Frame>),
    /// The reader lost its place; the cursor stands after the gap.
    Gap(Gap),
    /// Nothing after the cursor, or nothing that passes the filter.
    Nothing,
}

/// Why a client is told of a gap, and how many events it missed where that is known; none where its history goes on.
type Verdict = Option<(GapReason, Option<u64>)>;

/// How much one read takes at most.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Most frames.
    pub frames: usize,
    /// No further frame once this many bytes are taken.
    pub bytes: usize,
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
            bytes: 0,
            bytes_ever: 0,
            window_bytes: 0,
        }
    }

    /// The newest event's id; the floor when there is none.
    pub fn tail(&self) -> EventId {
        self.frames.back().map_or(self.floor, |kept| kept.frame.id())
    }

    /// Bytes of all frames held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory that the log takes. A compressed form is counted from the start on, as large as the text: who makes
    /// it does not have the log's lock.
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

    /// Adds what is new in a notification, if it follows what is known.
    pub fn notify(&mut self, notification: Notification, now: Instant) -> NotifyResult {
        let Some(start) = notification.start_after(self.tail()) else {
            let is_known = notification.frames.last().is_some_and(|newest| self.holds(newest.id()));
            return if is_known { NotifyResult::Known } else { NotifyResult::Missing };
        };
        if start == notification.frames.len() {
            return NotifyResult::Known;
        }
        self.push(notification.frames.into_iter().skip(start), now);
        NotifyResult::Added
    }

    /// Whether a history goes on from what is known, so that taking it over costs no cursor its place.
    pub fn is_continued_by(&self, history: &History) -> bool {
        self.continues_at(history).is_some()
    }

    /// How many frames of a history come at or before the tail, if the history goes on from there.
    fn continues_at(&self, history: &History) -> Option<usize> {
        let tail = self.tail();
        let position = history.frames.iter().position(|frame| frame.id() == tail).map(|index| index + 1);
        position.or_else(|| match history.frames.first() {
            _ if history.floor == tail => Some(0),
            // The number alone, where the list does not say what was before its first event.
            Some(first) if tail.is_followed_by(first.id()) && history.floor == first.id().just_before() => Some(0),
            _ => None,
        })
    }

    /// Takes over the store's history. Cursors stay valid where it continues what was known;
    /// otherwise their readers are placed anew, by the id that each has reached.
    pub fn merge(&mut self, history: History, now: Instant) {
        let continues_at = self.continues_at(&history);
        let History { floor, frames } = history;
        let length = frames.len();
        let bytes: usize = frames.iter().map(|frame| frame.text().len()).sum();
        if let Some(known) = continues_at {
            self.push(frames.into_iter().skip(known), now);
            let older = self.frames.len().saturating_sub(length);
            if self.was_forgotten(older, length, bytes) {
                self.drop_oldest(older);
                // A reader that had not come to them was not slow.
                self.reset_at = self.start;
            }
        } else {
            let end = self.start + self.frames.len() as u64;
            self.drop_oldest(self.frames.len());
            // One further, so that a cursor at the old end is below it too: it has read
            // everything of a history that the new one does not continue.
            self.start = end + 1;
            self.reset_at = self.start;
            self.push(frames.into_iter(), now);
        }
        self.widen_window(length);
        self.floor = floor;
    }

    /// Makes the newest frames the history, as many as it may have, and at most so many: what is older than the store's
    /// list is no part of it although there may be room.
    fn widen_window(&mut self, most: usize) {
        (self.window, self.window_bytes) = (0, 0);
        for kept in self.frames.iter().rev().take(most.min(self.limits.history)) {
            let bytes = self.window_bytes + kept.frame.text().len();
            if self.window > 0 && bytes > self.limits.history_bytes {
                break;
            }
            (self.window, self.window_bytes) = (self.window + 1, bytes);
        }
    }

    /// Whether the store has let go of the oldest `older` frames although there was room for the newest of them before a
    /// list of so many frames and bytes: then it did not trim them, they were forgotten on request.
    fn was_forgotten(&self, older: usize, length: usize, bytes: usize) -> bool {
        let Some(newest) = older.checked_sub(1).and_then(|index| self.frames.get(index)) else { return false };
        let is_room = length < self.limits.history && bytes + newest.frame.text().len() <= self.limits.history_bytes;
        length == 0 || is_room
    }

    /// Lets go of backlog that has had its time.
    pub fn trim(&mut self, now: Instant) {
        self.trim_but(0, now);
    }

    /// Lets go of all backlog. Readers who have not come so far are told of a gap.
    pub fn drop_backlog(&mut self) {
        self.drop_oldest(self.frames.len() - self.window);
    }

    /// A cursor before the newest `count` frames of the history that pass `filter`.
    pub fn place_newest(&self, count: usize, filter: impl Fn(&Frame) -> bool) -> Cursor {
        let end = self.start + self.frames.len() as u64;
        let mut cursor = Cursor { next: end, after: self.tail() };
        let mut wanted = count;
        for (frame, index) in self.history().rev().zip((self.start..end).rev()) {
            if wanted == 0 {
                cursor.after = frame.id();
                return cursor;
            }
            cursor.next = index;
            if filter(frame) {
                wanted -= 1;
            }
        }
        cursor.after = self.base();
        cursor
    }

    /// A cursor after a resume point, and the gap if the history does not continue from there.
    ///
    /// `now_ms` is this node's clock in milliseconds since the Unix epoch: an id from later than
    /// that was never given out.
    ///
    /// Ids order by time, so what is known is split in two: the newest event at or before the resume point, and the first
    /// one after it. Where nothing that is kept is so old, [`Log::base`] stands for it. Within one history `seq` grows
    /// with the id, so a number that does not grow shows another one: it began anew, or a failover lost its newest events.
    ///
    /// | newest up to the point | first after it | the client is told | and gets |
    /// |---|---|---|---|
    /// | the point itself | any or none | nothing | all after the point |
    /// | none | the next `seq`, and what was before it is not known | nothing | all that is kept |
    /// | none | a `seq` beyond the next | `trimmed`, and how many | all that is kept |
    /// | none | the same `seq` or a lower one | `reset` | all that is kept |
    /// | a lower `seq` | any or none | `reset`: the point was lost | all after the point |
    /// | the same `seq` or a greater one | any or none | `reset`: another history | all from the point's `seq` on |
    /// | any but the point | none, and the point is from the future | `unknown` | all that is kept |
    /// | (the point is no id) | | `unknown` | all that is kept |
    ///
    /// In another history the event with the point's `seq` is not the client's, whatever its time: the store's clock may
    /// have stepped back after the loss. So it and all that was counted after it are new to the client. Of those counted
    /// before, nobody can know which the client has had: it is told of the gap, and gets none of them twice.
    pub fn place_after(&self, after: &ResumePoint, now_ms: u64) -> (Cursor, Option<Gap>) {
        let window_starts = self.start + (self.frames.len() - self.window) as u64;
        let id = match after {
            ResumePoint::After(id) => *id,
            ResumePoint::Malformed(_) => {
                return self.place_at(window_starts, self.base(), Some((GapReason::Unknown, None)), after);
            }
        };
        // What is known of just before the history's frame of this index.
        let before = |index: usize| {
            index.checked_sub(1).and_then(|last| self.history().nth(last)).map_or(self.base(), Frame::id)
        };
        let place = |older: usize, verdict: Verdict| {
            let resume = if verdict.is_none() { id } else { before(older) };
            self.place_at(window_starts + older as u64, resume, verdict, after)
        };
        let older = self.history().take_while(|frame| frame.id() <= id).count();
        let newest = before(older);
        // What stands for the event before the history where that is not known.
        let stand_in = self.history().next().map(|first| first.id().just_before());
        let reset = Some((GapReason::Reset, None));
        if newest == id || older == 0 && stand_in == Some(id) {
            place(older, None)
        } else if newest > id {
            let is_next = stand_in == Some(newest) && newest.seq == id.seq;
            place(older, if is_next { None } else { judge_older(id, newest) })
        } else if older == self.window && is_from_the_future(id, now_ms) {
            // From another broker, or made up: nothing of what is kept can be known to the client.
            place(0, Some((GapReason::Unknown, None)))
        } else if newest.seq < id.seq {
            place(older, reset)
        } else {
            place(self.history().take_while(|frame| frame.id().seq < id.seq).count(), reset)
        }
    }

    /// Frames after the cursor that pass `filter`, oldest first, and moves the cursor past them.
    pub fn read(&self, cursor: &mut Cursor, portion: ReadLimits, now_ms: u64, filter: impl Fn(&Frame) -> bool) -> Read {
        if cursor.next < self.start {
            let is_slow = cursor.next >= self.reset_at;
            let (placed, gap) = self.place_after(&ResumePoint::After(cursor.after), now_ms);
            *cursor = placed;
            if let Some(mut gap) = gap {
                if is_slow {
                    gap.reason = GapReason::Slow;
                }
                return Read::Gap(gap);
            }
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        let offset = usize::try_from(cursor.next - self.start).unwrap_or(usize::MAX).min(self.frames.len());
        for kept in self.frames.range(offset..) {
            if taken.len() == portion.frames || bytes >= portion.bytes {
                break;
            }
            cursor.next += 1;
            cursor.after = kept.frame.id();
            if filter(&kept.frame) {
                bytes += kept.frame.text().len();
                taken.push(kept.frame.clone());
            }
        }
        if taken.is_empty() { Read::Nothing } else { Read::Frames(taken) }
    }

    /// Where the log ends.
    pub fn end(&self) -> ProgressMark {
        ProgressMark { index: self.start + self.frames.len() as u64, bytes: self.bytes_ever }
    }

    /// Whether nothing is held after the cursor.
    pub fn is_end(&self, cursor: &Cursor) -> bool {
        cursor.next == self.end().index
    }

    /// Whether an event is among the frames held.
    pub fn holds(&self, id: EventId) -> bool {
        let index = self.frames.partition_point(|kept| kept.frame.id() < id);
        self.frames.get(index).is_some_and(|kept| kept.frame.id() == id)
    }

    fn place_at(&self, next: u64, resume: EventId, verdict: Verdict, after: &ResumePoint) -> (Cursor, Option<Gap>) {
        let gap = verdict.map(|(reason, missed)| Gap { reason, after: after.clone(), missed, resume });
        (Cursor { next, after: resume }, gap)
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
            while self.window > self.limits.history || self.window > 1 && self.window_bytes > self.limits.history_bytes
            {
                self.shrink_window();
            }
        }
        self.trim_but(added, now);
    }

    /// The history's oldest frame is backlog from here on.
    fn shrink_window(&mut self) {
        if let Some(oldest) = self.frames.len().checked_sub(self.window).and_then(|index| self.frames.get(index)) {
            self.window_bytes -= oldest.frame.text().len();
            self.window -= 1;
        }
    }

    /// Never cuts the newest `newest` frames: readers who had read all before them must get them
    /// without a gap, however many came at once.
    fn trim_but(&mut self, newest: usize, now: Instant) {
        while self.frames.len() > self.window.max(newest) {
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

/// Whether no store can have given out an id yet, by a clock in milliseconds since the Unix epoch.
pub fn is_from_the_future(id: EventId, now_ms: u64) -> bool {
    id.ms > now_ms.saturating_add(CLOCK_TOLERANCE_MS)
}

/// What a client missed that stands at `id`, when `base` is the oldest that is known of.
fn judge_older(id: EventId, base: EventId) -> Verdict {
    match base.seq.checked_sub(id.seq) {
        // The counter went back, so it was begun anew: how many were lost nobody knows.
        None | Some(0) => Some((GapReason::Reset, None)),
        missed => Some((GapReason::Trimmed, missed)),
    }
}
