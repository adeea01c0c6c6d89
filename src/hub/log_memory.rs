//! The memory of all logs of a node, and its limit. It only counts: the hub decides what to free.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Bytes of memory of all logs, `store.memory` at most.
#[derive(Debug)]
pub struct LogMemory {
    max_bytes: usize,
    /// Written by each log when it changes.
    used: AtomicUsize,
    /// Whether the hub has been asked to free memory, and has not done so yet.
    is_reported: AtomicBool,
    /// Whether logs use too much although the hub has freed what it could. Written by the hub, read by logs.
    is_tight: AtomicBool,
    logged: Mutex<Logged>,
}

/// What was logged last.
#[derive(Debug, Default)]
struct Logged {
    is_tight: bool,
    /// When memory was last logged as tight.
    since: Option<Instant>,
}

/// Minimum time between two warnings.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

impl LogMemory {
    /// Nothing is used yet.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            used: AtomicUsize::new(0),
            is_reported: AtomicBool::new(false),
            is_tight: AtomicBool::new(false),
            logged: Mutex::default(),
        }
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// One log uses `after` bytes in place of `before`.
    pub fn replace(&self, before: usize, after: usize) {
        if after >= before {
            self.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.used.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// Whether logs use more than they may.
    pub fn is_over(&self) -> bool {
        self.used() > self.max_bytes
    }

    /// Whether logs use more than they may, and all of it is needed.
    pub fn is_tight(&self) -> bool {
        self.is_tight.load(Ordering::Relaxed) && self.is_over()
    }

    /// Whether the hub is to be asked to free memory: once, until it has done so.
    pub fn is_to_be_reported(&self) -> bool {
        self.is_over() && !self.is_reported.swap(true, Ordering::Relaxed)
    }

    /// The hub has freed what it could. Returns whether memory is tight now, if that is to be logged: clients can make it
    /// tight and undo that as often as they like.
    pub fn freed(&self, now: Instant) -> Option<bool> {
        let is_tight = self.is_over();
        self.is_reported.store(is_tight, Ordering::Relaxed);
        self.is_tight.store(is_tight, Ordering::Relaxed);
        let mut logged = self.logged.lock();
        let is_early = logged.since.is_some_and(|since| now.saturating_duration_since(since) < BETWEEN_WARNINGS);
        if is_tight == logged.is_tight || (is_tight && is_early) {
            return None;
        }
        logged.is_tight = is_tight;
        if is_tight {
            logged.since = Some(now);
        }
        Some(is_tight)
    }
}

impl Default for LogMemory {
    /// Without a limit.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excess_is_reported_once_and_tight_when_nothing_helps() {
        let memory = LogMemory::new(100);
        memory.replace(0, 100);
        assert!(!memory.is_to_be_reported());
        memory.replace(0, 50);
        assert!(memory.is_to_be_reported() && !memory.is_to_be_reported() && !memory.is_tight());
        let began = Instant::now();
        assert_eq!(memory.freed(began), Some(true));
        assert!(memory.is_tight() && !memory.is_to_be_reported());
        assert_eq!(memory.freed(began), None);
        memory.replace(60, 10);
        assert!(!memory.is_tight());
        assert_eq!(memory.freed(began), Some(false));
        memory.replace(0, 1);
        assert!(memory.is_to_be_reported());
    }

    #[test]
    fn warnings_are_a_minute_apart() {
        let (memory, began) = (LogMemory::new(100), Instant::now());
        let lines = |seconds: u64| {
            let now = began + Duration::from_secs(seconds);
            memory.replace(0, 101);
            let tight = memory.freed(now);
            assert!(memory.is_tight());
            memory.replace(101, 0);
            (tight, memory.freed(now))
        };
        assert_eq!(lines(0), (Some(true), Some(false)));
        assert_eq!(lines(1), (None, None));
        assert_eq!(lines(59), (None, None));
        assert_eq!(lines(60), (Some(true), Some(false)));
    }
}
