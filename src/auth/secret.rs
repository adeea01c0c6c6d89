//! Text that must never be shown.

use std::fmt;
use std::path::Path;

use super::setup_error::{AuthSetupError, read_text};

/// A secret. `Debug` prints `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a text that is secret from here on.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Reads a file that holds nothing but a secret. Surrounding whitespace is ignored.
    pub(super) fn from_file(path: &Path) -> Result<Self, AuthSetupError> {
        Ok(Self::new(read_text(path)?.trim()))
    }

    /// The text itself, for hashing and signing.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
