//! The admin listener: `/metrics`, `/livez`, `/readyz`.

use bytes::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use url::form_urlencoded;

use super::body::Body;
use super::connection::request_body::RequestBody;
use crate::node::Node;
use crate::node::drain::NodePhase;

/// Answers a request on the admin listener.
pub(super) fn answer(node: &Node, request: &Request<RequestBody>) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed; this path accepts GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => metrics(node),
        // Only whether the process answers: a restart does not fix the store.
        "/livez" => text(StatusCode::OK, "alive\n"),
        "/readyz" => match StoreCheck::parse(request.uri().query()) {
            Ok(check) => readiness(node, check),
            Err(problem) => text(StatusCode::BAD_REQUEST, problem),
        },
        _ => text(StatusCode::NOT_FOUND, "not found; the paths are /metrics, /livez and /readyz\n"),
    }
}

/// Whether a node is unready while its store is unreachable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum StoreCheck {
    Included,
    Excluded,
}

impl StoreCheck {
    /// Parses `exclude=store`, which is the syntax of Kubernetes' API server. That one accepts unknown names with a warning,
    /// which a probe would not see, so here they are errors.
    fn parse(query: Option<&str>) -> Result<Self, &'static str> {
        let mut check = Self::Included;
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match (&*name, &*value) {
                ("exclude", "store") => check = Self::Excluded,
                ("exclude", _) => {
                    return Err("exclude= accepts only `store`: /readyz?exclude=store\n");
                }
                _ => return Err("the only parameter of /readyz is exclude=store\n"),
            }
        }
        Ok(check)
    }
}

fn readiness(node: &Node, check: StoreCheck) -> Response<Body> {
    if node.drain.phase() > NodePhase::Serving {
        text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if check == StoreCheck::Included && !node.is_store_up() {
        text(StatusCode::SERVICE_UNAVAILABLE, "the store is unreachable, or does not accept events\n")
    } else {
        text(StatusCode::OK, "ready\n")
    }
}

fn metrics(node: &Node) -> Response<Body> {
    match node.metrics.encode(node.observe()) {
        Ok(encoded) => {
            let mut response = Response::new(Body::Full(encoded.into()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
            response
        }
        Err(error) => {
            tracing::error!(%error, "metrics cannot be encoded");
            text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be encoded\n")
        }
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::Full(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
