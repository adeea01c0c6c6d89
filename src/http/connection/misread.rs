//! The response to a request that hyper could not parse.

use hyper::header;

use super::head::{NOSNIFF, head};
use crate::http::body::Body;
use crate::http::error::RequestError;

/// How a TLS client begins: with a handshake record (RFC 8446, 5.1).
const TLS_HANDSHAKE: &[u8] = &[22, 3];

/// Why hyper could not parse a request; `None` for other errors. `rest` is what it has not parsed.
pub(in crate::http) fn misread(error: &hyper::Error, rest: &[u8], head_bytes: usize) -> Option<RequestError> {
    if error.is_parse_too_large() {
        Some(RequestError::HeadTooLarge(head_bytes))
    } else if error.is_parse() && rest.starts_with(TLS_HANDSHAKE) {
        Some(RequestError::Handshake)
    } else {
        // Incomplete: the client closed its side within a head.
        (error.is_parse() || error.is_incomplete_message()).then(|| RequestError::Unreadable(error.to_string()))
    }
}

/// The response that is written in place of hyper's.
pub(in crate::http) fn last_answer(error: &RequestError) -> Vec<u8> {
    let (parts, body) = error.response().into_parts();
    let Body::Full(text) = body else { return Vec::new() };
    let mut headers = parts.headers;
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(header::CONTENT_LENGTH, text.len().into());
    let mut answer = head(parts.status, headers);
    answer.extend_from_slice(&text);
    answer
}
