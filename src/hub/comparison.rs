//! The regular comparison of open logs with the store: it finds a lost last notification, which no later one gives away.

use super::Hub;
use super::now;
use crate::metrics::StoreOp;
use crate::store::Store;

/// Pipelines compared in one call.
const COMPARED_AT_ONCE: usize = 500;

impl Hub {
    /// Compares all logs with readers. The call also keeps the store from expiring their histories.
    pub(super) async fn compare(&self, store: &Store) {
        let logs: Vec<_> = self.all().into_iter().filter(|log| log.readers() > 0).collect();
        for some in logs.chunks(COMPARED_AT_ONCE) {
            let before: Vec<_> = some.iter().map(|log| log.look(|view| view.log.tail())).collect();
            let pipelines: Vec<_> = some.iter().map(|log| log.pipeline().clone()).collect();
            for ((log, before), newest) in some.iter().zip(before).zip(store.newest(&pipelines).await) {
                match newest {
                    Ok(newest) => self.act(log, log.checked(newest, before)),
                    Err(error) => {
                        self.metrics.store_error(StoreOp::Check);
                        tracing::debug!(pipeline = %log.pipeline(), %error, "could not compare a log with the store");
                    }
                }
                log.trim(now());
            }
        }
    }
}
