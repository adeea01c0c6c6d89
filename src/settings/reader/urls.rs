//! Settings that are URLs, which may contain secrets: no message repeats them, and they are shown without.

use url::Url;

use super::Reader;
use crate::store::redis::{check_url, is_sentinel_url, redact_sentinel_url};

const REDIS_SCHEMES: [&str; 3] = ["redis", "rediss", "redis+unix"];

impl Reader {
    pub(in crate::settings) fn redis_url(&mut self, key: &'static str, help: &'static str) -> Option<String> {
        self.read(key, "", help, hide_redis_password, |text| match text {
            "" => Ok(None),
            text => check_redis_url(text).map(|()| Some(text.to_owned())),
        })
        .flatten()
    }
}

fn check_redis_url(text: &str) -> Result<(), String> {
    if is_host_and_port(text) {
        return Err(format!("missing scheme. Did you mean `redis://{text}`?"));
    }
    if is_sentinel_url(text) {
        return check_url(text).map_err(|error| error.to_string());
    }
    let url = Url::parse(text).map_err(|error| format!("not a valid URL ({error}); use redis://host:6379"))?;
    if !REDIS_SCHEMES.contains(&url.scheme()) {
        return Err(format!(
            "unsupported scheme `{}://`; use redis://, rediss://, redis+unix:// or redis-sentinel://",
            url.scheme()
        ));
    }
    check_url(text).map_err(|error| error.to_string())
}

/// Whether a text is just a host and a port, and cannot be a user and a password.
fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_host =
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        let is_surely_host = host.contains('.') || host == "localhost" || port == "6379";
        is_host && is_surely_host && port.parse::<u16>().is_ok()
    })
}

/// A URL with `***` in place of its user, password, query and fragment: an issuer may expect a key in any of them.
pub(in crate::settings) fn hide_user_and_query(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return hide_password(text) };
    if !url.username().is_empty() && url.set_username("***").is_err() {
        return "***".into();
    }
    if url.fragment().is_some() {
        url.set_fragment(Some("***"));
    }
    hide_password(url.as_str())
}

fn hide_redis_password(text: &str) -> String {
    match is_sentinel_url(text) {
        true => redact_sentinel_url(text).unwrap_or_else(|| "***".into()),
        false => hide_password(text),
    }
}

/// A URL with `***` in place of its password and query.
fn hide_password(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else {
        return if text.is_empty() { String::new() } else { "***".into() };
    };
    if url.password().is_some() && url.set_password(Some("***")).is_err() {
        return "***".into();
    }
    if url.query().is_some() {
        url.set_query(Some("***"));
    }
    url.to_string()
}
