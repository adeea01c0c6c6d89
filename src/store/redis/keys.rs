//! Names of keys and channels in Redis.
//!
//! All begin with `redis.prefix`, so that several installations share one Redis. The braces make a
//! pipeline's keys share one slot of a Redis Cluster.

use std::fmt;
use std::str::FromStr;

use crate::event::PipelineId;
use crate::store::IdempotencyKey;

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

/// The names of one installation's keys and channels in one database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Names {
    prefix: Prefix,
    /// What a channel's name ends with: pub/sub knows no databases, so the name tells them apart.
    database: String,
}

impl Names {
    /// Names in the database of this number.
    pub(super) fn new(prefix: Prefix, database: i64) -> Self {
        let database = if database == 0 { String::new() } else { format!(":{database}") };
        Self { prefix, database }
    }

    /// The list of a pipeline's frames.
    pub(super) fn list(&self, pipeline: &PipelineId) -> String {
        format!("{}:{{{pipeline}}}:events", self.prefix)
    }

    /// The first answer to a publish with this key.
    pub(super) fn answer(&self, pipeline: &PipelineId, key: &IdempotencyKey) -> String {
        format!("{}:{{{pipeline}}}:idem:{}", self.prefix, key.as_str())
    }

    /// The pub/sub channel of a pipeline.
    pub(super) fn channel(&self, pipeline: &PipelineId) -> String {
        format!("{}:{{{pipeline}}}{}", self.prefix, self.database)
    }

    /// The pipeline of a pub/sub channel.
    pub(super) fn pipeline_of<'a>(&self, channel: &'a str) -> Option<&'a str> {
        let name = channel.strip_prefix(&self.prefix.0)?.strip_prefix(":{")?.strip_suffix(&*self.database)?;
        name.strip_suffix('}')
    }

    /// A name that one node alone uses, for the key and the channel of its probes.
    pub(super) fn new_probe(&self) -> String {
        format!("{}:probe:{:016x}", self.prefix, rand::random::<u64>())
    }

    /// A pipeline that no publisher can name, for trying at the start what is done later.
    pub(super) fn trial(&self) -> Trial {
        let stem = format!("{}:{{!{:016x}}}", self.prefix, rand::random::<u64>());
        Trial {
            list: format!("{stem}:events"),
            answer: format!("{stem}:idem:trial"),
            channel: format!("{stem}{}", self.database),
        }
    }
}

/// The keys and the channel of a trial.
pub(super) struct Trial {
    pub(super) list: String,
    pub(super) answer: String,
    pub(super) channel: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_leads_back_to_its_pipeline_and_to_no_other_installation_or_database() {
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
    fn a_trial_is_no_pipeline() {
        let names = Names::new("pipecast".parse().unwrap(), 0);
        let name = names.trial().channel;
        assert!(names.pipeline_of(&name).unwrap().parse::<PipelineId>().is_err(), "{name}");
    }

    #[test]
    fn a_prefix_holds_nothing_that_a_key_or_a_pattern_gives_a_meaning() {
        for text in ["", "a:b", "a{b}", "a*", "a b", "ä", &"x".repeat(65)] {
            assert_eq!(text.parse::<Prefix>(), Err(InvalidPrefix), "{text}");
        }
        assert!("A-z_0.9".parse::<Prefix>().is_ok());
    }
}
