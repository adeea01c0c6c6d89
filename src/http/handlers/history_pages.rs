//! A history as JSON, page by page: the next one is read when the client has received the last.
//!
//! At most one page is in memory, and that memory is reserved before the request begins.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::auth::{Refused, StreamPermit};
use crate::clock::clock_ms;
use crate::event::{EventId, GapReason, PipelineId, ResumePoint};
use crate::http::connection::http2_stream::StreamState;
use crate::http::error::RequestError;
use crate::http::pages::{Interrupted, Pages, Rest};
use crate::http::unread_pages::{UnreadPages, hold};
use crate::limits::Reservation;
use crate::log::{Log, LogLimits, Read, ReadLimits};
use crate::metrics::{Metrics, StoreOp};
use crate::node::Node;
use crate::sse::frame::Frame;
use crate::store::page::{Page, PageBounds, PageStart};
use crate::store::{Store, StoreError};
use crate::stream::wanted::Channels;

/// Maximum bytes of frames in one page, unless it is a single event. Smaller than the store's own pages, because clients may
/// be slow.
const PAGE_BYTES: usize = 128 << 10;

/// About the maximum that JSON adds to an event's payload.
const AROUND_EVENT: usize = 1 << 10;

/// One HTTP/2 connection gets at most this fraction of the node's memory for histories.
const CONNECTIONS_PART: usize = 4;

/// The part of a history that a client asks for.
#[derive(Debug)]
pub(in crate::http) struct Wanted {
    pub(in crate::http) channels: Channels,
    /// The first events after this one; without it, the newest.
    pub(in crate::http) after: Option<EventId>,
    /// Maximum events.
    pub(in crate::http) limit: usize,
}

/// The client's permit to get the next page; none where reading is open.
#[derive(Clone, Debug)]
pub(in crate::http) struct PagePermit(pub(in crate::http) Option<Arc<StreamPermit>>);

impl PagePermit {
    /// Whether it may continue.
    ///
    /// # Errors
    /// Why not.
    pub(in crate::http) fn check(&self) -> Result<(), Refused> {
        self.0.as_ref().map_or(Ok(()), |permit| permit.check())
    }
}

/// The memory reserved for one answer, on its node and on its connection.
#[derive(Debug)]
pub(in crate::http) struct Room {
    node: Reservation,
    connection: Option<Reservation>,
}

impl Room {
    /// Reserves memory for one page, and waits for it if necessary.
    ///
    /// # Errors
    /// [`RequestError::HistoriesFull`].
    pub(in crate::http) async fn take(node: &Node) -> Result<Self, RequestError> {
        let bytes = PAGE_BYTES.max(node.rules.events.max_event_size.saturating_add(AROUND_EVENT));
        // An HTTP/1.1 connection has one answer at a time.
        let connection = match StreamState::current().and_then(|stream| stream.connection()) {
            Some(connection) => {
                let part = (node.rules.histories_bytes / CONNECTIONS_PART).max(bytes);
                Some(connection.histories(part).reserve(bytes).await.map_err(|_| RequestError::HistoriesFull)?)
            }
            None => None,
        };
        let node = node.histories.reserve(bytes).await.map_err(|_| RequestError::HistoriesFull)?;
        Ok(Self { node, connection })
    }

    /// Releases what exceeds this many bytes.
    fn shrink_to(&mut self, bytes: usize) {
        self.node.shrink_to(bytes);
        if let Some(connection) = &mut self.connection {
            connection.shrink_to(bytes);
        }
    }
}

/// The progress of an answer.
pub(in crate::http) struct Reading {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    pipeline: PipelineId,
    permit: PagePermit,
    channels: Channels,
    /// Events that may still follow.
    left: usize,
    /// The newest event that was read, and the newest one at the beginning: without that end, an answer to a slow client
    /// would follow the publishers for ever.
    last: EventId,
    until: EventId,
    has_gap: bool,
    has_events: bool,
}

impl Reading {
    /// Reads the first page. Returns the beginning of the document, and the rest of the reading if that is not everything.
    ///
    /// # Errors
    /// The store's.
    pub(in crate::http) async fn begin(
        node: &Node,
        pipeline: &PipelineId,
        wanted: Wanted,
        permit: PagePermit,
    ) -> Result<(Vec<u8>, Option<Self>), StoreError> {
        let Wanted { channels, after, limit } = wanted;
        let mut reading = Self {
            store: node.store.clone(),
            metrics: node.metrics.clone(),
            pipeline: pipeline.clone(),
            permit,
            channels,
            left: limit,
            last: EventId::ZERO,
            until: EventId::ZERO,
            has_gap: false,
            has_events: false,
        };
        let (frames, rest) = reading.first_page(after).await?;
        let mut text = with_room_for(&frames);
        text.extend_from_slice(b"{\"events\":[");
        reading.write(&frames, &mut text);
        reading.until = rest.unwrap_or_default();
        Ok(reading.finish_page(text))
    }

