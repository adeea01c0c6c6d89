//! All readers of a run: opening them, and what became of them.

use mio::event::Event;
use mio::{Registry, Token};

use super::clock::Nanos;
use super::engine::Shared;
use super::stream::{Change, Stream};

/// Connections begun before anything else is looked at.
const SLICE: usize = 64;

/// The readers, in the order in which they began to connect.
#[derive(Default)]
pub(super) struct Readers {
    streams: Vec<Stream>,
    wanted: usize,
    /// How many may be on their way at once.
    at_once: usize,
    /// Those that had not even a socket.
    unborn: usize,
    pub(super) opening: usize,
    pub(super) opened: usize,
    pub(super) failed: usize,
    pub(super) ended: usize,
    pub(super) first_problem: Option<String>,
    /// When the newest stream opened.
    pub(super) opened_at: Nanos,
    /// Events after which a reader has caught up.
    replay: u64,
    pub(super) caught_up: usize,
    /// When the newest one had caught up.
    pub(super) caught_up_at: Nanos,
}

impl Readers {
    /// Wants `wanted` streams, `at_once` of them connecting at a time.
    pub(super) fn want(&mut self, wanted: usize, at_once: usize) {
        self.wanted = wanted;
        self.at_once = at_once.max(1);
    }

    /// Counts readers as caught up when they have so many events.
    pub(super) fn await_replay(&mut self, events: u64) {
        self.replay = events;
    }

    /// Whether all that are wanted have caught up or never will.
    pub(super) fn are_caught_up(&self) -> bool {
        self.caught_up + self.failed + self.ended >= self.wanted
    }

    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// Those that were opened, whatever became of them.
    pub(super) fn that_opened(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter().filter(|stream| stream.was_open())
    }

    /// Whether all that are wanted have opened or failed.
    pub(super) fn are_settled(&self) -> bool {
        self.opened + self.failed >= self.wanted
    }

    /// Begins to connect some of those that are wanted. Whether there are more to begin with.
    pub(super) fn open_more(&mut self, shared: &Shared, registry: &Registry) -> bool {
        for _ in 0..SLICE {
            if self.streams.len() + self.unborn >= self.wanted || self.opening >= self.at_once {
                return false;
            }
            let number = self.streams.len();
            match Stream::connect(number, Token(number), shared.clock.now(), shared, registry) {
                Ok(stream) => {
                    self.streams.push(stream);
                    self.opening += 1;
                }
                // Out of ports or descriptors: the next would not fare better.
                Err(error) => {
                    self.unborn = self.wanted - number;
                    self.fail(self.unborn, error.to_string());
                    return false;
                }
            }
        }
        true
    }

    /// Goes on with the stream that became ready.
    pub(super) fn ready(&mut self, number: usize, event: &Event, shared: &mut Shared) {
        let Some(stream) = self.streams.get_mut(number) else { return };
        let before = stream.events;
        let change = stream.ready(event, shared);
        if before < self.replay && stream.events >= self.replay {
            self.caught_up += 1;
            self.caught_up_at = shared.clock.now();
            shared.catch_up.record(self.caught_up_at - stream.began);
        }
        match change {
            Change::None => {}
            Change::Opened => {
                self.opening -= 1;
                self.opened += 1;
                self.opened_at = shared.clock.now();
            }
            Change::Failed(problem) => {
                self.opening -= 1;
                self.fail(1, problem);
            }
            Change::Ended => self.ended += 1,
        }
    }

    /// Gives up those that are still on their way, and those not yet begun.
    pub(super) fn give_up(&mut self, problem: &str) {
        let late = self.wanted - self.opened - self.failed;
        if late > 0 {
            self.streams.iter_mut().filter(|stream| !stream.was_open()).for_each(Stream::abandon);
            self.unborn = self.wanted - self.streams.len();
            self.opening = 0;
            self.fail(late, problem.into());
        }
    }

    fn fail(&mut self, count: usize, problem: String) {
        self.failed += count;
        self.first_problem.get_or_insert(problem);
    }
}
