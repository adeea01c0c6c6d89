//! Cursors: a reader's place in a log. Nothing is queued per reader.

use super::Log;
use crate::event::{EventId, Gap, GapReason, ResumePoint};
use crate::sse::frame::Frame;

/// A reader's place: the index of the next frame, and the id of the event before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    pub(super) next: u64,
    pub(super) after: EventId,
}

impl Cursor {
    /// The index of the next frame. Indexes count all frames that the log ever held.
    pub fn index(&self) -> u64 {
        self.next
    }

    /// The resume point: the newest event that the reader has passed.
    pub fn after(&self) -> EventId {
        self.after
    }
}

/// What was found after a cursor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Read {
    /// Frames after the cursor, oldest first.
    Frames(Vec<Frame>),
    /// The reader has missed events. The cursor is after the gap.
    Gap(Gap),
    /// Nothing after the cursor, or nothing that passes the filter.
    Nothing,
}

/// How much one read returns.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Maximum frames.
    pub frames: usize,
    /// The read ends with the frame that reaches this many bytes.
    pub bytes: usize,
}

impl Log {
    /// Frames after the cursor that pass `filter`, oldest first. Moves the cursor past them.
    ///
    /// A cursor that the log has left behind is placed again by the id that the reader has reached, as for a reconnect.
    /// `now_ms` is this node's clock in milliseconds since the Unix epoch.
    pub fn read(&self, cursor: &mut Cursor, limits: ReadLimits, now_ms: u64, filter: impl Fn(&Frame) -> bool) -> Read {
        if cursor.next < self.start {
            let is_slow = cursor.next >= self.reset_at;
            let (placed, gap) = match is_slow {
                true => self.place_after(&ResumePoint::After(cursor.after), now_ms),
                false => self.place_after_reset(cursor.after, now_ms),
            };
            *cursor = placed;
            if let Some(mut gap) = gap {
                if is_slow {
                    gap.reason = GapReason::Slow;
                }
                return Read::Gap(gap);
            }
        }
        let mut found = Vec::new();
        let mut bytes = 0;
        let offset = usize::try_from(cursor.next - self.start).unwrap_or(usize::MAX).min(self.frames.len());
        for kept in self.frames.range(offset..) {
            if found.len() == limits.frames || bytes >= limits.bytes {
                break;
            }
            cursor.next += 1;
            cursor.after = kept.frame.id();
            if filter(&kept.frame) {
                bytes += kept.frame.text().len();
                found.push(kept.frame.clone());
            }
        }
        if found.is_empty() { Read::Nothing } else { Read::Frames(found) }
    }

    /// Whether the log has no frame after the cursor.
    pub fn is_end(&self, cursor: &Cursor) -> bool {
        cursor.next == self.end_index()
    }
}
