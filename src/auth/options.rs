//! Section `auth` of the settings.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::key_table::KeyTable;
use super::right::Right;
use super::secret::Secret;

/// Who may do something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Everyone. Credentials are not checked.
    Open,
    /// Clients with a key or token that allows it.
    Token,
}

/// Section `auth`, checked. Files are still paths.
#[derive(Clone, Debug)]
pub struct AuthOptions {
    /// Whether the operator has set who may publish. If not, publishing is open, and only on a loopback address.
    pub is_publish_decided: bool,
    /// Who may publish and delete.
    pub publish: Access,
    /// Who may subscribe and read the history.
    pub subscribe: Access,
    /// Static keys in the settings.
    pub keys: Vec<KeyTable>,
    /// A file with more static keys.
    pub keys_file: Option<PathBuf>,
    /// Secret for tokens signed with HMAC.
    pub jwt_secret: Option<Secret>,
    /// A file with such a secret.
    pub jwt_secret_file: Option<PathBuf>,
    /// PEM files with public keys.
    pub jwt_keys: Vec<PathBuf>,
    /// A JSON Web Key Set file.
    pub jwks_file: Option<PathBuf>,
    /// Where a JSON Web Key Set is fetched.
    pub jwks_url: Option<Url>,
    /// How long fetched keys are trusted when they cannot be fetched again.
    pub jwks_max_age: Duration,
    /// Required `iss`; none accepts any.
    pub issuer: Option<String>,
    /// Required value in `aud`; none accepts any.
    pub audience: Option<String>,
    /// How far an issuer's clock may differ.
    pub leeway: Duration,
    /// The revocation list.
    pub revocation_file: Option<PathBuf>,
}

impl AuthOptions {
    /// Who may use this right.
    pub fn access(&self, right: Right) -> Access {
        match right {
            Right::Publish => self.publish,
            Right::Subscribe => self.subscribe,
        }
    }

    /// Whether there is anything to verify a key or token with.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
            || !self.jwt_keys.is_empty()
            || self.jwt_secret.is_some()
            || self.jwks_url.is_some()
            || [&self.keys_file, &self.jwt_secret_file, &self.jwks_file].iter().any(|path| path.is_some())
    }
}
