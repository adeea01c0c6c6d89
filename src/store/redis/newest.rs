//! The newest events of many pipelines in Redis: the call that asks for them, and how its answer is read. Knows no connection.

use redis::{Script, ScriptInvocation};

use super::keys::Names;
use super::millis::millis;
use crate::event::EventId;
use crate::event::PipelineId;
use crate::store::{Newest, Retention, StoreError};

/// Maximum pipelines in one call. Redis does nothing else meanwhile: it copies the newest and the oldest entry of each, 32 MiB
/// in all when every event is as large as allowed by default.
pub(super) const AT_ONCE: usize = 64;

/// The script. Its comments describe its arguments and its answer.
pub(super) struct NewestScript(Script);

impl Default for NewestScript {
    fn default() -> Self {
        Self(Script::new(concat!(include_str!("began.lua"), include_str!("newest.lua"))))
    }
}

impl NewestScript {
    /// A call for these pipelines.
    pub(super) fn call(&self, pipelines: &[PipelineId], names: &Names, retention: Retention) -> ScriptInvocation<'_> {
        self.call_on(names.began(), pipelines.iter().map(|pipeline| names.list(pipeline)), retention)
    }

    /// A call for these lists; `began` is [`Names::began`].
    pub(super) fn call_on(
        &self,
        began: String,
        lists: impl Iterator<Item = String>,
        retention: Retention,
    ) -> ScriptInvocation<'_> {
        let mut call = self.0.key(began);
        lists.for_each(|list| {
            call.key(list);
        });
        call.arg(millis(retention.ttl));
        call
    }
}

/// The results for `count` pipelines, from the answer to one call.
pub(super) fn read(count: usize, answers: Result<Vec<String>, StoreError>) -> Vec<Result<Newest, StoreError>> {
    match answers {
        Ok(lines) if lines.len() == count => lines.iter().map(|line| read_line(line)).collect(),
        Ok(lines) => {
            let problem = format!("{} answers about {count} pipelines", lines.len());
            vec![Err(StoreError::Unexpected(problem.into())); count]
        }
        Err(error) => vec![Err(error); count],
    }
}

fn read_line(line: &str) -> Result<Newest, StoreError> {
    let mut words = line.splitn(2, ' ');
    let (kind, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    // An id that cannot be read was not written by this broker: no log agrees with it, and the list is read.
    let id = |text: &str| text.parse().unwrap_or(EventId::ZERO);
    let number = |text: &str| text.parse().ok();
    match (kind, rest.split_once(' ')) {
        ("event", Some((event, events))) => match (id(event), events.parse()) {
            (id @ EventId { seq: 1.., .. }, Ok(events)) => Ok(Newest::Event { id, events }),
            _ => Ok(Newest::Nothing(EventId::ZERO)),
        },
        ("nothing", None) => Ok(Newest::Nothing(id(rest))),
        ("none", Some((since, now))) => match (number(since), number(now)) {
            (Some(since_ms), Some(now_ms)) => Ok(Newest::Unknown { since_ms, now_ms }),
            _ => Err(StoreError::Unexpected(rest.into())),
        },
        _ => Err(StoreError::Unexpected(rest.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pipeline_gets_its_own_answer() {
        let newest = |line: &str| read_line(line).unwrap();
        let id = EventId { ms: 9, seq: 3 };
        assert_eq!(newest("event 9-3 2"), Newest::Event { id, events: 2 });
        assert_eq!(newest("nothing 9-3"), Newest::Nothing(id));
        assert_eq!(newest("none 5 9"), Newest::Unknown { since_ms: 5, now_ms: 9 });
        for none in ["event 9-0 2", "event 99999999999999999999-3 2"] {
            assert_eq!(newest(none), Newest::Nothing(EventId::ZERO), "{none}");
        }
        for wrong in ["none", "none 5", "error WRONGTYPE Operation against a key", "", "event 9-3", "rubbish x"] {
            assert!(read_line(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn failed_call_fails_each_of_its_pipelines() {
        let away = StoreError::Unreachable("x".into());
        assert_eq!(read(3, Err(away)).iter().filter(|one| one.is_err()).count(), 3);
        assert_eq!(read(2, Ok(vec!["none 5 9".into()])).iter().filter(|one| one.is_err()).count(), 2);
    }
}
