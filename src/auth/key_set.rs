//! JSON Web Key Sets (RFC 7517): which keys can be used here, and why the others cannot.

use std::fmt;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::object::Object;
use super::verifier::{HMAC, RSA, Verifier, check_size};

/// Maximum characters of a `kid` in a message.
const SHOWN_NAME: usize = 64;

/// Whether a key set may contain secrets. One that is fetched over the network may not: anyone could read them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Secrets {
    /// Keys of kind `oct`, for HMAC, are used.
    Allowed,
    /// They are left out.
    LeftOut,
}

/// The keys of a set, sorted. Keys for anything other than signatures are in neither list.
#[derive(Debug)]
pub(super) struct KeySet {
    /// Keys that verify tokens.
    pub(super) keys: Vec<Verifier>,
    /// Keys that are meant for this but cannot be used.
    pub(super) left_out: Vec<LeftOut>,
}

/// A key that cannot be used.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct LeftOut {
    /// Its index in the set, from 0.
    at: usize,
    /// Its `kid`.
    id: Option<Box<str>>,
    /// Why it cannot be used.
    pub(super) fault: KeyFault,
}

/// Why a key cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum KeyFault {
    /// Its kind, curve or algorithm is not supported.
    Unknown(&'static str),
    /// It is malformed.
    Broken(&'static str),
}

/// Names the key and the problem, without any part of the key.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (KeyFault::Unknown(problem) | KeyFault::Broken(problem)) = self.fault;
        write!(f, "key {}", self.at)?;
        if let Some(id) = &self.id {
            let shown: String = id.chars().take(SHOWN_NAME).flat_map(char::escape_debug).collect();
            write!(f, " (kid `{shown}`)")?;
        }
        write!(f, ": {problem}")
    }
}

#[derive(Deserialize)]
struct Document {
    /// Each key is parsed separately: a key may be valid JSON that cannot be read, such as half a character or `1e999`.
    keys: Vec<Box<RawValue>>,
}

impl KeySet {
    /// Parses a set. One unusable key does not affect the others (RFC 7517, 5).
    ///
    /// # Errors
    /// When it is not a key set at all.
    pub(super) fn parse(text: &[u8], secrets: Secrets) -> Result<Self, String> {
        // The parser's own message could show a part of a secret.
        let Object(Document { keys: jwks }) = serde_json::from_slice(text)
            .map_err(|error| format!("line {}: not a JSON Web Key Set, which is {{\"keys\":[...]}}", error.line()))?;
        let mut set = Self { keys: Vec::new(), left_out: Vec::new() };
        for (at, jwk) in jwks.into_iter().enumerate() {
            let Ok(jwk) = serde_json::from_str::<Value>(jwk.get()) else {
                let fault =
                    KeyFault::Broken("it has an incomplete character, a number that is too large, or too many levels");
                set.left_out.push(LeftOut { at, id: None, fault });
                continue;
            };
            let id = jwk["kid"].as_str().map(Box::from);
            match verifier(jwk, secrets) {
                Ok(key) => set.keys.extend(key),
                Err(fault) => set.left_out.push(LeftOut { at, id, fault }),
            }
        }
        Ok(set)
    }
}

