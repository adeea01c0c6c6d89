//! Section `auth`.

use std::net::SocketAddr;
use std::time::Duration;

use url::{Host, Url};

use super::reader::{Reader, hide_user_and_query};
use crate::auth::{Access, AuthOptions, KeyTable, Right, SHORTEST_SECRET, Secret, parse_setting};

/// Reads the section. Away from loopback, somebody must have decided who may do what.
pub(super) fn read(r: &mut Reader, listen: SocketAddr) -> AuthOptions {
    let publish = r.access("auth.publish", "Who may publish and forget: `open` for everyone, `token` for who presents a key or token. Empty is `open` on a loopback address; on any other address it must be decided.");
    let subscribe = r.access("auth.subscribe", "Who may read: `open` or `token`, as above.");
    let options = AuthOptions {
        is_publish_decided: publish.is_some(),
        publish: publish.unwrap_or(Access::Open),
        subscribe: subscribe.unwrap_or(Access::Open),
        keys: r.static_keys("auth.keys", "Static keys: an array of tables with `name`, `key` or `key_file`, `publish`, `subscribe` and, to limit what is read, `channels`."),
        keys_file: r.file("auth.keys_file", "TOML file with a table `[[keys]]` for each of more such keys. Read again when it changes, as all files of this section."),
        jwt_secret: r.jwt_secret("auth.jwt_secret", "Secret of JSON Web Tokens by HS256, HS384 or HS512, at least 32 bytes."),
        jwt_secret_file: r.file("auth.jwt_secret_file", "File with such a secret; blank space around it does not count."),
        jwt_keys: r.files("auth.jwt_keys", "PEM files with public keys of tokens by RS256, PS256, ES256 or EdDSA, separated by commas. A file may hold several; each counts. At most 8 of one algorithm: beyond that keys need a name, as in `auth.jwks_file`."),
        jwks_file: r.file("auth.jwks_file", "File with keys of tokens as a JSON Web Key Set."),
        jwks_url: r.jwks_url("auth.jwks_url", "Where public keys are fetched as a JSON Web Key Set: every 5 minutes, and at most every 10 s when a token names an unknown one."),
        jwks_max_age: r.duration("auth.jwks_max_age", "24h", Duration::from_secs(10)..=Duration::from_secs(30 * 86_400), "How long keys from there are trusted that cannot be fetched again. Then publishers get 503, and streams a `retry:`, until a fetch succeeds."),
        issuer: r.optional("auth.issuer", "What `iss` of tokens must be; any if empty."),
        audience: r.optional("auth.audience", "What `aud` of tokens must hold; any if empty."),
        leeway: r.duration("auth.leeway", "30s", Duration::ZERO..=Duration::from_secs(600), "How far the clocks of issuers may differ: for `nbf`, and for `exp` of publishers. Streams end with their token."),
        revocation_file: r.file("auth.revocation_file", "File of revoked tokens (`jti`), static keys (`name`) and signing keys (`kid`), one per line, plain or as a JSON string; `#` starts a comment. Their streams end within 5 s."),
    };
    if !listen.ip().to_canonical().is_loopback() {
        for (key, decision, who) in [("auth.publish", publish, "publish"), ("auth.subscribe", subscribe, "read")] {
            if decision.is_none() {
                r.fault(key, &format!("must be decided, since server.listen {listen} is no loopback address: set it to `token`, or to `open` if everyone who reaches it may {who}"));
            }
        }
    }
    for (key, right) in [("auth.publish", Right::Publish), ("auth.subscribe", Right::Subscribe)] {
        if options.access(right) == Access::Token && !options.has_keys() {
            r.fault(key, "is `token`, and there is nothing to check tokens with: set auth.keys, auth.keys_file, auth.jwt_secret, auth.jwt_secret_file, auth.jwt_keys, auth.jwks_file or auth.jwks_url");
        }
    }
    options
}

impl Reader {
    /// Who has a right; none when nobody has decided.
    fn access(&mut self, key: &'static str, help: &'static str) -> Option<Access> {
        self.read_plain(key, "", help, None, |text| match text {
            "" => Ok(None),
            "open" => Ok(Some(Access::Open)),
            "token" => Ok(Some(Access::Token)),
            text => Err(format!("`{text}` is not possible; write open or token")),
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
                "it has {length} bytes; {SHORTEST_SECRET} are the least: make one with `openssl rand -hex 32`"
            )),
        })
        .flatten()
    }

    /// Over the open network, whoever stands on the way could answer with keys of their own.
    fn jwks_url(&mut self, key: &'static str, help: &'static str) -> Option<Url> {
        let read = self.read(key, "", help, hide_user_and_query, |text| {
            if text.is_empty() {
                return Ok(None);
            }
            let url = Url::parse(text).map_err(|error| format!("it is no URL ({error})"))?;
            let is_loopback = match url.host() {
                Some(Host::Ipv4(address)) => address.is_loopback(),
                Some(Host::Ipv6(address)) => address.is_loopback(),
                Some(Host::Domain(name)) => name == "localhost",
                None => false,
            };
            if !(url.scheme() == "https" || url.scheme() == "http" && is_loopback) {
                return Err("write an https:// URL; http:// is for loopback addresses".to_owned());
            }
            if url.password().is_some() {
                return Err("it must not hold a password; public keys need none".to_owned());
            }
            Ok(Some(url))
        });
        read.flatten()
    }
}

/// A secret as it is shown.
fn hide(text: &str) -> String {
    if text.is_empty() { String::new() } else { "***".to_owned() }
}
