//! How far one client has come in a pipeline's log: where its stream begins, what it is sent next, and when it has missed
//! events. No I/O and no clock: time is handed in.

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;

use crate::event::{EventId, Gap, ResumePoint};
use crate::hub::live_log::Ticket;
use crate::hub::open_log::LogView;
use crate::log::{Cursor, Log, Read, ReadLimits, is_from_the_future};
use crate::metrics::{Metrics, StreamStart};
use crate::sse::control;
use crate::sse::frame::Frame;
use crate::stream::wanted::{Channels, Start, Wanted};

/// What a client is sent at once: enough to fill a vectored write.
const READ_LIMITS: ReadLimits = ReadLimits { frames: 32, bytes: 64 << 10 };

/// How far one client has come in a pipeline's log. Does not know the pipeline.
#[derive(Debug)]
pub struct StreamPosition {
    channels: Channels,
    placement: Placement,
}

#[derive(Debug)]
enum Placement {
    /// The client waits for the history to be read.
    Waiting {
        start: Start,
        ticket: Ticket,
        /// Whether the store was asked again because the resume point is ahead of the log. What it answers is final.
        is_final: bool,
    },
    /// The client has a place in the log.
    Following {
        cursor: Cursor,
        /// Events newer than this were published since.
        live_after: EventId,
        /// Whether the filter held back events after the last one that the client was sent.
        is_ahead: bool,
    },
}

/// What comes next.
#[derive(Debug)]
pub enum Item {
    /// The client was placed in the log.
    Placed {
        /// Its position, sent only if it asked for a part of the history.
        position: Option<EventId>,
        /// What it has missed.
        gap: Option<Gap>,
        /// What its stream begins with.
        start: StreamStart,
    },
    /// The client fell behind, or the history was replaced.
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
    /// The client is ahead of the log: the store must be asked again, see [`StreamPosition::wait_for`].
    ReadAgain,
}

impl Item {
    /// The block that tells the client, which is counted. `None` for [`Item::Frames`], and if there is nothing to tell.
    pub fn into_block(self, metrics: &Metrics) -> Option<Bytes> {
        let (position, gap) = match self {
            Self::Frames(_) => (None, None),
            Self::Gap(gap) => (None, Some(gap)),
            Self::Placed { position, gap, start } => {
                metrics.stream_started(start);
                (position.map(control::position), gap)
            }
        };
        gap.map(|gap| {
            metrics.gap_reported(gap.reason);
            gap.text()
        })
        .or(position)
    }
}

impl StreamPosition {
    /// A client that is not placed yet.
    pub fn new(wanted: Wanted) -> Self {
        let Wanted { start, channels } = wanted;
        Self { channels, placement: Placement::Waiting { start, ticket: Ticket::FIRST, is_final: false } }
    }

    /// Looks for what comes next, and moves past it. `now_ms` is this node's clock, in milliseconds since the Unix epoch.
    pub fn next(&mut self, view: &LogView<'_>, now_ms: u64) -> Next {
        match &self.placement {
            Placement::Waiting { ticket, .. } if !view.has_read(*ticket) => Next::Nothing,
            Placement::Waiting { .. } | Placement::Following { .. } => self.next_in(view.log, now_ms),
        }
    }

    /// The same when the read that the client waited for is done.
    fn next_in(&mut self, log: &Log, now_ms: u64) -> Next {
        let (start, is_final) = match &mut self.placement {
            Placement::Waiting { start, is_final, .. } => (start, *is_final),
            Placement::Following { cursor, is_ahead, .. } => {
                return follow(&self.channels, cursor, is_ahead, log, now_ms);
            }
        };
        // The client comes from a node that is faster than this one: ask the store before judging. No node can have given
        // out an id from the future, and a client that makes one up must not cause reads of the store.
        if let Start::After(ResumePoint::After(id)) = start
            && *id > log.tail()
            && !is_from_the_future(*id, now_ms)
            && !is_final
        {
            return Next::ReadAgain;
        }
        let (placement, item) = place(log, start, &self.channels, now_ms);
        self.placement = placement;
        Next::Item(item)
    }

