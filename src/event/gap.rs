//! Gaps: events that a client missed and that cannot be replayed any more.

use bytes::Bytes;
use serde::Serialize;

use crate::event::{EventId, ResumePoint};

/// Why events are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GapReason {
    /// The history is shorter than the client's absence.
    Trimmed,
    /// The history was begun anew, or lost its newest events, in the store.
    Reset,
    /// The resume point is none that this pipeline gave out.
    Unknown,
    /// The connected client read more slowly than events came.
    Slow,
}

impl GapReason {
    /// All reasons, for tables of metrics.
    pub const ALL: [Self; 4] = [Self::Trimmed, Self::Reset, Self::Unknown, Self::Slow];

    /// The reason as it stands in the stream and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::Reset => "reset",
            Self::Unknown => "unknown",
            Self::Slow => "slow",
        }
    }
}

/// What a client is told, once, in place of the events that it missed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// Why they are missing.
    pub reason: GapReason,
    /// The resume point that the client asked for or had reached.
    pub after: ResumePoint,
    /// How many are missing, where that is known.
    pub missed: Option<u64>,
    /// The resume point after the gap: what is sent next continues from here.
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
        // Serialising strings and numbers to memory has nothing that can fail.
        let data = serde_json::to_string(&data).unwrap_or_default();
        // The gap carries an id: without it the browser would reconnect with the
        // old one and be told of the same gap for ever.
        format!("event: pipecast.gap\nid: {}\ndata: {data}\n\n", self.resume).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_one_block_whatever_was_asked() {
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
