//! Cross-origin requests by web pages (CORS in the Fetch standard).

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::body::Body;

/// Headers that a page may always send: those of the API, and those that common clients add.
const ALLOWED_HEADERS: &str =
    "Accept, Authorization, Cache-Control, Content-Type, Idempotency-Key, Last-Event-ID, X-Requested-With";

/// Maximum further headers that a preflight is granted; tracing needs about ten.
const MOST_ASKED: usize = 50;

/// Maximum bytes of the list of requested headers; a longer one is ignored.
const MOST_ASKED_BYTES: usize = 2048;

/// Response headers that a page may read.
const EXPOSED_HEADERS: &str = "Idempotency-Replayed, Retry-After";

/// Adds the CORS headers of a response to this origin. `origins` is `server.cors_origins`.
pub(super) fn allow(headers: &mut HeaderMap, origin: Option<&HeaderValue>, origins: &[String]) {
    if origins.iter().any(|allowed| allowed == "*") {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else {
        // Also without an origin: a cache must not serve one origin's response to another.
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) =
            origin.filter(|origin| origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()))
        else {
            return;
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
}

/// The headers that a preflight allows: the API's own, and those that it asks for. Pages with tracing send headers that no
/// list can foresee, and the node reads none of them.
fn allowed_headers(headers: &HeaderMap) -> HeaderValue {
    let lines = || headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter().map(HeaderValue::as_bytes);
    let is_read = lines().map(<[u8]>::len).sum::<usize>() <= MOST_ASKED_BYTES;
    let mut allowed = ALLOWED_HEADERS.to_owned();
    let names = lines().filter(|_| is_read).flat_map(|line| line.split(|byte| *byte == b','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    for name in names.take(MOST_ASKED) {
        if !allowed.split(", ").any(|known| known.eq_ignore_ascii_case(name.as_str())) {
            allowed.push_str(", ");
            allowed.push_str(name.as_str());
        }
    }
    HeaderValue::try_from(allowed).unwrap_or(HeaderValue::from_static(ALLOWED_HEADERS))
}

/// Answers `OPTIONS`. `methods` are those of the path, `asked` are the request's headers.
pub(super) fn preflight(methods: &'static str, asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(methods));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(asked));
    headers.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}
