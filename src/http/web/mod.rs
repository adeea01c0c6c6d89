//! The pages for people: the start page, the inspector, and the one for a wrong address. Each is one self-contained answer,
//! assembled from the files beside this one. They have no special access: their requests are checked like any others.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Response;
use hyper::header::{self, HeaderMap, HeaderValue};
use ring::digest::{SHA256, digest};

use super::body::Body;
use crate::auth::{Access, Auth, Right};

/// Where the documentation can be read; empty if the package names no address for it.
const DOCUMENTATION: &str = env!("CARGO_PKG_HOMEPAGE");

const LOGO: &str = r#"<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M2 14A12 12 0 0 1 14 2M7 14A7 7 0 0 1 14 7"/><circle cx="13" cy="13" r="1"/></svg>"#;

const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16' fill='none' stroke='%230d7d6c' \
     stroke-width='2' stroke-linecap='round'%3E%3Cpath d='M2 14A12 12 0 0 1 14 2M7 14A7 7 0 0 1 14 7'/%3E%3Ccircle cx='13' cy='13' \
     r='1'/%3E%3C/svg%3E";

const LANDING: Sources = Sources {
    page: include_str!("landing/index.html"),
    style: concat!(include_str!("base.css"), include_str!("landing/style.css")),
    script: concat!(
        include_str!("dom.js"),
        include_str!("address.js"),
        include_str!("json.js"),
        include_str!("code.js"),
        include_str!("landing/main.js"),
    ),
};

const INSPECTOR: Sources = Sources {
    page: include_str!("inspector/index.html"),
    style: concat!(include_str!("base.css"), include_str!("inspector/style.css")),
    script: concat!(
        include_str!("dom.js"),
        include_str!("address.js"),
        include_str!("json.js"),
        include_str!("code.js"),
        include_str!("inspector/stream.js"),
        include_str!("inspector/events.js"),
        include_str!("inspector/list.js"),
        include_str!("inspector/chart.js"),
        include_str!("inspector/main.js"),
    ),
};

const NOT_FOUND: Sources = Sources {
    page: include_str!("not_found.html"),
    style: concat!(include_str!("base.css"), include_str!("not_found.css")),
    script: "",
};

/// What a page is made of. The script is one module: its files do not import each other, and share all names.
struct Sources {
    page: &'static str,
    style: &'static str,
    script: &'static str,
}

/// A page, ready to be sent.
struct Page {
    text: Bytes,
    policy: HeaderValue,
}

/// A page for each combination of what needs a token. All answers share its bytes: a client that takes none costs no copy.
type Variants = LazyLock<[Page; 4]>;

static LANDING_PAGES: Variants = LazyLock::new(|| variants(&LANDING));
static INSPECTOR_PAGES: Variants = LazyLock::new(|| variants(&INSPECTOR));

static NO_ROUTE_PAGE: LazyLock<Page> = LazyLock::new(|| {
    NOT_FOUND.page(&[("title", "Page not found"), ("text", "This Pipecast node has no page at this address.")])
});
static NO_NAME_PAGE: LazyLock<Page> = LazyLock::new(|| {
    let rule = "A pipeline name has 1 to 128 characters: letters, digits and <code>. _ ~ -</code>";
    NOT_FOUND.page(&[("title", "Invalid pipeline name"), ("text", rule)])
});

