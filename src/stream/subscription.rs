//! A subscription: what one client is to get next, whatever carries it there.
//!
//! Places the client in the log by what it asked for, follows the log, and tells of gaps. No I/O.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::clock::clock_ms;
use crate::event::{EventId, Gap, ResumePoint};
use crate::hub::Reader;
use crate::hub::live_log::Ticket;
use crate::hub::open_log::LogView;
use crate::log::{Cursor, Read, ReadLimits, is_from_the_future};
use crate::metrics::{Metrics, ReadReason, StreamStart};
use crate::sse::control;
use crate::sse::frame::Frame;

/// What a reader takes out of the log at once: enough to fill a vectored write.
const READ_LIMITS: ReadLimits = ReadLimits { frames: 32, bytes: 64 << 10 };

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

/// A filter by channel; none lets all pass. Most streams have none, so that one takes a word.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Channels(Option<Box<Filter>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    names: Vec<String>,
    /// Whether the client may have no others, rather than want none.
    is_limit: bool,
}

impl Channels {
    /// Only these channels; all when there are none.
    pub fn only(names: Vec<String>) -> Self {
        Self((!names.is_empty()).then(|| Box::new(Filter { names, is_limit: false })))
    }

    /// These channels and no others, since there is no right to more; nothing passes when there are none.
    pub fn limited(names: Vec<String>) -> Self {
        Self(Some(Box::new(Filter { names, is_limit: true })))
    }

    /// Whether every channel passes.
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// The channels that pass; none when all do.
    pub fn names(&self) -> Option<&[String]> {
        self.0.as_deref().map(|filter| &*filter.names)
    }

    /// Whether a frame passes.
    pub fn pass(&self, frame: &Frame) -> bool {
        self.names().is_none_or(|names| names.iter().any(|channel| channel == frame.channel()))
    }
}

impl Wanted {
    /// A gap as the client is told of it: without the number of events of which it may have no part.
    fn told(&self, gap: Gap) -> Gap {
        let is_limited = self.channels.0.as_ref().is_some_and(|filter| filter.is_limit);
        Gap { missed: gap.missed.filter(|_| !is_limited), ..gap }
    }
}

/// One client's place in a pipeline, without the pipeline.
#[derive(Debug)]
pub struct Place {
    wanted: Wanted,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// For a read of the history.
    Waiting(Ticket),
    /// For the store's word on a resume point that is ahead of the log; after it the verdict is final.
    WaitingAgain(Ticket),
    /// Placed.
    Following {
        cursor: Cursor,
        /// Events newer than this were published since.
        live_after: EventId,
        /// Whether the filter held events back after what the client was sent last.
        is_ahead: bool,
    },
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
        start: StreamStart,
    },
    /// The client lagged, or the history was begun anew.
    Gap(Gap),
    /// Events, oldest first.
    Frames(Vec<Frame>),
}

/// What a look at the log gave.
#[derive(Debug)]
pub enum Next {
    /// Something to send.
    Item(Item),
    /// Nothing until the log changes.
    Nothing,
    /// The client is ahead of the log, or says so: the store must be asked, see [`Place::wait_for`].
    ReadAgain,
}

impl Item {
    /// What the client is told, counted; for [`Item::Frames`] there is nothing but the frames.
    pub fn into_block(self, metrics: &Metrics) -> Option<Bytes> {
        let (told, gap) = match self {
            Self::Frames(_) => (None, None),
            Self::Gap(gap) => (None, Some(gap)),
            Self::Placed { position, gap, start } => {
                metrics.stream_started(start);
                (position.map(control::position), gap)
            }
        };
        gap.map(|gap| {
            metrics.gap_told(gap.reason);
            gap.text()
        })
        .or(told)
    }
}

impl Place {
    /// A client that is not placed yet.
    pub fn new(wanted: Wanted) -> Self {
        Self { wanted, phase: Phase::Waiting(Ticket::FIRST) }
    }

    /// Looks for what comes next, and moves past it.
    pub fn next(&mut self, view: &LogView<'_>) -> Next {
        let ticket = match &mut self.phase {
            Phase::Following { cursor, is_ahead, .. } => {
                let (channels, from) = (&self.wanted.channels, cursor.after());
                let read = view.log.read(cursor, READ_LIMITS, clock_ms(), |frame| channels.pass(frame));
                *is_ahead = match &read {
                    Read::Frames(frames) => frames.last().is_some_and(|last| last.id() != cursor.after()),
                    // The gap tells the position.
                    Read::Gap(_) => false,
                    Read::Nothing => *is_ahead || cursor.after() != from,
                };
                return match read {
                    Read::Frames(frames) => Next::Item(Item::Frames(frames)),
                    Read::Gap(gap) => Next::Item(Item::Gap(self.wanted.told(gap))),
                    Read::Nothing => Next::Nothing,
                };
            }
            Phase::Waiting(ticket) | Phase::WaitingAgain(ticket) => *ticket,
        };
        if !view.has_read(ticket) {
            return Next::Nothing;
        }
        // A client from a node that is faster than this one: ask the store before judging. No node can have given out an
        // id from the future, and who makes them up shall not make work for the store.
        let is_final = matches!(self.phase, Phase::WaitingAgain(_));
        if let Start::After(ResumePoint::After(id)) = self.wanted.start
            && id > view.log.tail()
            && !is_from_the_future(id, clock_ms())
            && !is_final
        {
            return Next::ReadAgain;
        }
        let (phase, item) = place(view.log, &self.wanted);
        self.phase = phase;
        Next::Item(item)
    }

