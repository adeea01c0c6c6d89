//! The inspector: one self-contained page, assembled from the files beside this one. It has no special access: its requests
//! are checked like any others.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Response;
use hyper::header::{self, HeaderValue};
use ring::digest::{SHA256, digest};

use super::body::Body;

const PAGE: &str = include_str!("index.html");
const STYLE: &str = include_str!("style.css");

/// One module: the files do not import each other, and share all names.
const SCRIPT: &str = concat!(
    include_str!("json.js"),
    include_str!("stream.js"),
    include_str!("events.js"),
    include_str!("list.js"),
    include_str!("chart.js"),
    include_str!("code.js"),
    include_str!("main.js"),
);

struct Inspector {
    page: Bytes,
    policy: HeaderValue,
}

static INSPECTOR: LazyLock<Inspector> = LazyLock::new(|| Inspector {
    page: PAGE
        .replace("<style></style>", &format!("<style>{STYLE}</style>"))
        .replace("<script type=\"module\"></script>", &format!("<script type=\"module\">{SCRIPT}</script>"))
        .into(),
    // Allows exactly this style and this script, by their hashes: the page shows text from any publisher, and the same origin
    // serves that text too.
    policy: HeaderValue::try_from(format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        source(STYLE),
        source(SCRIPT)
    ))
    .expect("ASCII"),
});

/// The source expression that allows exactly this text (Content Security Policy Level 3, 2.3.1).
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

/// Answers with the page.
pub(in crate::http) fn page() -> Response<Body> {
    let mut response = Response::new(Body::Full(INSPECTOR.page.clone()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, INSPECTOR.policy.clone());
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // The same address serves JSON to programs.
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}
