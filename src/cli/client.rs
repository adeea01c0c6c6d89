//! What `publish` and `tail` share: a client, and what a refusal says.

use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Client, Response};
use url::Url;

use super::{InvalidToken, NodeArgs};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("{0}")]
    Token(#[from] InvalidToken),
    #[error("{0}")]
    Build(reqwest::Error),
}

/// A client for talking to a node, with no limit on how long an answer may take. Each request carries the token.
pub(super) fn client(node: &NodeArgs) -> Result<Client, ClientError> {
    // reqwest is built without a TLS provider of its own, so that one is in the tree.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = HeaderMap::new();
    if let Some(token) = &node.token {
        headers.insert(AUTHORIZATION, token.header()?);
    }
    let builder = Client::builder().user_agent(concat!("pipecast/", env!("CARGO_PKG_VERSION")));
    builder.default_headers(headers).build().map_err(ClientError::Build)
}

/// The address of a pipeline's `route`.
pub(super) fn address(node: &NodeArgs, route: &str) -> Url {
    let mut url = node.url.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["pipelines", node.pipeline.as_str(), route]);
    }
    url
}

/// What an answer other than success says, in a line.
pub(super) async fn refusal(answer: Response) -> String {
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    let detail = serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|problem| problem["detail"].as_str().map(str::to_owned));
    format!("{status}: {}", detail.unwrap_or(text))
}
