//! The log's lines about a full node: once when it becomes full, and once when it has room again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Minimum seconds between two warnings: a stranger may fill and leave the last slots of a small node as often as it likes.
const SECONDS_BETWEEN_WARNINGS: u64 = 60;

/// Whether the log shows the node as full.
#[derive(Debug)]
pub(super) struct FullNotice {
    max_streams: usize,
    began: Instant,
    is_logged: AtomicBool,
    /// When the next warning may be logged, in seconds since `began`.
    next_at: AtomicU64,
}

impl FullNotice {
    pub(super) fn new(max_streams: usize) -> Self {
        Self { max_streams, began: Instant::now(), is_logged: AtomicBool::new(false), next_at: AtomicU64::new(0) }
    }

    /// A client was turned away.
    pub(super) fn full(&self) {
        let now = self.began.elapsed().as_secs();
        let is_due = now >= self.next_at.load(Ordering::Relaxed);
        if is_due && !self.is_logged.swap(true, Ordering::Relaxed) {
            self.next_at.store(now + SECONDS_BETWEEN_WARNINGS, Ordering::Relaxed);
            tracing::warn!(
                limit = self.max_streams,
                "the node is full (limits.streams); new streams are asked to reconnect later, connections beyond that are closed"
            );
        }
    }

    /// A slot was given back. `has_room` is asked only after a warning.
    pub(super) fn freed(&self, has_room: impl FnOnce() -> bool) {
        if self.is_logged.load(Ordering::Relaxed) && has_room() && self.is_logged.swap(false, Ordering::Relaxed) {
            tracing::info!(limit = self.max_streams, "the node has room for streams again");
        }
    }
}
