//! A stream taken apart as little as possible: what came, and how soon.

use std::io::Write;
use std::time::{Duration, Instant};

use flate2::write::GzDecoder;
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

use crate::cli::follower::LONGEST_BLOCK;
use crate::sse::control::POSITION;

/// So much of a compressed stream is unpacked before anybody looks how much that is: a thousand times as much, at most.
const PACKED_BYTES: usize = 1 << 10;

/// An open stream.
pub(super) struct Listening {
    answer: Response,
    /// There when the stream comes compressed, as browsers allow it.
    decoder: Option<GzDecoder<Vec<u8>>>,
    text: String,
    /// So much of it holds no end of a block.
    searched: usize,
    /// When it was asked for.
    began: Instant,
}

/// What was heard of a stream.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Heard {
    /// A block without the blank line that ends it.
    Block(String),
    /// Nothing more in the time that was given.
    Silence,
    /// The stream is over, with what stood at its end.
    End(String),
    /// A block that is longer than any of a node.
    Endless,
}

impl Listening {
    pub(super) fn new(answer: Response, began: Instant) -> Self {
        let is_gzip = answer.headers().get(CONTENT_ENCODING).is_some_and(|coding| coding == "gzip");
        Self { answer, decoder: is_gzip.then(|| GzDecoder::new(Vec::new())), text: String::new(), searched: 0, began }
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.answer.headers()
    }

    /// Whether a part of a block has come.
    pub(super) fn has_begun(&self) -> bool {
        !self.text.is_empty()
    }

    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// The next block, if it comes in time.
    pub(super) async fn next(&mut self, within: Duration) -> Heard {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            // Blocks that are there already take no time of their own, and there may be no end of them.
            if tokio::time::Instant::now() >= deadline {
                return Heard::Silence;
            }
            if let Some(block) = self.take_block() {
                return Heard::Block(block);
            }
            if self.text.len() > LONGEST_BLOCK {
                return Heard::Endless;
            }
            match tokio::time::timeout_at(deadline, self.answer.chunk()).await {
                Ok(Ok(Some(bytes))) => self.take(&bytes),
                // However it ended: a browser would come back.
                Ok(Ok(None) | Err(_)) => return Heard::End(std::mem::take(&mut self.text)),
                Err(_) => return Heard::Silence,
            }
        }
    }

    fn take_block(&mut self) -> Option<String> {
        // The first half of the end may have been there.
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
            // What is no gzip brings no text, and is found out by that. The flush gives what a block boundary has made ready.
            let _ = decoder.write_all(part).and_then(|()| decoder.flush());
            self.text.push_str(&String::from_utf8_lossy(decoder.get_ref()));
            decoder.get_mut().clear();
            if self.text.len() > LONGEST_BLOCK {
                return;
            }
        }
    }

    /// The next event, past keepalives and positions: its id and its data.
    pub(super) async fn next_event(&mut self, within: Duration) -> Result<(String, String), Heard> {
        let deadline = Instant::now() + within;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())).await {
                Heard::Block(block) => {
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

/// A field of a block, as Pipecast writes them: one line, one blank after the colon.
pub(super) fn field<'a>(block: &'a str, name: &str) -> Option<&'a str> {
    block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
