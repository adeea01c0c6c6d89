//! Section `auth`.

use std::net::SocketAddr;
use std::time::Duration;

use url::{Host, Url};

use super::reader::Reader;
use super::reader::urls::hide_user_and_query;
use crate::auth::{Access, AuthOptions, KeyTable, Right, SHORTEST_SECRET, Secret, parse_setting};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Reads the section. On any address but loopback, the operator must set who may do what.
pub(super) fn read(r: &mut Reader, listen: SocketAddr) -> AuthOptions {
    let publish = r.access("auth.publish", "Who may publish and delete: `open` for everyone, `token` for clients with a key or token. Default: `open` on a loopback address; on any other address you must set it.");
    let subscribe =
        r.access("auth.subscribe", "Who may subscribe and read the history: `open` or `token`, with the same default.");
    let options = AuthOptions {
        is_publish_decided: publish.is_some(),
        publish: publish.unwrap_or(Access::Open),
        subscribe: subscribe.unwrap_or(Access::Open),
        keys: r.static_keys("auth.keys", "Static keys: an array of tables with `name`, `key` or `key_file`, `publish`, `subscribe` and, to limit what can be read, `channels`."),
        keys_file: r.file("auth.keys_file", "TOML file with more static keys, one `[[keys]]` table each. Reloaded when it changes, like all files in this section."),
        jwt_secret: r.jwt_secret("auth.jwt_secret", "Secret for JSON Web Tokens signed with HS256, HS384 or HS512, at least 32 bytes."),
        jwt_secret_file: r.file("auth.jwt_secret_file", "File with such a secret; surrounding whitespace is ignored."),
        jwt_keys: r.files("auth.jwt_keys", "PEM files with public keys for tokens signed with RS256, PS256, ES256 or EdDSA, separated by commas. A file may hold several keys. At most 8 per algorithm; with more, keys need a `kid`, as in `auth.jwks_file`."),
        jwks_file: r.file("auth.jwks_file", "JSON Web Key Set file with keys for tokens."),
        jwks_url: r.jwks_url("auth.jwks_url", "URL of a JSON Web Key Set with public keys. Fetched every 5 minutes, and at most every 10 s when a token names an unknown key."),
        jwks_max_age: r.duration("auth.jwks_max_age", "24h", SECOND * 10..=DAY * 30, "How long fetched keys are trusted when they cannot be fetched again. After that, publishers get 503, and streams a `retry:`, until a fetch succeeds."),
        issuer: r.optional("auth.issuer", "Required `iss` of tokens; if empty, any is accepted."),
        audience: r.optional("auth.audience", "Required value in `aud` of tokens; if empty, any is accepted."),
        leeway: r.duration("auth.leeway", "30s", Duration::ZERO..=SECOND * 600, "How far the clocks of token issuers may differ. Applies to `nbf`, and to `exp` when publishing; streams always end with their token."),
        revocation_file: r.file("auth.revocation_file", "Revocation list: a file with one entry per line, each a token's `jti`, a static key's name or a signing key's `kid`, plain or as a JSON string. `#` starts a comment. Affected streams end within 5 s."),
    };
    check_decided(r, listen, [("auth.publish", publish, "publish"), ("auth.subscribe", subscribe, "read")]);
    for (key, right) in [("auth.publish", Right::Publish), ("auth.subscribe", Right::Subscribe)] {
        if options.access(right) == Access::Token && !options.has_keys() {
            r.fault(key, "is `token`, but there is nothing to verify tokens with; set auth.keys, auth.keys_file, auth.jwt_secret, auth.jwt_secret_file, auth.jwt_keys, auth.jwks_file or auth.jwks_url");
        }
    }
    options
}

fn check_decided(r: &mut Reader, listen: SocketAddr, decisions: [(&str, Option<Access>, &str); 2]) {
    if listen.ip().to_canonical().is_loopback() {
        return;
    }
    for (key, decision, doing) in decisions {
        if decision.is_none() {
            r.fault(key, &format!("must be set, because server.listen {listen} is not a loopback address: use `token`, or `open` to let everyone who can reach the node {doing}"));
        }
    }
}

impl Reader {
    /// Who may do something; none if the operator has not set it.
    fn access(&mut self, key: &'static str, help: &'static str) -> Option<Access> {
        self.read_plain(key, "", help, None, |text| match text {
            "" => Ok(None),
            "open" => Ok(Some(Access::Open)),
            "token" => Ok(Some(Access::Token)),
            text => Err(format!("invalid value `{text}`; expected `open` or `token`")),
        })
    }

    fn static_keys(&mut self, key: &'static str, help: &'static str) -> Vec<KeyTable> {
        self.read(key, "", help, hide, parse_setting).unwrap_or_default()
    }

    fn jwt_secret(&mut self, key: &'static str, help: &'static str) -> Option<Secret> {
        self.read(key, "", help, hide, |text| match text.len() {
            0 => Ok(None),
            SHORTEST_SECRET.. => Ok(Some(Secret::new(text))),
            length => Err(format!(
                "too short: {length} bytes instead of at least {SHORTEST_SECRET}; create one with `openssl rand -hex 32`"
            )),
        })
        .flatten()
    }

    fn jwks_url(&mut self, key: &'static str, help: &'static str) -> Option<Url> {
        self.read(key, "", help, hide_user_and_query, |text| match text {
            "" => Ok(None),
            text => parse_jwks_url(text).map(Some),
        })
        .flatten()
    }
}

/// Without TLS, anyone between the node and the issuer could answer with other keys.
fn parse_jwks_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("not a valid URL ({error})"))?;
    let is_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if !(url.scheme() == "https" || url.scheme() == "http" && is_loopback) {
        return Err("must be an https:// URL; http:// is accepted only for loopback addresses".to_owned());
    }
    if url.password().is_some() {
        return Err("must not contain a password; public keys need none".to_owned());
    }
    Ok(url)
}

/// A secret as it is shown.
fn hide(text: &str) -> String {
    if text.is_empty() { String::new() } else { "***".to_owned() }
}
