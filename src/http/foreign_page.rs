//! What web pages may do on a node that is open only by default.
//!
//! On a loopback address every client runs on the same machine, including the browser that shows any page that a user there
//! visits. Such pages may read. To publish or delete, a page must come from this machine or from the node, or be listed. It
//! must not disguise itself as the node's own page with a name that it points to this machine (DNS rebinding).

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request};
use url::{Host, Url};

use super::error::RequestError;

/// Set by browsers: how the page and the target of its request are related. Pages cannot set it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Endings of names that nobody can register (RFC 6761, RFC 6762, and ICANN for `internal`): the machine or its own network
/// decides where they point.
const PRIVATE_ENDINGS: [&str; 4] = ["localhost", "internal", "local", "test"];

/// Rejects a request for a public host name, and a request with which a page of another origin would change something.
///
/// `is_passed_on` if it comes from a trusted proxy, which chose the host or checked it.
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

/// Rejects a request with which a page that is not listed would change something. A list must not allow more than no list.
///
/// CORS does not restrict a page that disguises itself as the node's own, so an unlisted page needs a host name for which
/// that is impossible. Clients other than browsers may use any host name.
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

/// Whether a request with this method may change something.
fn changes(method: &HeaderValue) -> bool {
    Method::from_bytes(method.as_bytes()).map_or(true, |method| !method.is_safe())
}

/// The hosts that a request names: in its target, which is `:authority` in HTTP/2, and in its header. `None` for one that
/// is not text.
fn hosts<B>(request: &Request<B>) -> impl Iterator<Item = Option<&str>> {
    let lines = request.headers().get_all(header::HOST).iter().map(|line| line.to_str().ok());
    let target = request.uri().authority().map(|authority| Some(Authority::as_str(authority)));
    // An empty one names nothing (RFC 9112, 3.2).
    target.into_iter().chain(lines).filter(|host| *host != Some(""))
}

/// Whether nobody else could point this host here.
///
/// An address needs no lookup. A name without a dot is not in the public DNS: it is the machine's own, or that of an upstream
/// group, which nginx sends by default.
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

/// Whether a request comes from this machine's or the node's own page, or not from a page at all.
pub(super) fn is_near<B>(request: &Request<B>) -> bool {
    let Some(origin) = request.headers().get(header::ORIGIN) else {
        // Browsers send an origin with every request that changes something; one that does not may still send this.
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

/// A page's origin as a URL; `None` for `null`, and for anything that no browser would send.
fn page(origin: &HeaderValue) -> Option<Url> {
    let text = origin.to_str().ok()?;
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text).then_some(url)
}

/// Whether a page is this host's own. Compared with the page's scheme, because a proxy may have terminated TLS.
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
        fn public_host_names_are_rejected(
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
        fn pages_are_near_only_by_an_origin_of_this_machine(
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
