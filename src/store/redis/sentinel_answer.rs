//! What sentinels answer, and which answer to believe. Pure: no I/O.

use std::collections::HashMap;

use redis::{Cmd, FromRedisValue, Pipeline, RedisError, Value};

/// Where a server listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ServerAddress {
    pub(super) host: String,
    pub(super) port: u16,
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// One sentinel's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SentinelAnswer {
    pub(super) primary: ServerAddress,
    /// Sentinels raise it with each failover: a sentinel that missed one has a lower number.
    pub(super) epoch: u64,
}

/// The question. During a failover the address leads to the new primary before the other fields do.
pub(super) fn question(master: &str) -> Pipeline {
    let mut question = redis::pipe();
    question.ignore_errors();
    question.add_command(sentinel("GET-MASTER-ADDR-BY-NAME", master));
    question.add_command(sentinel("MASTER", master));
    question
}

fn sentinel(subcommand: &str, master: &str) -> Cmd {
    redis::cmd("SENTINEL").arg(subcommand).arg(master).to_owned()
}

/// Reads the answers to [`question`]; `None` when the sentinel does not know the name.
///
/// # Errors
/// When the sentinel refuses the question, or does not answer as sentinels do.
pub(super) fn read(answers: Vec<Result<Value, RedisError>>) -> Result<Option<SentinelAnswer>, RedisError> {
    let mut answers = answers.into_iter();
    let address = answers.next().unwrap_or(Ok(Value::Nil))?;
    if address == Value::Nil {
        return Ok(None);
    }
    let (host, port) = <(String, u16)>::from_redis_value(address)?;
    // A sentinel that only gives the address is believed less than one that names its epoch.
    let fields = answers.next().and_then(Result::ok).and_then(|fields| HashMap::from_redis_value(fields).ok());
    let fields: HashMap<String, String> = fields.unwrap_or_default();
    let epoch = fields.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
    Ok(Some(SentinelAnswer { primary: ServerAddress { host, port }, epoch }))
}

/// A server that may be the primary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Candidate {
    pub(super) address: ServerAddress,
    pub(super) epoch: u64,
    /// How many sentinels name it.
    pub(super) votes: usize,
}

/// The servers that the sentinels name, the most credible first: of the latest epoch, and then what most of them name.
pub(super) fn candidates(answers: Vec<SentinelAnswer>) -> Vec<Candidate> {
    let mut ranked = Vec::<Candidate>::new();
    for SentinelAnswer { primary, epoch } in answers {
        match ranked.iter_mut().find(|candidate| candidate.address == primary) {
            Some(candidate) => (candidate.epoch, candidate.votes) = (candidate.epoch.max(epoch), candidate.votes + 1),
            None => ranked.push(Candidate { address: primary, epoch, votes: 1 }),
        }
    }
    ranked.sort_by_key(|candidate| std::cmp::Reverse((candidate.epoch, candidate.votes)));
    ranked
}

impl Candidate {
    /// Whether it can have followed a primary of this epoch. A sentinel that missed the failover to that one names an
    /// older one; all of them name an older epoch only if they were set up anew.
    pub(super) fn is_newer_than(&self, epoch: u64, sentinels: usize) -> bool {
        self.epoch >= epoch || self.votes * 2 > sentinels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(port: u16, epoch: u64) -> SentinelAnswer {
        SentinelAnswer { primary: ServerAddress { host: "10.0.0.1".to_owned(), port }, epoch }
    }

    #[test]
    fn latest_epoch_and_then_most_sentinels_are_believed() {
        for (answers, expected) in [
            (vec![], vec![]),
            (vec![answer(1, 3), answer(1, 3), answer(2, 4)], vec![2, 1]),
            (vec![answer(1, 3), answer(2, 3), answer(2, 3)], vec![2, 1]),
            (vec![answer(1, 0), answer(2, 3), answer(1, 0)], vec![2, 1]),
            (vec![answer(1, 3), answer(1, 0)], vec![1]),
        ] {
            let ports: Vec<_> =
                candidates(answers.clone()).into_iter().map(|candidate| candidate.address.port).collect();
            assert_eq!(ports, expected, "{answers:?}");
        }
    }

    #[test]
    fn older_epoch_counts_only_if_most_sentinels_name_it() {
        let candidate = |votes| candidates(vec![answer(1, 3); votes]).remove(0);
        assert!(candidate(1).is_newer_than(3, 3));
        assert!(!candidate(1).is_newer_than(4, 3));
        assert!(!candidate(1).is_newer_than(4, 2));
        assert!(candidate(2).is_newer_than(4, 3));
    }

    #[test]
    fn answers_are_read() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let address = || Ok(Value::Array(vec![text("10.0.0.1"), text("7")]));
        let fields = || Ok(Value::Map(vec![(text("config-epoch"), text("5")), (text("port"), text("6"))]));
        let refused = || Err(redis::make_extension_error("NOPERM".to_owned(), None));
        assert_eq!(read(vec![address(), fields()]).unwrap(), Some(answer(7, 5)));
        assert_eq!(read(vec![address(), refused()]).unwrap(), Some(answer(7, 0)));
        assert_eq!(read(vec![Ok(Value::Nil), refused()]).unwrap(), None);
        assert!(read(vec![refused(), refused()]).is_err());
        assert!(read(vec![Ok(Value::Okay), fields()]).is_err());
    }
}
