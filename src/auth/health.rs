//! How the reading of keys and revocations goes, for the metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Where keys and revocations come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// `auth.keys_file`, and the files of single keys.
    Keys,
    /// `auth.jwt_secret_file`, `auth.jwt_keys` and `auth.jwks_file`.
    JwtKeys,
    /// `auth.jwks_url`.
    JwksUrl,
    /// `auth.revocation_file`.
    RevocationFile,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Keys, Self::JwtKeys, Self::JwksUrl, Self::RevocationFile];

    /// The source as metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::JwtKeys => "jwt_keys",
            Self::JwksUrl => "jwks_url",
            Self::RevocationFile => "revocation_file",
        }
    }
}

/// What is known of all sources at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuthHealth {
    /// In the order of [`Source::ALL`].
    pub sources: [SourceHealth; Source::ALL.len()],
    /// How long ago the keys at `auth.jwks_url` were fetched; none before the first time, and without a URL.
    pub keys_age: Option<Duration>,
    /// Keys of the last set there that are of no use.
    pub keys_left_out: usize,
    /// Names of which tokens and keys are revoked.
    pub revocations: usize,
}

/// What is known of a source.
#[derive(Clone, Copy, Debug, Default)]
pub struct SourceHealth {
    /// How often it could not be read.
    pub failures: u64,
    /// Whether that was so the last time: what is in use may not be what it says by now.
    pub is_stale: bool,
}

/// The same while it goes on: written by whoever reads the source, read by whoever scrapes.
#[derive(Debug, Default)]
pub(super) struct Readings {
    failures: AtomicU64,
    is_stale: AtomicBool,
}

impl Readings {
    /// It could not be read; whether it could before.
    pub(super) fn failed(&self) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed);
        !self.is_stale.swap(true, Ordering::Relaxed)
    }

    /// It was read; whether it could not be before.
    pub(super) fn succeeded(&self) -> bool {
        self.is_stale.swap(false, Ordering::Relaxed)
    }

    /// Whether it could not be read the last time.
    pub(super) fn are_stale(&self) -> bool {
        self.is_stale.load(Ordering::Relaxed)
    }

    pub(super) fn health(&self) -> SourceHealth {
        SourceHealth { failures: self.failures.load(Ordering::Relaxed), is_stale: self.are_stale() }
    }
}
