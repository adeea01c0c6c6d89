//! Where keys and revocations come from: reads them, and says which files to watch.

use std::path::PathBuf;

use super::key::{self, KeyTable, Keys, SecretSource};
use super::revocations::Revocations;
use super::token::MOST_TRIED;
use super::verifier::{self, Secrets, Verifier, parse_key_set};
use super::{AuthOptions, AuthSetupError};

impl AuthOptions {
    /// All static keys, before the files that hold single secrets are read.
    ///
    /// # Errors
    /// With the file that cannot be used.
    pub fn key_tables(&self) -> Result<Vec<KeyTable>, AuthSetupError> {
        let mut tables = self.keys.clone();
        if let Some(path) = &self.keys_file {
            let text = |bytes: &[u8]| key::parse_file(&String::from_utf8_lossy(bytes));
            tables.extend(verifier::read(path, text)?);
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
            let secret = key::read_secret(path)?;
            verifiers.push(Verifier::from_secret(&secret).map_err(|problem| AuthSetupError::file(path, problem))?);
        }
        for path in &self.jwt_keys {
            verifiers.extend(verifier::read(path, Verifier::all_of_pem)?);
        }
        if let Some(path) = &self.jwks_file {
            verifiers.extend(verifier::read(path, |text| parse_key_set(text, Secrets::Allowed))?);
        }
        check_number(&verifiers)?;
        Ok(verifiers)
    }

    /// What was revoked.
    ///
    /// # Errors
    /// When there is a file and it cannot be read.
    pub fn load_revocations(&self) -> Result<Revocations, AuthSetupError> {
        match &self.revoked {
            Some(path) => verifier::read(path, |text| Ok(Revocations::parse(&String::from_utf8_lossy(text)))),
            None => Ok(Revocations::default()),
        }
    }
}

/// Every token is tried with each key without a name: with too many of them none would open anything.
fn check_number(verifiers: &[Verifier]) -> Result<(), AuthSetupError> {
    let nameless = || verifiers.iter().filter(|verifier| verifier.id.is_none());
    for algorithm in nameless().flat_map(|verifier| &verifier.algorithms) {
        let count = nameless().filter(|verifier| verifier.algorithms.contains(algorithm)).count();
        if count > MOST_TRIED {
            let problem = format!(
                "there are {count} keys without a name for {algorithm:?}, and a token is tried with {MOST_TRIED} at most; \
                 write them as a key set with a `kid` each (auth.jwks_file), and tokens with the `kid` of their key"
            );
            return Err(AuthSetupError::Setting("auth.jwt_keys", problem));
        }
    }
    Ok(())
}
