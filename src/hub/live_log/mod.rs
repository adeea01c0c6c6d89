//! A log that follows the store: subscribe, catch up, follow, and catch up again.
//!
//! ```text
//!  Subscribing ─ subscribed ─▶ Behind ─ its turn ─▶ CatchingUp ─ answered ─▶ Following
//!                               ▲  ▲                    │                        │
//!                               │  └─ failed, or more ──┘                        │
//!                               │                                                │
//!                               └── a notification is missing · subscribed again ┘
//!                                   a client is ahead · the store has other events
//! ```
//!
//! The store's list is the truth and a notification is a hint. But one that names the log's newest event is right, so its
//! events are added at once, in every phase after the first read. Falling behind is ordinary: the log keeps what it has,
//! continues to add what follows, and one read of the list settles the rest, however many have asked for it.
//!
//! This file decides and does nothing. The hub puts logs into its queue, asks the store and reports the answers; callers
//! hand the time in. No I/O, no locks, no clock.

mod need;
#[cfg(test)]
mod tests;

use std::time::Instant;

use crate::event::EventId;
use crate::log::notification::Notification;
use crate::log::notification_buffer::NotificationBuffer;
use crate::log::{Log, LogLimits, NotifyResult};
use crate::metrics::ReadReason;
use crate::sse::frame::History;
use crate::store::Newest;
use need::Need;

/// A pipeline's log, and how far it is behind the store.
#[derive(Debug)]
pub struct LiveLog {
    log: Log,
    phase: Phase,
    /// The number of the read that is wanted or under way, or else of the last one. The first is 1.
    current: u64,
    /// The last read that is done.
    done: u64,
    attempts: u64,
    readers: usize,
}

#[derive(Debug)]
enum Phase {
    /// Notifications do not arrive yet. A history that is read now could miss events published before they do.
    Subscribing,
    /// A read is wanted: the log is in the hub's queue, or waits for its next attempt.
    Behind(Need),
    /// The same without readers, after an attempt that failed. The next reader puts the log into the queue again.
    Parked(Need),
    /// The store has been asked.
    CatchingUp(CatchUp),
    /// The log is as the last read left it, with every event that was notified since.
    Following,
}

/// A read that is under way.
#[derive(Debug, Default)]
struct CatchUp {
    need: Need,
    /// What was asked for since. The store may have answered without it, so another read follows.
    next: Need,
    /// The log's newest event when the store was asked.
    before: EventId,
    /// What arrived since. The list in the answer may be older.
    received: NotificationBuffer,
    /// Whether some of that did not follow the log.
    is_missing: bool,
}

/// A read of the store that starts after it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(u64);

/// What the caller has to do after a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Wake all readers: the log has new events.
    WakeReaders,
    /// Put the log into the queue of reads.
    QueueRead,
}

/// What to ask the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    /// Its newest event. If the log has that one, nothing more is needed.
    Newest,
    /// The history.
    History(ReadReason),
}

/// What to do after an attempt to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum AfterRead {
    /// Nothing more: the log follows the store, or nobody waits for it.
    Done,
    /// Queue the log again: another read is wanted at once.
    Queue,
    /// Call [`LiveLog::retry_due`] after a while, with this number.
    Retry(u64),
}

/// How much the next read matters to clients, most first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Urgency {
    /// Some receive nothing before it.
    Awaited,
    /// Some read on, and may miss something.
    Live,
    /// There are none.
    Lingering,
}

impl Ticket {
    /// The first read of the history.
    pub const FIRST: Self = Self(1);
}

impl LiveLog {
    /// A log without events that waits for its subscription.
    pub fn new(limits: LogLimits) -> Self {
        Self { log: Log::new(limits), phase: Phase::Subscribing, current: 1, done: 0, attempts: 0, readers: 0 }
    }

    /// Notifications arrive from here on, for the first time or again; events published before this are to be read.
    pub fn subscribed(&mut self) -> Action {
        match self.phase {
            Phase::Subscribing => self.queue(Need::of(ReadReason::Open)),
            // No reason to wait for the next attempt: the store is back.
            Phase::Behind(need) => self.queue(need.and(ReadReason::Reconnect)),
            _ => self.request_read(ReadReason::Reconnect).1,
        }
    }

