//! Whether keys and revocations can be read, for the metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Where keys and revocations come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// `auth.keys_file`, and the `key_file` of single keys.
    Keys,
    /// `auth.jwt_secret_file`, `auth.jwt_keys` and `auth.jwks_file`.
    JwtKeys,
    /// `auth.jwks_url`.
    JwksUrl,
    /// `auth.revocation_file`.
    RevocationFile,
}

impl Source {
    /// All sources.
    pub const ALL: [Self; 4] = [Self::Keys, Self::JwtKeys, Self::JwksUrl, Self::RevocationFile];

    /// The label in the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::JwtKeys => "jwt_keys",
            Self::JwksUrl => "jwks_url",
            Self::RevocationFile => "revocation_file",
        }
    }
}

/// The state of all sources at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuthHealth {
    /// In the order of [`Source::ALL`].
    pub sources: [SourceHealth; Source::ALL.len()],
    /// Time since the keys at `auth.jwks_url` were fetched; none before the first fetch, and without a URL.
    pub keys_age: Option<Duration>,
    /// Keys in the last fetched set that cannot be used.
    pub keys_left_out: usize,
    /// Entries in the revocation list.
    pub revocations: usize,
}

/// The state of one source.
#[derive(Clone, Copy, Debug, Default)]
pub struct SourceHealth {
    /// Failed reads so far.
    pub failures: u64,
    /// Whether the last read failed, so that what is in use may be outdated.
    pub is_stale: bool,
}

/// The running state of one source: written when the source is read, read when metrics are scraped.
#[derive(Debug, Default)]
pub(super) struct Readings {
    failures: AtomicU64,
    is_stale: AtomicBool,
}

impl Readings {
    /// Counts a failed read. Returns whether the read before it succeeded.
    pub(super) fn failed(&self) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed);
        !self.is_stale.swap(true, Ordering::Relaxed)
    }

    /// Notes a successful read. Returns whether the read before it failed.
    pub(super) fn succeeded(&self) -> bool {
        self.is_stale.swap(false, Ordering::Relaxed)
    }

    /// Whether the last read failed.
    pub(super) fn are_stale(&self) -> bool {
        self.is_stale.load(Ordering::Relaxed)
    }

    pub(super) fn health(&self) -> SourceHealth {
        SourceHealth { failures: self.failures.load(Ordering::Relaxed), is_stale: self.are_stale() }
    }
}
