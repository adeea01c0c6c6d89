//! Gzip (RFC 1952) in pieces that fit together in any order.
//!
//! A piece is one or more blocks of deflate (RFC 1951), not final, that end at a byte and refer to
//! nothing before them, the last of them stored and empty. So it can stand after any other piece, one
//! piece serves every stream that carries its text, and every decoder hands all of that text out. What
//! a stream has of its own is a checksum. No I/O.

use std::cell::RefCell;

use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress};

/// What a stream begins with: no name, no time, an unknown system.
pub const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// An empty block that is the last one.
const LAST_BLOCK: [u8; 2] = [3, 0];

/// An empty stored block. Decoders such as Go's keep what they have made until they come to one.
const FLUSH: [u8; 5] = [0, 0, 0, 0xff, 0xff];

/// Most bytes of a stored block, and what stands before them.
const STORED_BYTES: usize = 0xffff;
const STORED_HEADER: usize = 5;

/// The fastest: the higher ones take two to seven times as long to save a tenth to a quarter more.
const LEVEL: u32 = 1;

thread_local! {
    /// A third of a megabyte, there only on threads that compress.
    static COMPRESSOR: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(LEVEL), false));
}

/// What gzip's end says of the text before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checksum {
    crc: u32,
    /// Modulo 2^32, as the end has it.
    bytes: u32,
}

impl Checksum {
    /// Of one piece's text, which is shorter than 4 GiB.
    pub fn of(text: &[u8]) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "no piece comes near 4 GiB")]
        Self { crc: crc32fast::hash(text), bytes: text.len() as u32 }
    }

    /// Adds what follows: a piece, or several that were added up.
    pub fn add(&mut self, next: Self) {
        let mut whole = Hasher::new_with_initial(self.crc);
        whole.combine(&Hasher::new_with_initial_len(next.crc, next.bytes.into()));
        *self = Self { crc: whole.finalize(), bytes: self.bytes.wrapping_add(next.bytes) };
    }

    /// What ends a stream of this text.
    pub fn end(self) -> [u8; 10] {
        let mut end = [0; 10];
        end[..2].copy_from_slice(&LAST_BLOCK);
        end[2..6].copy_from_slice(&self.crc.to_le_bytes());
        end[6..].copy_from_slice(&self.bytes.to_le_bytes());
        end
    }
}

/// Text as a piece, compressed unless that makes it longer.
pub fn compress(text: &[u8]) -> Vec<u8> {
    let compressed = COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        let mut piece = Vec::with_capacity(stored_length(text));
        let result = compressor.compress_vec(text, &mut piece, FlushCompress::Sync);
        // With no room left there may be more to come, and storing is no longer anyway.
        let is_whole = result.is_ok() && compressor.total_in() == text.len() as u64 && piece.len() < piece.capacity();
        is_whole.then_some(piece)
    });
    compressed.unwrap_or_else(|| store(text))
}

/// Text as a piece that is not compressed: some bytes longer, and made at no cost.
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
        fn pieces_fit_together_in_any_order(
            texts in prop::collection::vec(
                prop_oneof![prop::collection::vec(any::<u8>(), 0..300), "[a-c]{0,300}".prop_map(String::into_bytes)],
                0..12,
            ),
            is_stored in prop::collection::vec(any::<bool>(), 12),
        ) {
            let (mut stream, checksum) =
                stream(&texts, |index, text| if is_stored[index] { store(text) } else { compress(text) });
            // All of it is there before the end is.
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
    fn every_piece_ends_where_any_decoder_hands_out_all_that_it_has() {
        let noise: Vec<u8> = (0..0x10001).map(|_| rand::random()).collect();
        for text in [&b""[..], b"retry: 1000\n", b":keepalive\n\n", &b"long ".repeat(9999), &noise, &noise[..0xffff]] {
            assert!(store(text).ends_with(&FLUSH), "{} bytes stored", text.len());
            // The first byte of it holds the end of the compressed block too.
            assert!(compress(text).ends_with(&FLUSH[1..]), "{} bytes compressed", text.len());
        }
    }

    #[test]
    fn no_text_grows_by_more_than_what_storing_takes() {
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
