//! Finds the heads of HTTP/2 frames (RFC 9113, section 4.1) in a stream of bytes that arrives in pieces of any length.

/// What every client that speaks HTTP/2 with prior knowledge sends first (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113, section 6).
pub(in crate::http) const DATA: u8 = 0;
pub(in crate::http) const HEADERS: u8 = 1;
pub(in crate::http) const SETTINGS: u8 = 4;
pub(in crate::http) const GOAWAY: u8 = 7;
pub(in crate::http) const CONTINUATION: u8 = 9;

/// The flag of DATA and HEADERS that ends a stream.
pub(in crate::http) const END_STREAM: u8 = 1;
/// The flag of SETTINGS and PING that acknowledges.
pub(in crate::http) const ACK: u8 = 1;

const HEAD_BYTES: usize = 9;

/// A frame's head, as far as it is needed here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::http) struct FrameHead {
    /// Bytes that follow the head.
    pub(in crate::http) length: u32,
    pub(in crate::http) kind: u8,
    pub(in crate::http) flags: u8,
}

/// One direction of a connection.
#[derive(Debug)]
pub(in crate::http) struct FrameHeads {
    /// The part of a head that has passed.
    head: [u8; HEAD_BYTES],
    head_length: usize,
    /// Bytes to come before the next head.
    rest: usize,
}

impl FrameHeads {
    /// A direction whose first frame begins after this many bytes.
    pub(in crate::http) fn after(bytes: usize) -> Self {
        Self { head: [0; HEAD_BYTES], head_length: 0, rest: bytes }
    }

    /// Passes over bytes, and calls `found` for each head that they complete.
    pub(in crate::http) fn pass(&mut self, mut bytes: &[u8], mut found: impl FnMut(FrameHead)) {
        while !bytes.is_empty() {
            let skipped = self.rest.min(bytes.len());
            self.rest -= skipped;
            bytes = &bytes[skipped..];
            let wanted = (HEAD_BYTES - self.head_length).min(bytes.len());
            let (head, after) = bytes.split_at(wanted);
            self.head[self.head_length..self.head_length + wanted].copy_from_slice(head);
            self.head_length += wanted;
            bytes = after;
            if self.head_length == HEAD_BYTES {
                let [a, b, c, kind, flags, ..] = self.head;
                let length = u32::from_be_bytes([0, a, b, c]);
                (self.head_length, self.rest) = (0, length as usize);
                found(FrameHead { length, kind, flags });
            }
        }
    }

    /// Whether a frame may begin here.
    pub(in crate::http) fn is_between_frames(&self) -> bool {
        self.head_length == 0 && self.rest == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn heads_are_told_however_the_bytes_are_cut(
            frames in proptest::collection::vec((0u32..40, any::<u8>(), any::<u8>()), 0..20),
            cuts in proptest::collection::vec(1usize..30, 1..50),
        ) {
            let expected: Vec<_> =
                frames.iter().map(|&(length, kind, flags)| FrameHead { length, kind, flags }).collect();
            let mut bytes = vec![0xff; 24];
            for head in &expected {
                bytes.extend_from_slice(&head.length.to_be_bytes()[1..]);
                bytes.extend_from_slice(&[head.kind, head.flags, 1, 2, 3, 4]);
                bytes.extend(std::iter::repeat_n(0xff, head.length as usize));
            }
            let (mut heads, mut told, mut rest) = (FrameHeads::after(24), Vec::new(), &bytes[..]);
            for length in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*length).min(rest.len()));
                heads.pass(piece, |head| told.push(head));
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(told, expected);
            prop_assert!(heads.is_between_frames());
        }
    }
}
