//! The description of the public API in OpenAPI 3.1. Anyone may read it: it describes the program, and nothing of this node.
//!
//! `scripts/reference` writes `openapi.json` from `docs/reference/openapi.yaml`.

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::body::Body;
use super::json::json_body;

/// The description as JSON.
pub(super) const TEXT: &str = include_str!("openapi.json");

/// Answers with the description.
pub(super) fn answer() -> Response<Body> {
    let mut response = json_body(StatusCode::OK, Body::Full(Bytes::from_static(TEXT.as_bytes())));
    // Only another version of the program has another description.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    response
}
