//! Notifications: how a store tells nodes of events that it has accepted.
//!
//! A notification is a hint: it may be lost, late or duplicated. The store's list is the truth.

use bytes::Bytes;

use crate::event::EventId;
use crate::sse::frame::{Frame, InvalidFrame};

/// New events of one pipeline.
///
/// As text: the id of the event before them and a line feed, then their frames. Because it names the event before, missing
/// events are noticed even if `seq` was counted from 1 again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The newest id before these events; `0-0` if there was none.
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
        let line = memchr::memchr(b'\n', &text).ok_or(InvalidFrame)?;
        let after = text.split_to(line + 1);
        let after = std::str::from_utf8(&after[..line]).map_err(|_| InvalidFrame)?;
        let after = after.parse().map_err(|_| InvalidFrame)?;
        let mut frames: Vec<Frame> = Vec::new();
        while !text.is_empty() {
            let frame = Frame::take(&mut text)?;
            let newest = frames.last().map_or(frame.id().just_before(), Frame::id);
            if !newest.is_followed_by(frame.id()) {
                return Err(InvalidFrame);
            }
            frames.push(frame);
        }
        Ok(Self { after, frames })
    }

    /// How many of the events are known to a log with this tail, if the others follow it: if the notification names `tail`
    /// as the event before, or has it among its own. `None` if it does not, or has no events.
    pub fn start_after(&self, tail: EventId) -> Option<usize> {
        if self.after == tail && !self.frames.is_empty() {
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
        let two = read("9-3\nid: 9-4\nevent: a\ndata: 1\n\nid: 9-5\nevent: a\ndata: 2\n\n").unwrap();
        assert_eq!((two.after, two.frames.len(), two.bytes()), (EventId { ms: 9, seq: 3 }, 2, 52));
        assert_eq!(read("9-3\n").unwrap().frames, []);
        for bad in
            ["", "9-3", "x\n", "9-3\nrubbish", "9-3\nid: 9-4\nevent: a\ndata: 1\n\nid: 9-6\nevent: a\ndata: 2\n\n"]
        {
            assert_eq!(read(bad), Err(InvalidFrame), "{bad:?}");
        }
    }
}
