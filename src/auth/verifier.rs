//! Keys that tokens are verified with: each is good for the algorithms of its kind alone.

use std::path::Path;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;

use super::{AuthSetupError, Secret};

/// An HMAC's secret shorter than its shortest digest could be guessed (RFC 7518, 3.2).
pub const SHORTEST_SECRET: usize = 32;

/// Bytes of the smallest RSA modulus that is taken: 2048 bits.
const SMALLEST_MODULUS: usize = 256;

const HMAC: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: [Algorithm; 2] = [Algorithm::RS256, Algorithm::PS256];

/// A key, what it is called, and what it may be used for.
#[derive(Clone, Debug)]
pub struct Verifier {
    /// `kid`; only in key sets.
    pub id: Option<String>,
    /// Pinned: what a token says of its algorithm chooses among these and adds none.
    pub algorithms: Vec<Algorithm>,
    /// The key.
    pub key: DecodingKey,
}

impl Verifier {
    /// A secret that is shared with who issues tokens.
    ///
    /// # Errors
    /// When it is too short.
    pub fn from_secret(secret: &Secret) -> Result<Self, String> {
        let bytes = secret.expose().as_bytes();
        if bytes.len() < SHORTEST_SECRET {
            return Err(format!(
                "the secret has fewer than {SHORTEST_SECRET} bytes; make one with `openssl rand -hex 32`"
            ));
        }
        Ok(Self { id: None, algorithms: HMAC.into(), key: DecodingKey::from_secret(bytes) })
    }

    /// All public keys of a PEM file: RSA, P-256 or Ed25519. There are several while an issuer changes its key.
    ///
    /// # Errors
    /// When there is none, a private one, or something else besides: what is not used must not look as if it were.
    pub fn all_of_pem(file: &[u8]) -> Result<Vec<Self>, String> {
        let text = String::from_utf8_lossy(file);
        if text.contains("PRIVATE KEY-----") {
            return Err("it holds a private key, which belongs to who issues tokens; write the public one".to_owned());
        }
        if !text.contains("PUBLIC KEY-----") {
            return Err("there is no public key in it; write a PEM file with PUBLIC KEY".to_owned());
        }
        let blocks = pem::parse_many(file).map_err(|error| format!("it is not PEM throughout ({error})"))?;
        let count = blocks.len();
        // The library passes over the rest of a file from where a block does not end.
        if text.matches("-----BEGIN ").count() != count {
            return Err("a block in it is cut off or damaged; write each public key as a whole".to_owned());
        }
        let keys = blocks.iter().zip(1..).map(|(block, n)| {
            if !matches!(block.tag(), "PUBLIC KEY" | "RSA PUBLIC KEY") {
                return Err(format!("there is a {} in it, which is not used; write public keys alone", block.tag()));
            }
            let key = Self::from_pem(pem::encode(block).as_bytes());
            key.map_err(|problem| if count > 1 { format!("key {n} of {count}: {problem}") } else { problem })
        });
        keys.collect()
    }

    fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let rsa = || DecodingKey::from_rsa_pem(pem).ok().filter(|_| !is_elliptic(pem)).map(|key| (key, RSA.to_vec()));
        let ec = || DecodingKey::from_ec_pem(pem).ok().map(|key| (key, vec![Algorithm::ES256]));
        let ed = || DecodingKey::from_ed_pem(pem).ok().map(|key| (key, vec![Algorithm::EdDSA]));
        let (key, algorithms) =
            ec().or_else(ed).or_else(rsa).ok_or("it is no public key of RSA, P-256 or Ed25519 in PEM")?;
        check_size(&key, &algorithms)?;
        Ok(Self { id: None, algorithms, key })
    }

    fn from_jwk(jwk: &Jwk, secrets: Secrets) -> Result<Option<Self>, String> {
        let common = &jwk.common;
        let is_for_signatures = common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature)
            && common.key_operations.as_ref().is_none_or(|list| list.contains(&KeyOperations::Verify));
        let possible: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &RSA,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => &[Algorithm::ES256],
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
            AlgorithmParameters::OctetKey(_) if secrets == Secrets::Allowed => &HMAC,
            // RFC 7517, 5: what is not understood is left out.
            _ => &[],
        };
        let algorithms: Vec<_> = match common.key_algorithm {
            Some(only) => {
                possible.iter().copied().filter(|algorithm| Algorithm::try_from(only) == Ok(*algorithm)).collect()
            }
            None => possible.to_vec(),
        };
        if !is_for_signatures || algorithms.is_empty() {
            return Ok(None);
        }
        let key = DecodingKey::from_jwk(jwk).map_err(|_| "a key in it is not as RFC 7518 has it".to_owned())?;
        check_size(&key, &algorithms)?;
        Ok(Some(Self { id: common.key_id.clone(), algorithms, key }))
    }
}

/// Whether a key set may hold secrets: not one that comes over the network, which anyone might read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Secrets {
    /// Of kind `oct`, for HMAC.
    Allowed,
    /// They are left out.
    LeftOut,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

/// The usable keys of a JSON Web Key Set (RFC 7517).
///
/// # Errors
/// When it is none, or a key in it is broken.
pub(super) fn parse_key_set(text: &[u8], secrets: Secrets) -> Result<Vec<Verifier>, String> {
    // The parser's message could show a part of a secret.
    let set: KeySet = serde_json::from_slice(text)
        .map_err(|error| format!("line {}: it is no JSON Web Key Set; write {{\"keys\":[...]}}", error.line()))?;
    let mut keys = Vec::new();
    for jwk in set.keys {
        let jwk: Jwk = serde_json::from_value(jwk).map_err(|_| "a key in it is not as RFC 7517 has it".to_owned())?;
        keys.extend(Verifier::from_jwk(&jwk, secrets)?);
    }
    Ok(keys)
}

/// Reads a file and makes keys of it.
pub(super) fn read<T>(path: &Path, parse: impl Fn(&[u8]) -> Result<T, String>) -> Result<T, AuthSetupError> {
    let bytes = std::fs::read(path).map_err(|error| AuthSetupError::file(path, error.to_string()))?;
    parse(&bytes).map_err(|problem| AuthSetupError::file(path, problem))
}

/// `from_rsa_pem` takes PKCS#8 of other kinds for what it is not.
fn is_elliptic(pem: &[u8]) -> bool {
    DecodingKey::from_ec_pem(pem).is_ok() || DecodingKey::from_ed_pem(pem).is_ok()
}

/// What ring would refuse at each token is refused once, here.
fn check_size(key: &DecodingKey, algorithms: &[Algorithm]) -> Result<(), String> {
    let is_large_enough = match (key.kind(), algorithms.first()) {
        (DecodingKeyKind::RsaModulusExponent { n, .. }, _) => n.len() >= SMALLEST_MODULUS,
        // The modulus, and a little around it.
        (DecodingKeyKind::SecretOrDer(der), Some(Algorithm::RS256 | Algorithm::PS256)) => der.len() > SMALLEST_MODULUS,
        (DecodingKeyKind::SecretOrDer(point), Some(Algorithm::ES256)) => point.len() == 65,
        (DecodingKeyKind::SecretOrDer(point), Some(Algorithm::EdDSA)) => point.len() == 32,
        (DecodingKeyKind::SecretOrDer(secret), _) => secret.len() >= SHORTEST_SECRET,
    };
    if is_large_enough {
        return Ok(());
    }
    Err("a key in it is too small or of another curve; RSA has 2048 bits or more, curves are P-256 and Ed25519"
        .to_owned())
}
