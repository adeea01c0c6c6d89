//! A history as the JSON of an answer, page by page: the next one is read when the client has taken the last.
//!
//! It never holds more than a page, for which the request has room before it begins.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use futures_util::task::AtomicWaker;
use http_body::SizeHint;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::auth::{Pass, Refused};
use crate::clock::clock_ms;
use crate::event::{EventId, GapReason, PipelineId, ResumePoint};
use crate::http::body::Interrupted;
use crate::http::connection::http2_stream::StreamState;
use crate::http::connection::stream_body::PIECE_BYTES;
use crate::http::connection::write_deadline::Unread;
use crate::http::error::RequestError;
use crate::limits::Reservation;
use crate::log::{Log, LogLimits, Portion, Read};
use crate::metrics::{Metrics, StoreOp};
use crate::node::Node;
use crate::sse::frame::Frame;
use crate::store::page::{Page, PageBounds, PageStart};
use crate::store::{Store, StoreError};
use crate::stream::wanted::Channels;

/// Bytes of frames in one page, unless it is one event: smaller than a page of the store's own, since clients take
/// their time with it.
const PAGE_BYTES: usize = 128 << 10;

/// What JSON adds to an event's payload, at most and about.
const AROUND_EVENT: usize = 1 << 10;

/// A connection of HTTP/2 gets this part of the node's room at most.
const CONNECTIONS_PART: usize = 4;

/// What of a history is wanted.
#[derive(Debug)]
pub(in crate::http) struct Wanted {
    pub(in crate::http) channels: Channels,
    /// The first events after this one; without it the newest.
    pub(in crate::http) after: Option<EventId>,
    /// How many events at most.
    pub(in crate::http) limit: usize,
}

/// A reader's leave to get the next page; none is needed where reading is open.
#[derive(Clone, Debug)]
pub(in crate::http) struct Leave(pub(in crate::http) Option<Arc<Pass>>);

impl Leave {
    /// Judges again.
    ///
    /// # Errors
    /// Why there is no more to be had.
    pub(in crate::http) fn check(&self) -> Result<(), Refused> {
        self.0.as_ref().map_or(Ok(()), |pass| pass.check())
    }
}

/// The room of one answer, on its node and on its connection.
#[derive(Debug)]
pub(in crate::http) struct Room {
    node: Reservation,
    connection: Option<Reservation>,
}

impl Room {
    /// Takes room for one page, waiting if need be.
    ///
    /// # Errors
    /// [`RequestError::HistoriesFull`].
    pub(in crate::http) async fn take(node: &Node) -> Result<Self, RequestError> {
        let bytes = PAGE_BYTES.max(node.rules.events.max_event_size.saturating_add(AROUND_EVENT));
        // Over HTTP/1.1 a connection has one answer at a time.
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

    /// Gives back what is more than so many bytes.
    fn shrink_to(&mut self, bytes: usize) {
        self.node.shrink_to(bytes);
        if let Some(connection) = &mut self.connection {
            connection.shrink_to(bytes);
        }
    }
}

/// Text that keeps its room for as long as anybody has a part of it, the HTTP library's queues included.
struct Held<T, R> {
    text: T,
    _room: R,
    taking: Arc<Taking>,
}

impl<T: AsRef<[u8]>, R> AsRef<[u8]> for Held<T, R> {
    fn as_ref(&self) -> &[u8] {
        self.text.as_ref()
    }
}

impl<T, R> Drop for Held<T, R> {
    fn drop(&mut self) {
        self.taking.pages.fetch_sub(1, Ordering::SeqCst);
        self.taking.waker.wake();
    }
}

/// How a client takes its history. Room is kept for as long as that lasts, and the HTTP library may have all of a page
/// in its queues: so whoever carries the answer has to look whether its client stands still.
#[derive(Debug, Default)]
pub(in crate::http) struct Taking {
    /// Pages of which the client has not taken everything.
    pages: AtomicUsize,
    /// How often hyper has asked the answer for more.
    asked: AtomicU64,
    /// The answer, where it waits for its last page to be taken.
    waker: AtomicWaker,
}

impl Taking {
    /// What waits for the client.
    pub(in crate::http) fn unread(&self) -> Unread {
        match self.pages.load(Ordering::SeqCst) {
            0 => Unread::Nothing,
            _ => Unread::Something { progress: self.asked.load(Ordering::Relaxed) },
        }
    }