impl Sources {
    /// The page with its style and script inside, and these texts in the places that `{{name}}` marks.
    fn page(&self, texts: &[(&str, &str)]) -> Page {
        let mut text = self
            .page
            .replace("{{logo}}", LOGO)
            .replace("{{icon}}", ICON)
            .replace("{{version}}", env!("CARGO_PKG_VERSION"))
            .replace("{{docs}}", &documentation(DOCUMENTATION));
        for (name, value) in texts {
            text = text.replace(&format!("{{{{{name}}}}}"), value);
        }
        let text = text
            .replace("<style></style>", &format!("<style>{}</style>", self.style))
            .replace("<script type=\"module\"></script>", &format!("<script type=\"module\">{}</script>", self.script));
        // Allows exactly this style and this script, by their hashes: the pages show text from any publisher, and the same origin
        // serves that text too.
        let script = if self.script.is_empty() { "'none'".to_owned() } else { source(self.script) };
        let policy = format!(
            "default-src 'none'; style-src {}; script-src {script}; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            source(self.style),
        );
        Page { text: text.into(), policy: HeaderValue::try_from(policy).expect("ASCII") }
    }
}

/// The page for each value of [`variant`].
fn variants(sources: &Sources) -> [Page; 4] {
    let word = |needs_token| if needs_token { "token" } else { "open" };
    std::array::from_fn(|variant| {
        sources.page(&[("publish", word(variant & 1 != 0)), ("subscribe", word(variant & 2 != 0))])
    })
}

fn variant(auth: &Auth) -> usize {
    let needs_token = |right| usize::from(auth.access(right) == Access::Token);
    needs_token(Right::Publish) | needs_token(Right::Subscribe) << 1
}

/// The link to the documentation: its address, or else the reference that the start page contains.
fn documentation(address: &str) -> String {
    if address.is_empty() {
        return "<a href=\"/#http-api\">HTTP API</a>".to_owned();
    }
    format!("<a href=\"{address}\" rel=\"noreferrer\">Documentation</a>")
}

/// The source expression that allows exactly this text (Content Security Policy Level 3, 2.3.1).
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

/// Answers with the start page.
pub(in crate::http) fn landing(auth: &Auth) -> Response<Body> {
    answer(&LANDING_PAGES[variant(auth)])
}

/// Answers with the inspector.
pub(in crate::http) fn inspector(auth: &Auth) -> Response<Body> {
    answer(&INSPECTOR_PAGES[variant(auth)])
}

/// Why an address leads nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::http) enum WrongAddress {
    NoRoute,
    InvalidName,
}

/// Puts a page in place of the problem document, for a browser. The status and the other headers stay.
pub(in crate::http) fn explain(problem: &mut Response<Body>, wrong: WrongAddress) {
    let page = match wrong {
        WrongAddress::NoRoute => &*NO_ROUTE_PAGE,
        WrongAddress::InvalidName => &*NO_NAME_PAGE,
    };
    *problem.body_mut() = Body::Full(page.text.clone());
    headers(problem.headers_mut(), page);
}

fn answer(page: &Page) -> Response<Body> {
    let mut response = Response::new(Body::Full(page.text.clone()));
    headers(response.headers_mut(), page);
    response
}

fn headers(headers: &mut HeaderMap, page: &Page) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, page.policy.clone());
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // The same address serves JSON to programs.
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_in_a_page_is_filled_in() {
        for page in LANDING_PAGES.iter().chain(INSPECTOR_PAGES.iter()).chain([&*NO_ROUTE_PAGE, &*NO_NAME_PAGE]) {
            let text = std::str::from_utf8(&page.text).unwrap();
            let (head, rest) = text.split_once("<style>").unwrap();
            let (_, body) = rest.split_once("</style>").unwrap();
            let body = body.split("<script").next().unwrap();
            assert!(!head.contains("{{") && !body.contains("{{"), "{head}{body}");
            assert!(!text.contains("<style></style>") && !text.contains("\"module\"></script>"));
        }
    }

    #[test]
    fn documentation_without_an_address_is_no_dead_link() {
        assert_eq!(
            documentation("https://docs.example/"),
            "<a href=\"https://docs.example/\" rel=\"noreferrer\">Documentation</a>"
        );
        let local = documentation("");
        let target = local.split('#').nth(1).unwrap().split('"').next().unwrap();
        assert!(LANDING.page.contains(&format!("id=\"{target}\"")), "{local}");
    }
}
