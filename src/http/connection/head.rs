//! Heads of responses that hyper does not write, in the form in which it would. The connection ends with each of them.

use std::time::SystemTime;

use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};

/// Browsers must not guess the type of any response.
pub(in crate::http) const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// An HTTP/1.1 head, to its blank line.
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
