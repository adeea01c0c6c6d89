//! What `publish` and `tail` share: a client, and what a refusal says.

use reqwest::{Client, Response};
use url::Url;

use super::NodeArgs;

/// A client for talking to a node, with no limit on how long an answer may take.
pub(super) fn client() -> Result<Client, reqwest::Error> {
    // reqwest is built without a TLS provider of its own, so that one is in the tree.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().user_agent(concat!("pipecast/", env!("CARGO_PKG_VERSION"))).build()
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
