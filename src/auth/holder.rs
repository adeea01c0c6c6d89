//! Who was let in: the bearer of a static key or of a signed token.

use std::sync::Arc;

use super::key::StaticKey;

/// What a client was let in with.
#[derive(Clone, Debug)]
pub enum Holder {
    /// A static key.
    Key(Arc<StaticKey>),
    /// A signed token. Either name can revoke it.
    Token {
        /// The token's `jti`.
        jti: Option<Box<str>>,
        /// The `kid` of the key that signed it.
        key_id: Option<Box<str>>,
    },
}
