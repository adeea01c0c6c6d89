//! Notifications received while a history is being read: the list in the answer may be older. No I/O, no locks.

use crate::event::EventId;
use crate::log::notification::Notification;
use crate::sse::frame::{Frame, History};

/// Maximum bytes of frames kept for one read.
const MAX_BYTES: usize = 8 << 20;

/// Notifications in the order of their arrival.
#[derive(Debug, Default)]
pub struct NotificationBuffer {
    notifications: Vec<Notification>,
    bytes: usize,
    is_overflowed: bool,
}

impl NotificationBuffer {
    /// Adds a notification. Over 8 MiB, drops all of them and keeps no more.
    pub fn add(&mut self, notification: Notification) {
        self.bytes += notification.bytes();
        if self.bytes > MAX_BYTES {
            self.notifications.clear();
            self.is_overflowed = true;
        }
        if !self.is_overflowed {
            self.notifications.push(notification);
        }
    }

    /// Adds to a history the events that were accepted after it was read. Returns whether every notification could be
    /// placed; if not, events in between are missing, and the list is to be read again.
    ///
    /// `lost` is the newest event of histories that the store has lost. A late copy of the first notification of such a
    /// history would fit an empty one as well; what it says is not believed but read.
    pub fn extend(self, history: &mut History, lost: EventId) -> bool {
        // The list was read after the last notification that it contains. It settles all up to that one, even if their
        // events have been trimmed or deleted since.
        let is_in_list = |one: &Notification| one.frames.last().is_some_and(|newest| holds(history, newest.id()));
        let settled = self.notifications.iter().rposition(is_in_list).map_or(0, |last| last + 1);
        let mut is_whole = !self.is_overflowed;
        for notification in self.notifications.into_iter().skip(settled) {
            let tail = history.newest();
            let is_known = notification.frames.last().is_some_and(|newest| holds(history, newest.id()));
            match notification.start_after(tail) {
                Some(start)
                    if tail.is_beginning()
                        && notification.frames.get(start).is_some_and(|first| first.id() <= lost) =>
                {
                    is_whole = false;
                }
                Some(start) => {
                    if history.frames.is_empty() && start == 0 {
                        history.floor = notification.after;
                    }
                    history.frames.extend(notification.frames.into_iter().skip(start));
                }
                None if is_known => {}
                None => is_whole = false,
            }
        }
        is_whole
    }
}

/// Whether a history has an event.
fn holds(history: &History, id: EventId) -> bool {
    let index = history.frames.partition_point(|frame| frame.id() < id);
    history.frames.get(index).map(Frame::id) == Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::frame::LossRecord;

    fn frames(seqs: std::ops::RangeInclusive<u64>) -> Vec<Frame> {
        seqs.map(|seq| Frame::new(EventId { ms: 9, seq }, b"event: a\ndata: 1\n\n").unwrap()).collect()
    }

    fn notification(seqs: std::ops::RangeInclusive<u64>) -> Notification {
        Notification { after: EventId { ms: 9, seq: seqs.start() - 1 }, frames: frames(seqs) }
    }

    fn check(list: std::ops::RangeInclusive<u64>, heard: Vec<Notification>, newest: u64, is_whole: bool) {
        let floor = EventId { ms: 9, seq: list.start() - 1 };
        let mut history = History { floor, frames: frames(list), loss: LossRecord::default() };
        let mut all = NotificationBuffer::default();
        heard.into_iter().for_each(|notification| all.add(notification));
        assert_eq!((all.extend(&mut history, EventId::ZERO), history.newest().seq), (is_whole, newest));
        assert!(history.frames.is_sorted_by(|a, b| a.id().is_followed_by(b.id())));
    }

    #[test]
    fn history_is_extended_by_notifications_that_follow() {
        check(1..=4, vec![], 4, true);
        check(1..=4, vec![notification(5..=5), notification(6..=7)], 7, true);
        check(1..=4, vec![notification(4..=6), notification(5..=6), notification(7..=7)], 7, true);
        check(1..=4, vec![notification(6..=6)], 4, false);
        check(1..=4, vec![notification(6..=6), notification(5..=5)], 5, false);
        // The list lacks the first notification's event, and was not affected by an earlier deletion.
        let forgotten = Notification { after: EventId { ms: 9, seq: 2 }, frames: Vec::new() };
        check(3..=4, vec![notification(1..=1), forgotten.clone(), notification(4..=4), notification(5..=5)], 5, true);
        check(3..=4, vec![forgotten], 4, false);
    }

    #[test]
    fn buffer_overflows_at_its_limit() {
        let body = format!("event: a\ndata: \"{}\"\n\n", "x".repeat(1 << 20));
        let mut buffer = NotificationBuffer::default();
        for seq in 1..=20 {
            let frames = vec![Frame::new(EventId { ms: 9, seq }, body.as_bytes()).unwrap()];
            buffer.add(Notification { after: EventId { ms: 9, seq: seq - 1 }, frames });
        }
        assert!(buffer.is_overflowed && buffer.notifications.is_empty());
        assert!(!buffer.extend(&mut History::default(), EventId::ZERO));
    }
}
