//! Names of keys and channels in Redis.
//!
//! All begin with `redis.prefix`, so that several installations can share one Redis. The braces put all keys of a pipeline into one
//! slot of a Redis Cluster.

use std::fmt;
use std::str::FromStr;

use crate::event::PipelineId;
use crate::store::IdempotencyKey;

/// The beginning of all names of one installation: 1-64 bytes of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prefix(String);

/// A text that is not a valid prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a prefix has 1-64 characters of A-Z a-z 0-9 . _ -")]
pub struct InvalidPrefix;

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        // No character with a meaning in a hash tag or in the pattern of an ACL rule.
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

/// The names of one installation's keys and channels in one database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Names {
    prefix: Prefix,
    /// The end of a channel's name: pub/sub ignores databases, so the name distinguishes them.
    database: String,
}

impl Names {
    /// The names in this database.
    pub(super) fn new(prefix: Prefix, database: i64) -> Self {
        let database = if database == 0 { String::new() } else { format!(":{database}") };
        Self { prefix, database }
    }

    /// The key of the list of a pipeline's frames.
    pub(super) fn list(&self, pipeline: &PipelineId) -> String {
        format!("{}:{{{pipeline}}}:events", self.prefix)
    }

    /// The key of the moment when this installation's set of data began.
    pub(super) fn began(&self) -> String {
        format!("{}:began", self.prefix)
    }

    /// The key of the answer to a publish with this `Idempotency-Key`.
    pub(super) fn answer(&self, pipeline: &PipelineId, key: &IdempotencyKey) -> String {
        format!("{}:{{{pipeline}}}:idem:{}", self.prefix, key.as_str())
    }

    /// The pub/sub channel of a pipeline.
    pub(super) fn channel(&self, pipeline: &PipelineId) -> String {
        format!("{}:{{{pipeline}}}{}", self.prefix, self.database)
    }

    /// The pipeline that a pub/sub channel belongs to; `None` for a channel of another installation or database.
    pub(super) fn pipeline_of<'a>(&self, channel: &'a str) -> Option<&'a str> {
        let name = channel.strip_prefix(&self.prefix.0)?.strip_prefix(":{")?.strip_suffix(&*self.database)?;
        name.strip_suffix('}')
    }

    /// A name unique to one node, for the key and the channel of its probes.
    pub(super) fn new_probe(&self) -> String {
        format!("{}:probe:{:016x}", self.prefix, rand::random::<u64>())
    }

    /// The names of a pipeline that no publisher can name, for the trial at the start.
    pub(super) fn trial(&self) -> TrialNames {
        let stem = format!("{}:{{!{:016x}}}", self.prefix, rand::random::<u64>());
        TrialNames {
            list: format!("{stem}:events"),
            answer: format!("{stem}:idem:trial"),
            channel: format!("{stem}{}", self.database),
        }
    }
}

/// The keys and the channel of a trial.
pub(super) struct TrialNames {
    pub(super) list: String,
    pub(super) answer: String,
    pub(super) channel: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_names_its_pipeline_installation_and_database() {
        let names = |prefix: &str, database| Names::new(prefix.parse().unwrap(), database);
        let all = [names("pipecast", 0), names("pipecast.b", 0), names("pipecast", 3), names("pipecast", 13)];
        let pipeline: PipelineId = "p_aBcDeF".parse().unwrap();
        assert_eq!(all[0].channel(&pipeline), "pipecast:{p_aBcDeF}");
        assert_eq!(all[0].list(&pipeline), "pipecast:{p_aBcDeF}:events");
        assert_eq!(all[2].channel(&pipeline), "pipecast:{p_aBcDeF}:3");
        for (one, other) in all.iter().flat_map(|one| all.iter().map(move |other| (one, other))) {
            let expected = (one == other).then_some("p_aBcDeF");
            assert_eq!(one.pipeline_of(&other.channel(&pipeline)), expected, "{one:?}, {other:?}");
            assert_eq!(one.pipeline_of(&other.new_probe()), None);
        }
    }

    #[test]
    fn trial_uses_no_valid_pipeline_id() {
        let names = Names::new("pipecast".parse().unwrap(), 0);
        let name = names.trial().channel;
        assert!(names.pipeline_of(&name).unwrap().parse::<PipelineId>().is_err(), "{name}");
    }

    #[test]
    fn prefix_has_no_special_characters() {
        for text in ["", "a:b", "a{b}", "a*", "a b", "ä", &"x".repeat(65)] {
            assert_eq!(text.parse::<Prefix>(), Err(InvalidPrefix), "{text}");
        }
        assert!("A-z_0.9".parse::<Prefix>().is_ok());
    }
}
