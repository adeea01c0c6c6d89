//! Reads a stream block by block, with as little parsing as possible, and measures when each block arrives.

use std::io::Write;
use std::time::{Duration, Instant};

use flate2::write::GzDecoder;
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

use crate::cli::follower::LONGEST_BLOCK;
use crate::sse::control::POSITION;

/// Compressed bytes to unpack before the next look at how much came out, which is at most a thousand times as much.
const PACKED_BYTES: usize = 1 << 10;

/// An open stream.
pub(super) struct StreamReader {
    response: Response,
    /// Set when the stream is compressed, which browsers accept.
    decoder: Option<GzDecoder<Vec<u8>>>,
    text: String,
    /// How much of `text` has been searched for the end of a block.
    searched: usize,
    /// When the stream was requested.
    began: Instant,
}

/// What a stream brought.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum StreamOutput {
    /// A block without the blank line that ends it.
    Block(String),
    /// Nothing within the time limit.
    Silence,
    /// The stream ended. Holds the text after the last block.
    End(String),
    /// A block longer than any block of a node.
    Endless,
}

impl StreamReader {
    pub(super) fn new(response: Response, began: Instant) -> Self {
        let is_gzip = response.headers().get(CONTENT_ENCODING).is_some_and(|coding| coding == "gzip");
        Self { response, decoder: is_gzip.then(|| GzDecoder::new(Vec::new())), text: String::new(), searched: 0, began }
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Whether part of a block has arrived.
    pub(super) fn has_begun(&self) -> bool {
        !self.text.is_empty()
    }

    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// The next block, or why there is none within the time limit.
    pub(super) async fn next(&mut self, within: Duration) -> StreamOutput {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            // Checked even when blocks are buffered: a server may send them faster than they are read.
            if tokio::time::Instant::now() >= deadline {
                return StreamOutput::Silence;
            }
            if let Some(block) = self.take_block() {
                return StreamOutput::Block(block);
            }
            if self.text.len() > LONGEST_BLOCK {
                return StreamOutput::Endless;
            }
            match tokio::time::timeout_at(deadline, self.response.chunk()).await {
                Ok(Ok(Some(bytes))) => self.take(&bytes),
                // A clean end or a broken connection: a browser would reconnect after either.
                Ok(Ok(None) | Err(_)) => return StreamOutput::End(std::mem::take(&mut self.text)),
                Err(_) => return StreamOutput::Silence,
            }
        }
    }

    fn take_block(&mut self) -> Option<String> {
        // The first line feed may have been the last byte searched.
        let from = self.searched.saturating_sub(1);
        let end = self.text.as_bytes()[from..].windows(2).position(|pair| pair == b"\n\n");
        self.searched = if end.is_some() { 0 } else { self.text.len() };
        let rest = self.text.split_off(from + end? + 2);
        let block = std::mem::replace(&mut self.text, rest);
        Some(block.trim_end().to_owned())
    }

    fn take(&mut self, bytes: &[u8]) {
        let Some(decoder) = &mut self.decoder else {
            self.text.push_str(&String::from_utf8_lossy(bytes));
            return;
        };
        for part in bytes.chunks(PACKED_BYTES) {
            // Invalid gzip gives no text, which the checks report. The flush returns what ends at a block boundary.
            let _ = decoder.write_all(part).and_then(|()| decoder.flush());
            self.text.push_str(&String::from_utf8_lossy(decoder.get_ref()));
            decoder.get_mut().clear();
            if self.text.len() > LONGEST_BLOCK {
                return;
            }
        }
    }

    /// The id and data of the next event. Skips keepalives and positions.
    pub(super) async fn next_event(&mut self, within: Duration) -> Result<(String, String), StreamOutput> {
        let deadline = Instant::now() + within;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())).await {
                StreamOutput::Block(block) => {
                    if let (Some(id), Some(data)) = (field(&block, "id"), field(&block, "data"))
                        && field(&block, "event") != Some(POSITION)
                    {
                        return Ok((id.to_owned(), data.to_owned()));
                    }
                }
                other => return Err(other),
            }
        }
    }
}

/// A field of a block as Pipecast writes it: on one line, with a space after the colon.
pub(super) fn field<'a>(block: &'a str, name: &str) -> Option<&'a str> {
    block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
