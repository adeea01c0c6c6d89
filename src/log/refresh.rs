//! The refresh of a log: which read of the store's history is wanted, started and done, and what it is wanted for.
//!
//! Decides, and does nothing: the hub reads, and tells what became of it. No I/O, no locks.

use crate::event::EventId;
use crate::metrics::ReadReason;

/// A read of the history that starts after it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(u64);

/// Whether the caller must see to it that a read is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadRequest {
    /// The caller puts the log into the hub's queue.
    Start(Ticket),
    /// It joins one that is in the queue, or will be.
    Joined(Ticket),
}

impl ReadRequest {
    /// The read to wait for.
    pub fn ticket(self) -> Ticket {
        match self {
            Self::Start(ticket) | Self::Joined(ticket) => ticket,
        }
    }
}

/// What the store is to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    /// Whether its newest event is still this one: nothing more is needed if it is.
    Newest(EventId),
    /// The history.
    History(ReadReason),
}

/// What a read is wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Need {
    /// Notifications may have been missed. One that names the log's newest event shows that none was.
    after_reconnect: bool,
    /// A client has an event that is newer than the log's, or says so: the store's newest id answers that.
    ahead: bool,
    /// Anything that only the history itself can answer.
    history: Option<ReadReason>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The log is as the last read left it, with what was announced since.
    Done,
    /// A history that is read before notifications come could miss what is in between.
    Unsubscribed,
    /// It has its place in the hub's queue, or waits to be tried again.
    Queued,
    /// The store was asked.
    UnderWay,
    /// It failed, or was not begun, while the log had no readers: the next one begins it again.
    Dropped,
}

/// The reads of one log.
#[derive(Debug)]
pub struct Refresh {
    started: u64,
    done: u64,
    phase: Phase,
    need: Need,
    /// A read is wanted that starts after the one under way.
    again: Option<Need>,
    tries: u64,
}

impl Default for Refresh {
    /// Of a log that nothing was read into; the first read waits for the subscription.
    fn default() -> Self {
        let need = Need { history: Some(ReadReason::Open), ..Need::default() };
        Self { started: 1, done: 0, phase: Phase::Unsubscribed, need, again: None, tries: 0 }
    }
}

impl Refresh {
    /// The first read of the history.
    pub const FIRST: Ticket = Ticket(1);

    /// Whether that read is done.
    pub fn has_read(&self, ticket: Ticket) -> bool {
        self.done >= ticket.0
    }

    /// Whether something was read at all.
    pub fn has_first(&self) -> bool {
        self.has_read(Self::FIRST)
    }

    /// Whether the store has been asked and has not answered.
    pub fn is_under_way(&self) -> bool {
        self.phase == Phase::UnderWay
    }

    /// How often the store was asked.
    pub fn tries(&self) -> u64 {
        self.tries
    }

    /// Whether clients wait for the read, and not only for the log to be right.
    pub fn is_awaited(&self) -> bool {
        !self.has_first() || self.need.ahead
    }

    /// Notifications come from here on, for the first time or again: what came before is to be read. A read that waits to
    /// be tried again is tried at once, since the store is back.
    pub fn subscribed(&mut self) -> ReadRequest {
        match self.phase {
            Phase::Unsubscribed | Phase::Queued | Phase::Dropped => {
                if self.has_first() {
                    self.need.add(ReadReason::Reconnect);
                }
                self.phase = Phase::Queued;
                ReadRequest::Start(Ticket(self.started))
            }
            Phase::Done | Phase::UnderWay => self.request(ReadReason::Reconnect),
        }
    }

    /// Asks for a read that starts after this call.
    pub fn request(&mut self, reason: ReadReason) -> ReadRequest {
        match self.phase {
            Phase::UnderWay => {
                self.again.get_or_insert_default().add(reason);
                return ReadRequest::Joined(Ticket(self.started + 1));
            }
            Phase::Done => self.started += 1,
            Phase::Dropped => {}
            Phase::Queued | Phase::Unsubscribed => {
                self.need.add(reason);
                return ReadRequest::Joined(Ticket(self.started));
            }
        }
        self.need.add(reason);
        self.phase = Phase::Queued;
        ReadRequest::Start(Ticket(self.started))
    }

    /// A reader came to a log without any. Whether the log is to be put into the queue: its read was dropped, or waits
    /// behind those of logs with readers.
    pub fn joined(&mut self) -> bool {
        let is_wanted = matches!(self.phase, Phase::Dropped | Phase::Queued);
        if is_wanted {
            self.phase = Phase::Queued;
        }
        is_wanted
    }

    /// A notification named the log's newest event: nothing was missed. Whether that ended what was to be read.
    pub fn continued(&mut self) -> bool {
        if !matches!(self.phase, Phase::Queued | Phase::Dropped) || !self.has_first() {
            return false;
        }
        self.need.after_reconnect = false;
        if self.need != Need::default() {
            return false;
        }
        self.finish();
        true
    }

    /// The log's turn in the queue has come. `None` when there is nothing to ask any more.
    pub fn begin(&mut self, tail: EventId) -> Option<Question> {
        if self.phase != Phase::Queued {
            return None;
        }
        self.phase = Phase::UnderWay;
        self.tries += 1;
        Some(self.need.question(tail))
    }

    /// The store has not changed, or the history was taken over; `is_whole` says whether nothing is missing after it.
    /// Whether the log is to be put into the queue again.
    #[must_use]
    pub fn succeeded(&mut self, is_whole: bool) -> bool {
        let again = self.again.take();
        self.finish();
        if !is_whole {
            self.need.add(ReadReason::MissedNotification);
        }
        self.need.add_all(again.unwrap_or_default());
        let is_wanted = self.need != Need::default();
        if is_wanted {
            self.started += 1;
            self.phase = Phase::Queued;
        }
        is_wanted
    }

