//! Blocks of a stream that are no events: `retry:`, positions, keepalives. No I/O.

use std::time::Duration;

use bytes::Bytes;

use crate::event_id::EventId;

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

/// A block that tells a client where it stands, without an event (WHATWG HTML 9.2.6).
pub fn position(id: EventId) -> Bytes {
    format!("id: {id}\n\n").into()
}

/// A comment that shows that the stream is alive; for a client with a filter, with its position, so
/// that a reconnect does not take what the filter held back for missed.
pub fn keepalive(position: Option<EventId>) -> Bytes {
    match position {
        Some(position) => format!("id: {position}\n:keepalive\n\n").into(),
        None => Bytes::from_static(b":keepalive\n\n"),
    }
}
