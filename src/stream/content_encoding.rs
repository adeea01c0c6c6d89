//! A stream's content encoding (RFC 9110, 8.4): its blocks as they are, or as one gzip stream without an end.
//!
//! Events are compressed once for all streams (see [`Frame::compressed`]). Blocks that belong to one stream only are a few
//! bytes long and are stored: compressing them would cost more than it saves.

use bytes::Bytes;

use crate::metrics::Metrics;
use crate::sse::frame::{Compressed, Frame};
use crate::sse::gzip::{self, Checksum};

/// How one stream is encoded, and its state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContentEncoding {
    /// Not encoded.
    Identity,
    /// As gzip, with the checksum of everything that the stream has carried.
    Gzip(Checksum),
}

impl ContentEncoding {
    /// A gzip stream to which nothing has been written.
    pub fn gzip() -> Self {
        Self::Gzip(Checksum::default())
    }

    /// The beginning of a stream: its first block.
    pub fn begin(&mut self, text: Bytes) -> Bytes {
        let block = self.block(text);
        match self {
            Self::Identity => block,
            Self::Gzip(_) => [&gzip::HEADER, &*block].concat().into(),
        }
    }

    /// A block that belongs to this stream only.
    pub fn block(&mut self, text: Bytes) -> Bytes {
        match self {
            Self::Identity => text,
            Self::Gzip(checksum) => {
                checksum.add(Checksum::of(&text));
                gzip::store(&text).into()
            }
        }
    }

    /// An event, whose bytes all streams share.
    pub fn frame(&mut self, frame: &Frame, metrics: &Metrics) -> Bytes {
        match self {
            Self::Identity => frame.shared_text(),
            Self::Gzip(checksum) => {
                let compressed = compress(frame, metrics);
                checksum.add(compressed.checksum());
                compressed.shared_piece()
            }
        }
    }

    /// A stream's last block and the end of the encoding.
    pub fn end(&mut self, text: Bytes) -> Bytes {
        let block = self.block(text);
        match self {
            Self::Identity => block,
            Self::Gzip(checksum) => [&*block, &checksum.end()].concat().into(),
        }
    }
}

/// An event's compressed form. It is counted if this call compresses it.
pub fn compress(frame: &Frame, metrics: &Metrics) -> Compressed {
    frame.compressed(|| metrics.compressed())
}
