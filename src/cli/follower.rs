//! A stream as a browser keeps it: what to come back with, and when.

use std::cell::Cell;
use std::future::ready;
use std::ops::{ControlFlow, RangeInclusive};
use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use http::HeaderValue;
use reqwest::{Client, Response};
use sse_stream::{Sse, SseByteStream};
use tokio::time::timeout;
use url::Url;

use super::client::{is_for_now, is_stream, refusal, root_cause};
use crate::sse::control::POSITION;

/// What a browser waits before it reconnects, until the stream says otherwise.
const DEFAULT_RETRY: Duration = Duration::from_secs(3);

/// Without as much as a keepalive for so long, the connection is taken for dead.
const SILENCE: Duration = Duration::from_secs(60);

/// What a stream may ask to wait. Whatever it says, it is not asked as fast as it answers, nor given up.
const RETRY: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// Longer than any block of a node, whose events have 64 MiB at most. What goes on beyond that has no end.
pub(super) const LONGEST_BLOCK: usize = 65 << 20;

/// A resume point longer than that is none of ours.
const LONGEST_ID: usize = 1 << 10;

/// Follows a stream over its connections.
pub(super) struct Follower {
    client: Client,
    pub(super) url: Url,
    /// What the next connection resumes from.
    pub(super) last_event_id: Option<String>,
    /// What to wait before it.
    pub(super) retry: Duration,
    /// Sees all bytes of the stream, before they are taken apart.
    pub(super) on_bytes: fn(&[u8]) -> std::io::Result<()>,
}

/// Why a connection is over.
pub(super) enum Over {
    /// Whoever follows has enough.
    Enough,
    /// What came cannot be written where it belongs.
    Unwritten(std::io::Error),
    /// It ended or broke; the next one resumes.
    Ended(String),
    /// Nobody is there to read from, as load balancers say it. A browser would not try again.
    NotNow(String),
    /// The node refused; a browser would not try again either.
    Refused(String),
}

impl Follower {
    pub(super) fn new(client: Client, url: Url) -> Self {
        Self { client, url, last_event_id: None, retry: DEFAULT_RETRY, on_bytes: |_| Ok(()) }
    }

    /// Connects once and hands on events and gaps, until the connection is over. Cancel safe: what was handed on is resumed from.
    pub(super) async fn follow(&mut self, take: impl FnMut(&Sse) -> ControlFlow<Over>) -> Over {
        let mut request = self.client.get(self.url.clone()).header("Accept", "text/event-stream");
        if let Some(id) = &self.last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let Ok(answer) = timeout(SILENCE, request.send()).await else {
            return Over::Ended(format!("{} does not answer", self.url.origin().ascii_serialization()));
        };
        match answer {
            Ok(answer) if is_stream(&answer) => self.read(answer, take).await,
            Ok(answer) if is_for_now(answer.status()) => Over::NotNow(refusal(answer).await),
            Ok(answer) => Over::Refused(refusal(answer).await),
            Err(error) => {
                let origin = self.url.origin().ascii_serialization();
                Over::Ended(format!("{origin} cannot be reached: {}", root_cause(&error)))
            }
        }
    }

    async fn read(&mut self, answer: Response, mut take: impl FnMut(&Sse) -> ControlFlow<Over>) -> Over {
        let on_bytes = self.on_bytes;
        let (unwritten, unfinished) = (Cell::new(None), Unfinished::default());
        let bytes = answer.bytes_stream().inspect_ok(|bytes| {
            unfinished.take(bytes);
            if let Err(problem) = on_bytes(bytes) {
                unwritten.set(Some(problem));
            }
        });
        // What takes the stream apart would collect a block however long it is.
        let bytes = bytes.take_while(|_| ready(unfinished.bytes() <= LONGEST_BLOCK));
        let mut blocks = pin!(SseByteStream::new(bytes));
        loop {
            let block = match timeout(SILENCE, blocks.next()).await {
                Ok(Some(Ok(block))) => block,
                Ok(Some(Err(error))) => return Over::Ended(format!("the stream broke ({error})")),
                Ok(None) if unfinished.bytes() > LONGEST_BLOCK => {
                    let origin = self.url.origin().ascii_serialization();
                    return Over::Refused(format!(
                        "{origin} sends an event without an end, so it is no stream of Pipecast"
                    ));
                }
                Ok(None) => return Over::Ended("the stream ended".into()),
                Err(_) => return Over::Ended("the stream is silent".into()),
            };
            if let Some(problem) = unwritten.take() {
                return Over::Unwritten(problem);
            }
            if let Some(retry) = block.retry {
                self.retry = Duration::from_millis(retry).clamp(*RETRY.start(), *RETRY.end());
            }
            if let Some(id) = block.id.as_ref().filter(|id| is_resume_point(id)) {
                self.last_event_id = Some(id.clone());
            }
            // A position is for the next connection alone.
            let is_event = block.data.is_some() && block.event.as_deref() != Some(POSITION);
            if is_event && let ControlFlow::Break(over) = take(&block) {
                return over;
            }
        }
    }
}

/// Whether a stream can be resumed from this, so that the next request can be made.
pub(super) fn is_resume_point(id: &str) -> bool {
    id.len() <= LONGEST_ID && HeaderValue::from_str(id).is_ok()
}

/// How much has come of a block that has not ended yet.
#[derive(Default)]
struct Unfinished {
    bytes: Cell<usize>,
    last: Cell<u8>,
}

impl Unfinished {
    fn take(&self, part: &[u8]) {
        let Some(last) = part.last() else { return };
        // A blank line: two line ends of which the second is not the other half of the first.
        let is_end = |pair: &[u8]| matches!(pair, [b'\n', b'\n' | b'\r'] | [b'\r', b'\r']);
        let begins_with_end = is_end(&[self.last.get(), part[0]]);
        let end = part.windows(2).rposition(is_end).map(|at| at + 2).or(begins_with_end.then_some(1));
        self.bytes.set(end.map_or_else(|| self.bytes.get() + part.len(), |end| part.len() - end));
        self.last.set(*last);
    }

    fn bytes(&self) -> usize {
        self.bytes.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unfinished_is_counted_from_the_last_blank_line() {
        let count = |parts: &[&str]| {
            let unfinished = Unfinished::default();
            parts.iter().for_each(|part| unfinished.take(part.as_bytes()));
            unfinished.bytes()
        };
        for (parts, expected) in [
            (&["data: x"][..], 7),
            (&["data: x", "", "yz"], 9),
            (&["data: x\n\nid: 1"], 5),
            (&["data: x\r\n\r\nid"], 3),
            (&["data: x\r\rid"], 2),
            (&["data: x\n", "\nid"], 2),
            (&["data: x\r", "\nid"], 11),
            (&[":\n\n:\n\n:"], 1),
        ] {
            assert_eq!(count(parts), expected, "{parts:?}");
        }
    }
}
