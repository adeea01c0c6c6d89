//! The time that a client has for taking what it was given. What is given, and what it takes, others know.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// Looks for a client that stands still.
pub(in crate::http) struct Stall {
    longest: Duration,
    /// The turn at which the client stands, and until when it may. There only while something waits for it.
    standing: Option<(u64, Pin<Box<Sleep>>)>,
}

impl Stall {
    /// For a client that may stand still for so long.
    pub(in crate::http) fn new(longest: Duration) -> Self {
        Self { longest, standing: None }
    }

    /// Ready when the client has stood at this turn for too long; `None` while nothing waits for it.
    pub(in crate::http) fn poll_past(&mut self, turn: Option<u64>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(turn) = turn else {
            self.standing = None;
            return Poll::Pending;
        };
        if self.standing.as_ref().is_none_or(|(standing, _)| *standing != turn) {
            self.standing = Some((turn, Box::pin(sleep(self.longest))));
        }
        self.standing.as_mut().map_or(Poll::Pending, |(_, timer)| timer.as_mut().poll(cx))
    }
}
