//! Receives a request body within a size, a time, and the memory that all bodies share.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::Request;
use hyper::body::Frame;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use crate::http::connection::request_body::RequestBody;
use crate::http::error::RequestError;
use crate::limits::{BodyRoom, SMALL_BODY};
use crate::node::Node;

/// How often a body's pace is checked.
const PACE_PERIOD: Duration = Duration::from_secs(1);

/// While others wait for memory, a body must arrive at least at this fraction of the pace that it needs to be complete in
/// time.
const PACE_PART: f64 = 0.5;

/// Receives a body. Its memory stays reserved until the returned room is dropped.
///
/// # Errors
/// When the body is too large, too slow or incomplete, or the node has no memory for it. The rest may still be arriving then,
/// without any reserved memory.
pub(in crate::http) async fn receive(
    node: &Node,
    request: &mut Request<RequestBody>,
) -> Result<(Vec<u8>, BodyRoom), RequestError> {
    let (limit, time) = (node.rules.max_request_size, node.rules.request_timeout);
    let body = request.body_mut();
    if body.announced().is_some_and(|bytes| bytes > limit as u64) {
        return Err(RequestError::BodyTooLarge(limit));
    }
    let (room, began) = (node.bodies.begin(), Instant::now());
    let timer = pin!(sleep_until(began + PACE_PERIOD.min(time)));
    let pace = Pace { since: began, bytes: 0 };
    let mut receiving = Receiving { body, limit, time, room, began, pace, timer };
    let whole = receiving.collect().await?;
    Ok((whole, receiving.room))
}

/// A body that is arriving.
struct Receiving<'a> {
    body: &'a mut RequestBody,
    limit: usize,
    /// Maximum time for the whole body.
    time: Duration,
    room: BodyRoom,
    began: Instant,
    pace: Pace,
    /// For the end of its time and for checking its pace. One timer for both, since most bodies are complete before either.
    timer: Pin<&'a mut Sleep>,
}

/// Bytes that arrived since a moment.
struct Pace {
    since: Instant,
    bytes: usize,
}

impl Receiving<'_> {
    async fn collect(&mut self) -> Result<Vec<u8>, RequestError> {
        // The announced length is an upper bound.
        let most = self.body.announced().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(self.limit);
        let mut whole = Vec::new();
        while let Some(frame) = self.next().await? {
            let Ok(data) = frame.into_data() else { continue };
            self.pace.bytes = self.pace.bytes.saturating_add(data.remaining());
            let needed = whole.len() + data.len();
            if needed > self.limit {
                return Err(RequestError::BodyTooLarge(self.limit));
            }
            // Doubles, since growing for each piece would copy the body every time.
            let doubled = needed.next_power_of_two().min(most).max(needed);
            if needed > self.room.size() {
                // A large body reserves all of its memory once it has begun to arrive: several that each held a part and waited
                // for the rest would block each other.
                let size = if needed > SMALL_BODY { most.max(needed) } else { doubled };
                if !self.room.try_grow_to(size) {
                    self.wait_for_room(size).await?;
                }
            }
            if needed > whole.capacity() {
                whole.reserve_exact(doubled - whole.len());
            }
            whole.extend_from_slice(&data);
        }
        self.room.shrink_to(whole.capacity());
        Ok(whole)
    }

    async fn wait_for_room(&mut self, size: usize) -> Result<(), RequestError> {
        let grown = timeout_at(self.began + self.time, self.room.grow_to(size)).await;
        grown.map_err(|_| RequestError::BodyTimeout(self.time))?.map_err(|_| RequestError::BodiesFull)?;
        // The wait was not the client's fault.
        self.pace = Pace { since: Instant::now(), bytes: 0 };
        Ok(())
    }

    /// The next part of the body. A body that hardly arrives loses its memory to others that wait for it.
    async fn next(&mut self) -> Result<Option<Frame<Bytes>>, RequestError> {
        // The end is known without another read.
        if self.body.is_whole() {
            return Ok(None);
        }
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(frame) = self.body.poll_frame(cx) {
                    return Poll::Ready(frame.transpose().map_err(|_| RequestError::BodyBroken));
                }
                ready!(self.timer.as_mut().poll(cx));
                self.look_at_time()?;
            }
        })
        .await
    }

    fn look_at_time(&mut self) -> Result<(), RequestError> {
        let now = Instant::now();
        let end = self.began + self.time;
        if now >= end {
            return Err(RequestError::BodyTimeout(self.time));
        }
        if now >= self.pace.since + PACE_PERIOD {
            let due = self.room.size() as f64 * PACE_PERIOD.as_secs_f64() / self.time.as_secs_f64();
            if self.pace.bytes as f64 <= due * PACE_PART && self.room.is_wanted() {
                return Err(RequestError::BodiesFull);
            }
            self.pace = Pace { since: now, bytes: 0 };
        }
        self.timer.as_mut().reset(end.min(self.pace.since + PACE_PERIOD));
        Ok(())
    }
}