    /// The frames of the first page, and the newest event if more pages follow.
    async fn first_page(&mut self, after: Option<EventId>) -> Result<(Vec<Frame>, Option<EventId>), StoreError> {
        let start = match (after, self.channels.names()) {
            (Some(id), _) => PageStart::After(id),
            (None, names) if self.left == 0 || names.is_some_and(<[_]>::is_empty) => return Ok((Vec::new(), None)),
            (None, names) => PageStart::Newest { count: self.left, channels: names.unwrap_or_default() },
        };
        let Page { history, rest } = self.page(start).await?;
        let mut log = log();
        log.merge(history, Instant::now());
        let (mut cursor, gap) = match after {
            Some(after) => log.place_after(&ResumePoint::After(after), clock_ms()),
            None => (log.place_newest(usize::MAX, |_| true), None),
        };
        // A page without events before others ends with an entry that this broker has not written.
        self.has_gap = gap.is_some() || rest.is_some() && log.history_len() == 0;
        let mut rest = rest;
        // An id that was never assigned says nothing about what the client has: it gets everything that is kept.
        if after.is_some_and(|after| after > log.tail()) && gap.is_some_and(|gap| gap.reason == GapReason::Unknown) {
            let page = self.page(PageStart::Newest { count: usize::MAX, channels: &[] }).await?;
            log = self::log();
            log.merge(page.history, Instant::now());
            cursor = log.place_newest(usize::MAX, |_| true);
            rest = page.rest;
        }
        self.last = log.tail();
        let portion = ReadLimits { frames: self.left, bytes: usize::MAX };
        Ok(match log.read(&mut cursor, portion, clock_ms(), |frame| self.channels.pass(frame)) {
            Read::Frames(frames) => (frames, rest),
            Read::Nothing | Read::Gap(_) => (Vec::new(), rest),
        })
    }

    /// Reads the next page.
    async fn go_on(mut self) -> Result<(Vec<u8>, Option<Self>), StoreError> {
        let Page { history, .. } = self.page(PageStart::Next(self.last)).await?;
        // Trimmed, deleted or started over since the last page.
        let is_next = !history.frames.is_empty() && history.floor == self.last;
        self.has_gap |= !is_next;
        let (last, until) = (self.last, self.until);
        let is_wanted = |frame: &&Frame| last < frame.id() && frame.id() <= until && self.channels.pass(frame);
        let frames: Vec<_> = history.frames.iter().filter(is_wanted).take(self.left).cloned().collect();
        let mut text = with_room_for(&frames);
        self.write(&frames, &mut text);
        // A page without progress is the last one.
        self.last =
            Some(history.newest()).filter(|newest| *newest > last && !history.frames.is_empty()).unwrap_or(until);
        Ok(self.finish_page(text))
    }

    async fn page(&self, start: PageStart<'_>) -> Result<Page, StoreError> {
        let before = usize::from(matches!(start, PageStart::After(_)));
        let events = match self.channels.is_all() {
            true => self.left.saturating_add(before),
            false => usize::MAX,
        };
        let page = self.store.page(&self.pipeline, start, PageBounds { events, bytes: PAGE_BYTES }).await;
        page.inspect_err(|error| {
            self.metrics.store_error(StoreOp::History);
            tracing::debug!(pipeline = %self.pipeline, %error, "history could not be read");
        })
    }

    fn write(&mut self, frames: &[Frame], text: &mut Vec<u8>) {
        for frame in frames {
            if std::mem::replace(&mut self.has_events, true) {
                text.push(b',');
            }
            let event = Event { id: frame.id().to_string(), channel: frame.channel(), payload: frame.payload() };
            // Writing to memory cannot fail.
            let _ = serde_json::to_writer(&mut *text, &event);
        }
        self.left -= frames.len();
    }

    /// Completes the document if this was its last page.
    fn finish_page(self, mut text: Vec<u8>) -> (Vec<u8>, Option<Self>) {
        if self.left > 0 && self.last < self.until {
            return (text, Some(self));
        }
        text.extend_from_slice(format!("],\"gap\":{}}}\n", self.has_gap).as_bytes());
        (text, None)
    }
}

/// A log of one page.
fn log() -> Log {
    let all = usize::MAX;
    Log::new(LogLimits {
        history: all,
        history_bytes: all,
        backlog_bytes: 0,
        backlog_age: Duration::ZERO,
        compresses: false,
    })
}

fn with_room_for(frames: &[Frame]) -> Vec<u8> {
    // The lines of a frame are about as long as the JSON members that they become.
    Vec::with_capacity(64 + frames.iter().map(|frame| frame.text().len() + 16).sum::<usize>())
}

#[derive(Serialize)]
struct Event<'a> {
    id: String,
    channel: &'a str,
    #[serde(serialize_with = "raw")]
    payload: &'a str,
}

/// The payload byte for byte as the publisher sent it. If it is not JSON, because another program wrote to the store, as a
/// string.
fn raw<S: Serializer>(payload: &str, serializer: S) -> Result<S::Ok, S::Error> {
    match serde_json::from_str::<&RawValue>(payload) {
        Ok(payload) => payload.serialize(serializer),
        Err(_) => serializer.serialize_str(payload),
    }
}

/// The document as the body of an answer. The room is given back when the last slice of the last page is dropped.
pub(in crate::http) fn pages(first: Vec<u8>, rest: Option<Reading>, mut room: Room) -> Pages {
    if rest.is_none() {
        room.shrink_to(first.len());
    }
    let (room, unread_pages) = (Arc::new(room), Arc::<UnreadPages>::default());
    let text = hold(first, room.clone(), &unread_pages);
    let rest = rest.map(|reading| {
        let unread_pages = unread_pages.clone();
        let pages = stream::try_unfold(Some(reading), move |reading| {
            let (room, unread_pages) = (room.clone(), unread_pages.clone());
            async move {
                let Some(reading) = reading else { return Ok(None) };
                let permit = reading.permit.clone();
                let (text, reading) = reading.go_on().await.map_err(|_| Interrupted)?;
                permit.check().map_err(|_| Interrupted)?;
                Ok(Some((hold(text, room, &unread_pages), reading)))
            }
        });
        Box::pin(pages) as Rest
    });
    Pages::new(text, rest, unread_pages)
}
