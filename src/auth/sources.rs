//! Where keys and revocations come from: reads them, and says which files to watch.

use std::path::{Path, PathBuf};

use jsonwebtoken::Algorithm;

use super::key::{self, KeyTable, Keys, SecretSource};
use super::key_set::{KeyFault, KeySet, Secrets};
use super::revocations::Revocations;
use super::token::MOST_TRIED;
use super::verifier::Verifier;
use super::{AuthOptions, AuthSetupError, Secret};
use crate::files;

/// Reads a file of text as whichever editor wrote it.
///
/// # Errors
/// As [`files::text::read_text`], with the path.
pub fn read_text(path: &Path) -> Result<String, AuthSetupError> {
    files::text::read_text(path).map_err(|problem| AuthSetupError::file(path, problem.to_string()))
}

fn read(path: &Path) -> Result<Vec<u8>, AuthSetupError> {
    files::text::read_bytes(path).map_err(|problem| AuthSetupError::file(path, problem.to_string()))
}

/// Reads a secret that stands alone in a file.
pub(super) fn read_secret(path: &Path) -> Result<Secret, AuthSetupError> {
    Ok(Secret::new(read_text(path)?.trim()))
}

impl AuthOptions {
    /// All static keys, before the files that hold single secrets are read.
    ///
    /// # Errors
    /// With the file that cannot be used.
    pub fn key_tables(&self) -> Result<Vec<KeyTable>, AuthSetupError> {
        let mut tables = self.keys.clone();
        if let Some(path) = &self.keys_file {
            tables.extend(key::parse_file(&read_text(path)?).map_err(|problem| AuthSetupError::file(path, problem))?);
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

    /// The static keys.
    ///
    /// # Errors
    /// With the file or key that cannot be used.
    pub fn load_keys(&self) -> Result<Keys, AuthSetupError> {
        Keys::load(self.key_tables()?)
    }

    /// The files that tokens are verified with.
    pub fn verifier_files(&self) -> Vec<PathBuf> {
        let single = [&self.jwt_secret_file, &self.jwks_file].into_iter().flatten();
        single.chain(&self.jwt_keys).cloned().collect()
    }

    /// What tokens are verified with, but for what comes from a URL.
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
            let secret = read_secret(path)?;
            verifiers.push(Verifier::from_secret(&secret).map_err(|problem| AuthSetupError::file(path, problem))?);
        }
        for path in &self.jwt_keys {
            // As bytes: there may be anything around the keys.
            let all = Verifier::all_of_pem(&read(path)?);
            verifiers.extend(all.map_err(|problem| AuthSetupError::file(path, problem))?);
        }
        if let Some(path) = &self.jwks_file {
            verifiers.extend(read_key_set(path)?);
        }
        check_number(&verifiers)?;
        Ok(verifiers)
    }

    /// What was revoked.
    ///
    /// # Errors
    /// When there is a file and it cannot be read.
    pub fn load_revocations(&self) -> Result<Revocations, AuthSetupError> {
        match &self.revocation_file {
            Some(path) => Revocations::parse(&read_text(path)?).map_err(|problem| AuthSetupError::file(path, problem)),
            None => Ok(Revocations::default()),
        }
    }
}

/// Reads a key set that an operator keeps: of what is broken in it they are told, what is for others is left out.
fn read_key_set(path: &Path) -> Result<Vec<Verifier>, AuthSetupError> {
    let set = KeySet::parse(read_text(path)?.as_bytes(), Secrets::Allowed);
    let KeySet { keys, left_out } = set.map_err(|problem| AuthSetupError::file(path, problem))?;
    for key in left_out {
        if let KeyFault::Broken(_) = key.fault {
            return Err(AuthSetupError::file(path, key.to_string()));
        }
        tracing::warn!(file = %path.display(), "{key}; it is left out");
    }
    Ok(keys)
}

/// Every token is tried with each key without a name: with too many of them none would open anything.
fn check_number(verifiers: &[Verifier]) -> Result<(), AuthSetupError> {
    let Some((count, algorithm)) = too_many_nameless(verifiers) else { return Ok(()) };
    let problem = format!(
        "there are {count} keys without a name for {algorithm:?}, and a token is tried with {MOST_TRIED} at most; \
         write them as a key set with a `kid` each (auth.jwks_file), and tokens with the `kid` of their key"
    );
    Err(AuthSetupError::Setting("auth.jwt_keys", problem))
}

/// How many keys have no name, and for which algorithm, if that is too many for any of them to be tried.
pub(super) fn too_many_nameless(verifiers: &[Verifier]) -> Option<(usize, Algorithm)> {
    let mut counts: Vec<(usize, Algorithm)> = Vec::new();
    for algorithm in verifiers.iter().filter(|verifier| verifier.id.is_none()).flat_map(|verifier| &verifier.algorithms)
    {
        match counts.iter_mut().find(|(_, known)| known == algorithm) {
            Some((count, _)) => *count += 1,
            None => counts.push((1, *algorithm)),
        }
    }
    counts.into_iter().find(|(count, _)| *count > MOST_TRIED)
}
