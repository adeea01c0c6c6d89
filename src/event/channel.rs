//! A channel: the name under which a browser listens for an event. No I/O.

/// Which rule a channel's name breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChannel {
    /// No name at all.
    #[error("the channel is empty; give it a name of 1-255 bytes")]
    Empty,
    /// Longer than a name may be.
    #[error("the channel is longer than 255 bytes")]
    TooLong,
    /// A character that would end the line of the frame (WHATWG HTML 9.2.5).
    #[error("the channel contains a line break or NUL, which no event name can carry")]
    LineBreak,
    /// A control character of C0 or C1, or DEL: a terminal that shows the name would obey it.
    #[error("the channel contains the control character U+{0:04X}, which a terminal would obey; leave it out")]
    Control(u32),
    /// The prefix of the broker's own events, such as `pipecast.gap`.
    #[error("the channel begins with `pipecast.`, which is kept for the broker's own events")]
    Reserved,
    /// What `EventSource` calls the events that it fires itself, `error` and `open`.
    #[error(
        "the channel is `{0}`, which `EventSource` uses for an event of its own: the page's handler for that would run; choose another name"
    )]
    OfEventSource(&'static str),
}

/// What channels of the broker's own begin with.
pub const RESERVED_PREFIX: &str = "pipecast.";

/// Events that `EventSource` fires itself, at the same handlers (WHATWG HTML 9.2.2).
const OF_EVENT_SOURCE: [&str; 2] = ["error", "open"];

/// Checks the channel of an event that is to be published: a name as for [`check_channel`], without control characters, and
/// none of `EventSource`'s own. Readers may still ask for those, since a history can hold some from before they were refused.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_publishable(channel: &str) -> Result<(), InvalidChannel> {
    check_channel(channel)?;
    // Of the kind Cc, which is C0, DEL and C1.
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
