//! Resume points against the histories that a store can have: restarted, rolled back by a failover, with a clock that
//! stepped back, trimmed, forgotten. The judge here knows every event by what it is, and shares no code with the log.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::time::{Duration, Instant};

use pipecast::event::GapReason;
use pipecast::event::{EventId, ResumePoint};
use pipecast::log::{Log, LogLimits, Read, ReadLimits};
use pipecast::sse::frame::{Frame, History};
use proptest::prelude::*;

const LIMIT: usize = 6;
const NOW_MS: u64 = 1_000_000;

/// An event, as (ms, seq). Two events with one id are one event to every client: no judge can tell them apart.
type Id = (u64, u64);

/// What happens to a pipeline's list in the store.
#[derive(Clone, Debug)]
enum Step {
    /// A batch is stored, so long after the last one by the store's clock.
    Publish { count: u64, ms: u64 },
    /// The list is lost, and with it the counter.
    Flush,
    /// A failover: the newest events were not replicated.
    LoseTail { events: usize },
    /// The store's clock steps back, as that of another machine may.
    TurnBack { ms: u64 },
    /// The history is forgotten on request; ids go on.
    Forget,
    /// A client reads all that there is, and leaves.
    Leave,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u64..6, 0u64..4).prop_map(|(count, ms)| Step::Publish { count, ms }),
        1 => Just(Step::Flush),
        2 => (1usize..8).prop_map(|events| Step::LoseTail { events }),
        2 => (1u64..12).prop_map(|ms| Step::TurnBack { ms }),
        1 => Just(Step::Forget),
        3 => Just(Step::Leave),
    ];
    prop::collection::vec(step, 1..40)
}

/// The store, with a memory that no store has.
#[derive(Default)]
struct Pipeline {
    /// Every event of the present history since its counter began, oldest first.
    branch: Vec<Id>,
    /// How many of the oldest are not kept any more.
    gone: usize,
    clock_ms: u64,
    /// The list has a marker in place of what was forgotten.
    marker: Option<Id>,
}

/// A client that left: its newest event, and all that it has had.
struct Left {
    at: Id,
    had: Vec<Id>,
}

impl Pipeline {
    fn publish(&mut self, count: u64, ms: u64) {
        self.clock_ms += ms;
        let newest = self.branch.last().copied().or(self.marker).unwrap_or_default();
        let ms = self.clock_ms.max(newest.0);
        self.branch.extend((1..=count).map(|n| (ms, newest.1 + n)));
        if self.branch.len() - self.gone > LIMIT {
            self.gone = self.branch.len() - LIMIT;
            self.marker = None;
        }
    }

    fn kept(&self) -> &[Id] {
        &self.branch[self.gone..]
    }

    /// As the node reads the list.
    fn log(&self) -> Log {
        let limits = LogLimits {
            history: LIMIT,
            history_bytes: usize::MAX,
            backlog_bytes: 0,
            backlog_age: Duration::ZERO,
            compresses: false,
        };
        let entry = |(ms, seq): &Id| format!("id: {ms}-{seq}\nevent: a\ndata: 1\n\n").into();
        let marker = self.marker.map(|(ms, seq)| format!("id: {ms}-{seq}\n\n").into());
        let mut log = Log::new(limits);
        log.merge(History::from_entries(marker.into_iter().chain(self.kept().iter().map(entry))), Instant::now());
        log
    }
}

/// What a reconnecting client receives: the gap's reason and `missed`, if there is a gap, and the events.
type Resumed = (Option<(GapReason, Option<u64>)>, Vec<Id>);

fn resume(log: &Log, (ms, seq): Id) -> Resumed {
    let (mut cursor, gap) = log.place_after(&ResumePoint::After(EventId { ms, seq }), NOW_MS);
    if let Some(gap) = &gap {
        assert_eq!(gap.resume, cursor.after());
        let (_, again) = log.place_after(&ResumePoint::After(gap.resume), NOW_MS);
        assert_eq!(again, None, "the same gap is reported again after {}", gap.resume);
    }
    let all = ReadLimits { frames: usize::MAX, bytes: usize::MAX };
    let events = match log.read(&mut cursor, all, NOW_MS, |_| true) {
        Read::Frames(frames) => frames.iter().map(Frame::id).map(|id| (id.ms, id.seq)).collect(),
        Read::Nothing => Vec::new(),
        Read::Gap(gap) => panic!("a second gap: {gap:?}"),
    };
    (gap.map(|gap| (gap.reason, gap.missed)), events)
}

