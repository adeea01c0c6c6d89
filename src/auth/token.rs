//! JSON Web Tokens (RFC 7519): from text to claims with a verified signature.

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use serde_json::Value;

use super::claims::Claims;
use super::object::Object;
use super::token_fault::TokenFault;
use super::verifier::{MOST_TRIED, Verifier};

/// Longer texts are rejected unread.
const MAX_BYTES: usize = 16 << 10;

/// A token with a verified signature.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Signed {
    pub claims: Claims,
    /// The `kid` of the key that signed it; if the key has none, the `kid` in the token.
    pub key_id: Option<String>,
}

/// Whether a text could be a token rather than a static key.
pub(super) fn looks_signed(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// A token's header.
///
/// # Errors
/// When there is none, or it requires extensions that are not supported here (`crit`, RFC 7515, 4.1.11).
pub(super) fn header(text: &str) -> Result<Header, TokenFault> {
    if text.len() > MAX_BYTES || !looks_signed(text) {
        return Err(TokenFault::Malformed);
    }
    let header = decode_header(text).map_err(|_| match is_algorithm_unknown(text) {
        true => TokenFault::Algorithm,
        false => TokenFault::Malformed,
    })?;
    // The library accepts an array as a header, and `null` as an absent member.
    let is_object = peek_part(text.split('.').next().unwrap_or_default())
        .is_some_and(|header| header.as_object().is_some_and(|members| !members.values().any(Value::is_null)));
    if is_object && header.crit.is_none() { Ok(header) } else { Err(TokenFault::Malformed) }
}

/// A token's header and claims, unverified: only to be shown to its bearer, never to be relied on.
pub fn peek(text: &str) -> Option<(Value, Value)> {
    let mut parts = text.split('.');
    let (header, claims) = (parts.next()?, parts.next()?);
    (parts.count() == 1).then(|| Some((peek_part(header)?, peek_part(claims)?)))?
}

/// The library decodes the middle part of a token, so the header is put there.
fn peek_part(part: &str) -> Option<Value> {
    insecure_decode_claims(format!("x.{part}.x")).ok()
}

/// Whether only the header's algorithm is unknown, for example `none`.
fn is_algorithm_unknown(text: &str) -> bool {
    let header = peek(text).map(|(header, _)| header);
    header.is_some_and(|header| header["alg"].as_str().is_some_and(|name| name.parse::<Algorithm>().is_err()))
}

/// Verifies a token with the keys that its header allows: those for its `alg`, with its `kid` or without one.
///
/// If these are more than [`MOST_TRIED`], only those with its `kid` are tried, and if these are still more, none. So the
/// result does not depend on the order of keys. An issuer with several keys names one in each token (OpenID Connect Core
/// 1.0, 10.1).
///
/// # Errors
/// Why none of these keys has signed it.
pub(super) fn verify(text: &str, header: &Header, keys: &[&[Verifier]]) -> Result<Signed, TokenFault> {
    let named = |key: &&Verifier| header.kid.is_none() || key.id.is_none() || key.id == header.kid;
    let all = || keys.iter().copied().flatten();
    let mut fault = match all().any(|key| named(&key)) {
        true => TokenFault::Algorithm,
        false => TokenFault::KeyId,
    };
    let for_it = || all().filter(|key| key.algorithms.contains(&header.alg));
    let mut possible: Vec<_> = for_it().filter(named).take(MOST_TRIED + 1).collect();
    if possible.len() > MOST_TRIED {
        // Keys without a name could have signed any token, and an issuer may publish many. A token that names its key
        // must still verify.
        let has_its_name = |key: &&Verifier| key.id.is_some() && key.id == header.kid;
        possible = for_it().filter(has_its_name).take(MOST_TRIED + 1).collect();
        if !(1..=MOST_TRIED).contains(&possible.len()) {
            return Err(TokenFault::TooManyKeys);
        }
    }
    for key in possible {
        let mut validation = Validation::new(header.alg);
        // `Claims::check` checks the claims: it knows what the token is used for.
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
        match decode::<Object<Claims>>(text, &key.key, &validation) {
            Ok(token) => {
                return Ok(Signed { claims: token.claims.0, key_id: key.id.clone().or_else(|| header.kid.clone()) });
            }
            Err(error) => {
                use jsonwebtoken::errors::ErrorKind;
                fault = match error.kind() {
                    ErrorKind::Json(_) | ErrorKind::Base64(_) | ErrorKind::Utf8(_) | ErrorKind::InvalidToken => {
                        TokenFault::Malformed
                    }
                    _ => TokenFault::Signature,
                };
            }
        }
    }
    Err(fault)
}
