//! A stream taken apart as little as possible: what came, and how soon.

use std::io::Write;
use std::time::{Duration, Instant};

use flate2::write::GzDecoder;
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

use crate::block::POSITION;

/// An open stream.
pub(super) struct Listening {
    answer: Response,
    /// There when the stream comes compressed, as browsers allow it.
    decoder: Option<GzDecoder<Vec<u8>>>,
    text: String,
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
}

impl Listening {
    pub(super) fn new(answer: Response, began: Instant) -> Self {
        let is_gzip = answer.headers().get(CONTENT_ENCODING).is_some_and(|coding| coding == "gzip");
        Self { answer, decoder: is_gzip.then(|| GzDecoder::new(Vec::new())), text: String::new(), began }
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
            if let Some(end) = self.text.find("\n\n") {
                let rest = self.text.split_off(end + 2);
                let block = std::mem::replace(&mut self.text, rest);
                return Heard::Block(block.trim_end().to_owned());
            }
            match tokio::time::timeout_at(deadline, self.answer.chunk()).await {
                Ok(Ok(Some(bytes))) => self.take(&bytes),
                // However it ended: a browser would come back.
                Ok(Ok(None) | Err(_)) => return Heard::End(std::mem::take(&mut self.text)),
                Err(_) => return Heard::Silence,
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let Some(decoder) = &mut self.decoder else {
            self.text.push_str(&String::from_utf8_lossy(bytes));
            return;
        };
        // What is no gzip brings no text, and is found out by that. The flush gives what a block boundary has made ready.
        let _ = decoder.write_all(bytes).and_then(|()| decoder.flush());
        self.text.push_str(&String::from_utf8_lossy(decoder.get_ref()));
        decoder.get_mut().clear();
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
