//! What a read of a log is wanted for, and so what the store is asked. No I/O.

use super::Question;
use crate::metrics::ReadReason;

/// What a read is wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Need {
    /// Notifications may have been lost with the connection. One that names the log's newest event proves that none was.
    pub(super) is_reconnected: bool,
    /// A client has an event that is newer than the log's, or claims to. The store's newest id answers that.
    pub(super) is_client_ahead: bool,
    /// Anything that only the history itself can answer.
    history: Option<ReadReason>,
}

impl Need {
    pub(super) fn of(reason: ReadReason) -> Self {
        Self::default().and(reason)
    }

    pub(super) fn and(mut self, reason: ReadReason) -> Self {
        match reason {
            ReadReason::Reconnect => self.is_reconnected = true,
            ReadReason::Ahead => self.is_client_ahead = true,
            reason => self.history = self.history.or(Some(reason)),
        }
        self
    }

    pub(super) fn and_all(self, other: Self) -> Self {
        Self {
            is_reconnected: self.is_reconnected || other.is_reconnected,
            is_client_ahead: self.is_client_ahead || other.is_client_ahead,
            history: self.history.or(other.history),
        }
    }

    pub(super) fn is_nothing(self) -> bool {
        self == Self::default()
    }

    pub(super) fn question(self) -> Question {
        match (self.history, self.is_reconnected) {
            (Some(reason), _) => Question::History(reason),
            (None, true) => Question::History(ReadReason::Reconnect),
            (None, false) => Question::Newest,
        }
    }
}
