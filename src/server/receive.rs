//! Receiving a request's body: within a size, a time, and the room that all bodies share.

use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::header;
use hyper::{Request, Version};
use tokio::time::{Instant, timeout, timeout_at};

use super::error::RequestError;
use crate::limits::{BodyRoom, SMALL_BODY};
use crate::node::Node;

/// How much of a body that is too large is read and thrown away, as a multiple of the limit.
/// Closing with unread bytes resets the connection, and the client may never see why.
const DISCARDED: u64 = 4;

/// How long that is done where there is no room for a body.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// A body's pace is looked at so often.
const PACE_PERIOD: Duration = Duration::from_secs(1);

/// While others wait for room, a body must come at least at this part of the pace that it needs to be whole in time.
const PACE_PART: f64 = 0.5;

/// Receives a body; what it takes stays reserved until the room is dropped.
pub(super) async fn receive(node: &Node, request: Request<Incoming>) -> Result<(Vec<u8>, BodyRoom), RequestError> {
    let limit = node.rules.request_bytes;
    let is_asking_first = request.headers().contains_key(header::EXPECT);
    // Of HTTP/2 a stream alone is given up.
    let is_connection_over = request.version() < Version::HTTP_2;
    let mut body = request.into_body();
    let announced = body.size_hint().exact().unwrap_or_default();
    let is_hopeless = announced > limit as u64 && (is_asking_first || announced > DISCARDED * limit as u64);
    if is_hopeless {
        return Err(RequestError::BodyTooLarge(limit));
    }
    let time = node.rules.request_timeout;
    let (room, pace) = (node.bodies.begin(), Pace::new());
    let mut receiving = Receiving { body: &mut body, limit, time, room, received: 0, pace };
    let received = timeout(time, receiving.collect()).await.map_err(|_| RequestError::BodyTimeout(time))?;
    let Receiving { room, .. } = receiving;
    if is_connection_over && matches!(received, Err(RequestError::BodiesFull)) {
        drop(room);
        let _ = timeout(DISCARD_TIME, discard(body, DISCARDED * limit as u64)).await;
        return Err(RequestError::BodiesFull);
    }
    Ok((received?, room))
}

async fn discard(mut body: Incoming, most: u64) {
    let mut discarded = 0;
    while discarded < most
        && let Some(Ok(frame)) = body.frame().await
    {
        discarded += frame.data_ref().map_or(0, Bytes::len) as u64;
    }
}

/// A body on its way.
struct Receiving<'a> {
    body: &'a mut Incoming,
    limit: usize,
    time: Duration,
    room: BodyRoom,
    received: u64,
    pace: Pace,
}

/// What came since when.
struct Pace {
    since: Instant,
    bytes: usize,
}

impl Pace {
    fn new() -> Self {
        Self { since: Instant::now(), bytes: 0 }
    }
}

impl Receiving<'_> {
    async fn collect(&mut self) -> Result<Vec<u8>, RequestError> {
        let limit = self.limit as u64;
        // Such a body needs no room: it is read for the sake of its client alone.
        let is_kept = self.body.size_hint().exact().is_none_or(|bytes| bytes <= limit);
        // What is announced says when no more will come.
        let most = self.body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(self.limit);
        let mut whole = Vec::new();
        while let Some(frame) = self.next().await? {
            let Ok(data) = frame.into_data() else { continue };
            self.received += data.remaining() as u64;
            self.pace.bytes = self.pace.bytes.saturating_add(data.remaining());
            if is_kept && self.received <= limit {
                let needed = whole.len() + data.len();
                // By doubling, or a body of many pieces would be copied for each.
                let doubled = needed.next_power_of_two().min(most).max(needed);
                if needed > self.room.size() {
                    // A large one gets all of its room once it has begun to come: of several that each have a part and
                    // wait for the rest none would go on.
                    let size = if needed > SMALL_BODY { most.max(needed) } else { doubled };
                    self.room.grow_to(size).await.map_err(|_| RequestError::BodiesFull)?;
                    // What was waited for room is not the client's time.
                    self.pace = Pace::new();
                }
                if needed > whole.capacity() {
                    whole.reserve_exact(doubled - whole.len());
                }
                whole.extend_from_slice(&data);
            } else {
                whole = Vec::new();
                self.room.give_back();
            }
            if self.received > DISCARDED * limit {
                break;
            }
        }
        if self.received > limit {
            return Err(RequestError::BodyTooLarge(self.limit));
        }
        self.room.shrink_to(whole.capacity());
        Ok(whole)
    }

    /// The next of the body. One that hardly comes loses its room to those who wait for it.
    async fn next(&mut self) -> Result<Option<Frame<Bytes>>, RequestError> {
        loop {
            let until = self.pace.since + PACE_PERIOD;
            let next = timeout_at(until, self.body.frame()).await;
            if Instant::now() >= until {
                let due = self.room.size() as f64 * PACE_PERIOD.as_secs_f64() / self.time.as_secs_f64();
                if self.pace.bytes as f64 <= due * PACE_PART && self.room.is_wanted() {
                    return Err(RequestError::BodiesFull);
                }
                self.pace = Pace::new();
            }
            if let Ok(frame) = next {
                return frame.transpose().map_err(|_| RequestError::BodyBroken);
            }
        }
    }
}
