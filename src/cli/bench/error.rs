//! Why a bench command measured nothing, and its exit code.

use pipecast_bench::{BenchError, TargetError};

use crate::cli::Failure;
use crate::cli::node_args::InvalidToken;
use crate::cli::node_url::InvalidUrl;

/// Why a bench command measured nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    #[error(transparent)]
    Token(#[from] InvalidToken),
    #[error(transparent)]
    Bench(#[from] BenchError),
    #[error("the bench stopped unexpectedly: {0}")]
    Thread(#[from] tokio::task::JoinError),
    #[error("cannot stop the bench: {0}")]
    Stop(#[source] std::io::Error),
}

impl CommandError {
    pub(super) fn exit(&self) -> Failure {
        match self {
            Self::Bench(BenchError::Target(TargetError::Unresolved { .. })) => Failure::Failed,
            Self::Url(_) | Self::Token(_) | Self::Bench(BenchError::Target(_)) => Failure::Usage,
            Self::Bench(_) | Self::Thread(_) | Self::Stop(_) => Failure::Failed,
        }
    }
}
