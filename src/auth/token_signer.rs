//! Signs tokens, for people and scripts with the issuer's key.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::Error;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value, json};

use super::claims::TOO_LATE;
use super::pattern::Pattern;
use super::provider;
use super::revocations::Revocations;
use super::secret::Secret;
use super::verifier::SHORTEST_SECRET;
use crate::files::pem::{SeveralPrivateKeys, check_private_key};

/// A key that signs tokens.
pub struct SigningKey {
    key: EncodingKey,
    algorithms: &'static [Algorithm],
}

/// Why a token cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The secret could be guessed.
    #[error("the secret has fewer than {SHORTEST_SECRET} bytes; create one with `openssl rand -hex 32`")]
    ShortSecret,
    /// Not a private key of a supported kind.
    #[error(
        "not an RSA, P-256 or Ed25519 private key in PEM; convert EC keys to PKCS#8 (`openssl pkcs8 -topk8 -nocrypt`)"
    )]
    NoKey,
    /// More than one private key.
    #[error(transparent)]
    SeveralKeys(#[from] SeveralPrivateKeys),
    /// The key does not support the algorithm.
    #[error("this key cannot sign with {asked}; use {possible}")]
    Algorithm {
        /// The requested algorithm.
        asked: String,
        /// The key's algorithms, separated by commas.
        possible: String,
    },
    /// A name that cannot be a plain line of the revocation list.
    #[error(
        "{0} cannot be written as a line of auth.revocation_file, so the token could not be revoked by it: use a name without line breaks and ` #`, and without spaces, `#` or quotes at its start or end"
    )]
    Name(&'static str),
    /// It would expire after the last time that a claim can hold.
    #[error("--ttl reaches beyond the year 9999; use a shorter time")]
    Ttl,
    /// The library cannot sign it.
    #[error("the token cannot be signed: {0}")]
    Signing(#[from] Error),
}

/// What a new token contains.
#[derive(Debug, Default)]
pub struct NewToken {
    /// Pipelines that it may publish to.
    pub publish: Vec<Pattern>,
    /// Pipelines that it may read.
    pub subscribe: Vec<Pattern>,
    /// Only these channels of them may be read; empty means all.
    pub channels: Vec<String>,
    /// Time until it expires, in whole seconds, at least one.
    pub ttl: Duration,
    /// Its own name, by which it can be revoked.
    pub jti: Option<String>,
    /// The `kid` in its header.
    pub key_id: Option<String>,
    /// `iss`.
    pub issuer: Option<String>,
    /// `aud`.
    pub audience: Option<String>,
}

impl SigningKey {
    /// A secret that the nodes have too.
    ///
    /// # Errors
    /// When it is too short.
    pub fn from_secret(secret: &Secret) -> Result<Self, SigningError> {
        let bytes = secret.expose().as_bytes();
        if bytes.len() < SHORTEST_SECRET {
            return Err(SigningError::ShortSecret);
        }
        let algorithms = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        Ok(Self { key: EncodingKey::from_secret(bytes), algorithms })
    }

    /// A private key in PEM.
    ///
    /// # Errors
    /// When there is no supported key, or more than one.
    pub fn from_pem(pem: &[u8]) -> Result<Self, SigningError> {
        if !String::from_utf8_lossy(pem).contains("PRIVATE KEY-----") {
            return Err(SigningError::NoKey);
        }
        check_private_key(pem)?;
        let ec = || EncodingKey::from_ec_pem(pem).ok().map(|key| (key, &[Algorithm::ES256][..]));
        let ed = || EncodingKey::from_ed_pem(pem).ok().map(|key| (key, &[Algorithm::EdDSA][..]));
        let rsa = || EncodingKey::from_rsa_pem(pem).ok().map(|key| (key, &[Algorithm::RS256, Algorithm::PS256][..]));
        let (key, algorithms) = ec().or_else(ed).or_else(rsa).ok_or(SigningError::NoKey)?;
        Ok(Self { key, algorithms })
    }
}

impl NewToken {
    /// Signs the token with the algorithm of this name, or with the first one that the key supports.
    ///
    /// # Errors
    /// When the key does not support the algorithm, when the token could not be revoked by its names, and when it would
    /// expire too late.
    pub fn sign(&self, key: &SigningKey, algorithm: Option<&str>) -> Result<String, SigningError> {
        provider::install();
        for (option, name) in [("--jti", &self.jti), ("--kid", &self.key_id)] {
            if name.as_deref().is_some_and(|name| !Revocations::hold_plainly(name)) {
                return Err(SigningError::Name(option));
            }
        }
        let named = |name: &str| key.algorithms.iter().find(|possible| format!("{possible:?}") == name);
        let algorithm = match algorithm {
            None => key.algorithms[0],
            Some(name) => *named(name).ok_or_else(|| SigningError::Algorithm {
                asked: name.to_owned(),
                possible: key.algorithms.iter().map(|possible| format!("{possible:?}")).collect::<Vec<_>>().join(", "),
            })?,
        };
        let mut header = Header::new(algorithm);
        header.kid.clone_from(&self.key_id);
        Ok(encode(&header, &self.claims()?, &key.key)?)
    }

    fn claims(&self) -> Result<Value, SigningError> {
        let patterns = |patterns: &[Pattern]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut rights = Map::new();
        for (name, list) in [
            ("publish", patterns(&self.publish)),
            ("subscribe", patterns(&self.subscribe)),
            ("channels", self.channels.clone()),
        ] {
            if !list.is_empty() {
                rights.insert(name.to_owned(), json!(list));
            }
        }
        // Whole seconds, which most other programs expect.
        let issued = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let end = issued.saturating_add(self.ttl.as_secs().max(1));
        if end as f64 >= TOO_LATE {
            return Err(SigningError::Ttl);
        }
        let mut claims = json!({"iat": issued, "exp": end, "pipecast": rights});
        for (name, value) in [("jti", &self.jti), ("iss", &self.issuer), ("aud", &self.audience)] {
            if let Some(value) = value {
                claims[name] = json!(value);
            }
        }
        Ok(claims)
    }
}
