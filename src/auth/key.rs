//! Static keys, found by their secret in constant time.

use std::fmt;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

use super::key_table::{KeyTable, SecretSource, check_key};
use super::right::Rights;
use super::secret::Secret;
use super::setup_error::AuthSetupError;

/// A static key. The secret itself is not kept.
pub struct StaticKey {
    /// What logs and the revocation list call it.
    pub name: String,
    /// What it allows.
    pub rights: Rights,
    /// SHA-256 of the secret, so that all comparisons have the same length.
    digest: [u8; 32],
}

/// Without the digest.
impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl StaticKey {
    /// Whether both have the same secret.
    pub fn is_same_secret(&self, other: &Self) -> bool {
        self.digest.ct_eq(&other.digest).into()
    }
}

/// All static keys.
#[derive(Debug, Default)]
pub struct Keys(Vec<Arc<StaticKey>>);

impl Keys {
    /// Reads the secrets that are in files, and checks that no two keys can be confused.
    ///
    /// # Errors
    /// With the file or the key's name; never with a secret.
    pub fn load(tables: Vec<KeyTable>) -> Result<Self, AuthSetupError> {
        let mut keys: Vec<Arc<StaticKey>> = Vec::new();
        for KeyTable { name, secret, rights } in tables {
            let secret = match secret {
                SecretSource::Given(secret) => secret,
                SecretSource::File(path) => Secret::from_file(&path)?,
            };
            check_key(secret.expose()).map_err(|problem| AuthSetupError::key(&name, problem))?;
            let digest = fingerprint(secret.expose());
            if keys.iter().any(|other| other.name == name) {
                return Err(AuthSetupError::key(&name, "two keys have this name; give each its own"));
            }
            if keys.iter().any(|other| other.digest == digest) {
                return Err(AuthSetupError::key(&name, "another key has the same secret; give each its own"));
            }
            keys.push(Arc::new(StaticKey { name, rights, digest }));
        }
        Ok(Self(keys))
    }

    /// The key with this secret. Takes equally long for any text of one length, whichever keys there are.
    pub fn find(&self, presented: &str) -> Option<&Arc<StaticKey>> {
        if self.0.is_empty() {
            return None;
        }
        let digest = fingerprint(presented);
        // Always compares with every key: where the search ends would reveal which key it was.
        self.0.iter().fold(None, |found, key| if bool::from(key.digest.ct_eq(&digest)) { Some(key) } else { found })
    }

    /// The key with this name.
    pub fn named(&self, name: &str) -> Option<&StaticKey> {
        self.0.iter().find(|key| key.name == name).map(|key| &**key)
    }
}

fn fingerprint(secret: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::key_table::parse_setting;
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    #[test]
    fn keys_are_found_only_by_their_secret() {
        let text = format!(
            r#"[{{name="a", key="{SECRET}", publish=["p_*"]}}, {{name="b", key="{SECRET}x", subscribe=["*"], channels=["names"]}}]"#
        );
        let keys = Keys::load(parse_setting(&text).unwrap()).unwrap();
        assert_eq!(keys.find(SECRET).unwrap().name, "a");
        assert_eq!(
            keys.find(&format!("{SECRET}x")).unwrap().rights.channels.as_deref(),
            Some(&["names".to_owned()][..])
        );
        for other in ["", "a", &SECRET[1..], &format!("{SECRET}y"), &SECRET.to_uppercase()] {
            assert!(keys.find(other).is_none(), "{other:?}");
        }
        assert!(!format!("{keys:?}{:?}", parse_setting(&text)).contains(SECRET));
    }

    #[test]
    fn keys_that_could_be_confused_are_rejected() {
        let key = |name: &str, secret: &str| format!(r#"{{name="{name}", key="{secret}", publish=["*"]}}"#);
        let check = |first: String, second: String, problem: &str| {
            let error = Keys::load(parse_setting(&format!("[{first}, {second}]")).unwrap()).unwrap_err().to_string();
            assert!(error.contains(problem) && !error.contains(SECRET), "{error}");
        };
        check(key("a", SECRET), key("a", &format!("{SECRET}2")), "two keys have this name");
        check(key("a", SECRET), key("b", SECRET), "the same secret");
    }
}
