//! A store that follows a script: a list with its past, and notifications on their way to one node.

use std::collections::HashMap;

use pipecast::event::EventId;
use pipecast::log::notification::Notification;
use pipecast::sse::frame::{Frame, History};
use pipecast::store::Newest;

/// Events that the store keeps: few, so that a few steps trim.
pub(crate) const LIMIT: usize = 8;

/// A pipeline's list at one moment: the id of a deleted history or `0-0`, and events.
#[derive(Clone, Default, Debug)]
pub(crate) struct List {
    pub(crate) marker: EventId,
    pub(crate) events: Vec<EventId>,
}

/// What became of an event that the store does not have any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Gone {
    /// The history was longer than [`LIMIT`]: whoever has not had it is owed a gap.
    Trimmed,
    /// Deleted on request, or lost by the store.
    Removed,
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
    /// Whether ids were counted from a lower number again, so that two histories may have a number in common.
    pub(crate) has_counted_back: bool,
    pub(crate) subscription: Subscription,
    pub(crate) on_their_way: Vec<Notification>,
    clock_ms: u64,
}

impl List {
    pub(crate) fn newest_id(&self) -> EventId {
        self.events.last().copied().unwrap_or(self.marker)
    }

    pub(crate) fn history(&self) -> History {
        let marker = (self.marker != EventId::ZERO).then(|| History::marker(self.marker).into());
        History::from_entries(marker.into_iter().chain(self.events.iter().map(|id| frame(*id).shared_text())))
    }

    pub(crate) fn newest(&self) -> Newest {
        match self.events.last() {
            Some(id) => Newest::Event { id: *id, events: self.events.len() },
            None => Newest::Nothing(self.marker),
        }
    }
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            list: List::default(),
            published: Vec::new(),
            gone: HashMap::new(),
            has_counted_back: false,
            subscription: Subscription::Off,
            on_their_way: Vec::new(),
            clock_ms: 100,
        }
    }

    pub(crate) fn publish(&mut self, count: u64) {
        self.clock_ms += 10;
        let after = self.list.newest_id();
        let ids: Vec<_> = (1..=count).map(|n| EventId { ms: self.clock_ms, seq: after.seq + n }).collect();
        self.published.extend(&ids);
        self.list.events.extend(&ids);
        if let Some(surplus @ 1..) = self.list.events.len().checked_sub(LIMIT) {
            self.gone.extend(self.list.events.drain(..surplus).map(|id| (id, Gone::Trimmed)));
            self.list.marker = EventId::ZERO;
        }
        self.send(Notification { after, frames: ids.into_iter().map(frame).collect() });
    }

    /// Deletes the history; ids continue.
    pub(crate) fn delete(&mut self) {
        let marker = self.list.newest_id();
        self.remove(0);
        self.list.marker = marker;
        self.send(Notification { after: marker, frames: Vec::new() });
    }

    /// A failover to a replica that lacks the newest events.
    pub(crate) fn roll_back(&mut self, events: usize) {
        self.remove(self.list.events.len().saturating_sub(events));
        self.has_counted_back = true;
        self.disconnect();
    }

    /// All is lost, and the connection stays.
    pub(crate) fn flush(&mut self) {
        self.remove(0);
        self.list = List::default();
        self.has_counted_back = true;
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

    fn remove(&mut self, from: usize) {
        self.gone.extend(self.list.events.drain(from..).map(|id| (id, Gone::Removed)));
    }
}

fn frame(id: EventId) -> Frame {
    Frame::new(id, b"event: a\ndata: 1\n\n").unwrap()
}