    /// Nothing came of it; the next try answers whoever has asked meanwhile, too.
    pub fn failed(&mut self) {
        if let Some(again) = self.again.take() {
            self.started += 1;
            self.need.add_all(again);
        }
        self.phase = Phase::Queued;
    }

    /// A notification showed that something is missing, and the store is not being asked.
    pub fn missed(&mut self) -> Option<ReadRequest> {
        match self.phase {
            Phase::Done => Some(self.request(ReadReason::MissedNotification)),
            _ => {
                self.need.add(ReadReason::MissedNotification);
                None
            }
        }
    }

    /// Nobody wants the read that is in the queue.
    pub fn drop_queued(&mut self) {
        if self.phase == Phase::Queued {
            self.phase = Phase::Dropped;
        }
    }

    fn finish(&mut self) {
        self.done = self.started;
        self.need = Need::default();
        self.phase = Phase::Done;
    }
}

impl Need {
    fn add(&mut self, reason: ReadReason) {
        match reason {
            ReadReason::Reconnect => self.after_reconnect = true,
            ReadReason::Ahead => self.ahead = true,
            reason => self.history = self.history.or(Some(reason)),
        }
    }

    fn add_all(&mut self, other: Self) {
        self.after_reconnect |= other.after_reconnect;
        self.ahead |= other.ahead;
        self.history = self.history.or(other.history);
    }

    fn question(self, tail: EventId) -> Question {
        match (self.history, self.after_reconnect) {
            (Some(reason), _) => Question::History(reason),
            (None, true) => Question::History(ReadReason::Reconnect),
            (None, false) => Question::Newest(tail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: EventId = EventId { ms: 9, seq: 4 };

    /// One that has read once.
    fn refresh() -> Refresh {
        let mut refresh = Refresh::default();
        assert_eq!(refresh.begin(TAIL), None, "not before notifications come");
        assert_eq!(refresh.subscribed(), ReadRequest::Start(Refresh::FIRST));
        assert_eq!(refresh.begin(TAIL), Some(Question::History(ReadReason::Open)));
        assert!(!refresh.has_first() && !refresh.succeeded(true) && refresh.has_first());
        refresh
    }

    #[test]
    fn requests_before_the_start_share_a_read_and_later_ones_the_next() {
        let mut refresh = refresh();
        let first = refresh.request(ReadReason::Check);
        assert!(matches!(first, ReadRequest::Start(_)));
        assert_eq!(refresh.request(ReadReason::MissedNotification), ReadRequest::Joined(first.ticket()));
        assert_eq!(refresh.begin(TAIL), Some(Question::History(ReadReason::Check)));
        assert_eq!(refresh.begin(TAIL), None, "it stood in the queue twice");
        let second = refresh.request(ReadReason::Ahead);
        assert!(matches!(second, ReadRequest::Joined(ticket) if ticket > first.ticket()));
        assert!(refresh.succeeded(true) && refresh.has_read(first.ticket()) && !refresh.has_read(second.ticket()));
        assert_eq!(refresh.begin(TAIL), Some(Question::Newest(TAIL)));
        assert!(!refresh.succeeded(true) && refresh.has_read(second.ticket()));
    }

    #[test]
    fn a_reconnect_needs_no_read_once_a_notification_names_the_tail() {
        let mut refresh = refresh();
        let ticket = refresh.subscribed().ticket();
        assert!(refresh.continued() && refresh.has_read(ticket));
        assert_eq!(refresh.begin(TAIL), None);
        // A client that is ahead still gets its answer.
        refresh.subscribed();
        let ticket = refresh.request(ReadReason::Ahead).ticket();
        assert!(!refresh.continued() && !refresh.has_read(ticket));
        assert_eq!(refresh.begin(TAIL), Some(Question::Newest(TAIL)));
        assert!(!refresh.continued(), "it is under way");
        assert!(!refresh.succeeded(true));
        // And a hole is read about in any case.
        refresh.subscribed();
        assert_eq!(refresh.missed(), None);
        assert!(!refresh.continued());
        assert_eq!(refresh.begin(TAIL), Some(Question::History(ReadReason::MissedNotification)));
    }

    #[test]
    fn a_failed_read_answers_those_who_asked_meanwhile_at_its_next_try() {
        let mut refresh = refresh();
        let first = refresh.request(ReadReason::Ahead).ticket();
        assert_eq!(refresh.begin(TAIL), Some(Question::Newest(TAIL)));
        let second = refresh.request(ReadReason::Check).ticket();
        refresh.failed();
        assert_eq!(refresh.begin(TAIL), Some(Question::History(ReadReason::Check)));
        assert!(!refresh.succeeded(true) && refresh.has_read(first) && refresh.has_read(second));
    }

    #[test]
    fn a_dropped_read_is_begun_again_by_the_next_reader() {
        let mut refresh = Refresh::default();
        assert!(!refresh.joined(), "it waits for the subscription");
        refresh.subscribed();
        refresh.begin(TAIL);
        refresh.failed();
        refresh.drop_queued();
        assert_eq!(refresh.begin(TAIL), None);
        assert!(refresh.joined());
        assert_eq!(refresh.begin(TAIL), Some(Question::History(ReadReason::Open)));
        assert!(!refresh.succeeded(true) && refresh.has_first());
    }
}
