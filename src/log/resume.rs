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
    /// Ids order by time, so the resume point splits the history in two: the newest event up to the point, and the first
    /// one after it. If no event that is kept is old enough, [`Log::base`] is used for the former. Within one history
    /// `seq` grows with the id. A number that does not grow belongs to another history: ids were counted from 1 again, or
    /// a failover lost the newest events.
    ///
    /// | newest up to the point | first after it | the client receives | and then |
    /// |---|---|---|---|
    /// | the point itself | any or none | no gap | everything after the point |
    /// | none | the next `seq`, with an unknown event before it | no gap | everything kept |
    /// | none | a `seq` beyond the next | `trimmed`, and how many | everything kept |
    /// | none | the same `seq` or a lower one | `reset` | everything kept |
    /// | a lower `seq` | any or none | `reset`: the point was lost | everything after the point |
    /// | the same `seq` or a greater one | any or none | `reset`: another history | everything from the point's `seq` on |
    /// | any but the point | none, and the point is from the future | `unknown` | everything kept |
    /// | (the point is not an id) | | `unknown` | everything kept |
    ///
    /// In another history the event with the point's `seq` is not the client's, whatever its time: the store's clock may
    /// have stepped back after the loss. So that event and all counted after it are new to the client. Which of the earlier
    /// ones the client has had is unknown: the gap covers them, and the client receives none of them twice.
    pub fn place_after(&self, after: &ResumePoint, now_ms: u64) -> (Cursor, Option<Gap>) {
        let (passed, verdict) = match after {
            ResumePoint::After(id) => self.judge(*id, now_ms),
            ResumePoint::Malformed(_) => (0, Some((GapReason::Unknown, None))),
        };
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
        let older = self.history().take_while(|frame| frame.id() <= id).count();
        let newest = self.id_before(older);
        // The id before the history if the real one is unknown.
        let assumed = self.history().next().map(|first| first.id().just_before());
        let reset = Some((GapReason::Reset, None));
        if newest == id || (older == 0 && assumed == Some(id)) {
            (older, None)
        } else if newest > id {
            let is_next = assumed == Some(newest) && newest.seq == id.seq;
            (older, if is_next { None } else { judge_older(id, newest) })
        } else if older == self.window && is_from_the_future(id, now_ms) {
            // From another broker, or made up: the client may have none of what is kept.
            (0, Some((GapReason::Unknown, None)))
        } else if newest.seq < id.seq {
            (older, reset)
        } else {
            (self.history().take_while(|frame| frame.id().seq < id.seq).count(), reset)
        }
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

/// What a client at `id` has missed if nothing older than `base` is known.
fn judge_older(id: EventId, base: EventId) -> Verdict {
    match base.seq.checked_sub(id.seq) {
        // Counted from 1 again: how many were lost is unknown.
        None | Some(0) => Some((GapReason::Reset, None)),
        missed => Some((GapReason::Trimmed, missed)),
    }
}
