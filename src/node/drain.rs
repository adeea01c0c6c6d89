//! The phases of a node, from serving to draining, so that its clients do not all move to other nodes at once.

use tokio::sync::watch;

/// A phase in the life of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum NodePhase {
    /// It accepts everything.
    Serving,
    /// It was asked to stop: it is not ready and asks new streams to reconnect elsewhere. Everything else continues.
    Leaving,
    /// It accepts no new connection, and its streams end.
    Draining,
}

/// The phase of a node, for all parts that act on it.
#[derive(Debug)]
pub struct Drain {
    phase: watch::Sender<NodePhase>,
}

impl Drain {
    /// A node that serves.
    pub fn new() -> Self {
        Self { phase: watch::Sender::new(NodePhase::Serving) }
    }

    /// The current phase.
    pub fn phase(&self) -> NodePhase {
        *self.phase.borrow()
    }

    /// Enters a later phase. An earlier one changes nothing.
    pub fn enter(&self, phase: NodePhase) {
        self.phase.send_if_modified(|current| {
            let is_later = phase > *current;
            *current = phase.max(*current);
            is_later
        });
    }

    /// Waits until the phase is reached. Cancel safe.
    pub async fn reached(&self, phase: NodePhase) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.phase.subscribe().wait_for(|current| *current >= phase).await;
    }

    /// Waits until the phase is over. Cancel safe.
    pub async fn passed(&self, phase: NodePhase) {
        let _ = self.phase.subscribe().wait_for(|current| *current > phase).await;
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}
