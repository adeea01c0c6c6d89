//! A channel: the event name that a browser passes to `addEventListener`. No I/O.

/// The rule that a channel's name breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChannel {
    /// It has no characters.
    #[error("the channel is empty; give it a name of 1-255 bytes")]
    Empty,
    /// It has more than 255 bytes.
    #[error("the channel is longer than 255 bytes")]
    TooLong,
    /// It has a character that would end the frame's line (WHATWG HTML 9.2.5).
    #[error("the channel contains a line break or NUL, which no event name can carry")]
    LineBreak,
    /// It has a control character (C0, C1 or DEL), which a terminal that prints the name would execute.
    #[error("the channel contains the control character U+{0:04X}, which a terminal would execute; remove it")]
    Control(u32),
    /// It has the prefix of the broker's own events, such as `pipecast.gap`.
    #[error("the channel begins with `pipecast.`, which is reserved for the broker's own events")]
    Reserved,
    /// It is `error` or `open`, events that `EventSource` fires itself.
    #[error(
        "the channel is `{0}`, which `EventSource` uses for its own events, so the page would mistake it for one of those; choose another name"
    )]
    OfEventSource(&'static str),
}

/// The prefix of the broker's own channels.
pub const RESERVED_PREFIX: &str = "pipecast.";

/// Events that `EventSource` fires itself, to the same handlers (WHATWG HTML 9.2.2).
const OF_EVENT_SOURCE: [&str; 2] = ["error", "open"];

/// Checks the channel of an event to be published: [`check_channel`], no control characters, and not one of `EventSource`'s own
/// names. Subscribers may ask for such channels: a history can hold some that were published before these rules.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_publishable(channel: &str) -> Result<(), InvalidChannel> {
    check_channel(channel)?;
    // Unicode category Cc: C0, DEL and C1.
    if let Some(control) = channel.chars().find(|character| character.is_control()) {
        return Err(InvalidChannel::Control(control.into()));
    }
    match OF_EVENT_SOURCE.iter().find(|name| **name == channel) {
        Some(name) => Err(InvalidChannel::OfEventSource(name)),
        None => Ok(()),
    }
}

/// Checks a channel's name: 1-255 bytes of UTF-8 without CR, LF and NUL, not reserved.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_channel(channel: &str) -> Result<(), InvalidChannel> {
    if channel.is_empty() {
        Err(InvalidChannel::Empty)
    } else if channel.len() > 255 {
        Err(InvalidChannel::TooLong)
    } else if channel.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        Err(InvalidChannel::LineBreak)
    } else if channel.starts_with(RESERVED_PREFIX) {
        Err(InvalidChannel::Reserved)
    } else {
        Ok(())
    }
}
