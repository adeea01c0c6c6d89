//! Receiving a request's body: within a size, a time, and the room that all bodies share.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::Request;
use hyper::body::Frame;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use crate::http::connection::arriving::Arriving;
use crate::http::error::RequestError;
use crate::limits::{BodyRoom, SMALL_BODY};
use crate::node::Node;

/// A body's pace is looked at so often.
const PACE_PERIOD: Duration = Duration::from_secs(1);

/// While others wait for room, a body must come at least at this part of the pace that it needs to be whole in time.
const PACE_PART: f64 = 0.5;

/// Receives a body; what it takes stays reserved until the room is dropped.
///
/// One that is refused may still be on its way, and takes no room any more.
pub(in crate::http) async fn receive(
    node: &Node,
    request: &mut Request<Arriving>,
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

/// A body on its way.
struct Receiving<'a> {
    body: &'a mut Arriving,
    limit: usize,
    /// Longest time for all of it.
    time: Duration,
    room: BodyRoom,
    began: Instant,
    pace: Pace,
    /// For the end of its time, and to look at its pace. One for both: most bodies are there before either.
    timer: Pin<&'a mut Sleep>,
}

/// What came since when.
struct Pace {
    since: Instant,
    bytes: usize,
}

impl Receiving<'_> {
    async fn collect(&mut self) -> Result<Vec<u8>, RequestError> {
        // What is announced says when no more will come.
        let most = self.body.announced().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(self.limit);
        let mut whole = Vec::new();
        while let Some(frame) = self.next().await? {
            let Ok(data) = frame.into_data() else { continue };
            self.pace.bytes = self.pace.bytes.saturating_add(data.remaining());
            let needed = whole.len() + data.len();
            if needed > self.limit {
                return Err(RequestError::BodyTooLarge(self.limit));
            }
            // By doubling, or a body of many pieces would be copied for each.
            let doubled = needed.next_power_of_two().min(most).max(needed);
            if needed > self.room.size() {
                // A large one gets all of its room once it has begun to come: of several that each have a part and
                // wait for the rest none would go on.
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
        // That was not the client's time.
        self.pace = Pace { since: Instant::now(), bytes: 0 };
        Ok(())
    }

    /// The next of the body. One that hardly comes loses its room to those who wait for it.
    async fn next(&mut self) -> Result<Option<Frame<Bytes>>, RequestError> {
        // Nothing was asked for when the last of it came.
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
