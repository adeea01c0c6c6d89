//! Rights: which pipelines may be published to or read, and which channels of them.

use std::fmt;

use serde::Deserialize;

use super::object::present;
use super::pattern::Pattern;
use crate::event::PipelineId;

/// What a client wants to do with a pipeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// Publish events, and delete the history.
    Publish,
    /// Read streams, the history and the state of a pipeline.
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

/// What a key or a token allows: the claim `pipecast`, and the same keys in the table of a static key.
///
/// An unknown member is an error: it could be a misspelt limit, or one from a later version.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rights {
    /// Pipelines that it may publish to.
    #[serde(default)]
    pub publish: Vec<Pattern>,
    /// Pipelines that it may read.
    #[serde(default)]
    pub subscribe: Vec<Pattern>,
    /// Only these channels of them may be read; all if absent.
    #[serde(default, deserialize_with = "present")]
    pub channels: Option<Vec<String>>,
}

impl Rights {
    /// Whether they include this right to this pipeline.
    pub fn allow(&self, right: Right, pipeline: &PipelineId) -> bool {
        let patterns = match right {
            Right::Publish => &self.publish,
            Right::Subscribe => &self.subscribe,
        };
        patterns.iter().any(|pattern| pattern.matches(pipeline))
    }
}
