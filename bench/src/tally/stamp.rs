//! Stamps: written into the payload of each event, and found again in whatever format a server wraps it.
//!
//! A stamp has a fixed width and only characters that need no escape in JSON, in URLs or in forms. Filler follows it:
//! `pcb~<run>~<publisher><sequence><sent>----`.

use memchr::memmem::Finder;

use crate::clock::Nanos;

/// Size of the shortest payload, one that holds only a stamp.
pub const MIN_PAYLOAD_BYTES: usize = 13 + PUBLISHER + SEQUENCE + SENT + 1;

// Hexadecimal digits of each field; 12 of nanoseconds are three days.
const PUBLISHER: usize = 4;
const SEQUENCE: usize = 8;
const SENT: usize = 12;

/// Where an event comes from, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    /// The publisher's number.
    pub(crate) publisher: usize,
    /// The event's place in the sequence that this publisher sends to the pipeline, from 0.
    pub(crate) sequence: usize,
    /// When it was to be sent.
    pub(crate) sent: Nanos,
}

/// Writes and finds the stamps of one run; those of other runs are not found.
pub(crate) struct Stamper {
    marker: String,
    finder: Finder<'static>,
    payload_bytes: usize,
}

impl Stamper {
    /// `payload_bytes` must be at least [`MIN_PAYLOAD_BYTES`].
    pub(crate) fn new(run: u32, payload_bytes: usize) -> Self {
        let marker = format!("pcb~{run:08x}~");
        let finder = Finder::new(&marker).into_owned();
        Self { marker, finder, payload_bytes }
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// Appends a payload.
    pub(crate) fn write(&self, stamp: Stamp, out: &mut Vec<u8>) {
        let ends = out.len() + self.payload_bytes;
        out.extend_from_slice(self.marker.as_bytes());
        write_hex(stamp.publisher as u64, PUBLISHER, out);
        write_hex(stamp.sequence as u64, SEQUENCE, out);
        write_hex(stamp.sent, SENT, out);
        out.resize(ends, b'-');
    }

    /// The first stamp in a line.
    pub(crate) fn find(&self, line: &[u8]) -> Option<Stamp> {
        let at = self.finder.find(line)?;
        let (publisher, rest) = read_hex(line.get(at + self.marker.len()..)?, PUBLISHER)?;
        let (sequence, rest) = read_hex(rest, SEQUENCE)?;
        let (sent, _) = read_hex(rest, SENT)?;
        Some(Stamp { publisher: publisher.try_into().ok()?, sequence: sequence.try_into().ok()?, sent })
    }
}

fn write_hex(value: u64, digits: usize, out: &mut Vec<u8>) {
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(value >> (4 * digit) & 15) as usize]);
    }
}

fn read_hex(text: &[u8], digits: usize) -> Option<(u64, &[u8])> {
    let (field, rest) = text.split_at_checked(digits)?;
    let mut value = 0;
    for byte in field {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u64::from(digit);
    }
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stamp_is_found_whatever_surrounds_it(
            (publisher, sequence, sent) in (0usize..1 << 16, 0usize..1 << 32, 0u64..1 << 48),
            size in MIN_PAYLOAD_BYTES..200,
            (before, after) in ("[^~]{0,40}", any::<String>()),
        ) {
            let (stamper, stamp) = (Stamper::new(0xbe9c_0001, size), Stamp { publisher, sequence, sent });
            let mut line = before.into_bytes();
            let starts = line.len();
            stamper.write(stamp, &mut line);
            prop_assert_eq!(line.len() - starts, size);
            line.extend_from_slice(after.as_bytes());
            prop_assert_eq!(stamper.find(&line), Some(stamp));
            prop_assert_eq!(Stamper::new(1, size).find(&line), None);
            prop_assert_eq!(stamper.find(&line[..starts + MIN_PAYLOAD_BYTES - 2]), None);
        }
    }
}
