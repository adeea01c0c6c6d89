//! A reader: membership in a log, of one client or of several that share it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::live_log::Ticket;
use super::open_log::{LogView, OpenLog};
use super::{Hub, now};
use crate::event::PipelineId;
use crate::log::Cursor;
use crate::metrics::ReadReason;

/// Membership in a log. Leaves when dropped.
#[derive(Debug)]
pub struct Reader {
    hub: Arc<Hub>,
    log: Arc<OpenLog>,
    place: usize,
}

impl Reader {
    pub(super) fn new(hub: Arc<Hub>, log: Arc<OpenLog>, place: usize) -> Self {
        Self { hub, log, place }
    }

    /// Shows the log to `look`. If that finds nothing to do, the task is woken at the next change.
    pub fn poll<T>(&self, cx: &Context<'_>, look: impl FnOnce(LogView<'_>) -> Poll<T>) -> Poll<T> {
        self.log.poll(self.place, cx, look)
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &PipelineId {
        self.log.pipeline()
    }

    /// Shows the log.
    pub fn look<T>(&self, look: impl FnOnce(LogView<'_>) -> T) -> T {
        self.log.look(look)
    }

    /// Wakes the task at the next change, whatever the log holds by then.
    pub fn wake_at_change(&self, waker: &Waker) {
        let never: Poll<()> = self.log.poll(self.place, &Context::from_waker(waker), |_| Poll::Pending);
        debug_assert!(never.is_pending());
    }

    /// Counts a client that reads through this membership. Returns the mark that it counts as having passed.
    pub fn add_client(&self) -> u64 {
        self.log.add_client()
    }

    /// Stops counting a client that last passed this mark.
    pub fn remove_client(&self, passed: u64) {
        self.log.remove_client(passed);
    }

    /// Counts how far a client has come; `passed` is the mark that it passed last.
    pub fn keep_pace(&self, cursor: Option<Cursor>, passed: &mut u64) {
        let mark = self.log.mark();
        if *passed != mark && cursor.is_some_and(|cursor| cursor.index() >= mark) {
            *passed = self.log.passed(*passed, mark);
        }
    }

    /// Asks for a read of the history that starts after this call.
    pub fn request_read(&self, reason: ReadReason) -> Ticket {
        let (ticket, action) = self.log.request_read(reason);
        self.hub.act(&self.log, action);
        ticket
    }

    /// See [`Hub::drain_window`].
    pub fn drain_window(&self) -> Option<Duration> {
        self.hub.drain_window()
    }

    #[cfg(test)]
    pub(super) fn log(&self) -> &Arc<OpenLog> {
        &self.log
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(since) = self.log.leave(self.place, now()) {
            self.hub.idle.lock().add(since, self.log.clone());
        }
    }
}
