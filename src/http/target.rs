//! Rejects requests with more than one possible meaning before they are routed: they need one host, a path, a body with one
//! end, and single-valued headers that appear once.

use std::net::Ipv6Addr;

use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Method, Request, Uri, Version};
use percent_encoding::percent_decode_str;

use super::error::RequestError;
use super::query::LAST_EVENT_ID_QUERY;

/// Headers that are read here and have one value (RFC 9110, 5.3): of two, a proxy in front may have used the other one.
///
/// Others are checked where they are read: two `Authorization` are an unreadable credential (401), and two `Last-Event-ID` an
/// unknown resume point, since a browser would give up for good on a 400. In HTTP/2, `Cookie` comes in several lines.
const SINGLE: [HeaderName; 5] = [
    header::HOST,
    header::CONTENT_TYPE,
    header::ORIGIN,
    header::ACCESS_CONTROL_REQUEST_METHOD,
    HeaderName::from_static("sec-fetch-site"),
];

/// Rejects a request with more than one possible meaning.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), RequestError> {
    let (headers, uri) = (request.headers(), request.uri());
    if request.version() < Version::HTTP_2 {
        check_host(headers, request.version())?;
        check_codings(headers)?;
    }
    check_single(headers)?;
    check_form(request.method(), uri)?;
    uri.query().map_or(Ok(()), check_query)
}

/// A query that is not UTF-8 would be compared as another text than the one that was meant.
fn check_query(query: &str) -> Result<(), RequestError> {
    let is_text = query.split('&').all(|pair| {
        // The stream reports a malformed resume point: a browser would give up for good on a 400.
        let is_resume_point = pair.split_once('=').is_some_and(|(name, _)| LAST_EVENT_ID_QUERY.contains(&name));
        is_resume_point || percent_decode_str(pair).decode_utf8().is_ok()
    });
    if is_text {
        Ok(())
    } else {
        Err(RequestError::Query("the query is not valid UTF-8; percent-encode it as UTF-8".into()))
    }
}

/// RFC 9112, 3.2: with another host, a proxy could have routed the request differently.
fn check_host(headers: &HeaderMap, version: Version) -> Result<(), RequestError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let is_valid = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().is_ok_and(is_host),
        (None, None) => version < Version::HTTP_11,
        _ => false,
    };
    if is_valid {
        Ok(())
    } else {
        Err(RequestError::Malformed("a request needs exactly one valid Host header, for example Host: example.com"))
    }
}

fn check_single(headers: &HeaderMap) -> Result<(), RequestError> {
    match SINGLE.iter().find(|name| headers.get_all(*name).iter().nth(1).is_some()) {
        None => Ok(()),
        Some(name) => Err(RequestError::Repeated(name.clone())),
    }
}

/// A name, an address or nothing, optionally with a port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, rest)) = rest.split_once(']') else { return false };
            // Some clients send a zone.
            if address.split('%').next().is_none_or(|address| address.parse::<Ipv6Addr>().is_err()) {
                return false;
            }
            ("", rest)
        }
        None => text.split_at(text.bytes().position(|byte| byte == b':').unwrap_or(text.len())),
    };
    let is_port = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    };
    is_port && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte))
}

/// RFC 9112, 6.1: proxies may disagree about where any other coding ends.
fn check_codings(headers: &HeaderMap) -> Result<(), RequestError> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_known = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    };
    if is_known {
        Ok(())
    } else {
        Err(RequestError::Malformed("the only supported Transfer-Encoding is chunked, once"))
    }
}

/// RFC 9112, 3.2: a path, or `*` for the whole server. A node is not a proxy.
fn check_form(method: &Method, uri: &Uri) -> Result<(), RequestError> {
    let is_authority = uri.scheme().is_none() && uri.authority().is_some();
    if is_authority || uri.path() == "*" && method != Method::OPTIONS {
        return Err(RequestError::Malformed("the request target must be a path, for example /pipelines/p_aBcDeF/sse"));
    }
    Ok(())
}
