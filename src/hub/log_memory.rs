//! The memory of all logs of a node, and its bound. Counts; what is let go when it is reached, the hub decides.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What all logs take together, `store.memory` at most.
#[derive(Debug)]
pub struct LogMemory {
    most: usize,
    /// Written by each log when it changes.
    used: AtomicUsize,
    /// Whether the hub has been told, and has done nothing since.
    is_reported: AtomicBool,
    /// Whether it is too much although the hub has let go of what it could. Written by the hub, read by logs.
    is_tight: AtomicBool,
    told: Mutex<Told>,
}

/// What was logged last.
#[derive(Debug, Default)]
struct Told {
    is_tight: bool,
    /// When it was last logged that it is tight.
    since: Option<Instant>,
}

/// At least so long between two lines that say that it is tight.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

impl LogMemory {
    /// None is used yet; `most` is in bytes.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            used: AtomicUsize::new(0),
            is_reported: AtomicBool::new(false),
            is_tight: AtomicBool::new(false),
            told: Mutex::default(),
        }
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// One log takes so many bytes in place of others.
    pub fn replace(&self, before: usize, after: usize) {
        if after >= before {
            self.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.used.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// Whether it is too much.
    pub fn is_over(&self) -> bool {
        self.used() > self.most
    }

    /// Whether it is too much, and nothing is left that nobody needs.
    pub fn is_tight(&self) -> bool {
        self.is_tight.load(Ordering::Relaxed) && self.is_over()
    }

    /// Whether the hub is to be told that it is too much: once, until it has done what it can.
    pub fn is_to_be_reported(&self) -> bool {
        self.is_over() && !self.is_reported.swap(true, Ordering::Relaxed)
    }

    /// The hub has let go of what it could. Whether it is tight now, where that is to be logged: strangers can make it so
    /// and undo it as often as they like.
    pub fn relieved(&self, now: Instant) -> Option<bool> {
        let is_tight = self.is_over();
        self.is_reported.store(is_tight, Ordering::Relaxed);
        self.is_tight.store(is_tight, Ordering::Relaxed);
        let mut told = self.told.lock();
        let is_due = told.since.is_none_or(|since| now.saturating_duration_since(since) >= BETWEEN_LINES);
        if is_tight == told.is_tight || is_tight && !is_due {
            return None;
        }
        told.is_tight = is_tight;
        if is_tight {
            told.since = Some(now);
        }
        Some(is_tight)
    }
}

impl Default for LogMemory {
    /// Without a bound.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_is_reported_once_and_is_tight_when_nothing_helped() {
        let memory = LogMemory::new(100);
        memory.replace(0, 100);
        assert!(!memory.is_to_be_reported());
        memory.replace(0, 50);
        assert!(memory.is_to_be_reported() && !memory.is_to_be_reported() && !memory.is_tight());
        let began = Instant::now();
        assert_eq!(memory.relieved(began), Some(true));
        assert!(memory.is_tight() && !memory.is_to_be_reported());
        assert_eq!(memory.relieved(began), None);
        memory.replace(60, 10);
        assert!(!memory.is_tight());
        assert_eq!(memory.relieved(began), Some(false));
        memory.replace(0, 1);
        assert!(memory.is_to_be_reported());
    }

    #[test]
    fn the_log_is_not_told_again_and_again() {
        let (memory, began) = (LogMemory::new(100), Instant::now());
        let lines = |seconds: u64| {
            let now = began + Duration::from_secs(seconds);
            memory.replace(0, 101);
            let tight = memory.relieved(now);
            assert!(memory.is_tight());
            memory.replace(101, 0);
            (tight, memory.relieved(now))
        };
        assert_eq!(lines(0), (Some(true), Some(false)));
        assert_eq!(lines(1), (None, None));
        assert_eq!(lines(59), (None, None));
        assert_eq!(lines(60), (Some(true), Some(false)));
    }
}
