//! Notifications: how a store tells nodes of events that it has accepted.
//!
//! A notification is a hint: it may be lost, late or duplicated. The store's list is the truth.

use bytes::Bytes;

use crate::event::EventId;
use crate::sse::frame::{Entry, Frame, InvalidFrame};

/// New events of one pipeline.
///
/// As text: the entries that were added to the store's list, one after the other. Because each names the event before it, missing
/// events are noticed whatever their numbers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The newest id before these events. If there was none, the moment since when the store has lost no data, `<ms>-0`.
    pub after: EventId,
    /// The events, oldest first; none if the history was deleted.
    pub frames: Vec<Frame>,
}

impl Notification {
    /// Parses a notification strictly: it may come from another node, or from anyone with access to Redis.
    ///
    /// # Errors
    /// If any part differs from what this broker writes. The caller then reads the list.
    pub fn parse(mut text: Bytes) -> Result<Self, InvalidFrame> {
        let Entry { before: after, frame } = Entry::take(&mut text)?;
        let mut frames: Vec<Frame> = frame.into_iter().collect();
        while !text.is_empty() {
            let entry = Entry::take(&mut text)?;
            match (frames.last(), entry.frame) {
                (Some(newest), Some(frame)) if newest.id() == entry.before => frames.push(frame),
                _ => return Err(InvalidFrame),
            }
        }
        Ok(Self { after, frames })
    }

    /// How many of the events are known to a log with this tail, if the others follow it: if the notification names `tail`
    /// as the event before, or has it among its own. `None` if it does not, or has no events.
    ///
    /// To a log without events, whose tail is the moment when the store had none, the first events of a pipeline follow if the
    /// store has lost no data since that moment.
    pub fn start_after(&self, tail: EventId) -> Option<usize> {
        let first = self.frames.first()?;
        let is_first = self.after.is_beginning() && tail.is_beginning();
        if self.after == tail || is_first && self.after <= tail && tail < first.id() {
            return Some(0);
        }
        self.frames.iter().position(|frame| frame.id() == tail).map(|index| index + 1)
    }

    /// Bytes of the frames.
    pub fn bytes(&self) -> usize {
        self.frames.iter().map(|frame| frame.text().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_are_parsed_strictly() {
        let read = |text: &'static str| Notification::parse(Bytes::from_static(text.as_bytes()));
        let two = read("9-3\nid: 9-4\nevent: a\ndata: 1\n\n9-4\nid: 9-5\nevent: a\ndata: 2\n\n").unwrap();
        assert_eq!((two.after, two.frames.len(), two.bytes()), (EventId { ms: 9, seq: 3 }, 2, 52));
        assert_eq!(read("9-3\n").unwrap().frames, []);
        for bad in [
            "",
            "9-3",
            "x\n",
            "9-3\nrubbish",
            "9-4\nid: 9-4\nevent: a\ndata: 1\n\n",
            "9-3\nid: 9-4\nevent: a\ndata: 1\n\nid: 9-5\nevent: a\ndata: 2\n\n",
            "9-3\nid: 9-4\nevent: a\ndata: 1\n\n8-4\nid: 9-5\nevent: a\ndata: 2\n\n",
            "9-3\nid: 9-4\nevent: a\ndata: 1\n\n9-4\n",
            "9-3\n9-3\n",
        ] {
            assert_eq!(read(bad), Err(InvalidFrame), "{bad:?}");
        }
    }

    #[test]
    fn first_events_follow_an_empty_log_unless_the_store_has_lost_data_since() {
        let first = |after, ms| {
            let frames = vec![Frame::new(EventId { ms, seq: 1 }, b"event: a\ndata: 1\n\n").unwrap()];
            Notification { after, frames }
        };
        assert_eq!(first(EventId::at(5), 20).start_after(EventId::at(10)), Some(0));
        assert_eq!(first(EventId::at(11), 20).start_after(EventId::at(10)), None);
        // A late copy: it was published before the log was read.
        assert_eq!(first(EventId::at(5), 9).start_after(EventId::at(10)), None);
        assert_eq!(first(EventId::at(5), 20).start_after(EventId { ms: 10, seq: 1 }), None);
    }
}
