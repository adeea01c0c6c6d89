//! How commands publish: one request at a time, once however often it is tried.

use std::time::Duration;

use reqwest::Client;
use url::Url;

use super::NodeArgs;
use super::client::{ClientError, address, client, is_for_now, refusal, root_cause};
use crate::pipeline::PipelineId;

/// Publishes to one pipeline.
pub(super) struct Sender {
    client: Client,
    url: Url,
}

/// A request with its key, to be tried until somebody has an answer.
pub(super) struct Request {
    media_type: &'static str,
    body: String,
    key: String,
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
    /// Whether the node had it nobody knows.
    #[error("{url} cannot be reached: {problem}")]
    Unreachable { url: Url, problem: String },
}

impl Request {
    pub(super) fn new(media_type: &'static str, body: String) -> Self {
        Self { media_type, body, key: format!("{:032x}", rand::random::<u128>()) }
    }
}

impl Sender {
    pub(super) fn new(node: &NodeArgs, pipeline: &PipelineId) -> Result<Self, ClientError> {
        Ok(Self { client: client(node)?, url: address(&node.url, pipeline, Some("events")) })
    }

    /// Tries a request once, and gives the answer's body.
    pub(super) async fn attempt(&self, request: &Request) -> Result<String, SendError> {
        let post = self
            .client
            .post(self.url.clone())
            .header("Content-Type", request.media_type)
            .header("Idempotency-Key", &request.key)
            .timeout(Duration::from_secs(30))
            .body(request.body.clone());
        let answer = post.send().await.map_err(|error| self.unreachable(&error))?;
        match answer.status() {
            status if status.is_success() => {
                let text = answer.text().await.map_err(|error| self.unreachable(&error))?;
                Ok(text.trim_end().to_owned())
            }
            status if is_for_now(status) => Err(SendError::NotNow(refusal(answer).await)),
            _ => Err(SendError::Refused(refusal(answer).await)),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> SendError {
        SendError::Unreachable { url: self.url.clone(), problem: root_cause(error) }
    }
}
