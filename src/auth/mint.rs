//! Making tokens: for people and scripts that have the issuer's key at hand.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::Error;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value, json};

use super::claims::TOO_LATE;
use super::revocations::Revocations;
use super::{Pattern, SHORTEST_SECRET, Secret, provider};
use crate::files::pem::check_private_key;

/// What signs a token.
pub struct MintKey {
    key: EncodingKey,
    algorithms: &'static [Algorithm],
}

/// Why a token cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The secret is too short.
    #[error("the secret has fewer than {SHORTEST_SECRET} bytes; make one with `openssl rand -hex 32`")]
    ShortSecret,
    /// The file is no private key of a kind that is known.
    #[error(
        "not an RSA, P-256 or Ed25519 private key in PEM; convert EC keys to PKCS#8 (`openssl pkcs8 -topk8 -nocrypt`)"
    )]
    NoKey,
    /// The file holds several.
    #[error("{0}")]
    SeveralKeys(String),
    /// Key and algorithm do not go together.
    #[error("this key does not support {asked}; it supports {possible}")]
    Algorithm {
        /// What was asked for.
        asked: String,
        /// What the key is for.
        possible: String,
    },
    /// A name that a line of `auth.revocation_file` would not hold as it is.
    #[error(
        "{0} must fit on a line of auth.revocation_file, so that it can be revoked: use text without line breaks and ` #`, and without spaces, `#` or quotes at the start or end"
    )]
    Name(&'static str),
    /// It would end when no moment is.
    #[error("--ttl ends after the year 9999; use a shorter one")]
    Ttl,
    /// It could not be signed.
    #[error("cannot sign the token: {0}")]
    Signing(#[from] Error),
}

/// A token to be made.
#[derive(Debug, Default)]
pub struct Mint {
    /// Pipelines to publish to.
    pub publish: Vec<Pattern>,
    /// Pipelines to read.
    pub subscribe: Vec<Pattern>,
    /// Of those, only these channels; all if there are none.
    pub channels: Vec<String>,
    /// For how long it is good.
    pub ttl: Duration,
    /// Its own name.
    pub jti: Option<String>,
    /// The key's name.
    pub key_id: Option<String>,
    /// Who makes it.
    pub issuer: Option<String>,
    /// For whom.
    pub audience: Option<String>,
}

impl MintKey {
    /// A secret that nodes have too.
    ///
    /// # Errors
    /// When it is too short.
    pub fn from_secret(secret: &Secret) -> Result<Self, MintError> {
        let bytes = secret.expose().as_bytes();
        if bytes.len() < SHORTEST_SECRET {
            return Err(MintError::ShortSecret);
        }
        let algorithms = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        Ok(Self { key: EncodingKey::from_secret(bytes), algorithms })
    }

    /// A private key as PEM.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_pem(pem: &[u8]) -> Result<Self, MintError> {
        if !String::from_utf8_lossy(pem).contains("PRIVATE KEY-----") {
            return Err(MintError::NoKey);
        }
        check_private_key(pem).map_err(MintError::SeveralKeys)?;
        let ec = || EncodingKey::from_ec_pem(pem).ok().map(|key| (key, &[Algorithm::ES256][..]));
        let ed = || EncodingKey::from_ed_pem(pem).ok().map(|key| (key, &[Algorithm::EdDSA][..]));
        let rsa = || EncodingKey::from_rsa_pem(pem).ok().map(|key| (key, &[Algorithm::RS256, Algorithm::PS256][..]));
        let (key, algorithms) = ec().or_else(ed).or_else(rsa).ok_or(MintError::NoKey)?;
        Ok(Self { key, algorithms })
    }
}

impl Mint {
    /// Makes the token, signed with the algorithm of this name or the first that the key is for.
    ///
    /// # Errors
    /// When key and algorithm do not go together, when it could not be revoked by its names, and when it would last too long.
    pub fn sign(&self, key: &MintKey, algorithm: Option<&str>) -> Result<String, MintError> {
        provider::install();
        for (option, name) in [("--jti", &self.jti), ("--kid", &self.key_id)] {
            if name.as_deref().is_some_and(|name| !Revocations::hold_plainly(name)) {
                return Err(MintError::Name(option));
            }
        }
        let named = |name: &str| key.algorithms.iter().find(|possible| format!("{possible:?}") == name);
        let algorithm = match algorithm {
            None => key.algorithms[0],
            Some(name) => *named(name).ok_or_else(|| MintError::Algorithm {
                asked: name.to_owned(),
                possible: key.algorithms.iter().map(|possible| format!("{possible:?}")).collect::<Vec<_>>().join(", "),
            })?,
        };
        let mut header = Header::new(algorithm);
        header.kid.clone_from(&self.key_id);
        Ok(encode(&header, &self.claims()?, &key.key)?)
    }

    fn claims(&self) -> Result<Value, MintError> {
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
        // Whole seconds: that is what most other programs expect.
        let issued = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let end = issued.saturating_add(self.ttl.as_secs().max(1));
        if end as f64 >= TOO_LATE {
            return Err(MintError::Ttl);
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
