//! The memory of all logs of a node, and its bound. Counts; what is let go when it is reached, the hub decides.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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
}

impl LogMemory {
    /// None is used yet; `most` is in bytes.
    pub fn new(most: usize) -> Self {
        Self { most, used: AtomicUsize::new(0), is_reported: AtomicBool::new(false), is_tight: AtomicBool::new(false) }
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

    /// The hub has let go of what it could. Whether it is now tight although it was not before, or the other way round.
    pub fn relieved(&self) -> Option<bool> {
        let is_tight = self.is_over();
        self.is_reported.store(is_tight, Ordering::Relaxed);
        (self.is_tight.swap(is_tight, Ordering::Relaxed) != is_tight).then_some(is_tight)
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
        assert_eq!(memory.relieved(), Some(true));
        assert!(memory.is_tight() && !memory.is_to_be_reported());
        assert_eq!(memory.relieved(), None);
        memory.replace(60, 10);
        assert!(!memory.is_tight());
        assert_eq!(memory.relieved(), Some(false));
        memory.replace(0, 1);
        assert!(memory.is_to_be_reported());
    }
}
