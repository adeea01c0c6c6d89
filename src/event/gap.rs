//! Gaps: events that a client missed and that can no longer be replayed.

use bytes::Bytes;
use serde::Serialize;

use crate::event::{EventId, ResumePoint};

/// Why events are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GapReason {
    /// The history no longer reaches back to the client's resume point.
    Trimmed,
    /// The store lost the history, or its newest events.
    Reset,
    /// This pipeline never gave out the resume point.
    Unknown,
    /// The connected client read too slowly.
    Slow,
}

impl GapReason {
    /// All reasons, for metrics.
    pub const ALL: [Self; 4] = [Self::Trimmed, Self::Reset, Self::Unknown, Self::Slow];

    /// The reason as text, in streams and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::Reset => "reset",
            Self::Unknown => "unknown",
            Self::Slow => "slow",
        }
    }
}

/// What a client receives, once, in place of the events that it missed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// Why they are missing.
    pub reason: GapReason,
    /// The resume point that the client asked for or had reached.
    pub after: ResumePoint,
    /// How many are missing, if that is known.
    pub missed: Option<u64>,
    /// The resume point after the gap: the next events continue from here.
    pub resume: EventId,
}

#[derive(Serialize)]
struct Data<'a> {
    reason: GapReason,
    after: &'a str,
    missed: Option<u64>,
}

impl Gap {
    /// The gap as a block of the stream, event `pipecast.gap`.
    pub fn text(&self) -> Bytes {
        let data = Data { reason: self.reason, after: &self.after.to_string(), missed: self.missed };
        // Serializing strings and numbers to memory cannot fail.
        let data = serde_json::to_string(&data).unwrap_or_default();
        // The gap has an id. Without one the browser would reconnect with the old id and receive the same gap again, each
        // time.
        format!("event: pipecast.gap\nid: {}\ndata: {data}\n\n", self.resume).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gap_is_one_block_for_any_resume_point() {
        let gap = Gap {
            reason: GapReason::Unknown,
            after: ResumePoint::Malformed("a\r\nid: 5\n\n\"".into()),
            missed: None,
            resume: EventId { ms: 7, seq: 2 },
        };
        let expected = "event: pipecast.gap\nid: 7-2\ndata: {\"reason\":\"unknown\",\"after\":\"a\\r\\nid: 5\\n\\n\\\"\",\"missed\":null}\n\n";
        assert_eq!(gap.text(), expected);
    }
}
