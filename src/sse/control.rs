//! Blocks of a stream that are no events: `retry:`, positions, keepalives. No I/O.

use std::time::Duration;

use bytes::Bytes;

use crate::event::EventId;

/// The channel of positions, which no client shows.
pub const POSITION: &str = "pipecast.position";

const KEEPALIVE: &str = ":keepalive\n\n";

/// A `retry:` field (WHATWG HTML 9.2.6) at a stream's beginning: a part of the block that follows.
///
/// A blank line would make it a block of its own, for which some clients dispatch an empty message.
pub fn retry_line(delay: Duration) -> Bytes {
    format!("retry: {}\n", delay.as_millis()).into()
}

/// The same where nothing follows: a block of its own, since some clients take the field only at the blank line.
pub fn retry_block(delay: Duration) -> Bytes {
    format!("retry: {}\n\n", delay.as_millis()).into()
}

/// The `retry:` of a stream that may come back soon: 1-3 s, drawn so that reconnects spread.
pub fn draw_retry() -> Duration {
    Duration::from_millis(rand::random_range(1000..=3000))
}

/// The `retry:` of a client that is sent elsewhere: 5-15 s.
pub fn draw_long_retry() -> Duration {
    Duration::from_millis(rand::random_range(5000..=15_000))
}

/// What tells a client where it is, as an event, so that it comes back with that id.
///
/// It has data, since of a block with only an id half of the known parsers take nothing, and the others make an empty message.
pub fn position(id: EventId) -> Bytes {
    position_text(id).into()
}

/// A comment that shows that the stream is alive; after a client's position where it is not told yet, so
/// that a reconnect does not take what a filter held back for missed.
pub fn keepalive(position: Option<EventId>) -> Bytes {
    match position {
        Some(id) => (position_text(id) + KEEPALIVE).into(),
        None => Bytes::from_static(KEEPALIVE.as_bytes()),
    }
}

fn position_text(id: EventId) -> String {
    format!("event: {POSITION}\nid: {id}\ndata: {{}}\n\n")
}
