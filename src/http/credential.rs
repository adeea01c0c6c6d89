//! Finds the token in a request: in a header, the query or a cookie. `auth` decides what it allows.
//!
//! No library does this strictly enough. `headers` (0.4) ignores all `Authorization` lines but the first, and all cookies of
//! one name but the first, where several must be rejected. `cookie` (0.18) parses text, but cookies set by others may hold any
//! bytes, and it depends on `time`.

use std::borrow::Cow;

use hyper::Method;
use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap, ORIGIN};
use url::form_urlencoded;

use crate::auth::Presented;

/// The name of the cookie.
const COOKIE_NAME: &str = "pipecast_token";

/// The name in the query: `EventSource` cannot set headers.
const QUERY_NAME: &str = "token";

/// What a request carries as a token.
pub(super) enum Credential<'a> {
    Nothing,
    Unreadable,
    Token(Cow<'a, str>),
}

impl<'a> Credential<'a> {
    /// Looks in the header, then the query, then the cookie. `origins` is `server.cors_origins`.
    pub(super) fn of(method: &Method, headers: &'a HeaderMap, query: Option<&'a str>, origins: &[String]) -> Self {
        let found = from_header(headers).or_else(|| from_query(query?));
        found
            .or_else(|| from_cookie(headers).filter(|_| may_use_cookie(method, headers, origins)))
            .unwrap_or(Self::Nothing)
    }

    pub(super) fn presented(&self) -> Presented<'_> {
        match self {
            Self::Nothing => Presented::Nothing,
            Self::Unreadable => Presented::Unreadable,
            Self::Token(token) => Presented::Token(token),
        }
    }

    /// Exactly one token: of several, one could have been added by somebody else.
    fn only(mut tokens: impl Iterator<Item = Cow<'a, str>>) -> Option<Self> {
        let first = tokens.next()?;
        match tokens.next() {
            None if !first.is_empty() => Some(Self::Token(first)),
            _ => Some(Self::Unreadable),
        }
    }
}

/// `Authorization: Bearer`. Another scheme concerns a proxy and is ignored.
fn from_header(headers: &HeaderMap) -> Option<Credential<'_>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return Some(Credential::Unreadable);
    }
    let Ok(text) = value.to_str() else { return Some(Credential::Unreadable) };
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return None;
    }
    Credential::only(std::iter::once(Cow::Borrowed(token.trim())))
}

fn from_query(query: &str) -> Option<Credential<'_>> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    Credential::only(pairs.filter(|(name, _)| name == QUERY_NAME).map(|(_, token)| token))
}

fn from_cookie(headers: &HeaderMap) -> Option<Credential<'_>> {
    // As bytes: other hosts below the same domain may set cookies, and browsers send them unchanged.
    let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let values = pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(COOKIE_NAME.as_bytes())?.strip_prefix(b"="));
    // A value that is not ASCII is not a token; like an empty one, it makes the credential unreadable.
    let texts = values.map(|value| std::str::from_utf8(value).ok().filter(|text| text.is_ascii()).unwrap_or_default());
    Credential::only(texts.map(|token| Cow::Borrowed(token.trim_matches('"'))))
}

