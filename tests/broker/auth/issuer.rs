//! A token issuer that signs whatever a test asks for, including invalid tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair,
};
use ring::{hmac, signature};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

pub const SECRET: &str = "a secret of forty bytes, for tests only!";

/// A file of the test's keys.
pub fn key_path(name: &str) -> String {
    format!("{}/tests/broker/auth/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

pub fn key_text(name: &str) -> Vec<u8> {
    std::fs::read(key_path(name)).unwrap()
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Claims that are good for an hour.
pub fn claims(rights: Value) -> Value {
    json!({"exp": now() + 3600, "jti": "jti-of-the-test", "pipecast": rights})
}

/// The rights to everything.
pub fn all() -> Value {
    json!({"publish": ["*"], "subscribe": ["*"]})
}

/// Changes a claim, or removes it with `null`.
pub fn with(mut claims: Value, name: &str, value: Value) -> Value {
    match value {
        Value::Null => claims.as_object_mut().unwrap().remove(name),
        value => claims.as_object_mut().unwrap().insert(name.to_owned(), value),
    };
    claims
}

/// A token of any header and claims, whether they are JSON or not, by the usual secret.
pub fn hs256_of_text(header: &str, claims: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let text = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
    let signature = hmac::sign(&key, text.as_bytes());
    format!("{text}.{}", base64url(signature.as_ref()))
}

/// A token by the usual secret.
pub fn hs256(claims: &Value) -> String {
    hmac_token(hmac::HMAC_SHA256, SECRET.as_bytes(), &json!({"alg": "HS256", "typ": "JWT"}), claims)
}

pub fn hmac_token(algorithm: hmac::Algorithm, secret: &[u8], header: &Value, claims: &Value) -> String {
    let key = hmac::Key::new(algorithm, secret);
    signed(header, claims, |text| hmac::sign(&key, text).as_ref().to_vec())
}

/// A token by one of the private keys in files: `RS256`, `PS256`, `ES256` or `EdDSA`.
pub fn asymmetric(algorithm: &str, claims: &Value) -> String {
    let header = json!({"alg": algorithm});
    let random = SystemRandom::new();
    match algorithm {
        "RS256" | "PS256" => {
            let encoding: &dyn signature::RsaEncoding =
                if algorithm == "RS256" { &RSA_PKCS1_SHA256 } else { &RSA_PSS_SHA256 };
            let key = RsaKeyPair::from_pkcs8(&private("rsa.pem")).unwrap();
            signed(&header, claims, |text| {
                let mut bytes = vec![0; key.public().modulus_len()];
                key.sign(encoding, &random, text, &mut bytes).unwrap();
                bytes
            })
        }
        "ES256" => {
            let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &private("ec.pem"), &random).unwrap();
            signed(&header, claims, |text| key.sign(&random, text).unwrap().as_ref().to_vec())
        }
        "EdDSA" => {
            let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&private("ed.pem")).unwrap();
            signed(&header, claims, |text| key.sign(text).as_ref().to_vec())
        }
        other => panic!("no key for {other}"),
    }
}

fn private(name: &str) -> Vec<u8> {
    PrivateKeyDer::from_pem_slice(&key_text(name)).unwrap().secret_der().to_vec()
}

pub fn signed(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let text = format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
    let signature = sign(text.as_bytes());
    format!("{text}.{}", base64url(&signature))
}

/// RFC 4648, 5, without padding.
pub fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let number = part.iter().chain([0, 0].iter()).take(3).fold(0, |number, byte| number << 8 | u32::from(*byte));
        for place in 0..=part.len() {
            text.push(char::from(ALPHABET[(number >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

/// A key that signs by `ES256` under a name, and that name's entry in a key set.
pub struct NamedKey {
    name: String,
    pair: EcdsaKeyPair,
}

impl NamedKey {
    pub fn new(name: &str) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        Self { name: name.to_owned(), pair }
    }

    pub fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "kid": self.name});
        signed(&header, claims, |text| self.pair.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec())
    }

    /// One that does not say which key signed it.
    pub fn nameless_token(&self, claims: &Value) -> String {
        signed(&json!({"alg": "ES256"}), claims, |text| {
            self.pair.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec()
        })
    }

    pub fn entry(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.name, "x": base64url(&point[1..33]), "y": base64url(&point[33..])})
    }
}

/// A key set of these.
pub fn key_set(keys: &[&NamedKey]) -> String {
    json!({"keys": keys.iter().map(|key| key.entry()).collect::<Vec<_>>()}).to_string()
}
