//! Grants: proof that a client may publish to a pipeline, or read it.
//!
//! Only `auth` can make one, and every handler asks for one, so no route can forget to check.

use super::holder::Holder;
use super::pattern::Pattern;
use super::right::Rights;
use crate::event::PipelineId;

/// What a client presents to get in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Presented<'a> {
    /// No credential.
    Nothing,
    /// Several credentials, or one that cannot be a key or a token.
    Unreadable,
    /// A key or a token.
    Token(&'a str),
}

/// The right to publish to a pipeline, and to delete its history.
#[derive(Debug)]
pub struct PublishGrant {
    pipeline: PipelineId,
    /// None where publishing is open.
    proof: Option<Proof>,
}

impl PublishGrant {
    pub(super) fn new(pipeline: PipelineId, proof: Option<Proof>) -> Self {
        Self { pipeline, proof }
    }

    /// The name of the static key that was presented, if it was one.
    pub fn key_name(&self) -> Option<&str> {
        match &self.proof.as_ref()?.holder {
            Holder::Key(key) => Some(&key.name),
            Holder::Token { .. } => None,
        }
    }

    /// All pipelines that the key or token may publish to; none where publishing is open.
    pub fn patterns(&self) -> Option<&[Pattern]> {
        Some(&self.proof.as_ref()?.rights.publish)
    }

    /// The pipeline that this grant is for.
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
    pub(super) fn new(pipeline: PipelineId, proof: Option<Proof>) -> Self {
        Self { pipeline, proof }
    }

    pub(super) fn into_parts(self) -> (PipelineId, Option<Proof>) {
        (self.pipeline, self.proof)
    }

    /// The pipeline that this grant is for.
    pub fn pipeline(&self) -> &PipelineId {
        &self.pipeline
    }

    /// The channels that may be read; none means all.
    pub fn channels(&self) -> Option<&[String]> {
        self.proof.as_ref()?.rights.channels.as_deref()
    }
}

/// A valid key or token.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    pub(super) holder: Holder,
    pub(super) rights: Rights,
    /// Seconds since 1970.
    pub(super) ends_at: Option<f64>,
}

/// What a key or a token allows, for its bearer.
#[derive(Debug)]
pub struct Explained {
    /// The static key's name; none for a token.
    pub key_name: Option<String>,
    /// What it allows.
    pub rights: Rights,
}
