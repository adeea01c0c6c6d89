//! Logs without readers, in the order in which they lost their last one. No I/O, no locks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::open_log::OpenLog;
use crate::event::PipelineId;

/// Each log is in it once, however often readers come and leave; it may have readers again.
#[derive(Debug, Default)]
pub(super) struct IdleLogs(BTreeMap<(Instant, PipelineId), Arc<OpenLog>>);

impl IdleLogs {
    /// Adds a log that has had no readers since then.
    pub(super) fn add(&mut self, since: Instant, log: Arc<OpenLog>) {
        self.0.insert((since, log.pipeline().clone()), log);
    }

    /// Takes out the log that was added with the earliest time, if that is at least so long ago.
    pub(super) fn take_first(&mut self, now: Instant, at_least: Duration) -> Option<(Instant, Arc<OpenLog>)> {
        let first = self.0.first_entry()?;
        let since = first.key().0;
        (now.saturating_duration_since(since) >= at_least).then(|| (since, first.remove()))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
