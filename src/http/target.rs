//! What a request must be before anybody looks at what it asks for: one host, a path, a body with one end, fields that
//! say one thing, and text.

use std::net::Ipv6Addr;

use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Method, Request, Uri, Version};
use percent_encoding::percent_decode_str;

use super::error::RequestError;
use super::handlers::subscribe::LAST_EVENT_ID_QUERY;

/// Fields that we read and that have one value (RFC 9110, 5.3): of two, somebody before us may go by the other.
///
/// Others are judged where they are read: two `Authorization` are a credential that is none (401), and two `Last-Event-ID`
/// a resume point that is none, since a browser would give up for ever on a 400. `Cookie` comes in several lines in HTTP/2.
const SINGLE: [HeaderName; 5] = [
    header::HOST,
    header::CONTENT_TYPE,
    header::ORIGIN,
    header::ACCESS_CONTROL_REQUEST_METHOD,
    HeaderName::from_static("sec-fetch-site"),
];

/// Refuses a request whose meaning could be taken in more than one way.
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

/// What is no text would be compared as another text than the one that was meant.
fn check_query(query: &str) -> Result<(), RequestError> {
    let is_text = query.split('&').all(|pair| {
        // A resume point that is none is told of in the stream: a browser would give up for ever on a 400.
        let is_resume_point = pair.split_once('=').is_some_and(|(name, _)| LAST_EVENT_ID_QUERY.contains(&name));
        is_resume_point || percent_decode_str(pair).decode_utf8().is_ok()
    });
    if is_text {
        Ok(())
    } else {
        Err(RequestError::Query("the query is not UTF-8; percent-encode the bytes of UTF-8".into()))
    }
}

/// RFC 9112, 3.2: a proxy could send the request elsewhere than we would.
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
        Err(RequestError::Malformed("a request must have exactly one Host header, such as Host: example.com"))
    }
}

fn check_single(headers: &HeaderMap) -> Result<(), RequestError> {
    match SINGLE.iter().find(|name| headers.get_all(*name).iter().nth(1).is_some()) {
        None => Ok(()),
        Some(name) => Err(RequestError::Repeated(name.clone())),
    }
}

/// A name, an address, or nothing at all, and perhaps a port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, rest)) = rest.split_once(']') else { return false };
            // With a zone, as some clients send it.
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

/// RFC 9112, 6.1: what is coded otherwise has an end that only some can see.
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
        Err(RequestError::Malformed("the only supported Transfer-Encoding is chunked, given once"))
    }
}

/// RFC 9112, 3.2: a path, or `*` for what is asked of the whole server. We are no proxy.
fn check_form(method: &Method, uri: &Uri) -> Result<(), RequestError> {
    let is_authority = uri.scheme().is_none() && uri.authority().is_some();
    if is_authority || uri.path() == "*" && method != Method::OPTIONS {
        return Err(RequestError::Malformed("the request target must be a path, such as /pipelines/p_aBcDeF/sse"));
    }
    Ok(())
}