    /// Ready when the client has taken all that it was given.
    fn poll_taken(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.pages.load(Ordering::SeqCst) == 0 { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// The text of a page, and the room that it takes.
fn hold<T, R>(text: T, room: R, taking: &Arc<Taking>) -> Bytes
where
    T: AsRef<[u8]> + Send + 'static,
    R: Send + 'static,
{
    taking.pages.fetch_add(1, Ordering::SeqCst);
    Bytes::from_owner(Held { text, _room: room, taking: taking.clone() })
}

/// How far an answer has come.
pub(in crate::http) struct Reading {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    pipeline: PipelineId,
    leave: Leave,
    channels: Channels,
    /// Events that may still be told.
    left: usize,
    /// The newest event that was read, and the newest that there was at the beginning: without an end an answer to a
    /// slow client would follow its publishers.
    last: EventId,
    until: EventId,
    has_gap: bool,
    has_events: bool,
}

impl Reading {
    /// Reads the first page: the beginning of the document, and what is to come if that is not all of it.
    ///
    /// # Errors
    /// The store's.
    pub(in crate::http) async fn begin(
        node: &Node,
        pipeline: &PipelineId,
        wanted: Wanted,
        leave: Leave,
    ) -> Result<(Vec<u8>, Option<Self>), StoreError> {
        let Wanted { channels, after, limit } = wanted;
        let mut reading = Self {
            store: node.store.clone(),
            metrics: node.metrics.clone(),
            pipeline: pipeline.clone(),
            leave,
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

    /// The frames of the first page that are to be told, and the newest event if more follow.
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
        self.has_gap = gap.is_some();
        let mut rest = rest;
        // An id that was never given out says nothing of what its client has: all that is kept is told.
        if after.is_some_and(|after| after > log.tail()) && gap.is_some_and(|gap| gap.reason == GapReason::Unknown) {
            let page = self.page(PageStart::Newest { count: usize::MAX, channels: &[] }).await?;
            log = self::log();
            log.merge(page.history, Instant::now());
            cursor = log.place_newest(usize::MAX, |_| true);
            rest = page.rest;
        }
        self.last = log.tail();
        let portion = Portion { frames: self.left, bytes: usize::MAX };
        Ok(match log.read(&mut cursor, portion, clock_ms(), |frame| self.channels.pass(frame)) {
            Read::Frames(frames) => (frames, rest),
            Read::Nothing | Read::Gap(_) => (Vec::new(), rest),
        })
    }

    /// Reads the next page.
    async fn go_on(mut self) -> Result<(Vec<u8>, Option<Self>), StoreError> {
        let Page { history, .. } = self.page(PageStart::Next(self.last)).await?;
        // Trimmed, forgotten or begun anew since the last page.
        let is_next = history.frames.first().is_some_and(|first| self.last.is_followed_by(first.id()));
        self.has_gap |= !is_next;
        let (last, until) = (self.last, self.until);
        let is_wanted = |frame: &&Frame| last < frame.id() && frame.id() <= until && self.channels.pass(frame);
        let frames: Vec<_> = history.frames.iter().filter(is_wanted).take(self.left).cloned().collect();
        let mut text = with_room_for(&frames);
        self.write(&frames, &mut text);
        // What does not lead further is the end.
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
            // To memory: nothing to fail.
            let _ = serde_json::to_writer(&mut *text, &event);
        }
        self.left -= frames.len();
    }

    /// Ends the document if this was its last page.
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
    // The lines of a frame are nearly as long as the members of JSON that they become.
    Vec::with_capacity(64 + frames.iter().map(|frame| frame.text().len() + 16).sum::<usize>())
}

#[derive(Serialize)]
struct Event<'a> {
    id: String,
    channel: &'a str,
    #[serde(serialize_with = "raw")]
    payload: &'a str,
}

/// The payload byte for byte, as the publisher sent it; what is no JSON, because somebody else
/// wrote to the store, as a string.
fn raw<S: Serializer>(payload: &str, serializer: S) -> Result<S::Ok, S::Error> {
    match serde_json::from_str::<&RawValue>(payload) {
        Ok(payload) => payload.serialize(serializer),
        Err(_) => serializer.serialize_str(payload),
    }
}

type Rest = Pin<Box<dyn Stream<Item = Result<Bytes, Interrupted>> + Send>>;

/// A document as the body of an answer.
pub(in crate::http) struct Pages {
    /// What is left of the page at hand.
    text: Bytes,
    /// The pages after it; none where it is all.
    rest: Option<Rest>,
    taking: Arc<Taking>,
    /// A stream of HTTP/2 that has ended is watched by nobody, so it ends when its client has taken everything.
    awaits_its_client: bool,
}

impl Pages {
    /// Begins with the first page.
    pub(in crate::http) fn new(first: Vec<u8>, rest: Option<Reading>, mut room: Room) -> Self {
        if rest.is_none() {
            room.shrink_to(first.len());
        }
        let (room, taking) = (Arc::new(room), Arc::<Taking>::default());
        let text = hold(first, room.clone(), &taking);
        let rest = rest.map(|reading| {
            let taking = taking.clone();
            let pages = stream::try_unfold(Some(reading), move |reading| {
                let (room, taking) = (room.clone(), taking.clone());
                async move {
                    let Some(reading) = reading else { return Ok(None) };
                    let leave = reading.leave.clone();
                    let (text, reading) = reading.go_on().await.map_err(|_| Interrupted)?;
                    leave.check().map_err(|_| Interrupted)?;
                    Ok(Some((hold(text, room, &taking), reading)))
                }
            });
            Box::pin(pages) as Rest
        });
        Self { text, rest, taking, awaits_its_client: StreamState::current().is_some() }
    }

    /// Any text, given out as a history is, without room of its own.
    pub(in crate::http) fn of(text: Bytes) -> Self {
        let taking = Arc::<Taking>::default();
        let text = hold(text, (), &taking);
        Self { text, rest: None, taking, awaits_its_client: StreamState::current().is_some() }
    }

    /// How its client takes it.
    pub(in crate::http) fn taking(&self) -> &Arc<Taking> {
        &self.taking
    }

    /// How much is left, if that is known.
    pub(in crate::http) fn size_hint(&self) -> SizeHint {
        match self.rest {
            None => SizeHint::with_exact(self.text.len() as u64),
            Some(_) => SizeHint::default(),
        }
    }

    /// The next bytes; an error when the rest cannot be had.
    pub(in crate::http) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Interrupted>>> {
        self.taking.asked.fetch_add(1, Ordering::Relaxed);
        while self.text.is_empty() {
            let next = match &mut self.rest {
                Some(pages) => ready!(pages.as_mut().poll_next(cx)),
                None => None,
            };
            match next {
                Some(Ok(text)) => self.text = text,
                None if self.awaits_its_client => return self.taking.poll_taken(cx).map(|()| None),
                end => return Poll::Ready(end),
            }
        }
        let length = self.text.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(self.text.split_to(length))))
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}
