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
        Self(Script::new(include_str!("newest.lua")))
    }
}

impl NewestScript {
    /// A call for these pipelines.
    pub(super) fn call(&self, pipelines: &[PipelineId], names: &Names, retention: Retention) -> ScriptInvocation<'_> {
        self.call_on(pipelines.iter().map(|pipeline| names.list(pipeline)), retention)
    }

    /// A call for these lists.
    pub(super) fn call_on(&self, lists: impl Iterator<Item = String>, retention: Retention) -> ScriptInvocation<'_> {
        let mut call = self.0.prepare_invoke();
        lists.for_each(|list| {
            call.key(list);
        });
        call.arg(millis(retention.ttl)).arg(retention.limit);
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
    // An id that cannot be read was not written by this broker: the history starts over there.
    let id = |text: &str| text.parse().unwrap_or(EventId::ZERO);
    match (kind, rest.split_once(' ')) {
        ("event", Some((event, events))) => match (id(event), events.parse()) {
            (EventId { seq: 1.., .. }, Ok(events)) => Ok(Newest::Event { id: id(event), events }),
            _ => Ok(Newest::Nothing(EventId::ZERO)),
        },
        ("nothing", None) => Ok(Newest::Nothing(id(rest))),
        ("none", None) => Ok(Newest::Nothing(EventId::ZERO)),
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
        for none in ["none", "event 9-0 2", "event 99999999999999999999-3 2"] {
            assert_eq!(newest(none), Newest::Nothing(EventId::ZERO), "{none}");
        }
        for wrong in ["error WRONGTYPE Operation against a key", "", "event 9-3", "rubbish x"] {
            assert!(read_line(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn failed_call_fails_each_of_its_pipelines() {
        let away = StoreError::Unreachable("x".into());
        assert_eq!(read(3, Err(away)).iter().filter(|one| one.is_err()).count(), 3);
        assert_eq!(read(2, Ok(vec!["none".into()])).iter().filter(|one| one.is_err()).count(), 2);
    }
}
