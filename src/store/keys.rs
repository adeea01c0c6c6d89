//! Names of keys and channels in Redis.
//!
//! All begin with `redis.prefix`, so that several installations share one Redis. The braces make a
//! pipeline's keys share one slot of a Redis Cluster.

use std::fmt;
use std::str::FromStr;

use super::IdempotencyKey;
use crate::pipeline::PipelineId;

/// What all names of one installation begin with: 1-64 bytes of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prefix(String);

/// What is wrong with a prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a prefix has 1-64 characters of A-Z a-z 0-9 . _ -")]
pub struct InvalidPrefix;

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        // Nothing that means something in a key's hash tag or in the pattern of an access rule.
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(is_allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPrefix)
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Prefix {
    /// The list of a pipeline's frames.
    pub(super) fn list(&self, pipeline: &PipelineId) -> String {
        format!("{self}:{{{pipeline}}}:events")
    }

    /// The first answer to a publish with this key.
    pub(super) fn answer(&self, pipeline: &PipelineId, key: &IdempotencyKey) -> String {
        format!("{self}:{{{pipeline}}}:idem:{}", key.as_str())
    }

    /// The pub/sub channel of a pipeline.
    pub(super) fn channel(&self, pipeline: &PipelineId) -> String {
        format!("{self}:{{{pipeline}}}")
    }

    /// The pipeline of a pub/sub channel.
    pub(super) fn pipeline_of<'a>(&self, channel: &'a str) -> Option<&'a str> {
        channel.strip_prefix(&self.0)?.strip_prefix(":{")?.strip_suffix('}')
    }

    /// A channel that one node alone listens to, for its probes.
    pub(super) fn new_probe_channel(&self) -> String {
        format!("{self}:probe:{:016x}", rand::random::<u64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_leads_back_to_its_pipeline_and_to_no_other_installation() {
        let (prefix, other): (Prefix, Prefix) = ("pipecast".parse().unwrap(), "pipecast.b".parse().unwrap());
        let pipeline: PipelineId = "p_aBcDeF".parse().unwrap();
        assert_eq!(prefix.channel(&pipeline), "pipecast:{p_aBcDeF}");
        assert_eq!(prefix.list(&pipeline), "pipecast:{p_aBcDeF}:events");
        assert_eq!(prefix.pipeline_of(&prefix.channel(&pipeline)), Some("p_aBcDeF"));
        assert_eq!(prefix.pipeline_of(&other.channel(&pipeline)), None);
        assert_eq!(other.pipeline_of(&prefix.channel(&pipeline)), None);
        assert_eq!(prefix.pipeline_of(&prefix.new_probe_channel()), None);
    }

    #[test]
    fn a_prefix_holds_nothing_that_a_key_or_a_pattern_gives_a_meaning() {
        for text in ["", "a:b", "a{b}", "a*", "a b", "ä", &"x".repeat(65)] {
            assert_eq!(text.parse::<Prefix>(), Err(InvalidPrefix), "{text}");
        }
        assert!("A-z_0.9".parse::<Prefix>().is_ok());
    }
}
