//! Permits: what lets a stream, or another long answer, continue until its token expires or is revoked.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use slab::Slab;

use super::holder::Holder;
use super::refusal::Refused;
use crate::event::PipelineId;

/// Lets one stream continue.
pub struct StreamPermit {
    /// What the client was let in with.
    pub holder: Holder,
    /// What the stream reads.
    pub pipeline: PipelineId,
    /// When it was given, and the token's remaining time then; none for a static key, which does not expire.
    given: Instant,
    life: Option<Duration>,
    /// Written by [`StreamPermit::revoke`], read by what carries the stream.
    is_revoked: AtomicBool,
    /// Wakes what carries the stream.
    waker: AtomicWaker,
    /// Its place in the registry, given back when it is dropped.
    _entry: Option<Entry>,
}

/// Without names, which clients may have chosen.
impl fmt::Debug for StreamPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamPermit")
            .field("life", &self.life)
            .field("is_revoked", &self.is_revoked)
            .finish_non_exhaustive()
    }
}

impl StreamPermit {
    /// A permit that is valid for `life`, or without end.
    pub fn new(holder: Holder, pipeline: PipelineId, life: Option<Duration>) -> Self {
        let given = Instant::now();
        Self {
            holder,
            pipeline,
            given,
            life,
            is_revoked: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            _entry: None,
        }
    }

    /// The token's remaining time; `None` for a static key, which does not expire.
    pub fn time_left(&self, now: Instant) -> Option<Duration> {
        self.life.map(|life| life.saturating_sub(now.saturating_duration_since(self.given)))
    }

    /// Whether its stream must end at once.
    pub fn is_revoked(&self) -> bool {
        self.is_revoked.load(Ordering::SeqCst)
    }

    /// Whether its stream may continue.
    ///
    /// # Errors
    /// When the token has expired or was revoked.
    pub fn check(&self) -> Result<(), Refused> {
        if self.is_revoked() {
            Err(Refused::Invalid)
        } else if self.life.is_some_and(|life| self.given.elapsed() >= life) {
            Err(Refused::Expired)
        } else {
            Ok(())
        }
    }

    /// Wakes this waker when it is revoked; the last one registered counts. Call it before [`StreamPermit::is_revoked`].
    pub fn wake_when_revoked(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Ends its stream at once.
    pub fn revoke(&self) {
        self.is_revoked.store(true, Ordering::SeqCst);
        self.waker.wake();
    }
}

/// The permits of all open streams.
#[derive(Debug, Default)]
pub(super) struct PermitRegistry(Arc<Register>);

type Register = Mutex<Slab<Weak<StreamPermit>>>;

/// A permit's place in the registry.
struct Entry {
    register: Arc<Register>,
    key: usize,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.register.lock().remove(self.key);
    }
}

impl PermitRegistry {
    /// Enters a permit, which stays until it is dropped.
    pub(super) fn enter(&self, permit: StreamPermit) -> Arc<StreamPermit> {
        let mut permits = self.0.lock();
        let place = permits.vacant_entry();
        let entry = Some(Entry { register: self.0.clone(), key: place.key() });
        let permit = Arc::new(StreamPermit { _entry: entry, ..permit });
        place.insert(Arc::downgrade(&permit));
        permit
    }

    /// Revokes the permits that are no longer `allowed`, and returns how many there were.
    pub(super) fn revoke_unless(&self, allowed: impl Fn(&StreamPermit) -> bool) -> usize {
        // Permits are woken, and dropped if this was their last reference, outside the lock.
        let open: Vec<_> = self.0.lock().iter().filter_map(|(_, permit)| permit.upgrade()).collect();
        let revoked = open.iter().filter(|permit| !permit.is_revoked() && !allowed(permit));
        revoked.map(|permit| permit.revoke()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permit(jti: &str, life: Option<Duration>) -> StreamPermit {
        let holder = Holder::Token { jti: Some(jti.into()), key_id: None };
        StreamPermit::new(holder, "p".parse().unwrap(), life)
    }

    #[test]
    fn remaining_time_of_a_token_shrinks_to_nothing() {
        let minute = Duration::from_secs(60);
        let permit = permit("a", Some(minute));
        assert_eq!(permit.time_left(permit.given + minute / 4), Some(minute * 3 / 4));
        assert_eq!(permit.time_left(permit.given + minute * 2), Some(Duration::ZERO));
    }

    #[test]
    fn dropped_permits_leave_the_registry() {
        let permits = PermitRegistry::default();
        let kept = permits.enter(permit("kept", None));
        for _ in 0..10 {
            let open: Vec<_> = (0..1000).map(|_| permits.enter(permit("gone", None))).collect();
            assert_eq!(permits.0.lock().len(), 1001);
            drop(open);
            assert_eq!(permits.0.lock().len(), 1);
        }
        assert_eq!(permits.revoke_unless(|_| true), 0);
        assert_eq!(permits.revoke_unless(|_| false), 1);
        assert!(kept.is_revoked());
    }
}
