//! All subscribers of a run: opening their streams, and counting what happens to them.

mod event_scanner;
mod stream;

use mio::event::Event;
use mio::{Registry, Token};

use crate::clock::Nanos;
use crate::shared::Shared;

use stream::{Stream, StreamChange};

/// Connections that are begun before the loop looks at anything else.
const SLICE: usize = 64;

/// The streams of all subscribers, in the order in which they began to connect.
#[derive(Default)]
pub(crate) struct Subscribers {
    streams: Vec<Stream>,
    wanted: usize,
    /// Maximum streams that connect at the same time.
    at_once: usize,
    /// Streams for which there was no socket.
    without_socket: usize,
    pub(crate) opening: usize,
    pub(crate) opened: usize,
    pub(crate) failed: usize,
    pub(crate) ended: usize,
    pub(crate) first_problem: Option<String>,
    /// When the last stream opened.
    pub(crate) opened_at: Nanos,
    /// A subscriber with this many events has caught up.
    replay: u64,
    pub(crate) caught_up: usize,
    /// When the last of them had caught up.
    pub(crate) caught_up_at: Nanos,
}

impl Subscribers {
    /// Asks for `wanted` streams, of which `at_once` connect at the same time.
    pub(crate) fn want(&mut self, wanted: usize, at_once: usize) {
        self.wanted = wanted;
        self.at_once = at_once.max(1);
    }

    /// Counts a subscriber as caught up when it has this many events.
    pub(crate) fn await_replay(&mut self, events: u64) {
        self.replay = events;
    }

    /// Whether every wanted stream has caught up or never will.
    pub(crate) fn are_caught_up(&self) -> bool {
        self.caught_up + self.failed + self.ended >= self.wanted
    }

    pub(crate) fn wanted(&self) -> usize {
        self.wanted
    }

    /// Streams that opened, including those that have ended since.
    pub(crate) fn that_opened(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter().filter(|stream| stream.was_open())
    }

    /// Whether every wanted stream has opened or failed.
    pub(crate) fn are_settled(&self) -> bool {
        self.opened + self.failed >= self.wanted
    }

    /// Begins to connect some of the wanted streams. Whether there are more to begin.
    pub(crate) fn open_more(&mut self, shared: &Shared, registry: &Registry) -> bool {
        for _ in 0..SLICE {
            if self.streams.len() + self.without_socket >= self.wanted || self.opening >= self.at_once {
                return false;
            }
            let number = self.streams.len();
            match Stream::connect(number, Token(number), shared.clock.now(), shared, registry) {
                Ok(stream) => {
                    self.streams.push(stream);
                    self.opening += 1;
                }
                // Out of ports or file descriptors: the next one would fail too.
                Err(error) => {
                    self.without_socket = self.wanted - number;
                    self.fail(self.without_socket, error.to_string());
                    return false;
                }
            }
        }
        true
    }

    /// Continues with the stream whose connection is ready.
    pub(crate) fn ready(&mut self, number: usize, event: &Event, shared: &mut Shared) {
        let Some(stream) = self.streams.get_mut(number) else { return };
        let before = stream.events;
        let change = stream.ready(event, shared);
        if before < self.replay && stream.events >= self.replay {
            self.caught_up += 1;
            self.caught_up_at = shared.clock.now();
            shared.catch_up.record(self.caught_up_at - stream.began);
        }
        match change {
            StreamChange::None => {}
            StreamChange::Opened => {
                self.opening -= 1;
                self.opened += 1;
                self.opened_at = shared.clock.now();
            }
            StreamChange::Failed(problem) => {
                self.opening -= 1;
                self.fail(1, problem);
            }
            StreamChange::Ended => self.ended += 1,
        }
    }

    /// Gives up the streams that are still connecting, and those not yet begun.
    pub(crate) fn give_up(&mut self, problem: &str) {
        let late = self.wanted - self.opened - self.failed;
        if late > 0 {
            self.streams.iter_mut().filter(|stream| !stream.was_open()).for_each(Stream::abandon);
            self.without_socket = self.wanted - self.streams.len();
            self.opening = 0;
            self.fail(late, problem.into());
        }
    }

    fn fail(&mut self, count: usize, problem: String) {
        self.failed += count;
        self.first_problem.get_or_insert(problem);
    }
}