    /// The store has accepted events.
    pub fn notify(&mut self, notification: Notification, now: Instant) -> Action {
        if !self.has_read(Ticket::FIRST) {
            // Nobody has a place in the log, and nothing that this could follow is known. A list that is read later has it.
            if let Phase::CatchingUp(catch_up) = &mut self.phase {
                catch_up.received.add(notification);
            }
            return Action::Nothing;
        }
        let copy = matches!(self.phase, Phase::CatchingUp(_)).then(|| notification.clone());
        let result = self.log.notify(notification, now);
        match (result, &mut self.phase) {
            (NotifyResult::Known, _) => Action::Nothing,
            (NotifyResult::Added, Phase::Subscribing | Phase::Following) => Action::WakeReaders,
            (NotifyResult::Added, Phase::Behind(need) | Phase::Parked(need)) => {
                need.is_reconnected = false;
                if need.is_nothing() {
                    self.caught_up();
                }
                Action::WakeReaders
            }
            (NotifyResult::Missing, Phase::Subscribing | Phase::Following) => {
                self.request_read(ReadReason::MissedNotification).1
            }
            (NotifyResult::Missing, Phase::Behind(need) | Phase::Parked(need)) => {
                *need = need.and(ReadReason::MissedNotification);
                Action::Nothing
            }
            (NotifyResult::Added | NotifyResult::Missing, Phase::CatchingUp(catch_up)) => {
                copy.into_iter().for_each(|copy| catch_up.received.add(copy));
                // The list that is being read may have what is missing.
                catch_up.is_missing |= result == NotifyResult::Missing;
                if result == NotifyResult::Added { Action::WakeReaders } else { Action::Nothing }
            }
        }
    }

    /// Asks for a read that starts after this call.
    pub fn request_read(&mut self, reason: ReadReason) -> (Ticket, Action) {
        let action = match &mut self.phase {
            // The first read answers it.
            Phase::Subscribing => Action::Nothing,
            Phase::Behind(need) => {
                *need = need.and(reason);
                Action::Nothing
            }
            Phase::Parked(need) => {
                let need = need.and(reason);
                self.queue(need)
            }
            Phase::CatchingUp(catch_up) => {
                catch_up.next = catch_up.next.and(reason);
                return (Ticket(self.current + 1), Action::Nothing);
            }
            Phase::Following => {
                self.current += 1;
                self.queue(Need::of(reason))
            }
        };
        (Ticket(self.current), action)
    }

    /// The log's turn in the queue has come. `None` when there is nothing left to ask; a log may be in the queue twice.
    pub fn start_read(&mut self) -> Option<Question> {
        let Phase::Behind(need) = self.phase else { return None };
        self.attempts += 1;
        self.phase = Phase::CatchingUp(CatchUp { need, before: self.log.tail(), ..CatchUp::default() });
        Some(need.question())
    }

    /// The store answered [`Question::Newest`]. `None` when it has other events than the log: the read continues with the
    /// history.
    pub fn newest_arrived(&mut self, newest: Newest) -> Option<AfterRead> {
        let Phase::CatchingUp(catch_up) = &self.phase else { return Some(AfterRead::Done) };
        if !self.agrees(newest, catch_up.before) {
            return None;
        }
        let next = if catch_up.is_missing { catch_up.next.and(ReadReason::MissedNotification) } else { catch_up.next };
        Some(self.finish(next))
    }

    /// The store answered with its list, as of some moment since [`LiveLog::start_read`].
    pub fn history_arrived(&mut self, mut history: History, now: Instant) -> AfterRead {
        let Some(catch_up) = self.take_catch_up() else { return AfterRead::Done };
        let CatchUp { need, next, before, received, .. } = catch_up;
        // If this list shows that the history is lost, what the log had before the read is lost as well.
        let is_whole = received.extend(&mut history, self.log.replaced().max(before));
        if !is_whole && self.has_read(Ticket::FIRST) && !self.log.is_continued_by(&history) {
            // The list and the notifications contradict each other. Either may be of a history that the store has lost,
            // and a reset because of the wrong one would send events twice. Clients that wait for this read wait for
            // the next.
            self.try_again(need.and(ReadReason::MissedNotification), next);
            return AfterRead::Queue;
        }
        self.log.merge(history, now);
        self.finish(if is_whole { next } else { next.and(ReadReason::MissedNotification) })
    }

    /// The store did not answer. The next attempt also answers those who asked during this one.
    pub fn read_failed(&mut self) -> AfterRead {
        let Some(CatchUp { need, next, is_missing, .. }) = self.take_catch_up() else { return AfterRead::Done };
        let need = if is_missing { need.and(ReadReason::MissedNotification) } else { need };
        self.try_again(need, next);
        if self.readers > 0 {
            return AfterRead::Retry(self.attempts);
        }
        self.park();
        AfterRead::Done
    }

