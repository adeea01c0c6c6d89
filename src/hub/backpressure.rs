//! Backpressure: how a publisher waits for a pipeline's subscribers. Who is behind is counted by
//! [`super::subscriber_progress`].

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::open_log::OpenLog;

/// While publishers wait for subscribers: if none of these gets further for so long, they are not waited for.
const PATIENCE: Duration = Duration::from_millis(250);

impl OpenLog {
    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.state.lock().progress.clients()
    }

    /// Counts a client. Returns the mark that it counts as having passed.
    pub fn add_client(&self) -> u64 {
        self.state.lock().progress.joined()
    }

    /// Stops counting a client that last passed this mark.
    pub fn remove_client(&self, passed: u64) {
        self.state.lock().progress.left(passed);
        self.caught_up.notify_waiters();
    }

    /// The index that clients are to pass.
    pub fn mark(&self) -> u64 {
        self.mark.load(Ordering::Relaxed)
    }

    /// A client that last passed one mark has passed another. Returns the mark that it is counted for.
    pub fn passed(&self, last: u64, mark: u64) -> u64 {
        let mut state = self.state.lock();
        let end = state.end();
        let was_outrun = state.progress.is_outrun(end);
        let counted = state.progress.passed(last, mark);
        if was_outrun && !state.progress.is_outrun(end) {
            drop(state);
            self.caught_up.notify_waiters();
        }
        counted
    }

    /// Waits, at most `longest`, while most clients are too far behind and still get further. Returns at once when they are
    /// not. Returns whether it waited. Cancel safe.
    pub async fn keep_pace(&self, longest: Duration) -> bool {
        if longest.is_zero() {
            return false;
        }
        let deadline = Instant::now() + longest;
        let mut last = None;
        loop {
            let caught_up = self.caught_up.notified();
            {
                let mut state = self.state.lock();
                let end = state.end();
                if !state.progress.is_outrun(end) {
                    return last.is_some();
                }
                let reached = state.progress.reached();
                let are_stuck = last == Some(reached);
                if are_stuck {
                    state.progress.give_up_late(end);
                } else if Instant::now() >= deadline {
                    state.progress.move_on(end);
                }
                if state.progress.mark() != reached.0 {
                    self.mark.store(end.index, Ordering::Relaxed);
                    drop(state);
                    self.caught_up.notify_waiters();
                    return true;
                }
                last = Some(reached);
            }
            // The loop looks for itself, whichever of the two it was.
            let _ = timeout_at(deadline.min(Instant::now() + PATIENCE), caught_up).await;
        }
    }
}
