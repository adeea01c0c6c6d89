//! Why access cannot be set up: a file, a key or a setting that cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use crate::files::text::{self, NoText};

/// Why access cannot be set up. Never contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum AuthSetupError {
    /// A file cannot be read, or its contents cannot be used.
    #[error("{}: {problem}", path.display())]
    File {
        /// Its path, as in the settings.
        path: PathBuf,
        /// What is wrong, and what to write instead.
        #[source]
        problem: FileProblem,
    },
    /// A static key cannot be used.
    #[error("key `{name}`: {problem}")]
    Key {
        /// The key's `name`.
        name: String,
        /// What is wrong, and what to write instead.
        problem: &'static str,
    },
    /// A setting cannot be used: its key, and what is wrong.
    #[error("{0}: {1}")]
    Setting(&'static str, String),
    /// No HTTP client could be made for `auth.jwks_url`.
    #[error("auth.jwks_url: {0}")]
    Client(#[from] reqwest::Error),
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// It is not a text file, or cannot be read.
    #[error(transparent)]
    Text(#[from] NoText),
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// Its contents are not what they should be.
    #[error("{0}")]
    Contents(String),
}

impl AuthSetupError {
    pub(super) fn file(path: &Path, problem: impl Into<FileProblem>) -> Self {
        Self::File { path: path.to_owned(), problem: problem.into() }
    }

    pub(super) fn contents(path: &Path, problem: impl Into<String>) -> Self {
        Self::file(path, FileProblem::Contents(problem.into()))
    }

    pub(super) fn key(name: &str, problem: &'static str) -> Self {
        Self::Key { name: name.to_owned(), problem }
    }
}

/// Reads a text file, whichever editor wrote it.
///
/// # Errors
/// As [`text::read_text`], with the path.
pub fn read_text(path: &Path) -> Result<String, AuthSetupError> {
    text::read_text(path).map_err(|problem| AuthSetupError::file(path, problem))
}

/// Reads a file such as PEM, in which other text may surround what counts.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, AuthSetupError> {
    text::read_bytes(path).map_err(|problem| AuthSetupError::file(path, problem))
}
