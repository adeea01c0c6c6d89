//! What the settings say about every stream's life, and the timestamps that lives are made of.

use std::time::{Duration, Instant};

/// What the settings say about the life of every stream.
#[derive(Clone, Copy, Debug)]
pub struct LifeRules {
    /// Where timestamps begin.
    pub(super) epoch: Instant,
    pub(super) keepalive: Duration,
    pub(super) keepalive_tolerance: Duration,
    pub(super) write_timeout: Duration,
    pub(super) max_age: Option<Duration>,
}

impl LifeRules {
    /// Rules for streams that begin after `epoch`.
    pub fn new(keepalive: Duration, write_timeout: Duration, max_age: Option<Duration>, epoch: Instant) -> Self {
        Self { epoch, keepalive, keepalive_tolerance: Duration::ZERO, write_timeout, max_age }
    }

    /// Lets a keepalive be sent this much early, for a carrier that looks at a stream only once per period.
    #[must_use]
    pub fn with_keepalive_tolerance(self, keepalive_tolerance: Duration) -> Self {
        Self { keepalive_tolerance, ..self }
    }

    pub(super) fn timestamp(&self, at: Instant) -> Timestamp {
        Timestamp::after(at.saturating_duration_since(self.epoch))
    }

    pub(super) fn instant(&self, timestamp: Timestamp) -> Option<Instant> {
        (timestamp != Timestamp::NEVER).then_some(self.epoch + Duration::from_nanos(timestamp.0))
    }
}

/// Nanoseconds since the epoch of the rules: half the size of an `Instant`, of which each stream would need three.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Timestamp(pub(super) u64);

impl Timestamp {
    pub(super) const NEVER: Self = Self(u64::MAX);

    pub(super) fn after(since_epoch: Duration) -> Self {
        u64::try_from(since_epoch.as_nanos()).map_or(Self::NEVER, Self)
    }

    pub(super) fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(Self::after(duration).0))
    }

    /// Later by a share of the duration, from 0 to 1. All of centuries leads to `NEVER`, and so does a share of them.
    pub(super) fn plus_share(self, share: f64, duration: Duration) -> Self {
        match Self::after(duration) {
            Self::NEVER => Self::NEVER,
            _ => self.plus(duration.mul_f64(share)),
        }
    }
}
