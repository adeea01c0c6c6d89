//! A store that follows a script: a list with its past, and notifications on their way to one node.

use std::collections::HashMap;

use pipecast::event::EventId;
use pipecast::log::notification::Notification;
use pipecast::sse::frame::{Entry, Frame, History, LossRecord};
use pipecast::store::Newest;

/// Events that the store keeps: few, so that a few steps trim.
pub(crate) const LIMIT: usize = 8;

/// A pipeline's list at one moment: what the first event names or the next one will, and events.
#[derive(Clone, Default, Debug)]
pub(crate) struct List {
    pub(crate) floor: EventId,
    pub(crate) events: Vec<EventId>,
    /// The store has lost nothing since then.
    began_ms: u64,
    now_ms: u64,
}

/// What became of an event that the store does not have any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Gone {
    /// The history was longer than [`LIMIT`]: whoever has not had it is owed a gap.
    Trimmed,
    /// Deleted on request, or lost by a flush: whoever has not had it is owed a gap.
    Removed,
    /// Lost by a failover, which leaves no trace. Whoever has had it is owed a gap.
    RolledBack,
}

/// Whether the node hears notifications.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Subscription {
    Off,
    /// They are sent. The log has not been told.
    Confirmed,
    On,
}

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) list: List,
    /// Every event ever, oldest first.
    pub(crate) published: Vec<EventId>,
    pub(crate) gone: HashMap<EventId, Gone>,
    /// Whether the store has restarted or failed over.
    pub(crate) has_begun_again: bool,
    pub(crate) subscription: Subscription,
    pub(crate) on_their_way: Vec<Notification>,
    clock_ms: u64,
}

impl List {
    pub(crate) fn newest_id(&self) -> EventId {
        self.events.last().copied().unwrap_or(self.floor)
    }

    pub(crate) fn history(&self) -> History {
        let loss = LossRecord { since_ms: self.began_ms, now_ms: self.now_ms, ttl_ms: u64::MAX };
        let is_marked = self.events.is_empty() && !self.floor.is_beginning();
        let marker = is_marked.then(|| Entry::text(self.floor, None));
        let before = std::iter::once(&self.floor).chain(&self.events);
        let entries = before.zip(&self.events).map(|(before, id)| Entry::text(*before, Some(&frame(*id))));
        History::from_entries(marker.into_iter().chain(entries), loss)
    }

    pub(crate) fn newest(&self) -> Newest {
        match self.events.last() {
            Some(id) => Newest::Event { id: *id, events: self.events.len() },
            None if self.floor.is_beginning() => Newest::Unknown { since_ms: self.began_ms, now_ms: self.now_ms },
            None => Newest::Nothing(self.floor),
        }
    }
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            list: List { floor: EventId::at(100), began_ms: 100, now_ms: 100, ..List::default() },
            published: Vec::new(),
            gone: HashMap::new(),
            has_begun_again: false,
            subscription: Subscription::Off,
            on_their_way: Vec::new(),
            clock_ms: 100,
        }
    }

    pub(crate) fn publish(&mut self, count: u64) {
        self.clock_ms += 10;
        self.list.now_ms = self.clock_ms;
        let after = self.list.newest_id();
        let ids: Vec<_> = (1..=count).map(|n| EventId { ms: self.clock_ms, seq: after.seq + n }).collect();
        self.published.extend(&ids);
        self.list.events.extend(&ids);
        if let Some(surplus @ 1..) = self.list.events.len().checked_sub(LIMIT) {
            for id in self.list.events.drain(..surplus) {
                self.gone.insert(id, Gone::Trimmed);
                self.list.floor = id;
            }
        }
        self.send(Notification { after, frames: ids.into_iter().map(frame).collect() });
    }

    /// Deletes the history; ids continue.
    pub(crate) fn delete(&mut self) {
        let newest = self.list.newest_id();
        if newest.is_beginning() {
            return;
        }
        self.remove(0, Gone::Removed);
        self.list.floor = newest;
        self.send(Notification { after: newest, frames: Vec::new() });
    }

    /// A failover to a replica that lacks the newest events.
    pub(crate) fn roll_back(&mut self, events: usize) {
        self.remove(self.list.events.len().saturating_sub(events), Gone::RolledBack);
        self.begin_again();
        self.disconnect();
    }

    /// A restart with everything.
    pub(crate) fn restart(&mut self) {
        self.begin_again();
        self.disconnect();
    }

    fn begin_again(&mut self) {
        self.clock_ms += 1;
        self.has_begun_again = true;
        self.list.now_ms = self.clock_ms;
        self.list.began_ms = self.clock_ms + 1;
        if self.list.events.is_empty() && self.list.floor.is_beginning() {
            self.list.floor = EventId::at(self.list.began_ms);
        }
    }

    /// All is lost, and the connection stays.
    pub(crate) fn flush(&mut self) {
        self.remove(0, Gone::Removed);
        self.list.floor = EventId::ZERO;
        self.begin_again();
    }

    pub(crate) fn disconnect(&mut self) {
        self.on_their_way.clear();
        self.subscription = Subscription::Off;
    }

    fn send(&mut self, notification: Notification) {
        if self.subscription != Subscription::Off {
            self.on_their_way.push(notification);
        }
    }

    fn remove(&mut self, from: usize, how: Gone) {
        self.gone.extend(self.list.events.drain(from..).map(|id| (id, how)));
    }
}

fn frame(id: EventId) -> Frame {
    Frame::new(id, b"event: a\ndata: 1\n\n").unwrap()
}