    /// The time for another attempt has come, after so many. Without readers none is made, and none if the store was asked
    /// in the meantime: each failure would otherwise start a further chain of attempts.
    pub fn retry_due(&mut self, attempts: u64) -> Action {
        if attempts != self.attempts {
            return Action::Nothing;
        }
        if self.readers > 0 {
            return Action::QueueRead;
        }
        self.park();
        Action::Nothing
    }

    /// The store was compared with open logs: this is its newest, and `before` was the log's when it was asked.
    pub fn checked(&mut self, newest: Newest, before: EventId) -> Action {
        if !self.has_read(Ticket::FIRST) {
            return Action::Nothing;
        }
        if !self.agrees(newest, before) {
            return self.request_read(ReadReason::Check).1;
        }
        if let Newest::Unknown { now_ms, .. } = newest
            && self.log.tail() == before
        {
            self.log.confirm_empty(now_ms);
        }
        Action::Nothing
    }

    /// A reader joined. The first one puts a read that is wanted into the queue again: it was parked, or waits behind
    /// those of logs with readers.
    pub fn reader_joined(&mut self) -> Action {
        self.readers += 1;
        match self.phase {
            Phase::Behind(need) | Phase::Parked(need) if self.readers == 1 => self.queue(need),
            _ => Action::Nothing,
        }
    }

    /// A reader left.
    pub fn reader_left(&mut self) {
        self.readers -= 1;
    }

    /// How many readers there are.
    pub fn readers(&self) -> usize {
        self.readers
    }

    /// The events.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Whether a read is done.
    pub fn has_read(&self, ticket: Ticket) -> bool {
        self.done >= ticket.0
    }

    /// How much the read that is wanted matters.
    pub fn urgency(&self) -> Urgency {
        let need = match &self.phase {
            Phase::Behind(need) | Phase::Parked(need) => *need,
            Phase::CatchingUp(catch_up) => catch_up.need,
            Phase::Subscribing | Phase::Following => Need::default(),
        };
        match (self.readers, need.is_client_ahead || !self.has_read(Ticket::FIRST)) {
            (0, _) => Urgency::Lingering,
            (_, true) => Urgency::Awaited,
            (_, false) => Urgency::Live,
        }
    }

    /// See [`Log::trim`].
    pub fn trim(&mut self, now: Instant) {
        self.log.trim(now);
    }

    /// See [`Log::drop_backlog`].
    pub fn drop_backlog(&mut self) {
        self.log.drop_backlog();
    }

    /// Whether a store that has this as its newest has nothing that the log lacked when its own newest was `before`.
    fn agrees(&self, newest: Newest, before: EventId) -> bool {
        match newest {
            // As new as the log but shorter: a deletion went unnoticed.
            Newest::Event { id, events } if id == self.log.tail() && events < self.log.history_len() => false,
            Newest::Event { id, .. } => id >= before && self.log.holds(id),
            Newest::Nothing(id) => id == before && (self.log.history_len() == 0 || self.log.tail() != before),
            // The log has seen more recently that there was none, or has received the first ones since.
            Newest::Unknown { since_ms, now_ms } => {
                let is_empty = self.log.tail() != before || self.log.is_empty_until(now_ms);
                before.is_beginning() && since_ms <= before.ms && is_empty
            }
        }
    }

    fn queue(&mut self, need: Need) -> Action {
        self.phase = Phase::Behind(need);
        Action::QueueRead
    }

    fn caught_up(&mut self) {
        self.done = self.current;
        self.phase = Phase::Following;
    }

    /// The current read is done. What is still needed is for the next one.
    fn finish(&mut self, next: Need) -> AfterRead {
        self.caught_up();
        if next.is_nothing() {
            return AfterRead::Done;
        }
        self.current += 1;
        self.phase = Phase::Behind(next);
        AfterRead::Queue
    }

    /// The current read is still wanted, and the next attempt answers those who asked since, too.
    fn try_again(&mut self, need: Need, next: Need) {
        if !next.is_nothing() {
            self.current += 1;
        }
        self.phase = Phase::Behind(need.and_all(next));
    }

    fn park(&mut self) {
        if let Phase::Behind(need) = self.phase {
            self.phase = Phase::Parked(need);
        }
    }

    fn take_catch_up(&mut self) -> Option<CatchUp> {
        match std::mem::replace(&mut self.phase, Phase::Following) {
            Phase::CatchingUp(catch_up) => Some(catch_up),
            other => {
                self.phase = other;
                None
            }
        }
    }
}
