//! Keys that verify tokens, each only for the algorithms of its kind.

use std::ops::RangeInclusive;

use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};

use super::secret::Secret;

/// A shorter HMAC secret, below the length of the shortest digest, could be guessed (RFC 7518, 3.2).
pub const SHORTEST_SECRET: usize = 32;

/// Accepted RSA modulus in bytes: 2048 to 8192 bits.
const MODULUS: RangeInclusive<usize> = 256..=1024;

/// Bytes in DER besides the modulus of a public key: the exponent, and the lengths of both.
const AROUND_MODULUS: usize = 64;

pub(super) const HMAC: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
pub(super) const RSA: [Algorithm; 2] = [Algorithm::RS256, Algorithm::PS256];

/// At most this many keys are tried for one token: a wrong token must not cost work for every key there is.
pub(super) const MOST_TRIED: usize = 8;

/// A key, its name and its algorithms.
#[derive(Clone, Debug)]
pub struct Verifier {
    /// Its `kid`; only keys from key sets have one.
    pub id: Option<String>,
    /// The only algorithms that the key is used with; a token's `alg` chooses among them.
    pub algorithms: Vec<Algorithm>,
    /// The key itself.
    pub key: DecodingKey,
}

impl Verifier {
    /// A secret shared with the token issuer.
    ///
    /// # Errors
    /// When it is too short.
    pub fn from_secret(secret: &Secret) -> Result<Self, String> {
        let bytes = secret.expose().as_bytes();
        if bytes.len() < SHORTEST_SECRET {
            return Err(format!(
                "the secret has fewer than {SHORTEST_SECRET} bytes; create one with `openssl rand -hex 32`"
            ));
        }
        Ok(Self { id: None, algorithms: HMAC.into(), key: DecodingKey::from_secret(bytes) })
    }

    /// All public keys of a PEM file: RSA, P-256 or Ed25519. There are several while an issuer rotates its key.
    ///
    /// # Errors
    /// When there is none, a private one, or anything else that would look as if it were used.
    pub fn all_of_pem(file: &[u8]) -> Result<Vec<Self>, String> {
        let text = String::from_utf8_lossy(file);
        if text.contains("PRIVATE KEY-----") {
            return Err(
                "it holds a private key, which only the token issuer should have; use the public key".to_owned()
            );
        }
        if !text.contains("PUBLIC KEY-----") {
            return Err("it holds no public key; use a PEM file with a PUBLIC KEY block".to_owned());
        }
        let blocks = pem::parse_many(file).map_err(|error| format!("it is not valid PEM ({error})"))?;
        let count = blocks.len();
        // The library skips the rest of a file behind a block without an end.
        if text.matches("-----BEGIN ").count() != count {
            return Err("a PEM block in it is cut off or damaged".to_owned());
        }
        let keys = blocks.iter().zip(1..).map(|(block, n)| {
            if !matches!(block.tag(), "PUBLIC KEY" | "RSA PUBLIC KEY") {
                return Err(format!("it holds a {}, which would not be used; keep only public keys", block.tag()));
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
            ec().or_else(ed).or_else(rsa).ok_or("not an RSA, P-256 or Ed25519 public key in PEM")?;
        check_size(&key, &algorithms)?;
        Ok(Self { id: None, algorithms, key })
    }
}

/// `from_rsa_pem` also accepts PKCS#8 keys of other kinds.
fn is_elliptic(pem: &[u8]) -> bool {
    DecodingKey::from_ec_pem(pem).is_ok() || DecodingKey::from_ed_pem(pem).is_ok()
}

/// Rejects once, here, what ring would reject with every token.
pub(super) fn check_size(key: &DecodingKey, algorithms: &[Algorithm]) -> Result<(), &'static str> {
    let is_large_enough = match (key.kind(), algorithms.first()) {
        // Leading zeros are not allowed (RFC 7518, 6.3.1.1).
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
    Err("the key size or curve is not supported; use RSA with 2048 to 8192 bits, P-256 or Ed25519")
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
