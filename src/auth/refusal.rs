//! Why a client is not let in, as the client learns it.

use super::right::Right;
use super::token_fault::TokenFault;

/// Why a client is not let in. Repeats nothing of what it presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing was presented.
    #[error(
        "a token is required: send `Authorization: Bearer <token>`, or ?token= where you cannot set a header. A cookie counts only for pages of an origin listed in server.cors_origins"
    )]
    Missing,
    /// Not a key or a token, or more than one.
    #[error("the token is malformed, or more than one was sent; send one key or one JSON Web Token")]
    Malformed,
    /// Not a key of this node, or a claim does not hold here.
    #[error("the token is not valid here; ask whoever issues tokens for this broker")]
    Invalid,
    /// `exp` has passed.
    #[error("the token has expired; get a new one")]
    Expired,
    /// `nbf` is still to come.
    #[error("the token is not valid yet (`nbf`); try later, and compare the clocks")]
    NotYet,
    /// It has no `exp`, and is used for reading.
    #[error("the token has no expiry; subscribing requires one (`exp`)")]
    NoEnd,
    /// It is valid, but not for this pipeline.
    #[error("the token does not allow {} this pipeline", doing(*.0))]
    Forbidden(Right),
    /// It is valid, but not for a channel that was asked for.
    #[error(
        "the token does not allow reading one of the channels in channel=; leave channel= out to get all that it allows"
    )]
    Channel,
    /// There are no keys to verify it with yet.
    #[error("tokens cannot be verified at the moment because the keys could not be fetched; try again")]
    NoKeys,
}

fn doing(right: Right) -> &'static str {
    match right {
        Right::Publish => "publishing to",
        Right::Subscribe => "reading",
    }
}

impl From<TokenFault> for Refused {
    fn from(fault: TokenFault) -> Self {
        match fault {
            TokenFault::Malformed => Self::Malformed,
            TokenFault::Expired => Self::Expired,
            TokenFault::NotYet => Self::NotYet,
            TokenFault::NoEnd => Self::NoEnd,
            TokenFault::UnknownKey
            | TokenFault::Algorithm
            | TokenFault::KeyId
            | TokenFault::TooManyKeys
            | TokenFault::Signature
            | TokenFault::Issuer
            | TokenFault::Audience
            | TokenFault::Revoked => Self::Invalid,
        }
    }
}
