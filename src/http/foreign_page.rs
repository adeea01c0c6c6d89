//! What pages may ask of a node that is open only because nobody has decided anything.
//!
//! On a loopback address everybody who reaches the node is on its machine, and so is each page that somebody there
//! visits: its browser reaches the node too. Such pages may read. To publish and to forget, a page must come from the
//! machine itself, or from the node, or be listed. It must not pass for one of the node's own either, with a name of its own
//! that it lets point to this machine (DNS rebinding).

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request};
use url::{Host, Url};

use super::error::RequestError;

/// A browser's word on where a page's request goes; no page can write it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What names end in that nobody can register (RFC 6761, RFC 6762, and ICANN for `internal`): the machine or its own
/// network says where they point to.
const PRIVATE_ENDINGS: [&str; 4] = ["localhost", "internal", "local", "test"];

/// Refuses a request for a host that could be anybody's, and one by which a page of another origin would change something.
///
/// `is_passed_on` where a proxy sends it that the operator trusts: that one chose the host, or checked it.
pub(super) fn check<B>(request: &Request<B>, is_passed_on: bool) -> Result<(), RequestError> {
    if !is_passed_on && !hosts(request).all(|host| host.is_some_and(is_known)) {
        return Err(RequestError::ForeignHost);
    }
    let changes = match *request.method() {
        Method::OPTIONS => request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD).is_some_and(changes),
        ref method => !method.is_safe(),
    };
    if changes && !is_near(request) { Err(RequestError::ForeignPage) } else { Ok(()) }
}

/// The second of these where the operator has listed the pages that may: a list of some must not let in more than none at all.
///
/// What a browser keeps other origins from by CORS it does not keep a page from that passes for the node's own, so such a one
/// needs a host of which that cannot be. Clients that are no browsers may name any.
pub(super) fn check_listed<B>(
    request: &Request<B>,
    is_passed_on: bool,
    origins: &[String],
) -> Result<(), RequestError> {
    let origin = request.headers().get(header::ORIGIN);
    let is_page = origin.is_some() || request.headers().get(SEC_FETCH_SITE).is_some_and(|site| site != "none");
    if request.method().is_safe() || !is_page {
        return Ok(());
    }
    let is_listed = origin.is_some_and(|origin| origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes()));
    let is_own = is_near(request) && (is_passed_on || hosts(request).all(|host| host.is_some_and(is_known)));
    if is_listed || is_own { Ok(()) } else { Err(RequestError::ForeignPage) }
}

/// Whether what a preflight asks for may change something.
fn changes(method: &HeaderValue) -> bool {
    Method::from_bytes(method.as_bytes()).map_or(true, |method| !method.is_safe())
}

/// What a request names as its host: in its target, which is `:authority` in HTTP/2, and in its header. `None` for what
/// is no text.
fn hosts<B>(request: &Request<B>) -> impl Iterator<Item = Option<&str>> {
    let lines = request.headers().get_all(header::HOST).iter().map(|line| line.to_str().ok());
    let target = request.uri().authority().map(|authority| Some(Authority::as_str(authority)));
    // An empty one names nothing (RFC 9112, 3.2).
    target.into_iter().chain(lines).filter(|host| *host != Some(""))
}

/// Whether a host has no name that a stranger could let point here.
///
/// An address is looked up nowhere. A name without a dot is not in the public DNS: it is the machine's own, or that of a
/// group of servers, which is what nginx sends unless it is told otherwise.
fn is_known(host: &str) -> bool {
    let name = host.split(':').next().unwrap_or_default();
    if host.contains('@') {
        return false;
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    host.starts_with('[')
        || last.len() == name.len()
        || name.parse::<Ipv4Addr>().is_ok()
        || PRIVATE_ENDINGS.iter().any(|ending| ending.eq_ignore_ascii_case(last))
}

/// Whether a request comes from no page, or from one of this machine or of the node itself.
pub(super) fn is_near<B>(request: &Request<B>) -> bool {
    let Some(origin) = request.headers().get(header::ORIGIN) else {
        // Browsers send an origin with whatever changes something; should one not, it may still say this.
        let site = request.headers().get(SEC_FETCH_SITE);
        return site.is_none_or(|site| site == "same-origin" || site == "none");
    };
    let Some(page) = page(origin) else { return false };
    match page.host() {
        Some(Host::Domain("localhost")) => true,
        Some(Host::Ipv4(address)) if address == Ipv4Addr::LOCALHOST => true,
        Some(Host::Ipv6(address)) if address == Ipv6Addr::LOCALHOST => true,
        _ => hosts(request).flatten().any(|host| is_same(&page, host)),
    }
}

/// A page's origin as a URL; `None` for `null`, and for what no browser would write.
fn page(origin: &HeaderValue) -> Option<Url> {
    let text = origin.to_str().ok()?;
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text).then_some(url)
}

/// Whether a page is this host's own. With the page's scheme: whoever ends TLS before the node has changed it.
fn is_same(page: &Url, host: &str) -> bool {
    Url::parse(&format!("{}://{host}", page.scheme())).is_ok_and(|own| own.origin() == page.origin())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(method: Method, headers: &[(HeaderName, &str)]) -> Option<Request<()>> {
        let mut request = Request::builder().method(method).uri("/pipelines/p/events");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        request.body(()).ok()
    }

    proptest! {
        #[test]
        fn names_that_somebody_can_register_are_refused(
            front in "[a-z0-9._-]{0,20}",
            end in "[a-z]{2,12}",
            port in proptest::option::of(any::<u16>()),
        ) {
            prop_assume!(!PRIVATE_ENDINGS.contains(&end.as_str()));
            let port = port.map_or(String::new(), |port| format!(":{port}"));
            let request = request(Method::GET, &[(header::HOST, &format!("{front}.{end}{port}"))]).unwrap();
            prop_assert!(matches!(check(&request, false), Err(RequestError::ForeignHost)));
        }

        #[test]
        fn a_page_is_near_only_by_an_origin_of_this_machine(
            origin in prop_oneof!["https?://[a-z.:@/0-9\\[\\]-]{0,30}", "[ -~]{0,30}"],
            host in prop_oneof![Just("localhost:8080".to_owned()), Just("127.0.0.1".to_owned()), "[ -~]{1,20}"],
        ) {
            let Some(request) = request(Method::POST, &[(header::HOST, &host), (header::ORIGIN, &origin)]) else {
                return Ok(());
            };
            if check(&request, false).is_ok() {
                let page = Url::parse(&origin).unwrap();
                let is_local = matches!(page.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
                let own = Url::parse(&format!("{}://{host}", page.scheme())).unwrap();
                prop_assert!(is_local || own.origin() == page.origin(), "{} at {}", origin, host);
            }
        }
    }
}
