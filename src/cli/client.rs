//! What the commands that talk to a node share: a client, addresses, and what a refusal or a failure says.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::node_url::InvalidUrl;
use super::{Failure, InvalidToken, NodeArgs};
use crate::event::PipelineId;
use crate::visible::visible;

/// How much of an answer is read that says why something was refused.
const REFUSAL_BYTES: usize = 16 << 10;
const REFUSAL_TIME: Duration = Duration::from_secs(5);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("{0}")]
    Url(#[from] InvalidUrl),
    #[error("{0}")]
    Token(#[from] InvalidToken),
    #[error("requests cannot be made: {}", root_cause(.0))]
    Build(reqwest::Error),
}

impl ClientError {
    pub(super) fn failure(&self) -> Failure {
        if matches!(self, Self::Build(_)) { Failure::Failed } else { Failure::Usage }
    }
}

/// The node that a command talks to, or the balancer before it.
#[derive(Clone)]
pub(super) struct Broker {
    pub(super) client: Client,
    pub(super) url: Url,
}

impl Broker {
    /// A client with no limit on how long an answer may take. Each request carries the token.
    pub(super) fn new(node: &NodeArgs) -> Result<Self, ClientError> {
        use_ring();
        let url = node.url.checked()?;
        let mut headers = HeaderMap::new();
        if let Some(token) = &node.token {
            headers.insert(AUTHORIZATION, token.header()?);
        }
        let builder = Client::builder().user_agent(concat!("pipecast/", env!("CARGO_PKG_VERSION")));
        // A redirected POST arrives as a GET, with 301, 302 and 303, and a history is no acknowledgement. The other two
        // would send events, and each of them takes the long way, where nobody has decided to send them.
        let builder = builder.redirect(Policy::none()).default_headers(headers);
        Ok(Self { client: builder.build().map_err(ClientError::Build)?, url })
    }

    /// The address of a pipeline's `route`; of the pipeline itself without one.
    pub(super) fn address(&self, pipeline: &PipelineId, route: Option<&str>) -> Url {
        address(&self.url, pipeline, route)
    }
}

/// Says what does TLS: reqwest is built without a provider of its own, so that one is in the tree.
pub(super) fn use_ring() {
    // Whoever is second finds it done.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The address of a pipeline's `route` below a node's URL.
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

/// Whether a node, or a balancer for it, has said no: with one of these statuses. Anything else is no answer of a node.
pub(super) fn is_refusal(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// The kind of an answer's body, without its parameters.
pub(super) fn media_type(answer: &Response) -> &str {
    let value = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Whether an answer is a stream of events.
pub(super) fn is_stream(answer: &Response) -> bool {
    answer.status() == StatusCode::OK && media_type(answer).eq_ignore_ascii_case("text/event-stream")
}

/// What an answer says that is not the one that was asked for, in a line.
pub(super) async fn refusal(answer: Response) -> String {
    let status = answer.status();
    if status.is_redirection() {
        return redirect(&answer);
    }
    if !is_refusal(status) {
        let kind = visible(media_type(&answer)).into_owned();
        return format!("{status} with `{kind}`, which is no answer of Pipecast; look at what answers at this address");
    }
    let text = beginning(answer).await;
    let detail = serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|problem| problem["detail"].as_str().map(str::to_owned));
    // Whatever is not ours may be a page.
    let detail = detail.or_else(|| text.lines().next().filter(|line| !line.starts_with('<')).map(str::to_owned));
    detail.map_or_else(|| status.to_string(), |detail| format!("{status}: {}", visible(&detail)))
}

/// Where a redirect points, as the URL to be given in place of the one that was. Without user and query: there may be
/// secrets in them.
fn redirect(answer: &Response) -> String {
    let status = answer.status();
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(target) = location.and_then(|location| answer.url().join(location).ok()) else {
        return format!("{status}: it redirects to nowhere");
    };
    let path = target.path();
    let base = path.split_once("/pipelines/").map_or(path, |(base, _)| base);
    let target = format!("{}{base}", target.origin().ascii_serialization());
    format!("{status}: it redirects to {target}, and redirects are not followed; give that as the URL")
}

/// The beginning of a body. One that breaks off, or has no end, says what it has said until then.
pub(super) async fn beginning(mut answer: Response) -> String {
    let (mut bytes, end) = (Vec::new(), Instant::now() + REFUSAL_TIME);
    while let Ok(Ok(Some(part))) = timeout_at(end, answer.chunk()).await {
        bytes.extend_from_slice(&part[..part.len().min(REFUSAL_BYTES - bytes.len())]);
        if bytes.len() == REFUSAL_BYTES {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
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
