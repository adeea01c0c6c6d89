//! Draining: how a node stops without throwing all its clients onto the others at once.

use tokio::sync::watch;

/// Where a node is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// It takes everything.
    Serving,
    /// It was told to stop: not ready any more, new streams are sent elsewhere, all else goes on.
    Leaving,
    /// It takes no new connection, and its streams end.
    Draining,
}

/// A node's phase, told to whoever must act on it.
#[derive(Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
}

impl Drain {
    /// A node that serves.
    pub fn new() -> Self {
        Self { phase: watch::Sender::new(Phase::Serving) }
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Goes on to a phase; never back.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let is_later = phase > *current;
            *current = phase.max(*current);
            is_later
        });
    }

    /// Waits until the phase is reached. Cancel safe.
    pub async fn reached(&self, phase: Phase) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.phase.subscribe().wait_for(|current| *current >= phase).await;
    }

    /// Waits until the phase is over. Cancel safe.
    pub async fn passed(&self, phase: Phase) {
        let _ = self.phase.subscribe().wait_for(|current| *current > phase).await;
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}