/// The key in a JWK; none if it is not for signatures.
fn verifier(jwk: Value, secrets: Secrets) -> Result<Option<Verifier>, KeyFault> {
    let Some(members) = jwk.as_object() else { return Err(KeyFault::Broken("it is not a JSON object")) };
    if !is_for_signatures(members) {
        return Ok(None);
    }
    // Treated as absent, the key would be tried for every token.
    if members.get("kid").is_some_and(Value::is_null) {
        return Err(KeyFault::Broken("its `kid` is null; remove it, or make it a string"));
    }
    let possible = algorithms(members, secrets)?;
    const BROKEN: KeyFault =
        KeyFault::Broken("a member that RFC 7518 requires for its kind (`kty`) is missing or invalid");
    let jwk: Jwk = serde_json::from_value(jwk).map_err(|_| BROKEN)?;
    let mut algorithms = possible.to_vec();
    if let Some(only) = jwk.common.key_algorithm {
        algorithms.retain(|algorithm| Algorithm::try_from(only) == Ok(*algorithm));
    }
    if algorithms.is_empty() {
        return Err(KeyFault::Unknown("its algorithm (`alg`) is not supported for its kind"));
    }
    let key = DecodingKey::from_jwk(&jwk).map_err(|_| BROKEN)?;
    check_size(&key, &algorithms).map_err(KeyFault::Broken)?;
    Ok(Some(Verifier { id: jwk.common.key_id, algorithms, key }))
}

/// Whether a key may be used for signatures (RFC 7517, 4.2 and 4.3), as it may if it does not say.
fn is_for_signatures(members: &Map<String, Value>) -> bool {
    let is_to_verify = |operations: &Value| {
        operations.as_array().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"))
    };
    members.get("use").and_then(Value::as_str).is_none_or(|usage| usage == "sig")
        && members.get("key_ops").is_none_or(is_to_verify)
}

/// The algorithms that a key of this kind and curve can be used with.
fn algorithms(members: &Map<String, Value>, secrets: Secrets) -> Result<&'static [Algorithm], KeyFault> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let unknown_curve = KeyFault::Unknown("its curve (`crv`) is not supported; use P-256 or Ed25519");
    match (text("kty"), text("crv")) {
        (None, _) => Err(KeyFault::Broken("its kind (`kty`) is missing")),
        (Some("RSA"), _) => Ok(&RSA),
        (Some("EC"), Some("P-256")) => Ok(&[Algorithm::ES256]),
        (Some("OKP"), Some("Ed25519")) => Ok(&[Algorithm::EdDSA]),
        (Some("EC" | "OKP"), Some(_)) => Err(unknown_curve),
        (Some("EC" | "OKP"), None) => Err(KeyFault::Broken("its curve (`crv`) is missing")),
        (Some("oct"), _) if secrets == Secrets::Allowed => Ok(&HMAC),
        (Some("oct"), _) => Err(KeyFault::Unknown("it is a secret, and must not be published")),
        (Some(_), _) => Err(KeyFault::Unknown("its kind (`kty`) is not supported; use RSA, EC, OKP or oct")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unreadable_key_does_not_affect_the_others() {
        let good = format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"good","x":"{}"}}"#, "A".repeat(43));
        let deep = format!("{{\"x\":{}1{}}}", "[".repeat(1000), "]".repeat(1000));
        for odd in [r#"{"kid":"\ud800"}"#, r#"{"x":1e999}"#, &deep] {
            let set = KeySet::parse(format!("{{\"keys\":[{odd},{good}]}}").as_bytes(), Secrets::LeftOut).unwrap();
            assert_eq!((set.keys.len(), set.left_out.len()), (1, 1), "{odd:.20}");
            assert_eq!(set.keys[0].id.as_deref(), Some("good"));
            assert!(set.left_out[0].to_string().starts_with("key 0: "), "{}", set.left_out[0]);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_a_set_or_rejected(
            text in prop_oneof![
                ".*",
                "\\{\"keys\":\\[(\\{(\"(kty|crv|alg|use|key_ops|kid|n|e|x|y|k)\":(\"(RSA|EC|OKP|oct|P-256|Ed25519|sig|AQAB)\"|null|7|\\[\"verify\"\\]),?){0,5}\\}|null|7)?\\]\\}",
            ],
        ) {
            for secrets in [Secrets::Allowed, Secrets::LeftOut] {
                if let Ok(KeySet { left_out, .. }) = KeySet::parse(text.as_bytes(), secrets) {
                    prop_assert!(left_out.iter().all(|key| key.to_string().starts_with("key ")));
                }
            }
        }
    }
}
