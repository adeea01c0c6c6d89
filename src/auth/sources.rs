//! Reads keys and revocations from settings and files, and lists the files to watch.

use std::path::{Path, PathBuf};

use super::key::Keys;
use super::key_set::{KeyFault, KeySet, Secrets};
use super::key_table::{self, KeyTable, SecretSource};
use super::options::AuthOptions;
use super::revocations::Revocations;
use super::secret::Secret;
use super::setup_error::{AuthSetupError, read_bytes, read_text};
use super::verifier::{MOST_TRIED, Verifier, too_many_nameless};

impl AuthOptions {
    /// All static keys; secrets in `key_file`s are not read yet.
    ///
    /// # Errors
    /// With the file that cannot be used.
    pub fn key_tables(&self) -> Result<Vec<KeyTable>, AuthSetupError> {
        let mut tables = self.keys.clone();
        if let Some(path) = &self.keys_file {
            let read = key_table::parse_file(&read_text(path)?);
            tables.extend(read.map_err(|problem| AuthSetupError::contents(path, problem))?);
        }
        Ok(tables)
    }

    /// The files that static keys come from.
    pub fn key_files(&self, tables: &[KeyTable]) -> Vec<PathBuf> {
        let secrets = tables.iter().filter_map(|table| match &table.secret {
            SecretSource::File(path) => Some(path),
            SecretSource::Given(_) => None,
        });
        self.keys_file.iter().chain(secrets).cloned().collect()
    }

    /// Reads the static keys.
    ///
    /// # Errors
    /// With the file or key that cannot be used.
    pub fn load_keys(&self) -> Result<Keys, AuthSetupError> {
        Keys::load(self.key_tables()?)
    }

    /// The files with keys that verify tokens.
    pub fn verifier_files(&self) -> Vec<PathBuf> {
        let single = [&self.jwt_secret_file, &self.jwks_file].into_iter().flatten();
        single.chain(&self.jwt_keys).cloned().collect()
    }

    /// Reads all keys that verify tokens, except those from a URL.
    ///
    /// # Errors
    /// With the file that cannot be used.
    pub fn load_verifiers(&self) -> Result<Vec<Verifier>, AuthSetupError> {
        let mut verifiers = Vec::new();
        if let Some(secret) = &self.jwt_secret {
            let verifier = Verifier::from_secret(secret);
            verifiers.push(verifier.map_err(|problem| AuthSetupError::Setting("auth.jwt_secret", problem))?);
        }
        if let Some(path) = &self.jwt_secret_file {
            let verifier = Verifier::from_secret(&Secret::from_file(path)?);
            verifiers.push(verifier.map_err(|problem| AuthSetupError::contents(path, problem))?);
        }
        for path in &self.jwt_keys {
            // As bytes: other text may surround the keys.
            let all = Verifier::all_of_pem(&read_bytes(path)?);
            verifiers.extend(all.map_err(|problem| AuthSetupError::contents(path, problem))?);
        }
        if let Some(path) = &self.jwks_file {
            verifiers.extend(read_key_set(path)?);
        }
        check_nameless(&verifiers)?;
        Ok(verifiers)
    }

    /// Reads the revocation list; empty if there is no file.
    ///
    /// # Errors
    /// When there is a file and it cannot be used.
    pub fn load_revocations(&self) -> Result<Revocations, AuthSetupError> {
        let Some(path) = &self.revocation_file else { return Ok(Revocations::default()) };
        Revocations::parse(&read_text(path)?).map_err(|problem| AuthSetupError::contents(path, problem))
    }
}

/// Reads a key set that an operator maintains: a broken key is an error, a key for another purpose is left out.
fn read_key_set(path: &Path) -> Result<Vec<Verifier>, AuthSetupError> {
    let set = KeySet::parse(read_text(path)?.as_bytes(), Secrets::Allowed);
    let KeySet { keys, left_out } = set.map_err(|problem| AuthSetupError::contents(path, problem))?;
    for key in left_out {
        if let KeyFault::Broken(_) = key.fault {
            return Err(AuthSetupError::contents(path, key.to_string()));
        }
        tracing::warn!(file = %path.display(), "left out a key that cannot be used: {key}");
    }
    Ok(keys)
}

/// Each token is tried with every key without a `kid`: with too many of them, none would verify anything.
fn check_nameless(verifiers: &[Verifier]) -> Result<(), AuthSetupError> {
    let Some((count, algorithm)) = too_many_nameless(verifiers) else { return Ok(()) };
    let problem = format!(
        "there are {count} keys without a `kid` for {algorithm:?}, but a token is tried with at most {MOST_TRIED}; \
         put them into a key set (auth.jwks_file) with a `kid` each, and name the `kid` in tokens"
    );
    Err(AuthSetupError::Setting("auth.jwt_keys", problem))
}
