//! A cryptography provider for `jsonwebtoken` on `ring`: it maps each JWT algorithm to one of ring's, and does nothing else.
//!
//! The library's own providers are aws-lc, which needs cmake, and the RustCrypto crates, which would duplicate the ring that
//! TLS already uses.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, Result};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    self as ring_signature, EcdsaKeyPair, Ed25519KeyPair, RsaEncoding, RsaKeyPair, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory: signer, verifier_factory: verifier, key_utils: KeyUtils::new_unimplemented() };

/// Installs the provider. Call it before anything is signed or verified.
pub(super) fn install() {
    // An error means that it is installed already.
    let _ = PROVIDER.install_default();
}

/// A JWT algorithm in ring's terms.
enum Method {
    Hmac(hmac::Algorithm),
    Rsa(&'static RsaParameters, &'static dyn RsaEncoding),
    P256,
    Ed25519,
}

impl Method {
    /// Only the algorithms that the documentation lists.
    fn of(algorithm: Algorithm) -> Result<Self> {
        Ok(match algorithm {
            Algorithm::HS256 => Self::Hmac(hmac::HMAC_SHA256),
            Algorithm::HS384 => Self::Hmac(hmac::HMAC_SHA384),
            Algorithm::HS512 => Self::Hmac(hmac::HMAC_SHA512),
            Algorithm::RS256 => {
                Self::Rsa(&ring_signature::RSA_PKCS1_2048_8192_SHA256, &ring_signature::RSA_PKCS1_SHA256)
            }
            Algorithm::PS256 => Self::Rsa(&ring_signature::RSA_PSS_2048_8192_SHA256, &ring_signature::RSA_PSS_SHA256),
            Algorithm::ES256 => Self::P256,
            Algorithm::EdDSA => Self::Ed25519,
            _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
        })
    }

    fn family(&self) -> AlgorithmFamily {
        match self {
            Self::Hmac(_) => AlgorithmFamily::Hmac,
            Self::Rsa(..) => AlgorithmFamily::Rsa,
            Self::P256 => AlgorithmFamily::Ec,
            Self::Ed25519 => AlgorithmFamily::Ed,
        }
    }
}

struct RingVerifier {
    algorithm: Algorithm,
    method: Method,
    key: DecodingKey,
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let method = Method::of(*algorithm)?;
    // A public key must never be used as an HMAC secret.
    if key.family() != method.family() {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    Ok(Box::new(RingVerifier { algorithm: *algorithm, method, key: key.clone() }))
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        let public = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, signature)
        };
        match (&self.method, self.key.kind()) {
            (Method::Hmac(algorithm), DecodingKeyKind::SecretOrDer(secret)) => {
                hmac::verify(&hmac::Key::new(*algorithm, secret), message, signature)
            }
            (Method::Rsa(parameters, _), DecodingKeyKind::SecretOrDer(key)) => public(*parameters, key),
            (Method::Rsa(parameters, _), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            (Method::P256, DecodingKeyKind::SecretOrDer(key)) => public(&ring_signature::ECDSA_P256_SHA256_FIXED, key),
            (Method::Ed25519, DecodingKeyKind::SecretOrDer(key)) => public(&ring_signature::ED25519, key),
            _ => Err(ring::error::Unspecified),
        }
        .map_err(|_| signature::Error::new())
    }
}

struct RingSigner {
    algorithm: Algorithm,
    key: SigningKey,
}

enum SigningKey {
    Hmac(hmac::Key),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    let method = Method::of(*algorithm)?;
    if key.family() != method.family() {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    let wrong = |_| Error::from(ErrorKind::InvalidKeyFormat);
    let bytes = key.as_bytes();
    let random = SystemRandom::new();
    let key = match method {
        Method::Hmac(algorithm) => SigningKey::Hmac(hmac::Key::new(algorithm, bytes)),
        Method::Rsa(_, encoding) => SigningKey::Rsa(RsaKeyPair::from_der(bytes).map_err(wrong)?, encoding),
        Method::P256 => SigningKey::P256(
            EcdsaKeyPair::from_pkcs8(&ring_signature::ECDSA_P256_SHA256_FIXED_SIGNING, bytes, &random)
                .map_err(wrong)?,
        ),
        // OpenSSL writes the private key alone, without the public one.
        Method::Ed25519 => SigningKey::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes).map_err(wrong)?),
    };
    Ok(Box::new(RingSigner { algorithm: *algorithm, key }))
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
        let random = SystemRandom::new();
        let failed = |_| signature::Error::new();
        Ok(match &self.key {
            SigningKey::Hmac(key) => hmac::sign(key, message).as_ref().to_vec(),
            SigningKey::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(*encoding, &random, message, &mut signature).map_err(failed)?;
                signature
            }
            SigningKey::P256(key) => key.sign(&random, message).map_err(failed)?.as_ref().to_vec(),
            SigningKey::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        })
    }
}
