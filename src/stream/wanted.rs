//! What a client asks for: where its stream begins, and which channels it includes.

use crate::event::{Gap, ResumePoint};
use crate::sse::frame::Frame;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where to begin.
    pub start: Start,
    /// Which channels.
    pub channels: Channels,
}

/// Where a stream begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the whole history.
    History,
    /// With at most this many of the newest events. The client is sent the position before them.
    Newest(usize),
    /// After a resume point.
    After(ResumePoint),
}

/// A filter by channel. Most streams have none, so it is the size of a pointer.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Channels(Option<Box<Filter>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    names: Vec<String>,
    /// Whether the client may not read other channels, rather than not want them.
    is_limit: bool,
}

impl Channels {
    /// The channels that the client wants; all of them if `names` is empty.
    pub fn only(names: Vec<String>) -> Self {
        Self((!names.is_empty()).then(|| Box::new(Filter { names, is_limit: false })))
    }

    /// The only channels that the client may read; none at all if `names` is empty.
    pub fn limited(names: Vec<String>) -> Self {
        Self(Some(Box::new(Filter { names, is_limit: true })))
    }

    /// Whether every channel passes.
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// The channels that pass; `None` when all do.
    pub fn names(&self) -> Option<&[String]> {
        self.0.as_deref().map(|filter| &*filter.names)
    }

    /// Whether a frame passes.
    pub fn pass(&self, frame: &Frame) -> bool {
        self.names().is_none_or(|names| names.iter().any(|channel| channel == frame.channel()))
    }

    /// A gap as it is reported to the client: without the number of missed events if the client may not read all of them.
    pub(super) fn reported(&self, gap: Gap) -> Gap {
        let is_limited = self.0.as_ref().is_some_and(|filter| filter.is_limit);
        Gap { missed: gap.missed.filter(|_| !is_limited), ..gap }
    }
}
