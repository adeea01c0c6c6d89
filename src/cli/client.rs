//! What commands that talk to a node share: an HTTP client, URLs of pipelines, and error messages from responses.

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

/// Limits for reading the body of a rejection.
const REJECTION_BYTES: usize = 16 << 10;
const REJECTION_TIME: Duration = Duration::from_secs(5);

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    #[error(transparent)]
    Token(#[from] InvalidToken),
    #[error("cannot make requests: {}", root_cause(.0))]
    Build(reqwest::Error),
}

impl ClientError {
    pub(super) fn failure(&self) -> Failure {
        if matches!(self, Self::Build(_)) { Failure::Failed } else { Failure::Usage }
    }
}

/// The node that a command talks to, or the load balancer in front of the nodes.
#[derive(Clone)]
pub(super) struct Broker {
    pub(super) client: Client,
    pub(super) url: Url,
}

impl Broker {
    /// A client without a timeout, which sends the token with every request.
    pub(super) fn new(node: &NodeArgs) -> Result<Self, ClientError> {
        use_ring();
        let url = node.url.checked()?;
        let mut headers = HeaderMap::new();
        if let Some(token) = &node.token {
            headers.insert(AUTHORIZATION, token.header()?);
        }
        let builder = Client::builder().user_agent(concat!("pipecast/", env!("CARGO_PKG_VERSION")));
        // A POST redirected with 301, 302 or 303 arrives as a GET, and a history does not acknowledge anything. With 307
        // and 308, events would go to a host that the user did not choose.
        let builder = builder.redirect(Policy::none()).default_headers(headers);
        Ok(Self { client: builder.build().map_err(ClientError::Build)?, url })
    }

    /// The URL of a pipeline's `route`, or of the pipeline itself.
    pub(super) fn address(&self, pipeline: &PipelineId, route: Option<&str>) -> Url {
        address(&self.url, pipeline, route)
    }
}

/// Installs the TLS provider. reqwest is built without one, so that only one is in the dependency tree.
pub(super) fn use_ring() {
    // Fails only when it is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The URL of a pipeline's `route` below a node's URL.
pub(super) fn address(base: &Url, pipeline: &PipelineId, route: Option<&str>) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["pipelines", pipeline.as_str()]).extend(route);
    }
    url
}

/// Whether a rejected request may succeed later. Load balancers send 502 and 504 while no node responds.
pub(super) fn is_temporary(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Whether the status is an error, as a node or a load balancer sends it. Nodes send nothing else as a rejection.
pub(super) fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// The media type of a response, without parameters.
pub(super) fn media_type(response: &Response) -> &str {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Whether a response is a stream of events.
pub(super) fn is_stream(response: &Response) -> bool {
    response.status() == StatusCode::OK && media_type(response).eq_ignore_ascii_case("text/event-stream")
}

/// Describes an unexpected response in one line.
pub(super) async fn rejection(response: Response) -> String {
    let status = response.status();
    if status.is_redirection() {
        return redirect(&response);
    }
    if !is_error(status) {
        let kind = visible(media_type(&response)).into_owned();
        return format!("{status} with `{kind}`, which is not a Pipecast response; check what runs at this URL");
    }
    let text = beginning(response).await;
    let detail = serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|problem| problem["detail"].as_str().map(str::to_owned));
    // Other servers may send an HTML page.
    let detail = detail.or_else(|| text.lines().next().filter(|line| !line.starts_with('<')).map(str::to_owned));
    detail.map_or_else(|| status.to_string(), |detail| format!("{status}: {}", visible(&detail)))
}

/// Where a redirect points, as a URL that the user can give instead. Without user and query, which may hold secrets.
fn redirect(response: &Response) -> String {
    let status = response.status();
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(target) = location.and_then(|location| response.url().join(location).ok()) else {
        return format!("{status}: it redirects without a valid Location");
    };
    let path = target.path();
    let base = path.split_once("/pipelines/").map_or(path, |(base, _)| base);
    let target = format!("{}{base}", target.origin().ascii_serialization());
    format!("{status}: it redirects to {target}, and redirects are not followed; use that URL instead")
}

/// The beginning of a body, up to a limit in bytes and time. A broken body gives what arrived before it broke.
pub(super) async fn beginning(mut response: Response) -> String {
    let (mut bytes, end) = (Vec::new(), Instant::now() + REJECTION_TIME);
    while let Ok(Ok(Some(part))) = timeout_at(end, response.chunk()).await {
        bytes.extend_from_slice(&part[..part.len().min(REJECTION_BYTES - bytes.len())]);
        if bytes.len() == REJECTION_BYTES {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The innermost source of an error: `Connection refused` rather than `error sending request`.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut problem = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        problem = error.to_string();
        source = error.source();
    }
    problem
}
