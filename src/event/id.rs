//! Event ids, and the resume points that clients send.

use std::fmt;
use std::str::FromStr;

/// An event's id, `<ms>-<seq>`.
///
/// `ms` is the store's clock when it accepted the event, and never runs backwards within a pipeline. `seq` counts the
/// pipeline's events from 1, without skipping any. Ids order by `ms`, then `seq`. Two events are neighbours if their `seq` are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EventId {
    /// Milliseconds since the Unix epoch.
    pub ms: u64,
    /// The event's number within its pipeline, from 1.
    pub seq: u64,
}

/// Text that is not an event id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event id is <ms>-<seq>, two decimal numbers such as 1700000000000-42")]
pub struct InvalidEventId;

impl EventId {
    /// `0-0`: before every event. Clients may ask for it; a position in a pipeline without history is [`EventId::at`].
    pub const ZERO: Self = Self { ms: 0, seq: 0 };

    /// `<ms>-0`: a moment before the first event of a history.
    pub const fn at(ms: u64) -> Self {
        Self { ms, seq: 0 }
    }

    /// Whether this is no event's id, but a moment before the first event of a history.
    pub fn is_beginning(self) -> bool {
        self.seq == 0
    }

    /// The resume point just before this event: the same `ms` and the `seq` before.
    ///
    /// It orders before the event and after every event with a lower `ms`.
    pub fn just_before(self) -> Self {
        Self { ms: self.ms, seq: self.seq.saturating_sub(1) }
    }

    /// The id of the `n`-th event after this one in the same batch.
    pub fn plus(self, n: u64) -> Self {
        Self { ms: self.ms, seq: self.seq.saturating_add(n) }
    }

    /// Whether `next` can follow this id in one history: it has the next `seq`, and no earlier `ms`.
    pub fn is_followed_by(self, next: Self) -> bool {
        self.seq.checked_add(1) == Some(next.seq) && next.ms >= self.ms
    }
}

impl FromStr for EventId {
    type Err = InvalidEventId;

    /// Strict: decimal digits without sign or leading zero, at most 2^53 - 1, which Lua in Redis and JavaScript represent
    /// exactly. A lenient parser would give one event several ids.
    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        fn number(digits: &str) -> Option<u64> {
            let is_canonical = digits == "0" || !digits.starts_with('0');
            if !is_canonical || digits.len() > 16 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            digits.parse().ok().filter(|n| *n < 1 << 53)
        }
        let (ms, seq) = text.split_once('-').ok_or(InvalidEventId)?;
        match (number(ms), number(seq)) {
            (Some(ms), Some(seq)) => Ok(Self { ms, seq }),
            _ => Err(InvalidEventId),
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// Where a reconnecting client continues.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResumePoint {
    /// After this event.
    After(EventId),
    /// The client sent something else. Holds at most its first 64 bytes, for the gap that reports it.
    ///
    /// Not an error: a browser never reconnects after an error response (WHATWG HTML 9.2.3).
    Malformed(String),
}

impl ResumePoint {
    /// Maximum bytes of a malformed resume point that are sent back. Longer than any id.
    pub const MAX_BYTES: usize = 64;

    /// Parses a `Last-Event-ID`. `None` if it is empty, which means that the client has no event yet.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        Some(match text.parse() {
            Ok(id) => Self::After(id),
            Err(InvalidEventId) => {
                let mut end = text.len().min(Self::MAX_BYTES);
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                Self::Malformed(text[..end].to_owned())
            }
        })
    }
}

impl fmt::Display for ResumePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(id) => id.fmt(f),
            Self::Malformed(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_canonical_form_is_an_id() {
        fn check(text: &str, expected: Option<(u64, u64)>) {
            let parsed = text.parse::<EventId>().ok().map(|id| (id.ms, id.seq));
            assert_eq!(parsed, expected, "{text:?}");
        }
        check("0-0", Some((0, 0)));
        check("1700000000000-42", Some((1_700_000_000_000, 42)));
        check("9007199254740991-1", Some((9_007_199_254_740_991, 1)));
        for bad in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "1-2-3",
            "+1-2",
            "1-+2",
            "01-2",
            "1-02",
            " 1-2",
            "1-2 ",
            "1_0-2",
            "9007199254740992-1",
            "99999999999999999999-1",
            "a-b",
            "1-2\n",
            "٣-١",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn malformed_resume_point_is_cut_at_a_character() {
        let long = "ä".repeat(100);
        let Some(ResumePoint::Malformed(kept)) = ResumePoint::parse(&long) else {
            unreachable!("{long:?} is not an id");
        };
        assert_eq!(kept, "ä".repeat(32));
        assert_eq!(ResumePoint::parse(""), None);
    }

    proptest! {
        #[test]
        fn id_parses_back_from_its_text(ms in 0u64..1 << 53, seq in 0u64..1 << 53) {
            let id = EventId { ms, seq };
            prop_assert_eq!(id.to_string().parse::<EventId>(), Ok(id));
        }

        #[test]
        fn parsed_ids_print_as_the_same_text(text in "[0-9]{0,20}-?[0-9]{0,20}") {
            if let Ok(id) = text.parse::<EventId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn just_before_orders_before_and_is_contiguous(ms in 0u64..1 << 53, seq in 1u64..1 << 53) {
            let id = EventId { ms, seq };
            prop_assert!(id.just_before() < id);
            prop_assert!(id.just_before().is_followed_by(id));
        }
    }
}
