//! The admin listener: `/metrics`, `/livez`, `/readyz`.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::body::Body;
use crate::drain::Phase;
use crate::node::Node;

/// Answers a request on the admin listener.
pub(super) fn answer(node: &Node, request: &Request<Incoming>) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "this path takes GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => metrics(node),
        // Whether the process answers, and nothing else: a restart mends no store.
        "/livez" => text(StatusCode::OK, "alive\n"),
        "/readyz" if node.drain.phase() > Phase::Serving => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        "/readyz" if !node.is_store_up() => {
            text(StatusCode::SERVICE_UNAVAILABLE, "the store is away: no probe has come back for too long\n")
        }
        "/readyz" => text(StatusCode::OK, "ready\n"),
        _ => text(StatusCode::NOT_FOUND, "the paths here are /metrics, /livez and /readyz\n"),
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
            tracing::error!(%error, "metrics could not be written");
            text(StatusCode::INTERNAL_SERVER_ERROR, "metrics could not be written\n")
        }
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::Full(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
