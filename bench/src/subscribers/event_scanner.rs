//! Finds the events in the bytes of a stream, however these are cut into reads.
//!
//! It reads only what a load generator must know: where events end, and their stamps. Lines end in LF or CRLF; a lone CR, which no
//! known server sends, does not end a line.

use memchr::memchr;

use crate::tally::{Stamp, Stamper, StreamEvent};

/// Name of the event with which Pipecast reports events that a client missed.
const GAP: &[u8] = b"pipecast.gap";
/// Name of the event with which Pipecast gives a resume point. Written here once more: the load generator knows a server only by what
/// it sends.
const POSITION: &[u8] = b"pipecast.position";

/// How many bytes of an incomplete line are kept; a stamp is at the beginning.
const KEPT: usize = 1 << 10;

/// The state between two reads of one stream. Between events it is empty and holds no memory.
#[derive(Debug, Default)]
pub(crate) struct EventScanner {
    partial: Vec<u8>,
    event: Event,
}

/// What is known about the event that is being read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Event {
    has_data: bool,
    is_gap: bool,
    is_position: bool,
    stamp: Option<Stamp>,
}

impl EventScanner {
    /// Continues to read, and passes on each event that has ended.
    pub(crate) fn read(&mut self, bytes: &[u8], stamper: &Stamper, mut event: impl FnMut(StreamEvent)) {
        let mut rest = bytes;
        while let Some(end) = memchr(b'\n', rest) {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if self.partial.is_empty() {
                self.event.read(line, stamper, &mut event);
            } else {
                self.keep(line);
                self.event.read(&self.partial, stamper, &mut event);
                self.partial.clear();
            }
        }
        self.keep(rest);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = KEPT.saturating_sub(self.partial.len()).min(bytes.len());
        self.partial.extend_from_slice(&bytes[..room]);
    }
}

impl Event {
    fn read(&mut self, line: &[u8], stamper: &Stamper, event: &mut impl FnMut(StreamEvent)) {
        if matches!(line, b"" | b"\r") {
            // A block without data is not an event (WHATWG HTML 9.2.6), and a resume point is not one that was published.
            let ended = std::mem::take(self);
            if ended.has_data && !ended.is_position {
                event(match ended.stamp {
                    _ if ended.is_gap => StreamEvent::Gap,
                    Some(stamp) => StreamEvent::Ours(stamp),
                    None => StreamEvent::Other,
                });
            }
        } else if line.starts_with(b"data") {
            self.has_data = true;
            self.stamp = self.stamp.or_else(|| stamper.find(line));
        } else if let Some(name) = line.strip_prefix(b"event:") {
            self.is_gap = name.trim_ascii() == GAP;
            self.is_position = name.trim_ascii() == POSITION;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_found_once_however_it_is_cut() {
        let stamper = Stamper::new(7, 64);
        let stamp = |sequence| Stamp { publisher: 3, sequence, sent: 99 };
        let payload = |sequence, size| {
            let mut text = Vec::new();
            Stamper::new(7, size).write(stamp(sequence), &mut text);
            String::from_utf8(text).unwrap()
        };
        let stream = format!(
            "retry: 100\nid: 0-0\n\n: hi\n\nid: 1-1\nevent: a\ndata: \"{}\"\n\n:keepalive\n\n\
             event: pipecast.position\nid: 1-1\ndata: {{}}\n\n\
             data: {{\"x\":1}}\n\nevent: pipecast.gap\ndata: {{}}\n\nid:1\r\ndata:{{\"pub\":{{\"data\":\"{}\"}}}}\r\n\r\ndata: {}\ndata: {}\n\ndata: {}\n",
            payload(0, 64),
            payload(1, 64),
            payload(2, 3000),
            payload(9, 64),
            payload(10, 64),
        );
        let ours = |sequence| StreamEvent::Ours(stamp(sequence));
        let expected = [ours(0), StreamEvent::Other, StreamEvent::Gap, ours(1), ours(2)];
        for cut in 0..stream.len() {
            let (mut scanner, mut events) = (EventScanner::default(), Vec::new());
            for piece in [&stream[..cut], &stream[cut..]] {
                scanner.read(piece.as_bytes(), &stamper, |event| events.push(event));
            }
            assert_eq!(events, expected, "cut at {cut}");
        }
    }
}
