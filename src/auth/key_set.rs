//! JSON Web Key Sets (RFC 7517): which keys of one are of use here, and why the others are not.

use std::fmt;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::object::Object;
use super::verifier::{HMAC, RSA, Verifier, check_size};

/// As much is shown of a name.
const SHOWN_NAME: usize = 64;

/// Whether a key set may hold secrets: not one that comes over the network, which anyone might read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Secrets {
    /// Of kind `oct`, for HMAC.
    Allowed,
    /// They are left out.
    LeftOut,
}

/// The keys of a set, sorted. Those that are for something else than signatures are neither here nor there.
#[derive(Debug)]
pub(super) struct KeySet {
    /// What tokens can be verified with.
    pub(super) keys: Vec<Verifier>,
    /// What they cannot be verified with, although it is there for that.
    pub(super) left_out: Vec<LeftOut>,
}

/// A key that is left out.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct LeftOut {
    /// Its place in the set, from 0.
    at: usize,
    /// Its `kid`.
    id: Option<Box<str>>,
    /// Why.
    pub(super) fault: KeyFault,
}

/// Why a key is of no use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum KeyFault {
    /// It is of a kind, a curve or for an algorithm that is not known here.
    Unknown(&'static str),
    /// It is not what it should be.
    Broken(&'static str),
}

/// Which key it is and what is the matter with it, without a part of the key.
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
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a set. A key that is of no use costs no other its place (RFC 7517, 5).
    ///
    /// # Errors
    /// When it is no set at all.
    pub(super) fn parse(text: &[u8], secrets: Secrets) -> Result<Self, String> {
        // The parser's message could show a part of a secret.
        let Object(Document { keys: jwks }) = serde_json::from_slice(text)
            .map_err(|error| format!("line {}: it is no JSON Web Key Set; write {{\"keys\":[...]}}", error.line()))?;
        let mut set = Self { keys: Vec::new(), left_out: Vec::new() };
        for (at, jwk) in jwks.into_iter().enumerate() {
            let id = jwk["kid"].as_str().map(Box::from);
            match verifier(jwk, secrets) {
                Ok(key) => set.keys.extend(key),
                Err(fault) => set.left_out.push(LeftOut { at, id, fault }),
            }
        }
        Ok(set)
    }
}

/// The key that a JWK is; none when it is not for signatures.
fn verifier(jwk: Value, secrets: Secrets) -> Result<Option<Verifier>, KeyFault> {
    let Some(members) = jwk.as_object() else { return Err(KeyFault::Broken("it is no JSON object")) };
    if !is_for_signatures(members) {
        return Ok(None);
    }
    // Without a name it would be tried for the tokens of any.
    if members.get("kid").is_some_and(Value::is_null) {
        return Err(KeyFault::Broken("its `kid` is null; leave it out, or write text"));
    }
    let possible = algorithms(members, secrets)?;
    const BROKEN: KeyFault = KeyFault::Broken("a member is missing or not as RFC 7518 has it for its kind (`kty`)");
    let jwk: Jwk = serde_json::from_value(jwk).map_err(|_| BROKEN)?;
    let mut algorithms = possible.to_vec();
    if let Some(only) = jwk.common.key_algorithm {
        algorithms.retain(|algorithm| Algorithm::try_from(only) == Ok(*algorithm));
    }
    if algorithms.is_empty() {
        return Err(KeyFault::Unknown("it is for an algorithm (`alg`) that is not known here for its kind"));
    }
    let key = DecodingKey::from_jwk(&jwk).map_err(|_| BROKEN)?;
    check_size(&key, &algorithms).map_err(KeyFault::Broken)?;
    Ok(Some(Verifier { id: jwk.common.key_id, algorithms, key }))
}

/// What a key says that it is for (RFC 7517, 4.2 and 4.3): everything, if it says nothing.
fn is_for_signatures(members: &Map<String, Value>) -> bool {
    let is_to_verify = |operations: &Value| {
        operations.as_array().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"))
    };
    members.get("use").and_then(Value::as_str).is_none_or(|usage| usage == "sig")
        && members.get("key_ops").is_none_or(is_to_verify)
}

/// The algorithms that a key of this kind and curve can be for.
fn algorithms(members: &Map<String, Value>, secrets: Secrets) -> Result<&'static [Algorithm], KeyFault> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let unknown_curve = KeyFault::Unknown("its curve (`crv`) is not known here; P-256 and Ed25519 are");
    match (text("kty"), text("crv")) {
        (None, _) => Err(KeyFault::Broken("its kind (`kty`) is missing")),
        (Some("RSA"), _) => Ok(&RSA),
        (Some("EC"), Some("P-256")) => Ok(&[Algorithm::ES256]),
        (Some("OKP"), Some("Ed25519")) => Ok(&[Algorithm::EdDSA]),
        (Some("EC" | "OKP"), Some(_)) => Err(unknown_curve),
        (Some("EC" | "OKP"), None) => Err(KeyFault::Broken("its curve (`crv`) is missing")),
        (Some("oct"), _) if secrets == Secrets::Allowed => Ok(&HMAC),
        (Some("oct"), _) => Err(KeyFault::Unknown("it is a secret, which must not be where anyone may read it")),
        (Some(_), _) => Err(KeyFault::Unknown("its kind (`kty`) is not known here; RSA, EC, OKP and oct are")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_a_set_or_refused(
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
