//! Passes: what streams, and other answers that take their time, were let in under, for as long as they last.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use slab::Slab;

use super::grant::Refused;
use super::key::StaticKey;
use crate::event::PipelineId;

/// Who presented a key or a token.
#[derive(Clone, Debug)]
pub enum Holder {
    /// Of a static key.
    Key(Arc<StaticKey>),
    /// Of a signed token.
    Token {
        /// The token's name.
        jti: Option<Box<str>>,
        /// The name of the key that signed it.
        key_id: Option<Box<str>>,
    },
}

/// One stream's leave to go on.
pub struct Pass {
    /// Who it was given to.
    pub holder: Holder,
    /// What for.
    pub pipeline: PipelineId,
    /// When it was given, and what was left of the token then; none for a key without end.
    given: Instant,
    life: Option<Duration>,
    /// Written by whoever revokes it, read by what carries the stream.
    is_revoked: AtomicBool,
    /// What carries the stream.
    waker: AtomicWaker,
    /// Its place in the list of passes, given back when it is dropped.
    _entry: Option<Entry>,
}

/// Without the names, which clients may have chosen.
impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("life", &self.life).field("is_revoked", &self.is_revoked).finish_non_exhaustive()
    }
}

impl Pass {
    /// A pass that is good.
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

    /// How long its token is still valid; `None` for a key that does not expire.
    pub fn time_left(&self, now: Instant) -> Option<Duration> {
        self.life.map(|life| life.saturating_sub(now.saturating_duration_since(self.given)))
    }

    /// Whether its stream is to end at once.
    pub fn is_revoked(&self) -> bool {
        self.is_revoked.load(Ordering::SeqCst)
    }

    /// Whether what it was given for may go on: to the end of the token, or to its revocation.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), Refused> {
        if self.is_revoked() {
            Err(Refused::Invalid)
        } else if self.life.is_some_and(|life| self.given.elapsed() >= life) {
            Err(Refused::Expired)
        } else {
            Ok(())
        }
    }

    /// Asks to be woken when it is revoked. Before looking whether it is; the last waker counts.
    pub fn wake_when_revoked(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Ends its stream.
    pub fn revoke(&self) {
        self.is_revoked.store(true, Ordering::SeqCst);
        self.waker.wake();
    }
}

/// All passes of open streams.
#[derive(Debug, Default)]
pub(super) struct Passes(Arc<Register>);

type Register = Mutex<Slab<Weak<Pass>>>;

/// A pass's place in the list.
struct Entry {
    register: Arc<Register>,
    key: usize,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.register.lock().remove(self.key);
    }
}

impl Passes {
    /// Enters a pass; it leaves by being dropped.
    pub(super) fn enter(&self, pass: Pass) -> Arc<Pass> {
        let mut passes = self.0.lock();
        let place = passes.vacant_entry();
        let entry = Some(Entry { register: self.0.clone(), key: place.key() });
        let pass = Arc::new(Pass { _entry: entry, ..pass });
        place.insert(Arc::downgrade(&pass));
        pass
    }

    /// Revokes those that are no longer `allowed`; how many.
    pub(super) fn revoke_unless(&self, allowed: impl Fn(&Pass) -> bool) -> usize {
        // Woken, and dropped where they were the last ones, outside of the lock.
        let open: Vec<_> = self.0.lock().iter().filter_map(|(_, pass)| pass.upgrade()).collect();
        let revoked = open.iter().filter(|pass| !pass.is_revoked() && !allowed(pass));
        revoked.map(|pass| pass.revoke()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(jti: &str, life: Option<Duration>) -> Pass {
        let holder = Holder::Token { jti: Some(jti.into()), key_id: None };
        Pass::new(holder, "p".parse().unwrap(), life)
    }

    #[test]
    fn what_is_left_of_a_token_shrinks_to_nothing() {
        let minute = Duration::from_secs(60);
        let pass = pass("a", Some(minute));
        assert_eq!(pass.time_left(pass.given + minute / 4), Some(minute * 3 / 4));
        assert_eq!(pass.time_left(pass.given + minute * 2), Some(Duration::ZERO));
    }

    #[test]
    fn passes_that_are_gone_take_no_room() {
        let passes = Passes::default();
        let kept = passes.enter(pass("kept", None));
        for _ in 0..10 {
            let open: Vec<_> = (0..1000).map(|_| passes.enter(pass("gone", None))).collect();
            assert_eq!(passes.0.lock().len(), 1001);
            drop(open);
            assert_eq!(passes.0.lock().len(), 1);
        }
        assert_eq!(passes.revoke_unless(|_| true), 0);
        assert_eq!(passes.revoke_unless(|_| false), 1);
        assert!(kept.is_revoked());
    }
}
