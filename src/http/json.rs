//! Answers in JSON.

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::body::Body;

/// An answer with this document and a line break, for people who use curl.
pub(super) fn json(status: StatusCode, mut text: String) -> Response<Body> {
    text.push('\n');
    json_body(status, Body::Full(text.into()))
}

/// An answer whose body is a document in JSON.
pub(super) fn json_body(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