    /// Waits for a read that was requested because of [`Next::ReadAgain`].
    pub fn wait_for(&mut self, read: Ticket) {
        if let Placement::Waiting { ticket, is_final, .. } = &mut self.placement {
            (*ticket, *is_final) = (read, true);
        }
    }

    /// The newest event that the client has passed, sent or filtered; `None` before it is placed.
    pub fn position(&self) -> Option<EventId> {
        self.cursor().map(|cursor| cursor.after())
    }

    /// The cursor, once the client is placed.
    pub fn cursor(&self) -> Option<Cursor> {
        match &self.placement {
            Placement::Following { cursor, .. } => Some(*cursor),
            Placement::Waiting { .. } => None,
        }
    }

    /// Moves the cursor past frames that were read from it for another client.
    pub fn pass(&mut self, to: Cursor) {
        if let Placement::Following { cursor, .. } = &mut self.placement {
            *cursor = to;
        }
    }

    /// Whether there is nothing after the client's cursor.
    pub fn is_at_end(&self, view: &LogView<'_>) -> bool {
        self.cursor().is_some_and(|cursor| view.log.is_end(&cursor))
    }

    /// The client's keepalive, when everything that it has passed is sent. It includes the client's position if the filter
    /// has held back events since the client last learned it.
    pub fn keepalive(&mut self) -> Bytes {
        match &mut self.placement {
            Placement::Following { cursor, is_ahead, .. } => {
                control::keepalive(std::mem::take(is_ahead).then(|| cursor.after()))
            }
            Placement::Waiting { .. } => control::keepalive(None),
        }
    }

    /// How long an event took from the store to the client, in whole milliseconds; `None` for an event of the replay.
    pub fn lag(&self, id: EventId, now_ms: u64) -> Option<Duration> {
        match &self.placement {
            Placement::Following { live_after, .. } if id > *live_after => {
                Some(Duration::from_millis(now_ms.saturating_sub(id.ms)))
            }
            Placement::Following { .. } | Placement::Waiting { .. } => None,
        }
    }

    /// Whether only some channels are wanted.
    pub fn is_filtered(&self) -> bool {
        !self.channels.is_all()
    }
}

/// What comes next for a client that has a place in the log.
fn follow(channels: &Channels, cursor: &mut Cursor, is_ahead: &mut bool, log: &Log, now_ms: u64) -> Next {
    let from = cursor.after();
    match log.read(cursor, READ_LIMITS, now_ms, |frame| channels.pass(frame)) {
        Read::Frames(frames) => {
            *is_ahead = frames.last().is_some_and(|last| last.id() != cursor.after());
            Next::Item(Item::Frames(frames))
        }
        Read::Gap(gap) => {
            // The gap event has the position as its id.
            *is_ahead = false;
            Next::Item(Item::Gap(channels.reported(gap)))
        }
        Read::Nothing => {
            *is_ahead |= cursor.after() != from;
            Next::Nothing
        }
    }
}

/// Places a client in the log.
fn place(log: &Log, start: &Start, channels: &Channels, now_ms: u64) -> (Placement, Item) {
    let passes = |frame: &Frame| channels.pass(frame);
    let (cursor, position, gap, start) = match start {
        Start::History => (log.place_newest(usize::MAX, passes), None, None, StreamStart::History),
        Start::Newest(count) => {
            let cursor = log.place_newest(*count, passes);
            (cursor, Some(cursor.after()), None, StreamStart::History)
        }
        Start::After(point) => {
            let (cursor, gap) = log.place_after(point, now_ms);
            let start = if gap.is_some() { StreamStart::Gap } else { StreamStart::Resumed };
            (cursor, None, gap, start)
        }
    };
    let gap = gap.map(|gap| channels.reported(gap));
    let placement = Placement::Following { cursor, live_after: log.tail(), is_ahead: false };
    (placement, Item::Placed { position, gap, start })
}
