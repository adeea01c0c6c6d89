//! What hyper could not read as a request, and the answer to it, which nobody else makes.

use hyper::header;

use super::head::{NOSNIFF, head};
use crate::http::body::Body;
use crate::http::error::RequestError;

/// How a client of TLS begins: a record of a handshake (RFC 8446, 5.1).
const TLS_HANDSHAKE: &[u8] = &[22, 3];

/// Why hyper could not read a request; `None` for what has other reasons. `rest` is what it has not made sense of.
pub(in crate::http) fn misread(error: &hyper::Error, rest: &[u8], head_bytes: usize) -> Option<RequestError> {
    if error.is_parse_too_large() {
        Some(RequestError::HeadTooLarge(head_bytes))
    } else if error.is_parse() && rest.starts_with(TLS_HANDSHAKE) {
        Some(RequestError::Handshake)
    } else {
        // One whose client ends its side within a head, too.
        (error.is_parse() || error.is_incomplete_message()).then(|| RequestError::Unreadable(error.to_string()))
    }
}

/// The answer that is written in place of hyper's.
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