/// A browser attaches cookies to the requests of any page, so the page's origin must be trusted. A page of the node's own
/// origin sends no `Origin` when it reads; the browser then says so in a header that pages cannot set.
fn may_use_cookie(method: &Method, headers: &HeaderMap, origins: &[String]) -> bool {
    let mut of_page = headers.get_all(ORIGIN).iter();
    match (of_page.next(), of_page.next()) {
        // `*` trusts no particular origin.
        (Some(origin), None) => origins.iter().any(|listed| listed != "*" && listed.as_bytes() == origin.as_bytes()),
        (Some(_), Some(_)) => false,
        (None, _) => {
            let is_read = matches!(*method, Method::GET | Method::HEAD);
            is_read && headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn presented(method: Method, headers: &[(&str, &str)], query: &str, origins: &[&str]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let origins: Vec<_> = origins.iter().map(ToString::to_string).collect();
        let credential = Credential::of(&method, &map, Some(query), &origins);
        match credential.presented() {
            Presented::Nothing => "nothing".to_owned(),
            Presented::Unreadable => "unreadable".to_owned(),
            Presented::Token(token) => token.to_owned(),
        }
    }

    #[test]
    fn header_wins_over_the_query_and_the_query_over_the_cookie() {
        let listed = ("Origin", "https://a.example");
        let check = |headers: &[(&str, &str)], query: &str, expected: &str| {
            assert_eq!(presented(Method::GET, headers, query, &[listed.1]), expected, "{headers:?} {query}");
        };
        let (header, cookie) = (("Authorization", "Bearer h"), ("Cookie", "a=b; pipecast_token=c"));
        check(&[header, cookie, listed], "token=q", "h");
        check(&[cookie, listed], "x=1&token=q", "q");
        check(&[cookie, listed], "", "c");
        check(&[("Authorization", "bearer  h")], "", "h");
        check(&[], "", "nothing");
        check(&[("Authorization", "Basic eDp5")], "token=q", "q");
        for several in [&[header, header][..], &[("Authorization", "Bearer")], &[("Authorization", "Bearer ")]] {
            check(several, "token=q", "unreadable");
        }
        check(&[], "token=a&token=b", "unreadable");
        check(&[], "token=", "unreadable");
        check(&[("Cookie", "pipecast_token=a; pipecast_token=b"), listed], "", "unreadable");
        check(&[], "to%6ben=a%2Bb", "a+b");
    }

    #[test]
    fn foreign_cookies_hide_no_token() {
        let check = |lines: &[&[u8]], expected: &str| {
            let mut map = HeaderMap::new();
            map.append(ORIGIN, HeaderValue::from_static("https://a.example"));
            for line in lines {
                map.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
            }
            let credential = Credential::of(&Method::GET, &map, None, &["https://a.example".to_owned()]);
            let found = match credential.presented() {
                Presented::Nothing => "nothing",
                Presented::Unreadable => "unreadable",
                Presented::Token(token) => token,
            };
            assert_eq!(found, expected, "{lines:?}");
        };
        // Other hosts below the same domain may set any, and browsers send their bytes unchanged.
        check(&[b"theme=\xe4; pipecast_token=c"], "c");
        check(&["name=\u{e4}\u{1f642}; pipecast_token=c; z".as_bytes()], "c");
        check(&[b"a=\xff", b"pipecast_token=\"c\""], "c");
        check(&[b"pipecast_token\xe4=x; pipecast_token=c; xpipecast_token=d"], "c");
        check(&[b"pipecast_token=c\xe4"], "unreadable");
        check(&[b"pipecast_token=c; pipecast_token=\xe4"], "unreadable");
        check(&[b"a=\xe4; b"], "nothing");
    }

    #[test]
    fn cookies_count_only_for_trusted_pages() {
        let cookie = ("Cookie", "pipecast_token=c");
        let check = |method: &Method, headers: &[(&str, &str)], origins: &[&str], expected: bool| {
            let headers = [&[cookie], headers].concat();
            let found = presented(method.clone(), &headers, "", origins);
            assert_eq!(found == "c", expected, "{method} {headers:?} {origins:?}");
        };
        let (get, post, ours) = (Method::GET, Method::POST, ["https://a.example"]);
        let (listed, foreign) = (("Origin", "https://a.example"), ("Origin", "https://b.example"));
        let same = ("Sec-Fetch-Site", "same-origin");
        check(&get, &[listed], &ours, true);
        check(&post, &[listed], &ours, true);
        check(&get, &[foreign], &ours, false);
        check(&get, &[foreign, same], &ours, false);
        check(&get, &[("Origin", "null")], &ours, false);
        check(&get, &[listed], &["*"], false);
        check(&get, &[("Origin", "*")], &["*"], false);
        check(&get, &[listed, foreign], &ours, false);
        check(&get, &[], &ours, false);
        check(&get, &[same], &["*"], true);
        check(&post, &[same], &ours, false);
        check(&get, &[("Sec-Fetch-Site", "same-site")], &ours, false);
        check(&get, &[("Sec-Fetch-Site", "none")], &ours, false);
    }

    proptest! {
        #[test]
        fn arbitrary_headers_and_queries_never_panic(header in "[ -~]{0,40}", query in ".{0,40}", cookie in "[ -~]{0,40}") {
            let headers = [("Authorization", &*header), ("Cookie", &*cookie), ("Origin", "https://a.example")];
            presented(Method::GET, &headers, &query, &["https://a.example"]);
            presented(Method::GET, &headers[1..], &query, &["https://a.example"]);
        }
    }
}
