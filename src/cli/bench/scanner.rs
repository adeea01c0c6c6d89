//! Events in a stream's bytes, however these are cut into reads.
//!
//! Only what a bench must know: where events end, and their stamps. Lines end in LF or CRLF; a lone
//! CR, which no server sends, is not taken for an end.

use memchr::memchr;

use super::stamp::{Stamp, Stamper};
use crate::sse::control::POSITION;

/// How much of a line that did not come whole is kept; a stamp stands at the beginning.
const KEPT: usize = 1 << 10;

/// What an event is to the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// One that this run published.
    Ours(Stamp),
    /// Pipecast's word that events are missing.
    Gap,
    /// A ping, or what somebody else published.
    Other,
}

/// The state between two reads of one stream. Empty, and without memory of its own, between events.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    partial: Vec<u8>,
    event: Event,
}

/// What is known of the event that is being read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Event {
    has_data: bool,
    is_gap: bool,
    is_position: bool,
    stamp: Option<Stamp>,
}

impl Scanner {
    /// Reads on, and tells of every event that ended.
    pub(super) fn read(&mut self, bytes: &[u8], stamper: &Stamper, mut event: impl FnMut(Found)) {
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
    fn read(&mut self, line: &[u8], stamper: &Stamper, event: &mut impl FnMut(Found)) {
        if matches!(line, b"" | b"\r") {
            // A block without data is no event (WHATWG HTML 9.2.6), and Pipecast's word where a stream stands brings none.
            let ended = std::mem::take(self);
            if ended.has_data && !ended.is_position {
                event(match ended.stamp {
                    _ if ended.is_gap => Found::Gap,
                    Some(stamp) => Found::Ours(stamp),
                    None => Found::Other,
                });
            }
        } else if line.starts_with(b"data") {
            self.has_data = true;
            self.stamp = self.stamp.or_else(|| stamper.find(line));
        } else if let Some(name) = line.strip_prefix(b"event:") {
            self.is_gap = name.trim_ascii() == b"pipecast.gap";
            self.is_position = name.trim_ascii() == POSITION.as_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_once_however_the_stream_is_cut() {
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
        let ours = |sequence| Found::Ours(stamp(sequence));
        let expected = [ours(0), Found::Other, Found::Gap, ours(1), ours(2)];
        for cut in 0..stream.len() {
            let (mut scanner, mut events) = (Scanner::default(), Vec::new());
            for piece in [&stream[..cut], &stream[cut..]] {
                scanner.read(piece.as_bytes(), &stamper, |event| events.push(event));
            }
            assert_eq!(events, expected, "cut at {cut}");
        }
    }
}
