//! Control blocks of a stream: `retry:`, positions, keepalives. No I/O.

use std::time::Duration;

use bytes::Bytes;

use crate::event::EventId;

/// The channel of positions. Clients do not show them.
pub const POSITION: &str = "pipecast.position";

const KEEPALIVE: &str = ":keepalive\n\n";

/// A `retry:` field (WHATWG HTML 9.2.6) at the beginning of a stream, part of the block that follows.
///
/// With a blank line it would be its own block, for which some clients dispatch an empty message.
pub fn retry_line(delay: Duration) -> Bytes {
    format!("retry: {}\n", delay.as_millis()).into()
}

/// The same as its own block, if nothing follows: some clients apply the field only at the blank line.
pub fn retry_block(delay: Duration) -> Bytes {
    format!("retry: {}\n\n", delay.as_millis()).into()
}

/// The `retry:` for a client that may reconnect soon: 1-3 s at random, so that reconnects are spread out.
pub fn draw_retry() -> Duration {
    Duration::from_millis(rand::random_range(1000..=3000))
}

/// The `retry:` for a client that is asked to reconnect later: 5-15 s.
pub fn draw_long_retry() -> Duration {
    Duration::from_millis(rand::random_range(5000..=15_000))
}

/// A client's resume point as an event, so that the client reconnects with it.
///
/// It has data. Of a block with only an id, half of the known parsers ignore the id and the others dispatch an empty message.
pub fn position(id: EventId) -> Bytes {
    position_text(id).into()
}

/// A comment that keeps the stream alive. The client's position comes before it if the client does not know that yet: a
/// reconnect would otherwise count the events that the filter held back as missed.
pub fn keepalive(position: Option<EventId>) -> Bytes {
    match position {
        Some(id) => (position_text(id) + KEEPALIVE).into(),
        None => Bytes::from_static(KEEPALIVE.as_bytes()),
    }
}

fn position_text(id: EventId) -> String {
    format!("event: {POSITION}\nid: {id}\ndata: {{}}\n\n")
}
