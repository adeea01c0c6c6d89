//! Logs whose history is to be read, those with waiting clients first. No I/O.

use std::collections::VecDeque;
use std::sync::Arc;

use super::live_log::Urgency;
use super::open_log::OpenLog;
use crate::backoff::Backoff;

/// Logs that wait for their turn. A log may be in it twice; the second turn finds nothing to do.
#[derive(Debug, Default)]
pub struct ReadQueue {
    awaited: VecDeque<Waiting>,
    live: VecDeque<Waiting>,
    lingering: VecDeque<Waiting>,
}

/// A log, and how long it waits after the next attempt that fails.
#[derive(Debug)]
pub struct Waiting {
    /// The log.
    pub log: Arc<OpenLog>,
    /// Only of this read: a fault of one pipeline's list says nothing about the others.
    pub backoff: Backoff,
}

impl ReadQueue {
    /// Adds a log before its first attempt.
    pub fn push(&mut self, log: Arc<OpenLog>) {
        self.push_again(Waiting { log, backoff: Backoff::for_store() });
    }

    /// Adds a log that has waited after an attempt.
    pub fn push_again(&mut self, waiting: Waiting) {
        let queue = match waiting.log.urgency() {
            Urgency::Awaited => &mut self.awaited,
            Urgency::Live => &mut self.live,
            Urgency::Lingering => &mut self.lingering,
        };
        queue.push_back(waiting);
    }

    /// Takes the next one.
    pub fn pop(&mut self) -> Option<Waiting> {
        self.awaited.pop_front().or_else(|| self.live.pop_front()).or_else(|| self.lingering.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogLimits;
    use crate::sse::frame::History;
    use std::time::{Duration, Instant};

    #[test]
    fn logs_with_waiting_clients_come_first_and_lingering_ones_last() {
        let limits = LogLimits {
            history: 1,
            history_bytes: usize::MAX,
            backlog_bytes: 0,
            backlog_age: Duration::ZERO,
            compresses: false,
        };
        let log = |name: &str| Arc::new(OpenLog::new(name.parse().unwrap(), limits, Arc::default()));
        let [lingering, live, awaited] = [log("lingering"), log("live"), log("awaited")];
        for log in [&live, &awaited] {
            let _ = log.join();
        }
        let _ = live.subscribed();
        live.start_read().unwrap();
        let _ = live.history_arrived(History::default(), Instant::now());
        let mut queue = ReadQueue::default();
        for log in [lingering, live, awaited] {
            queue.push(log);
        }
        let order = std::iter::from_fn(|| queue.pop()).map(|waiting| waiting.log.pipeline().to_string());
        assert_eq!(order.collect::<Vec<_>>(), ["awaited", "live", "lingering"]);
    }
}