    /// Waits for a read that was asked for because of [`Next::ReadAgain`].
    pub fn wait_for(&mut self, ticket: Ticket) {
        self.phase = Phase::WaitingAgain(ticket);
    }

    /// The newest event that the client has passed, sent or filtered; `None` before it is placed.
    pub fn position(&self) -> Option<EventId> {
        self.cursor().map(|cursor| cursor.after())
    }

    /// The cursor, once the client is placed.
    pub fn cursor(&self) -> Option<Cursor> {
        match &self.phase {
            Phase::Following { cursor, .. } => Some(*cursor),
            Phase::Waiting(_) | Phase::WaitingAgain(_) => None,
        }
    }

    /// Moves the cursor past frames that were read from it for another client.
    pub fn pass(&mut self, to: Cursor) {
        if let Phase::Following { cursor, .. } = &mut self.phase {
            *cursor = to;
        }
    }

    /// Whether there is nothing after the client's cursor.
    pub fn is_at_end(&self, view: &LogView<'_>) -> bool {
        matches!(&self.phase, Phase::Following { cursor, .. } if view.log.is_end(cursor))
    }

    /// The client's keepalive, when all that it has passed is sent; with its position where the filter held events back
    /// since it was told last.
    pub fn keepalive(&mut self) -> Bytes {
        match &mut self.phase {
            Phase::Following { cursor, is_ahead, .. } => {
                control::keepalive(std::mem::take(is_ahead).then(|| cursor.after()))
            }
            Phase::Waiting(_) | Phase::WaitingAgain(_) => control::keepalive(None),
        }
    }

    /// Whether an event was published after the client was placed.
    pub fn is_live(&self, id: EventId) -> bool {
        matches!(&self.phase, Phase::Following { live_after, .. } if id > *live_after)
    }

    /// Whether only some channels are wanted.
    pub fn is_filtered(&self) -> bool {
        !self.wanted.channels.is_all()
    }
}

/// One client that reads by itself.
#[derive(Debug)]
pub struct Subscription {
    reader: Reader,
    place: Place,
    passed_mark: u64,
}

impl Subscription {
    /// A client of this log.
    pub fn new(reader: Reader, wanted: Wanted) -> Self {
        let passed_mark = reader.add_client();
        Self { reader, place: Place::new(wanted), passed_mark }
    }

    /// The next item; waits while there is none.
    pub fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Item> {
        loop {
            let place = &mut self.place;
            let next = self.reader.poll(cx, |view| match place.next(&view) {
                Next::Nothing => Poll::Pending,
                next => Poll::Ready(next),
            });
            self.reader.keep_pace(self.place.cursor(), &mut self.passed_mark);
            match next {
                Poll::Ready(Next::Item(item)) => return Poll::Ready(item),
                Poll::Ready(Next::ReadAgain) => self.place.wait_for(self.reader.request_read(ReadReason::Ahead)),
                Poll::Ready(Next::Nothing) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The client's place.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// See [`Place::keepalive`].
    pub fn keepalive(&mut self) -> Bytes {
        self.place.keepalive()
    }

    /// See [`Reader::drain_window`].
    pub fn drain_window(&self) -> Option<Duration> {
        self.reader.drain_window()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.reader.remove_client(self.passed_mark);
    }
}

fn place(log: &crate::log::Log, wanted: &Wanted) -> (Phase, Item) {
    let passes = |frame: &Frame| wanted.channels.pass(frame);
    let (cursor, position, gap, start) = match &wanted.start {
        Start::History => (log.place_newest(usize::MAX, passes), None, None, StreamStart::History),
        Start::Newest(count) => {
            let cursor = log.place_newest(*count, passes);
            (cursor, Some(cursor.after()), None, StreamStart::History)
        }
        Start::After(point) => {
            let (cursor, gap) = log.place_after(point, clock_ms());
            let start = if gap.is_some() { StreamStart::Gap } else { StreamStart::Resumed };
            (cursor, None, gap, start)
        }
    };
    let gap = gap.map(|gap| wanted.told(gap));
    let phase = Phase::Following { cursor, live_after: log.tail(), is_ahead: false };
    (phase, Item::Placed { position, gap, start })
}
