//! Why the store failed, as its callers see it.

use std::fmt;
use std::sync::Arc;

/// Why the store could not do what was asked. Nothing was acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Redis cannot be reached, or did not answer in time. An append may or may not have been stored.
    #[error("Redis is unreachable: {0}")]
    Unreachable(#[source] Cause),
    /// Redis stores nothing until it has memory, disk or replicas again. Nothing was stored.
    #[error("Redis rejects writes: {0}")]
    Refusing(#[source] Cause),
    /// Redis answered with something that this version does not understand, or denied permission. A retry would not help.
    #[error("Redis cannot serve this: {0}")]
    Unexpected(#[source] Cause),
    /// The `Idempotency-Key` was used for other events. Nothing was stored.
    #[error("the Idempotency-Key was used for other events")]
    KeyReused,
    /// The embedded store is full, and every pipeline in it has subscribers. Nothing was stored.
    #[error("the embedded store is full, and every pipeline in it has subscribers (store.memory)")]
    Full,
}

/// What a [`StoreError`] goes back to, for the log.
#[derive(Clone, Debug)]
pub struct Cause(Arc<dyn std::error::Error + Send + Sync>);

impl Cause {
    pub(super) fn new(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }
}

impl From<&str> for Cause {
    fn from(text: &str) -> Self {
        Self(Arc::from(Box::<dyn std::error::Error + Send + Sync>::from(text)))
    }
}

impl From<String> for Cause {
    fn from(text: String) -> Self {
        Self::from(&*text)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
