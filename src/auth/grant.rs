//! Grants, which prove a right, and refusals, which say why there is none.

use super::pass::Holder;
use super::pattern::Pattern;
use super::right::{Right, Rights};
use super::token::TokenFault;
use crate::event::PipelineId;

/// What somebody presents to get in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Presented<'a> {
    /// Nothing.
    Nothing,
    /// Several things, or something that cannot be a key or a token.
    Unreadable,
    /// A key or a token.
    Token(&'a str),
}

/// Why somebody is not let in. Says nothing of what was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing was presented.
    #[error(
        "a token is required; send it as `Authorization: Bearer <token>`, or as ?token= if you cannot set headers. Cookies are accepted only from pages of an origin in server.cors_origins"
    )]
    Missing,
    /// Not a key or a token, or more than one.
    #[error("the token is malformed, or there is more than one; send one key or one JSON Web Token")]
    Malformed,
    /// No key of ours, or a claim that does not hold here.
    #[error("the token is not valid for this broker; ask whoever issues tokens for it")]
    Invalid,
    /// Its time is over.
    #[error("the token has expired; get a new one")]
    Expired,
    /// Its time is still to come.
    #[error("the token is not valid yet; try later, and compare the clocks")]
    NotYet,
    /// It has no end.
    #[error("the token does not expire; subscribing requires one with `exp`")]
    NoEnd,
    /// It is valid, but not for this.
    #[error("the token does not allow you to {0} to this pipeline; get one that does")]
    Forbidden(Right),
    /// It is valid, but not for a channel that was asked for.
    #[error("the token does not allow a channel in channel=; omit channel= to receive those that it allows")]
    Channel,
    /// There are no keys to check it with yet.
    #[error("tokens cannot be verified at the moment, because the keys could not be fetched; try again")]
    NoKeys,
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

/// The right to publish to a pipeline, and to forget its history.
#[derive(Debug)]
pub struct PublishGrant {
    pipeline: PipelineId,
    /// None where publishing is open.
    proof: Option<Proof>,
}

impl PublishGrant {
    /// For [`super::Auth`] alone.
    pub(super) fn new(pipeline: PipelineId, proof: Option<Proof>) -> Self {
        Self { pipeline, proof }
    }

    /// The name of the static key that it was given for.
    pub fn key_name(&self) -> Option<&str> {
        match &self.proof.as_ref()?.holder {
            Holder::Key(key) => Some(&key.name),
            Holder::Token { .. } => None,
        }
    }

    /// The pipelines that the key or token that it was given for may publish to.
    pub fn patterns(&self) -> Option<&[Pattern]> {
        Some(&self.proof.as_ref()?.rights.publish)
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &PipelineId {
        &self.pipeline
    }
}

/// The right to read a pipeline.
#[derive(Debug)]
pub struct ReadGrant {
    pipeline: PipelineId,
    /// None where reading is open.
    proof: Option<Proof>,
}

impl ReadGrant {
    /// For [`super::Auth`] alone.
    pub(super) fn open(pipeline: PipelineId) -> Self {
        Self { pipeline, proof: None }
    }

    /// For [`super::Auth`] alone.
    pub(super) fn proved(pipeline: PipelineId, proof: Proof) -> Self {
        Self { pipeline, proof: Some(proof) }
    }

    pub(super) fn into_parts(self) -> (PipelineId, Option<Proof>) {
        (self.pipeline, self.proof)
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &PipelineId {
        &self.pipeline
    }

    /// The channels that may be read; none for all.
    pub fn channels(&self) -> Option<&[String]> {
        self.proof.as_ref()?.rights.channels.as_deref()
    }
}

/// A key or a token that is valid.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    pub(super) holder: Holder,
    pub(super) rights: Rights,
    /// Seconds since 1970.
    pub(super) ends_at: Option<f64>,
}

/// What somebody presented, in full: for who holds it and asks what it is good for.
#[derive(Debug)]
pub struct Explained {
    /// The static key that it is, if it is one.
    pub key_name: Option<String>,
    /// What it is good for.
    pub rights: Rights,
}
