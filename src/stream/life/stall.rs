//! The write deadline: how long a client may read nothing of what waits for it.

use std::time::Instant;

use super::rules::{LifeRules, Timestamp};

/// How much the client has read of what was waiting for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intake {
    /// All of it.
    All,
    /// A part; the rest still waits.
    Some,
    /// Nothing at all.
    Nothing,
}

/// How long a client has read nothing of what waits for it: the write deadline of streams and of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stall {
    /// `NEVER` while nothing waits.
    since: Timestamp,
}

impl Stall {
    /// A client for which nothing waits.
    pub const NONE: Self = Self { since: Timestamp::NEVER };

    /// Whether something waits for the client.
    pub fn is_waiting(self) -> bool {
        self != Self::NONE
    }

    /// Records what the client has read.
    pub fn record(&mut self, intake: Intake, rules: &LifeRules, now: Instant) {
        match intake {
            Intake::All => *self = Self::NONE,
            Intake::Some => self.since = rules.timestamp(now),
            Intake::Nothing if self.is_waiting() => {}
            Intake::Nothing => self.since = rules.timestamp(now),
        }
    }

    /// When the connection is to be closed unless the client reads something; `None` while nothing waits for it.
    pub fn deadline(self, rules: &LifeRules) -> Option<Instant> {
        rules.instant(self.closes_at(rules))
    }

    pub(super) fn closes_at(self, rules: &LifeRules) -> Timestamp {
        self.since.plus(rules.write_timeout)
    }
}
