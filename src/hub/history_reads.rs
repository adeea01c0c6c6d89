//! Reads of histories, and the waits between attempts. What to read is decided by [`super::live_log`].

use std::sync::Arc;

use tokio::time::sleep;

use super::live_log::{AfterRead, Question};
use super::open_log::OpenLog;
use super::read_queue::{ReadQueue, Waiting};
use super::{Hub, now};
use crate::event::PipelineId;
use crate::metrics::{ReadReason, StoreOp};
use crate::store::{Newest, Store, StoreError};

impl Hub {
    /// The next log to be read. Skips those that were closed while they waited: while the store is slow they may be the
    /// majority, and nobody would see what is read.
    pub(super) fn next_read(&self, waiting: &mut ReadQueue) -> Option<Waiting> {
        std::iter::from_fn(|| waiting.pop()).find(|next| self.is_open(&next.log))
    }

    fn is_open(&self, log: &Arc<OpenLog>) -> bool {
        self.logs.lock().get(log.pipeline()).is_some_and(|open| Arc::ptr_eq(open, log))
    }

    /// One attempt.
    pub(super) async fn read(&self, store: &Store, waiting: Waiting, question: Question) -> (Waiting, AfterRead) {
        let log = &waiting.log;
        let after = match self.attempt(store, log, question).await {
            Ok(after) => after,
            Err(error) => {
                self.metrics.store_error(StoreOp::History);
                tracing::debug!(pipeline = %log.pipeline(), %error, "could not read a history");
                log.read_failed()
            }
        };
        (waiting, after)
    }

    async fn attempt(&self, store: &Store, log: &OpenLog, question: Question) -> Result<AfterRead, StoreError> {
        let reason = match question {
            Question::History(reason) => reason,
            Question::Newest => match log.newest_arrived(newest(store, log.pipeline()).await?) {
                Some(after) => return Ok(after),
                None => ReadReason::Ahead,
            },
        };
        self.metrics.history_read(reason);
        let history = store.history(log.pipeline()).await?;
        let after = log.history_arrived(history, now());
        self.report_memory();
        Ok(after)
    }
}

/// Waits before the next attempt, outside of the reads that are under way.
pub(super) async fn wait(mut waiting: Waiting, attempts: u64) -> (Waiting, u64) {
    sleep(waiting.backoff.next_delay()).await;
    (waiting, attempts)
}

/// The newest event of one pipeline.
async fn newest(store: &Store, pipeline: &PipelineId) -> Result<Newest, StoreError> {
    let one = store.newest(std::slice::from_ref(pipeline)).await;
    one.into_iter().next().unwrap_or_else(|| Err(StoreError::Unexpected("no answer about a pipeline".into())))
}
