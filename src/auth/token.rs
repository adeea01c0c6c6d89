//! JSON Web Tokens (RFC 7519): from text to claims that somebody has signed.

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use serde_json::Value;

use super::claims::Claims;
use super::object::Object;
use super::verifier::Verifier;

/// Longer texts are not looked at.
const MAX_BYTES: usize = 16 << 10;

/// A token is tried with so many keys at most: whoever sends a wrong one must not make us work for each key there is.
pub(super) const MOST_TRIED: usize = 8;

/// Why a token opens nothing, in full. Clients are told less: see [`super::Refused`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Not the text of a token, or of one with claims that we know.
    #[error(
        "malformed: a token has three parts separated by dots, the first two are JSON objects, and claims have the right types (times in seconds, before the year 10000; no null)"
    )]
    Malformed,
    /// Neither a static key nor a token.
    #[error("not a known key and not a JSON Web Token")]
    UnknownKey,
    /// Signed with an algorithm that no key here is for, `none` included.
    #[error("this node has no key for its algorithm (`alg`)")]
    Algorithm,
    /// No key with this `kid`.
    #[error("this node has no key with its `kid`")]
    KeyId,
    /// More than [`MOST_TRIED`] keys could have signed it.
    #[error("more than {MOST_TRIED} keys of this node could have signed it; give keys and tokens a `kid`")]
    TooManyKeys,
    /// The signature is not by any of our keys.
    #[error("no key of this node verifies its signature")]
    Signature,
    /// `exp` has passed.
    #[error("expired (`exp`)")]
    Expired,
    /// `nbf` is still to come.
    #[error("not valid yet (`nbf`)")]
    NotYet,
    /// It has no `exp`, and is used for reading.
    #[error("it does not expire (`exp`), but subscribing requires that")]
    NoEnd,
    /// `iss` is not `auth.issuer`.
    #[error("its issuer (`iss`) is not the one in auth.issuer")]
    Issuer,
    /// `aud` does not hold `auth.audience`.
    #[error("its audience (`aud`) does not include the one in auth.audience")]
    Audience,
    /// Its `jti`, its key's `kid` or the key's name is in `auth.revocation_file`.
    #[error("revoked (auth.revocation_file)")]
    Revoked,
}

/// A token whose signature holds.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Signed {
    /// What it says.
    pub claims: Claims,
    /// The `kid` of the key that signed it; of a key without one, what the token calls it.
    pub key_id: Option<String>,
}

/// Whether a text could be a token, rather than a static key.
pub(super) fn looks_signed(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// A token's header.
///
/// # Errors
/// When it is none, or asks for extensions that we do not know (`crit`, RFC 7515, 4.1.11).
pub(super) fn header(text: &str) -> Result<Header, TokenFault> {
    if text.len() > MAX_BYTES || !looks_signed(text) {
        return Err(TokenFault::Malformed);
    }
    let header = decode_header(text).map_err(|_| match is_algorithm_unknown(text) {
        true => TokenFault::Algorithm,
        false => TokenFault::Malformed,
    })?;
    // The library takes an array for a header, and `null` for a member that is not there.
    let is_object = peek_part(text.split('.').next().unwrap_or_default())
        .is_some_and(|header| header.as_object().is_some_and(|members| !members.values().any(Value::is_null)));
    if is_object && header.crit.is_none() { Ok(header) } else { Err(TokenFault::Malformed) }
}

/// A token's header and claims, unproved: to be shown to who holds it, and to be relied on by nobody.
pub fn peek(text: &str) -> Option<(Value, Value)> {
    let mut parts = text.split('.');
    let (header, claims) = (parts.next()?, parts.next()?);
    (parts.count() == 1).then(|| Some((peek_part(header)?, peek_part(claims)?)))?
}

/// The library reads JSON out of a token's middle part; the header is one for it when it stands there.
fn peek_part(part: &str) -> Option<Value> {
    insecure_decode_claims(format!("x.{part}.x")).ok()
}

/// Whether the header is one but for its algorithm, such as `none`.
fn is_algorithm_unknown(text: &str) -> bool {
    let header = peek(text).map(|(header, _)| header);
    header.is_some_and(|header| header["alg"].as_str().is_some_and(|name| name.parse::<Algorithm>().is_err()))
}

/// Verifies a token with the keys that its header allows: those of its `kid` or without one, for its `alg`.
///
/// With more than [`MOST_TRIED`] of those, only the ones of its `kid` are, and with more of these none, so that what opens something
/// today does so tomorrow, in whichever order keys come. An issuer with several keys names one in each token (OpenID Connect
/// Core 1.0, 10.1).
///
/// # Errors
/// Why it is none that one of these keys has signed.
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
        // Keys without a name could have signed any token, and an issuer may publish many: who names a key loses nothing by them.
        let of_its_name = |key: &&Verifier| key.id.is_some() && key.id == header.kid;
        possible = for_it().filter(of_its_name).take(MOST_TRIED + 1).collect();
        if !(1..=MOST_TRIED).contains(&possible.len()) {
            return Err(TokenFault::TooManyKeys);
        }
    }
    for key in possible {
        let mut validation = Validation::new(header.alg);
        // Claims are checked by `Claims::check`, which knows what the token is used for.
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
