//! Remembers tokens with a verified signature. A publisher sends the same one with each event, and verifying it costs several
//! times as much as publishing.
//!
//! Only digests of tokens are kept, and only while the keys are the ones that verified them. Nothing but the signature is
//! remembered: time, revocations and rights are checked each time.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use ring::digest::{SHA256, digest};

use super::token::Signed;
use super::verifier::Verifier;

/// Maximum tokens kept, some hundred bytes each; one more clears the memory.
const MOST: usize = 4096;

/// The keys that verify signatures.
#[derive(Clone, Debug, Default)]
pub(super) struct KeySets {
    /// From the settings and their files.
    pub(super) ours: Arc<Vec<Verifier>>,
    /// From `auth.jwks_url`, once they were fetched.
    pub(super) fetched: Option<Arc<[Verifier]>>,
}

/// Tokens with a verified signature.
#[derive(Debug, Default)]
pub(super) struct VerifiedTokens(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Held so that no other sets can get their addresses, by which sets are compared.
    keys: KeySets,
    tokens: HashMap<Box<[u8]>, Arc<Signed>>,
}

impl KeySets {
    fn are(&self, others: &Self) -> bool {
        let is_fetched_same = match (&self.fetched, &others.fetched) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        is_fetched_same && Arc::ptr_eq(&self.ours, &others.ours)
    }
}

impl VerifiedTokens {
    /// A token's claims, if it was verified with these keys.
    pub(super) fn find(&self, token: &str, keys: &KeySets) -> Option<Arc<Signed>> {
        let digest = digest(&SHA256, token.as_bytes());
        let state = self.0.lock();
        state.tokens.get(digest.as_ref()).filter(|_| state.keys.are(keys)).cloned()
    }

    /// Remembers a token that was verified with these keys.
    pub(super) fn remember(&self, token: &str, keys: KeySets, signed: Arc<Signed>) {
        let digest = digest(&SHA256, token.as_bytes());
        let mut state = self.0.lock();
        if !state.keys.are(&keys) || state.tokens.len() >= MOST {
            *state = State { keys, tokens: HashMap::new() };
        }
        state.tokens.insert(digest.as_ref().into(), signed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::claims::Claims;

    fn signed() -> Arc<Signed> {
        Arc::new(Signed { claims: serde_json::from_str::<Claims>("{}").unwrap(), key_id: None })
    }

    #[test]
    fn tokens_are_known_only_under_the_keys_that_verified_them() {
        let (tokens, keys) = (VerifiedTokens::default(), KeySets { ours: Arc::default(), fetched: None });
        tokens.remember("a.b.c", keys.clone(), signed());
        assert!(tokens.find("a.b.c", &keys).is_some());
        assert!(tokens.find("a.b.d", &keys).is_none());
        let renewed = KeySets { ours: Arc::default(), fetched: None };
        assert!(tokens.find("a.b.c", &renewed).is_none());
        let fetched = KeySets { fetched: Some(Vec::new().into()), ..keys.clone() };
        assert!(tokens.find("a.b.c", &fetched).is_none());
        tokens.remember("x.y.z", renewed.clone(), signed());
        assert!(tokens.find("x.y.z", &renewed).is_some() && tokens.find("a.b.c", &keys).is_none());
    }

    #[test]
    fn remembered_tokens_are_bounded() {
        let (tokens, keys) = (VerifiedTokens::default(), KeySets { ours: Arc::default(), fetched: None });
        for n in 0..MOST * 2 + 10 {
            tokens.remember(&format!("a.{n}.c"), keys.clone(), signed());
            assert!(tokens.0.lock().tokens.len() <= MOST);
        }
        assert!(tokens.find(&format!("a.{}.c", MOST * 2 + 9), &keys).is_some());
    }
}
