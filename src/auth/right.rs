//! Rights: what may be done with which pipelines, and which channels are read.

use std::fmt;

use serde::Deserialize;

use super::object::present;
use super::pattern::Pattern;
use crate::event::PipelineId;

/// Something that can be done with a pipeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// Sending events, and forgetting them.
    Publish,
    /// Reading: streams, the history, what is known of a pipeline.
    Subscribe,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        })
    }
}

/// What a key or a token is good for: the claim `pipecast`, and the same words of a static key.
///
/// An unknown member is refused: it could be a limit that a later version knows, or a misspelt one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rights {
    /// Pipelines to publish to.
    #[serde(default)]
    pub publish: Vec<Pattern>,
    /// Pipelines to read.
    #[serde(default)]
    pub subscribe: Vec<Pattern>,
    /// Of these, only events in these channels; all if absent.
    #[serde(default, deserialize_with = "present")]
    pub channels: Option<Vec<String>>,
}

impl Rights {
    /// Whether the right to a pipeline is among them.
    pub fn allow(&self, right: Right, pipeline: &PipelineId) -> bool {
        let patterns = match right {
            Right::Publish => &self.publish,
            Right::Subscribe => &self.subscribe,
        };
        patterns.iter().any(|pattern| pattern.matches(pipeline))
    }
}
