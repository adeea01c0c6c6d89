//! Where a client's cursor begins, and whether the client has missed events.
//!
//! The one judge of gaps: for clients that connect, that fell behind, and whose history was replaced.

use super::{Cursor, Log};
use crate::event::{EventId, Gap, GapReason, ResumePoint};
use crate::sse::frame::Frame;

/// This node's clock may be behind the store's by this much before an id counts as from the future.
const CLOCK_TOLERANCE_MS: u64 = 60_000;

/// Why a client receives a gap, and how many events it missed if that is known. `None` if its history continues.
type Verdict = Option<(GapReason, Option<u64>)>;

impl Log {
    /// A cursor before the newest `count` frames of the history that pass `filter`.
    pub fn place_newest(&self, count: usize, filter: impl Fn(&Frame) -> bool) -> Cursor {
        let end = self.end_index();
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
    /// `now_ms` is this node's clock in milliseconds since the Unix epoch: no store has given out an id from later.
    ///
    /// The history continues from an event that is kept, and from the one that the first kept event names as the event before it.
    /// Numbers decide nothing: two histories may have some in common.
    ///
    /// The first event of a pipeline names a moment in place of an event, since when the store has lost no data. Such a history
    /// continues from a resume point `<ms>-0`, which a client is told when there is no history, if that is no earlier than the moment,
    /// if no history can have expired in between, and if every event is later. A client whose point is `0-0` asks for the beginning.
    ///
    /// | the resume point | the client receives | and then |
    /// |---|---|---|
    /// | is kept, or continued | no gap | everything after the point |
    /// | is before the event that the first kept one names, with a lower number | `trimmed` | everything kept |
    /// | is before that event, with the same number or a greater one | `reset` | everything kept |
    /// | is from the future | `unknown` | everything kept |
    /// | is any other id: that event was lost | `reset` | everything after the point |
    /// | is not an id | `unknown` | everything kept |
    pub fn place_after(&self, after: &ResumePoint, now_ms: u64) -> (Cursor, Option<Gap>) {
        let judged = match after {
            ResumePoint::After(id) => self.judge(*id, now_ms),
            ResumePoint::Malformed(_) => (0, Some((GapReason::Unknown, None))),
        };
        self.place(after, judged)
    }

    /// The same for a connected reader whose history was replaced. If another event now has the id of the reader's, which a
    /// client that reconnects cannot know, the reader's was lost.
    pub(super) fn place_after_reset(&self, after: EventId, now_ms: u64) -> (Cursor, Option<Gap>) {
        let judged = match self.reused.contains(&after) {
            true => (self.count_up_to(after), Some((GapReason::Reset, None))),
            false => self.judge(after, now_ms),
        };
        self.place(&ResumePoint::After(after), judged)
    }

    fn place(&self, after: &ResumePoint, (passed, verdict): (usize, Verdict)) -> (Cursor, Option<Gap>) {
        let resume = match (verdict, after) {
            (None, ResumePoint::After(id)) => *id,
            _ => self.id_before(passed),
        };
        let next = self.end_index() - (self.window - passed) as u64;
        let gap = verdict.map(|(reason, missed)| Gap { reason, after: after.clone(), missed, resume });
        (Cursor { next, after: resume }, gap)
    }

    /// How many of the history's frames a client with this resume point is not sent, and the verdict.
    fn judge(&self, id: EventId, now_ms: u64) -> (usize, Verdict) {
        let older = self.count_up_to(id);
        let is_kept = older > 0 && self.id_before(older) == id;
        let before = self.named();
        if is_kept || older == 0 && self.continues_from(id) {
            (older, None)
        } else if id < before && before.seq > id.seq {
            (0, Some((GapReason::Trimmed, self.count_missed(id, before))))
        } else if id < before {
            (0, Some((GapReason::Reset, None)))
        } else if older == self.window && is_from_the_future(id, now_ms) {
            // From another broker, or made up: the client may have none of what is kept.
            (0, Some((GapReason::Unknown, None)))
        } else {
            (older, Some((GapReason::Reset, None)))
        }
    }

    /// Whether a resume point that is older than all that is kept is the one just before it.
    fn continues_from(&self, id: EventId) -> bool {
        let before = self.named();
        if !before.is_beginning() {
            return id == before;
        }
        let has_lost_none = id >= before && self.loss.spans(id.ms, self.empty_at_ms);
        id == EventId::ZERO || id.is_beginning() && has_lost_none
    }

    /// How many events a client at `id` has missed up to `last`. Unknown if its event may be one of another history.
    fn count_missed(&self, id: EventId, last: EventId) -> Option<u64> {
        let is_same_history = id.ms >= self.loss.since_ms && self.loss.spans(id.ms, last.ms);
        (id == EventId::ZERO || is_same_history).then(|| last.seq - id.seq)
    }

    /// How many of the history's frames are no newer than this.
    fn count_up_to(&self, id: EventId) -> usize {
        self.history().take_while(|frame| frame.id() <= id).count()
    }

    /// The id just before the history's frame at this position, as far as it is known.
    fn id_before(&self, position: usize) -> EventId {
        let before = position.checked_sub(1).and_then(|before| self.history().nth(before));
        before.map_or(self.base(), Frame::id)
    }
}

/// Whether no store can have given out an id yet, judged by a clock in milliseconds since the Unix epoch.
pub fn is_from_the_future(id: EventId, now_ms: u64) -> bool {
    id.ms > now_ms.saturating_add(CLOCK_TOLERANCE_MS)
}
