//! The node as a store sees it: what a store reports, and the readers to wake for it.

use std::fmt;
use std::task::Waker;

use crate::event::PipelineId;
use crate::log::notification::Notification;

/// What a store reports to.
///
/// Called from the store's own loop or under its lock, so implementations neither block nor do I/O.
pub trait EventSink: Send + Sync + fmt::Debug {
    /// Events were accepted, as a hint: it may be lost, doubled or late. Returns the readers to wake, which the store does
    /// when it has released its locks. That costs no order: the events are in the log by then.
    fn notify(&self, pipeline: &str, notification: Notification) -> Wakers;
    /// A notification that cannot be read.
    fn notification_damaged(&self, pipeline: &str);
    /// From here on notifications of these pipelines arrive. What was accepted before is to be read.
    fn subscribed(&self, pipelines: &[PipelineId]);
}

/// Readers that have something new to look at.
#[derive(Debug, Default)]
#[must_use = "readers that are not woken wait for the next event"]
pub struct Wakers(Vec<Waker>);

impl Wakers {
    /// Wakes them. The caller holds no lock: a woken reader may take any.
    pub fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

impl FromIterator<Waker> for Wakers {
    fn from_iter<I: IntoIterator<Item = Waker>>(wakers: I) -> Self {
        Self(wakers.into_iter().collect())
    }
}
