//! Follows a stream as a browser does: what to resume from after a disconnect, and how long to wait before it.

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

use super::client::{is_stream, is_temporary, rejection, root_cause};
use crate::sse::control::POSITION;

/// Delay before a reconnect until the stream sends a `retry:`, as in browsers.
const DEFAULT_RETRY: Duration = Duration::from_secs(3);

/// A connection that sends nothing for this long, not even a keepalive, is treated as dead.
const SILENCE: Duration = Duration::from_secs(60);

/// Bounds for the delay that a stream may ask for: no server can make this client hammer it or give up.
const RETRY: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// Longer than any block of a node, whose events have at most 64 MiB. A block beyond that is treated as endless.
pub(super) const LONGEST_BLOCK: usize = 65 << 20;

/// Maximum length of a resume point; those of Pipecast are far shorter.
const LONGEST_ID: usize = 1 << 10;

/// A stream that is followed across reconnects.
pub(super) struct Follower {
    client: Client,
    pub(super) url: Url,
    /// Sent with the next request as `Last-Event-ID`.
    pub(super) last_event_id: Option<String>,
    /// Delay before the next request.
    pub(super) retry: Duration,
    /// Receives all bytes of the stream before they are parsed.
    pub(super) on_bytes: fn(&[u8]) -> std::io::Result<()>,
}

/// Why a connection is over, or was never made.
pub(super) enum DisconnectReason {
    /// The caller wants no more events.
    Done,
    /// The output cannot be written.
    OutputFailed(std::io::Error),
    /// There was no response: a closed port, a network failure, a timeout. Worth a retry.
    Unreachable(String),
    /// The stream ended or broke. The next connection resumes.
    Ended(String),
    /// Rejected for the time being, for example by a load balancer without a healthy node. A browser would not retry.
    Unavailable(String),
    /// Rejected for good. A browser would not retry either.
    Rejected(String),
}

impl Follower {
    pub(super) fn new(client: Client, url: Url) -> Self {
        Self { client, url, last_event_id: None, retry: DEFAULT_RETRY, on_bytes: |_| Ok(()) }
    }

    /// Connects once and passes on events, gaps and the end until the connection is over. Cancel safe: the next connection
    /// resumes after what was passed on.
    pub(super) async fn follow(&mut self, take: impl FnMut(&Sse) -> ControlFlow<DisconnectReason>) -> DisconnectReason {
        match self.connect().await {
            Ok(response) => self.read(response, take).await,
            Err(reason) => reason,
        }
    }

    /// Opens the stream, from the resume point on if there is one.
    pub(super) async fn connect(&self) -> Result<Response, DisconnectReason> {
        let mut request = self.client.get(self.url.clone()).header("Accept", "text/event-stream");
        if let Some(id) = &self.last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let Ok(response) = timeout(SILENCE, request.send()).await else {
            let origin = self.url.origin().ascii_serialization();
            return Err(DisconnectReason::Unreachable(format!("{origin} does not respond")));
        };
        match response {
            Ok(response) if is_stream(&response) => Ok(response),
            Ok(response) if is_temporary(response.status()) => {
                Err(DisconnectReason::Unavailable(rejection(response).await))
            }
            Ok(response) => Err(DisconnectReason::Rejected(rejection(response).await)),
            Err(error) => {
                let origin = self.url.origin().ascii_serialization();
                Err(DisconnectReason::Unreachable(format!("cannot reach {origin}: {}", root_cause(&error))))
            }
        }
    }

    /// Passes on what a stream from [`Self::connect`] brings, until the connection is over.
    pub(super) async fn read(
        &mut self,
        response: Response,
        mut take: impl FnMut(&Sse) -> ControlFlow<DisconnectReason>,
    ) -> DisconnectReason {
        let on_bytes = self.on_bytes;
        let (unwritten, unfinished) = (Cell::new(None), Unfinished::default());
        let bytes = response.bytes_stream().inspect_ok(|bytes| {
            unfinished.take(bytes);
            if let Err(problem) = on_bytes(bytes) {
                unwritten.set(Some(problem));
            }
        });
        // The parser would buffer a block of any length.
        let bytes = bytes.take_while(|_| ready(unfinished.bytes() <= LONGEST_BLOCK));
        let mut blocks = pin!(SseByteStream::new(bytes));
        loop {
            let block = match timeout(SILENCE, blocks.next()).await {
                Ok(Some(Ok(block))) => block,
                Ok(Some(Err(error))) => return DisconnectReason::Ended(format!("the stream broke ({error})")),
                Ok(None) if unfinished.bytes() > LONGEST_BLOCK => {
                    let origin = self.url.origin().ascii_serialization();
                    return DisconnectReason::Rejected(format!(
                        "{origin} sends an event that never ends, so this is not a Pipecast stream"
                    ));
                }
                Ok(None) => return DisconnectReason::Ended("the stream ended".into()),
                Err(_) => return DisconnectReason::Ended("the stream is silent".into()),
            };
            if let Some(problem) = unwritten.take() {
                return DisconnectReason::OutputFailed(problem);
            }
            if let Some(retry) = block.retry {
                self.retry = Duration::from_millis(retry).clamp(*RETRY.start(), *RETRY.end());
            }
            if let Some(id) = block.id.as_ref().filter(|id| is_resume_point(id)) {
                self.last_event_id = Some(id.clone());
            }
            // A position matters only to the next connection.
            let is_event = block.data.is_some() && block.event.as_deref() != Some(POSITION);
            if is_event && let ControlFlow::Break(reason) = take(&block) {
                return reason;
            }
        }
    }
}

/// Whether a request can carry this id as its resume point.
pub(super) fn is_resume_point(id: &str) -> bool {
    id.len() <= LONGEST_ID && HeaderValue::from_str(id).is_ok()
}

/// Counts the bytes of a block that has not ended yet.
#[derive(Default)]
struct Unfinished {
    bytes: Cell<usize>,
    last: Cell<u8>,
}

impl Unfinished {
    fn take(&self, part: &[u8]) {
        let Some(last) = part.last() else { return };
        // A blank line: two line ends where the second is not the second half of a CRLF.
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
    fn unfinished_bytes_count_from_the_last_blank_line() {
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
