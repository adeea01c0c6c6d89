//! How commands publish: one request at a time, once however often it is tried.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde::Deserialize;
use url::Url;

use super::client::{Broker, is_for_now, is_refusal, refusal, root_cause};
use crate::event::{EventId, PipelineId};

/// The longest acknowledgement: an id, as JSON with its comma, and what is around them all.
const ID_BYTES: usize = 64;
const ACKNOWLEDGEMENT_BYTES: usize = 1 << 10;

/// Publishes to one pipeline.
pub(super) struct Sender {
    broker: Broker,
    url: Url,
}

/// A request with its key, to be tried until somebody has an answer.
pub(super) struct Request {
    media_type: &'static str,
    body: String,
    events: usize,
    key: String,
}

/// What a node answers once it has stored events.
#[derive(Deserialize)]
#[serde(untagged)]
enum Acknowledgement {
    One { id: String },
    Many { ids: Vec<String> },
}

/// Why a request was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// Another try would be refused too.
    #[error("{0}")]
    Refused(String),
    /// The node is there, and wants it later.
    #[error("{0}")]
    NotNow(String),
    /// What answered is no node, or no node any more: a balancer that redirects, a page.
    #[error("{0}; nothing is known to be stored")]
    Unacknowledged(String),
    /// Whether the node had it nobody knows.
    #[error("{url} cannot be reached: {problem}")]
    Unreachable { url: Url, problem: String },
}

impl Request {
    /// One event.
    pub(super) fn event(body: String) -> Self {
        Self::new("application/json", body, 1)
    }

    /// So many events, one a line.
    pub(super) fn lines(body: String, events: usize) -> Self {
        Self::new("application/x-ndjson", body, events)
    }

    fn new(media_type: &'static str, body: String, events: usize) -> Self {
        Self { media_type, body, events, key: format!("{:032x}", rand::random::<u128>()) }
    }
}

impl Acknowledgement {
    /// The ids of so many events, in their order.
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

    /// Tries a request once, and gives the ids of its events.
    pub(super) async fn attempt(&self, request: &Request) -> Result<Vec<EventId>, SendError> {
        let post = self
            .broker
            .client
            .post(self.url.clone())
            .header("Content-Type", request.media_type)
            .header("Idempotency-Key", &request.key)
            .timeout(Duration::from_secs(30))
            .body(request.body.clone());
        let answer = post.send().await.map_err(|error| self.unreachable(&error))?;
        match answer.status() {
            StatusCode::ACCEPTED => self.acknowledged(answer, request.events).await,
            status if is_for_now(status) => Err(SendError::NotNow(refusal(answer).await)),
            status if is_refusal(status) => Err(SendError::Refused(refusal(answer).await)),
            _ => Err(SendError::Unacknowledged(refusal(answer).await)),
        }
    }

    async fn acknowledged(&self, mut answer: Response, events: usize) -> Result<Vec<EventId>, SendError> {
        let most = ACKNOWLEDGEMENT_BYTES + events * ID_BYTES;
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
            body.extend_from_slice(&part);
            if body.len() > most {
                break;
            }
        }
        let answered = serde_json::from_slice::<Acknowledgement>(&body).ok();
        answered.and_then(|answered| answered.ids(events)).ok_or_else(|| {
            let what = "202 Accepted, but without an id for each event, so it is no answer of Pipecast";
            SendError::Unacknowledged(format!("{what}; look at what answers at {}", self.url))
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> SendError {
        SendError::Unreachable { url: self.url.clone(), problem: root_cause(error) }
    }
}
