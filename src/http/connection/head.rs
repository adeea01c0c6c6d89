//! The heads of answers that hyper does not write, as it would write them. The connection ends with each.

use std::time::SystemTime;

use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};

/// Whatever an answer is, a browser is not to guess.
pub(in crate::http) const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// A head of HTTP/1.1, to its blank line.
pub(in crate::http) fn head(status: StatusCode, mut headers: HeaderMap) -> Vec<u8> {
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now())) {
        headers.insert(header::DATE, date);
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    for (name, value) in &headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}
