//! What the commands that talk to a node share: a client, addresses, and what a refusal or a failure says.

use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Client, Response, StatusCode};
use url::Url;

use super::{InvalidToken, NodeArgs};
use crate::pipeline::PipelineId;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("{0}")]
    Token(#[from] InvalidToken),
    #[error("requests cannot be made: {}", root_cause(.0))]
    Build(reqwest::Error),
}

/// A client for talking to a node, with no limit on how long an answer may take. Each request carries the token.
pub(super) fn client(node: &NodeArgs) -> Result<Client, ClientError> {
    use_ring();
    let mut headers = HeaderMap::new();
    if let Some(token) = &node.token {
        headers.insert(AUTHORIZATION, token.header()?);
    }
    let builder = Client::builder().user_agent(concat!("pipecast/", env!("CARGO_PKG_VERSION")));
    builder.default_headers(headers).build().map_err(ClientError::Build)
}

/// Says what does TLS: reqwest is built without a provider of its own, so that one is in the tree.
pub(super) fn use_ring() {
    // Whoever is second finds it done.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The address of a pipeline's `route`; of the pipeline itself without one.
pub(super) fn address(base: &Url, pipeline: &PipelineId, route: Option<&str>) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["pipelines", pipeline.as_str()]).extend(route);
    }
    url
}

/// Whether what was refused may be taken later. 502 and 504 are what load balancers say while no node answers.
pub(super) fn is_for_now(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// What an answer other than success says, in a line.
pub(super) async fn refusal(answer: Response) -> String {
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    let detail = serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|problem| problem["detail"].as_str().map(str::to_owned));
    // Whatever is not ours may be a page.
    let detail = detail.or_else(|| text.lines().next().filter(|line| !line.starts_with('<')).map(str::to_owned));
    detail.map_or_else(|| status.to_string(), |detail| format!("{status}: {detail}"))
}

/// What is at the bottom of an error: `Connection refused`, where the error itself says that a request failed.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut problem = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        problem = error.to_string();
        source = error.source();
    }
    problem
}
