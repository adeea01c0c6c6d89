//! Keys that tokens are verified with: each is good for the algorithms of its kind alone.

use std::ops::RangeInclusive;

use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};

use super::Secret;

/// An HMAC's secret shorter than its shortest digest could be guessed (RFC 7518, 3.2).
pub const SHORTEST_SECRET: usize = 32;

/// Bytes of an RSA modulus that is taken: 2048 to 8192 bits.
const MODULUS: RangeInclusive<usize> = 256..=1024;

/// What DER has besides the modulus of a public key: the exponent, and the lengths of both.
const AROUND_MODULUS: usize = 64;

pub(super) const HMAC: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
pub(super) const RSA: [Algorithm; 2] = [Algorithm::RS256, Algorithm::PS256];

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
}

/// `from_rsa_pem` takes PKCS#8 of other kinds for what it is not.
fn is_elliptic(pem: &[u8]) -> bool {
    DecodingKey::from_ec_pem(pem).is_ok() || DecodingKey::from_ed_pem(pem).is_ok()
}

/// What ring would refuse at each token is refused once, here.
pub(super) fn check_size(key: &DecodingKey, algorithms: &[Algorithm]) -> Result<(), &'static str> {
    let is_large_enough = match (key.kind(), algorithms.first()) {
        // Nor with zeros before it, which RFC 7518, 6.3.1.1 does not allow.
        (DecodingKeyKind::RsaModulusExponent { n, .. }, _) => MODULUS.contains(&n.len()) && n.first() != Some(&0),
        // The modulus, and a little around it.
        (DecodingKeyKind::SecretOrDer(der), Some(Algorithm::RS256 | Algorithm::PS256)) => {
            der.len() > *MODULUS.start() && der.len() < *MODULUS.end() + AROUND_MODULUS
        }
        (DecodingKeyKind::SecretOrDer(point), Some(Algorithm::ES256)) => point.len() == 65,
        (DecodingKeyKind::SecretOrDer(point), Some(Algorithm::EdDSA)) => point.len() == 32,
        (DecodingKeyKind::SecretOrDer(secret), _) => secret.len() >= SHORTEST_SECRET,
    };
    if is_large_enough {
        return Ok(());
    }
    Err("the key is too small, too large or of another curve; RSA has 2048 to 8192 bits, curves are P-256 and Ed25519")
}
