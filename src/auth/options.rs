//! Section `auth` of the settings.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::key::KeyTable;
use super::right::Right;

/// Who has a right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Everyone; what is presented is not looked at.
    Open,
    /// Whoever presents a key or a token for it.
    Token,
}

/// Section `auth`, checked; files are still paths.
#[derive(Clone, Debug)]
pub struct AuthOptions {
    /// Whether somebody has said who may publish; if not, it is open, on a loopback address alone.
    pub is_publish_decided: bool,
    /// Who may publish.
    pub publish: Access,
    /// Who may read.
    pub subscribe: Access,
    /// Static keys.
    pub keys: Vec<KeyTable>,
    /// More of them.
    pub keys_file: Option<PathBuf>,
    /// A secret for HMAC.
    pub jwt_secret: Option<Secret>,
    /// The same, in a file.
    pub jwt_secret_file: Option<PathBuf>,
    /// Public keys as PEM.
    pub jwt_keys: Vec<PathBuf>,
    /// Keys as a JSON Web Key Set.
    pub jwks_file: Option<PathBuf>,
    /// Where such a set is fetched.
    pub jwks_url: Option<Url>,
    /// For how long keys from there are trusted that cannot be fetched again.
    pub jwks_max_age: Duration,
    /// What `iss` must be.
    pub issuer: Option<String>,
    /// What `aud` must hold.
    pub audience: Option<String>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// Names of tokens and keys that are good for nothing.
    pub revocation_file: Option<PathBuf>,
}

impl AuthOptions {
    /// Who has this right.
    pub fn access(&self, right: Right) -> Access {
        match right {
            Right::Publish => self.publish,
            Right::Subscribe => self.subscribe,
        }
    }

    /// Whether there is anything that a token could be checked with.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
            || !self.jwt_keys.is_empty()
            || self.jwt_secret.is_some()
            || self.jwks_url.is_some()
            || [&self.keys_file, &self.jwt_secret_file, &self.jwks_file].iter().any(|path| path.is_some())
    }
}

/// A text that is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes a text over.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text, for what needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
