//! A stream's content coding (RFC 9110, 8.4): its blocks as they are, or as one gzip stream without end.
//!
//! Events are compressed once for all streams (see [`Frame::compressed`]). Blocks that are a stream's
//! own are some bytes long and are stored: compressing them would cost more than it saves.

use bytes::Bytes;

use crate::metrics::Metrics;
use crate::sse::frame::{Compressed, Frame};
use crate::sse::gzip::{self, Checksum};

/// How one stream is coded, and how far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContentEncoding {
    /// Not at all.
    Identity,
    /// As gzip; with the checksum of all that the stream has carried.
    Gzip(Checksum),
}

impl ContentEncoding {
    /// A gzip stream that nothing was written to.
    pub fn gzip() -> Self {
        Self::Gzip(Checksum::default())
    }

    /// A stream's beginning with its first block.
    pub fn begin(&mut self, text: Bytes) -> Bytes {
        let block = self.block(text);
        match self {
            Self::Identity => block,
            Self::Gzip(_) => [&gzip::HEADER, &*block].concat().into(),
        }
    }

    /// A block that is this stream's own.
    pub fn block(&mut self, text: Bytes) -> Bytes {
        match self {
            Self::Identity => text,
            Self::Gzip(checksum) => {
                checksum.add(Checksum::of(&text));
                gzip::store(&text).into()
            }
        }
    }

    /// An event.
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

    /// A stream's last block and its end.
    pub fn end(&mut self, text: Bytes) -> Bytes {
        let block = self.block(text);
        match self {
            Self::Identity => block,
            Self::Gzip(checksum) => [&*block, &checksum.end()].concat().into(),
        }
    }
}

/// An event's compressed form; counts it if this call made it.
pub fn compress(frame: &Frame, metrics: &Metrics) -> Compressed {
    frame.compressed(|| metrics.compressed())
}
