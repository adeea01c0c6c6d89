//! Publishes for the commands: one request at a time. Retries carry the same `Idempotency-Key`, so events are stored once.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde::Deserialize;
use url::Url;

use super::client::{Broker, is_error, is_temporary, rejection, root_cause};
use crate::event::{EventId, PipelineId};

/// Maximum size of an acknowledgement: this much per id, and this much around them.
const ID_BYTES: usize = 64;
const ACKNOWLEDGEMENT_BYTES: usize = 1 << 10;

/// Publishes to one pipeline.
pub(super) struct Sender {
    broker: Broker,
    url: Url,
}

/// A request with its idempotency key, which may be sent several times.
pub(super) struct Request {
    media_type: &'static str,
    body: String,
    events: usize,
    key: String,
}

/// A node's response once it has stored events.
#[derive(Deserialize)]
#[serde(untagged)]
enum Acknowledgement {
    One { id: String },
    Many { ids: Vec<String> },
}

/// Why a request was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// A retry would be rejected too.
    #[error("{problem}")]
    Rejected { status: StatusCode, problem: String },
    /// The node, or a load balancer, asks to retry later.
    #[error("{0}")]
    Unavailable(String),
    /// The response is not from a node: a redirect, a page.
    #[error("{0}; the events may not have been stored")]
    Unacknowledged(String),
    /// No response, so the events may have been stored or not.
    #[error("cannot reach {url}: {problem}")]
    Unreachable { url: Url, problem: String },
}

impl Request {
    /// A request with one event, as JSON.
    pub(super) fn event(body: String) -> Self {
        Self::new("application/json", body, 1)
    }

    /// A request with `events` events, one per line.
    pub(super) fn lines(body: String, events: usize) -> Self {
        Self::new("application/x-ndjson", body, events)
    }

    fn new(media_type: &'static str, body: String, events: usize) -> Self {
        Self { media_type, body, events, key: format!("{:032x}", rand::random::<u128>()) }
    }
}

impl Acknowledgement {
    /// The ids, oldest first. `None` unless there is a valid one for each event.
    fn ids(self, events: usize) -> Option<Vec<EventId>> {
        let ids = match self {
            Self::One { id } => vec![id],
            Self::Many { ids } => ids,
        };
        let ids: Vec<EventId> = ids.iter().map(|id| id.parse().ok()).collect::<Option<_>>()?;
        (ids.len() == events && events > 0).then_some(ids)
    }
}

impl Sender {
    pub(super) fn new(broker: Broker, pipeline: &PipelineId) -> Self {
        let url = broker.address(pipeline, Some("events"));
        Self { broker, url }
    }

    /// Sends a request once. Returns the ids of its events.
    pub(super) async fn attempt(&self, request: &Request) -> Result<Vec<EventId>, SendError> {
        let post = self
            .broker
            .client
            .post(self.url.clone())
            .header("Content-Type", request.media_type)
            .header("Idempotency-Key", &request.key)
            .timeout(Duration::from_secs(30))
            .body(request.body.clone());
        let response = post.send().await.map_err(|error| self.unreachable(&error))?;
        match response.status() {
            StatusCode::ACCEPTED => self.acknowledged(response, request.events).await,
            status if is_temporary(status) => Err(SendError::Unavailable(rejection(response).await)),
            status if is_error(status) => Err(SendError::Rejected { status, problem: rejection(response).await }),
            _ => Err(SendError::Unacknowledged(rejection(response).await)),
        }
    }

    async fn acknowledged(&self, mut response: Response, events: usize) -> Result<Vec<EventId>, SendError> {
        let most = ACKNOWLEDGEMENT_BYTES + events * ID_BYTES;
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            body.extend_from_slice(&part);
            if body.len() > most {
                break;
            }
        }
        let acknowledgement = serde_json::from_slice::<Acknowledgement>(&body).ok();
        acknowledgement.and_then(|acknowledgement| acknowledgement.ids(events)).ok_or_else(|| {
            let what = "202 Accepted, but without an id for each event, which is not a Pipecast response";
            SendError::Unacknowledged(format!("{what}; check what runs at {}", self.url))
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> SendError {
        SendError::Unreachable { url: self.url.clone(), problem: root_cause(error) }
    }
}
