//! Gzip (RFC 1952) in pieces that can be joined in any order.
//!
//! A piece is one or more deflate blocks (RFC 1951) that are not final, end at a byte boundary and refer to nothing before
//! them. The last block is stored and empty. So a piece can follow any other piece, all streams with the same text share it, and
//! every decoder outputs all of its text. Only the checksum differs from stream to stream. No I/O.

use std::cell::RefCell;

use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress};

/// The beginning of a stream: no name, no time, an unknown system.
pub const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// An empty final block.
const LAST_BLOCK: [u8; 2] = [3, 0];

/// An empty stored block. Go's and other decoders hold back their output until they read one.
const FLUSH: [u8; 5] = [0, 0, 0, 0xff, 0xff];

/// Maximum bytes of a stored block, and the bytes in front of them.
const STORED_BYTES: usize = 0xffff;
const STORED_HEADER: usize = 5;

/// The fastest level. The others need two to seven times as long to save a tenth to a quarter more.
const LEVEL: u32 = 1;

thread_local! {
    /// A third of a megabyte, only on threads that compress.
    static COMPRESSOR: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(LEVEL), false));
}

/// The checksum and length at the end of a gzip stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checksum {
    crc: u32,
    /// Modulo 2^32.
    bytes: u32,
}

impl Checksum {
    /// The checksum of one piece's text, which must be shorter than 4 GiB.
    pub fn of(text: &[u8]) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "pieces are far shorter than 4 GiB")]
        Self { crc: crc32fast::hash(text), bytes: text.len() as u32 }
    }

    /// Appends the checksum of the text that follows: one piece, or several added up.
    pub fn add(&mut self, next: Self) {
        let mut whole = Hasher::new_with_initial(self.crc);
        whole.combine(&Hasher::new_with_initial_len(next.crc, next.bytes.into()));
        *self = Self { crc: whole.finalize(), bytes: self.bytes.wrapping_add(next.bytes) };
    }

    /// The end of a stream with this text.
    pub fn end(self) -> [u8; 10] {
        let mut end = [0; 10];
        end[..2].copy_from_slice(&LAST_BLOCK);
        end[2..6].copy_from_slice(&self.crc.to_le_bytes());
        end[6..].copy_from_slice(&self.bytes.to_le_bytes());
        end
    }
}

/// Text as a piece: compressed, or stored if that is shorter.
pub fn compress(text: &[u8]) -> Vec<u8> {
    let compressed = COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        let mut piece = Vec::with_capacity(stored_length(text));
        let result = compressor.compress_vec(text, &mut piece, FlushCompress::Sync);
        // A full buffer may mean that output is missing, and storing needs no more bytes than that.
        let is_whole = result.is_ok() && compressor.total_in() == text.len() as u64 && piece.len() < piece.capacity();
        is_whole.then_some(piece)
    });
    compressed.unwrap_or_else(|| store(text))
}

/// Text as a piece without compression: a few bytes longer, at hardly any cost.
pub fn store(text: &[u8]) -> Vec<u8> {
    let mut piece = Vec::with_capacity(stored_length(text));
    for part in text.chunks(STORED_BYTES) {
        #[expect(clippy::cast_possible_truncation, reason = "a part has at most 65535 bytes")]
        let length = part.len() as u16;
        piece.push(0);
        piece.extend_from_slice(&length.to_le_bytes());
        piece.extend_from_slice(&(!length).to_le_bytes());
        piece.extend_from_slice(part);
    }
    piece.extend_from_slice(&FLUSH);
    piece
}

fn stored_length(text: &[u8]) -> usize {
    text.len() + text.len().div_ceil(STORED_BYTES) * STORED_HEADER + FLUSH.len()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use proptest::prelude::*;

    fn stream(texts: &[Vec<u8>], piece: impl Fn(usize, &[u8]) -> Vec<u8>) -> (Vec<u8>, Checksum) {
        let (mut stream, mut checksum) = (HEADER.to_vec(), Checksum::default());
        for (index, text) in texts.iter().enumerate() {
            stream.extend(piece(index, text));
            checksum.add(Checksum::of(text));
        }
        (stream, checksum)
    }

    proptest! {
        #[test]
        fn pieces_can_be_joined_in_any_order(
            texts in prop::collection::vec(
                prop_oneof![prop::collection::vec(any::<u8>(), 0..300), "[a-c]{0,300}".prop_map(String::into_bytes)],
                0..12,
            ),
            is_stored in prop::collection::vec(any::<bool>(), 12),
        ) {
            let (mut stream, checksum) =
                stream(&texts, |index, text| if is_stored[index] { store(text) } else { compress(text) });
            // The decoder outputs all of it before the end.
            let mut decoder = flate2::write::GzDecoder::new(Vec::new());
            decoder.write_all(&stream).unwrap();
            decoder.flush().unwrap();
            prop_assert_eq!(decoder.get_ref(), &texts.concat());
            stream.extend(checksum.end());
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(&*stream).read_to_end(&mut text).unwrap();
            prop_assert_eq!(text, texts.concat());
        }

        #[test]
        fn checksums_can_be_added_up_first(texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..99), 3)) {
            let [a, b, c] = [0, 1, 2].map(|index| Checksum::of(&texts[index]));
            let (mut rest, mut whole) = (b, a);
            rest.add(c);
            whole.add(rest);
            prop_assert_eq!(whole, Checksum::of(&texts.concat()));
        }
    }

    #[test]
    fn pieces_end_with_a_block_that_flushes_decoders() {
        let noise: Vec<u8> = (0..0x10001).map(|_| rand::random()).collect();
        for text in [&b""[..], b"retry: 1000\n", b":keepalive\n\n", &b"long ".repeat(9999), &noise, &noise[..0xffff]] {
            assert!(store(text).ends_with(&FLUSH), "{} bytes stored", text.len());
            // Its first byte also holds the end of the compressed block.
            assert!(compress(text).ends_with(&FLUSH[1..]), "{} bytes compressed", text.len());
        }
    }

    #[test]
    fn compressing_adds_no_more_than_storing() {
        for length in [0, 1, 100, 0xfffe, 0xffff, 0x10000, 300_000] {
            let noise: Vec<u8> = (0..length).map(|_| rand::random()).collect();
            let piece = compress(&noise);
            assert!(piece.len() <= stored_length(&noise), "{} bytes for {length}", piece.len());
            let (mut stream, checksum) = stream(std::slice::from_ref(&noise), |_, text| compress(text));
            stream.extend(checksum.end());
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(&*stream).read_to_end(&mut text).unwrap();
            assert_eq!(text, noise);
        }
    }
}
