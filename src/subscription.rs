//! A subscription: what one client is to get next, whatever carries it there.
//!
//! Places the client in the log by what it asked for, follows the log, and tells of gaps. No I/O.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::event_id::{EventId, ResumePoint};
use crate::frame::Frame;
use crate::gap::Gap;
use crate::hub::Reader;
use crate::log::{Cursor, Portion, Read};
use crate::metrics::{ReadCause, ReplayOutcome};
use crate::open_log::{OpenLog, Ticket};
use crate::store::memory::clock_ms;

/// What a reader takes out of the log at once: enough to fill a vectored write.
const PORTION: Portion = Portion { frames: 32, bytes: 64 << 10 };

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where to begin.
    pub start: Start,
    /// Which channels.
    pub channels: Channels,
}

/// Where a stream begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the newest events, all that are kept.
    History,
    /// With at most so many of the newest events, and their position told before them.
    Newest(usize),
    /// After a resume point.
    After(ResumePoint),
}

/// A filter by channel.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Channels(Option<Box<[String]>>);

impl Channels {
    /// Only these channels; all when there are none.
    pub fn only(channels: Vec<String>) -> Self {
        Self((!channels.is_empty()).then(|| channels.into_boxed_slice()))
    }

    /// Whether every channel passes.
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a frame passes.
    pub fn pass(&self, frame: &Frame) -> bool {
        self.0.as_deref().is_none_or(|channels| channels.iter().any(|channel| channel == frame.channel()))
    }
}

/// One client's place in a pipeline.
#[derive(Debug)]
pub struct Subscription {
    reader: Reader,
    wanted: Wanted,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// For a read of the history.
    Waiting(Ticket),
    /// For a read that is newer than the client's resume point; after it the verdict is final.
    WaitingAgain(Ticket),
    /// Placed; events newer than the second id were published since.
    Following(Cursor, EventId),
}

/// What comes next.
#[derive(Debug)]
pub enum Item {
    /// The client was placed; what it got by that, for the metric.
    Placed {
        /// Told to the client only when it asked for a part of the history.
        position: Option<EventId>,
        /// What the client is told to have missed.
        gap: Option<Gap>,
        /// How the replay turned out.
        outcome: ReplayOutcome,
    },
    /// The client lagged, or the history was begun anew.
    Gap(Gap),
    /// Events, oldest first.
    Frames(Vec<Frame>),
}

impl Subscription {
    /// A client that is not placed yet.
    pub fn new(reader: Reader, wanted: Wanted) -> Self {
        Self { reader, wanted, phase: Phase::Waiting(OpenLog::FIRST_READ) }
    }

    /// The next item; waits while there is none.
    pub fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Item> {
        loop {
            match &mut self.phase {
                Phase::Following(cursor, _) => {
                    let channels = &self.wanted.channels;
                    return self.reader.poll(cx, |view| {
                        // More than a portion may pass the cursor without passing the filter.
                        match view.log.read(cursor, PORTION, clock_ms(), |frame| channels.pass(frame)) {
                            Read::Frames(frames) => Poll::Ready(Item::Frames(frames)),
                            Read::Gap(gap) => Poll::Ready(Item::Gap(gap)),
                            Read::Nothing => Poll::Pending,
                        }
                    });
                }
                Phase::Waiting(ticket) | Phase::WaitingAgain(ticket) => {
                    let ticket = *ticket;
                    let is_final = matches!(self.phase, Phase::WaitingAgain(_));
                    let wanted = &self.wanted;
                    let placed = self.reader.poll(cx, |view| {
                        if !view.has_read(ticket) {
                            return Poll::Pending;
                        }
                        // A client from a node that is faster than this one: read before judging.
                        let is_ahead =
                            matches!(&wanted.start, Start::After(ResumePoint::After(id)) if *id > view.log.tail());
                        Poll::Ready((is_final || !is_ahead).then(|| place(view.log, wanted)))
                    });
                    match placed {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(None) => {
                            self.phase = Phase::WaitingAgain(self.reader.request_read(ReadCause::Ahead));
                        }
                        Poll::Ready(Some((phase, item))) => {
                            self.phase = phase;
                            return Poll::Ready(item);
                        }
                    }
                }
            }
        }
    }

    /// The newest event that the client has passed, sent or filtered; `None` before it is placed.
    pub fn position(&self) -> Option<EventId> {
        match &self.phase {
            Phase::Following(cursor, _) => Some(cursor.after()),
            Phase::Waiting(_) | Phase::WaitingAgain(_) => None,
        }
    }

    /// Whether an event was published after the client was placed.
    pub fn is_live(&self, id: EventId) -> bool {
        matches!(&self.phase, Phase::Following(_, live_after) if id > *live_after)
    }

    /// Whether only some channels are wanted.
    pub fn is_filtered(&self) -> bool {
        !self.wanted.channels.is_all()
    }

    /// See [`Reader::drain_window`].
    pub fn drain_window(&self) -> Option<Duration> {
        self.reader.drain_window()
    }
}

fn place(log: &crate::log::Log, wanted: &Wanted) -> (Phase, Item) {
    let passes = |frame: &Frame| wanted.channels.pass(frame);
    let (cursor, position, gap, outcome) = match &wanted.start {
        Start::History => (log.place_newest(usize::MAX, passes), None, None, ReplayOutcome::History),
        Start::Newest(count) => {
            let cursor = log.place_newest(*count, passes);
            (cursor, Some(cursor.after()), None, ReplayOutcome::History)
        }
        Start::After(point) => {
            let (cursor, gap) = log.place_after(point, clock_ms());
            let outcome = if gap.is_some() { ReplayOutcome::Gap } else { ReplayOutcome::Resumed };
            (cursor, None, gap, outcome)
        }
    };
    (Phase::Following(cursor, log.tail()), Item::Placed { position, gap, outcome })
}
