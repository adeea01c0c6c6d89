//! A stream as a browser keeps it: what to come back with, and when.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use reqwest::{Client, Response};
use sse_stream::{Sse, SseByteStream};
use url::Url;

use super::client::{is_for_now, is_stream, refusal, root_cause};
use crate::block::POSITION;

/// What a browser waits before it reconnects, until the stream says otherwise.
const DEFAULT_RETRY: Duration = Duration::from_secs(3);

/// Without as much as a keepalive for so long, the connection is taken for dead.
const SILENCE: Duration = Duration::from_secs(60);

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
        match request.send().await {
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
        let unwritten = Cell::new(None);
        let bytes = answer.bytes_stream().inspect_ok(|bytes| {
            if let Err(problem) = on_bytes(bytes) {
                unwritten.set(Some(problem));
            }
        });
        let mut blocks = pin!(SseByteStream::new(bytes));
        loop {
            let block = match tokio::time::timeout(SILENCE, blocks.next()).await {
                Ok(Some(Ok(block))) => block,
                Ok(Some(Err(error))) => return Over::Ended(format!("the stream broke ({error})")),
                Ok(None) => return Over::Ended("the stream ended".into()),
                Err(_) => return Over::Ended("the stream is silent".into()),
            };
            if let Some(problem) = unwritten.take() {
                return Over::Unwritten(problem);
            }
            self.retry = block.retry.map_or(self.retry, Duration::from_millis);
            self.last_event_id = block.id.clone().or(self.last_event_id.take());
            // A position is for the next connection alone.
            let is_event = block.data.is_some() && block.event.as_deref() != Some(POSITION);
            if is_event && let ControlFlow::Break(over) = take(&block) {
                return over;
            }
        }
    }
}