fn check(pipeline: &Pipeline, client: &Left) -> Result<(), TestCaseError> {
    let kept = pipeline.kept();
    let (gap, got) = resume(&pipeline.log(), client.at);
    let told = format!("at {:?} with {kept:?} kept: {gap:?}, then {got:?}", client.at);
    prop_assert!(kept.ends_with(&got), "not the newest in order: {}", told);
    prop_assert!(!got.contains(&client.at), "duplicate: {}", told);
    if let Some(place) = pipeline.branch.iter().position(|id| *id == client.at) {
        // A true continuation.
        let missing = pipeline.gone.saturating_sub(place + 1);
        prop_assert_eq!(&got[..], &kept[(place + 1).saturating_sub(pipeline.gone)..], "{}", told);
        prop_assert!(got.iter().all(|id| !client.had.contains(id)), "duplicate: {}", told);
        match missing {
            0 => prop_assert_eq!(gap, None, "a false gap: {}", told),
            _ => prop_assert_eq!(gap, Some((GapReason::Trimmed, Some(missing as u64))), "{}", told),
        }
        return Ok(());
    }
    // The client's newest event is not in this history: it was deleted, lost or flushed.
    if pipeline.marker == Some(client.at) {
        prop_assert_eq!((gap, &got[..]), (None, kept), "{}", told);
        return Ok(());
    }
    let newer: Vec<_> = kept.iter().filter(|id| **id > client.at).copied().collect();
    prop_assert!(got.ends_with(&newer), "an event after the resume point is not sent: {}", told);
    // Where the counter has come as far as the client or further, what it counted since can not be the client's.
    let is_passed = kept.iter().any(|id| *id < client.at && id.1 >= client.at.1);
    if is_passed {
        let surely_new: Vec<_> = kept.iter().filter(|id| id.1 >= client.at.1).copied().collect();
        prop_assert!(got.ends_with(&surely_new), "an event that the client cannot have is not sent: {}", told);
        prop_assert_eq!(gap, Some((GapReason::Reset, None)), "{}", told);
    }
    // The cases that ids cannot tell apart (docs/design/reliability.md, known exceptions): nothing that is kept is as old
    // as the resume point, the number happens to be the next, and the list does not say what was before it.
    let meets = kept.first().is_some_and(|id| *id > client.at && id.1 == client.at.1 + 1)
        && (pipeline.marker.is_none()
            || kept[0].0 == client.at.0
            || pipeline.marker.is_some_and(|marker| marker.0 == kept[0].0));
    let is_trimmed = kept.first().or(pipeline.marker.as_ref()).is_some_and(|id| *id > client.at && id.1 > client.at.1);
    prop_assert!(gap.is_some() || meets || client.at == Id::default(), "skipped without a gap: {}", told);
    if gap.is_some() && !is_trimmed {
        prop_assert_eq!(gap, Some((GapReason::Reset, None)), "{}", told);
    }
    Ok(())
}

fn follow(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut pipeline = Pipeline { clock_ms: 100, ..Pipeline::default() };
    let mut clients: Vec<Left> = Vec::new();
    for step in steps {
        match step {
            Step::Publish { count, ms } => pipeline.publish(count, ms),
            Step::Flush => pipeline = Pipeline { clock_ms: pipeline.clock_ms, ..Pipeline::default() },
            Step::LoseTail { events } => {
                // What the replica still has: it lags in what was added, and so in what was trimmed.
                let length = pipeline.branch.len().saturating_sub(events);
                pipeline.branch.truncate(length);
                pipeline.gone = length.saturating_sub(LIMIT);
            }
            Step::TurnBack { ms } => pipeline.clock_ms -= ms.min(pipeline.clock_ms),
            Step::Forget => {
                let newest = pipeline.branch.last().copied().or(pipeline.marker);
                let clock_ms = pipeline.clock_ms;
                pipeline = Pipeline { marker: newest, clock_ms, ..Pipeline::default() };
            }
            Step::Leave => {
                if let Some(at) = pipeline.branch.last().copied() {
                    clients.push(Left { at, had: pipeline.branch.clone() });
                }
            }
        }
        for client in &clients {
            check(&pipeline, client)?;
        }
    }
    Ok(())
}

proptest! {
    // PROPTEST_CASES raises the number.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(4000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn resuming_client_gets_what_it_lacks_or_is_told(steps in steps()) {
        follow(steps)?;
    }
}

/// A log of this history: 1 to 5 at ms 500, then from 6 on at these times.
fn after_a_failover(times: &[u64]) -> Log {
    let mut pipeline = Pipeline { branch: (1..=5).map(|seq| (500, seq)).collect(), ..Pipeline::default() };
    pipeline.branch.extend(times.iter().zip(6..).map(|(ms, seq)| (*ms, seq)));
    pipeline.gone = pipeline.branch.len().saturating_sub(LIMIT);
    pipeline.log()
}

#[test]
fn replaced_events_are_a_reset_after_the_clock_stepped_back() {
    let reset = Some((GapReason::Reset, None));
    // Five were lost, and five that are new have lower ids. The client has one with the number 10, but not this one.
    let log = after_a_failover(&[510, 520, 530, 540, 550]);
    assert_eq!(resume(&log, (1000, 10)), (reset, vec![(550, 10)]));
    // The sixth is the next number, with a later time.
    let log = after_a_failover(&[510, 520, 530, 540, 550, 1010]);
    assert_eq!(resume(&log, (1000, 10)), (reset, vec![(550, 10), (1010, 11)]));
    // More are new than were lost.
    let log = after_a_failover(&[510, 520, 530, 540, 550, 560]);
    assert_eq!(resume(&log, (1000, 8)), (reset, vec![(530, 8), (540, 9), (550, 10), (560, 11)]));
    // With a clock that runs on, what is new has greater ids.
    let log = after_a_failover(&[1010, 1020]);
    assert_eq!(resume(&log, (1000, 10)), (reset, vec![(1010, 6), (1020, 7)]));
}
