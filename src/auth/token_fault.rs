//! Why a token is rejected, in full: for its bearer on the command line and for the node's log.

use super::verifier::MOST_TRIED;

/// Why a token is rejected. Clients learn less: see [`super::Refused`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Not a JSON Web Token, or a claim has the wrong type.
    #[error(
        "malformed: a token has three parts separated by dots, the first two are JSON objects, and its claims have the right types (times in seconds, before the year 10000; no null)"
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
    #[error(
        "more than {MOST_TRIED} keys of this node could have signed it; give each key a `kid` and name it in tokens"
    )]
    TooManyKeys,
    /// The signature was not made with any of this node's keys.
    #[error("its signature does not match any key of this node")]
    Signature,
    /// `exp` has passed.
    #[error("it has expired (`exp`)")]
    Expired,
    /// `nbf` is still to come.
    #[error("it is not valid yet (`nbf`)")]
    NotYet,
    /// It has no `exp`, and is used for reading.
    #[error("it has no expiry (`exp`), which subscribing requires")]
    NoEnd,
    /// `iss` is not `auth.issuer`.
    #[error("its issuer (`iss`) is not auth.issuer")]
    Issuer,
    /// `aud` does not contain `auth.audience`.
    #[error("its audience (`aud`) does not include auth.audience")]
    Audience,
    /// The revocation list has its `jti`, its key's `kid` or the static key's name.
    #[error("it was revoked (auth.revocation_file)")]
    Revoked,
}
