//! The log against a plain list: random appends, merges, reads and lags.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::time::{Duration, Instant};

use pipecast::event::{EventId, ResumePoint};
use pipecast::event::{Gap, GapReason};
use pipecast::log::notification::Notification;
use pipecast::log::{Cursor, Log, LogLimits, NotifyResult, Read, ReadLimits};
use pipecast::sse::frame::{Entry, Frame, History, LossRecord};
use proptest::prelude::*;

const LIMITS: LogLimits = LogLimits {
    history: 5,
    history_bytes: usize::MAX,
    backlog_bytes: 150,
    backlog_age: Duration::from_secs(5),
    compresses: false,
};
const ALL: ReadLimits = ReadLimits { frames: 1000, bytes: 1 << 20 };
const NOW_MS: u64 = 1_000_000;

fn id(ms: u64, seq: u64) -> EventId {
    EventId { ms, seq }
}

fn frame(ms: u64, seq: u64) -> Frame {
    let channel = if seq.is_multiple_of(3) { "third" } else { "other" };
    Frame::new(id(ms, seq), format!("event: {channel}\ndata: {seq}\n\n").as_bytes()).unwrap()
}

fn frames(ms: u64, seqs: std::ops::RangeInclusive<u64>) -> Vec<Frame> {
    seqs.map(|seq| frame(ms, seq)).collect()
}

fn notification(ms: u64, seqs: std::ops::RangeInclusive<u64>) -> Notification {
    let after = if *seqs.start() == 1 { EventId::ZERO } else { id(ms, seqs.start() - 1) };
    Notification { after, frames: frames(ms, seqs) }
}

fn history(ms: u64, seqs: std::ops::RangeInclusive<u64>) -> History {
    let after = if *seqs.start() == 1 { EventId::ZERO } else { id(ms, seqs.start() - 1) };
    History { floor: after, frames: frames(ms, seqs), loss: LossRecord::default() }
}

fn log_with(ms: u64, seqs: std::ops::RangeInclusive<u64>) -> Log {
    let mut log = Log::new(LIMITS);
    log.merge(history(ms, seqs), Instant::now());
    log
}

fn read_seqs(log: &Log, cursor: &mut Cursor) -> Vec<u64> {
    match log.read(cursor, ALL, NOW_MS, |_| true) {
        Read::Frames(frames) => frames.iter().map(|frame| frame.id().seq).collect(),
        Read::Nothing => Vec::new(),
        Read::Gap(gap) => panic!("{gap:?}"),
    }
}

fn read_gap(log: &Log, cursor: &mut Cursor) -> Gap {
    match log.read(cursor, ALL, NOW_MS, |_| true) {
        Read::Gap(gap) => gap,
        other => panic!("{other:?}"),
    }
}

#[test]
fn resume_point_is_judged_by_what_is_kept() {
    // Kept: 4..=8 at ms 100.
    let log = log_with(100, 4..=8);
    fn check(log: &Log, asked: &str, reason: Option<(GapReason, Option<u64>)>, resume: (u64, u64), rest: &[u64]) {
        let (mut cursor, gap) = log.place_after(&ResumePoint::parse(asked).unwrap(), NOW_MS);
        assert_eq!(gap.as_ref().map(|gap| (gap.reason, gap.missed)), reason, "{asked}");
        assert_eq!(cursor.after(), id(resume.0, resume.1), "{asked}");
        if let Some(gap) = gap {
            assert_eq!((gap.resume, gap.after.to_string().as_str()), (cursor.after(), asked));
        }
        assert_eq!(read_seqs(log, &mut cursor), rest, "{asked}");
    }
    let unknown = Some((GapReason::Unknown, None));
    let reset = Some((GapReason::Reset, None));
    check(&log, "100-6", None, (100, 6), &[7, 8]);
    check(&log, "100-8", None, (100, 8), &[]);
    check(&log, "100-3", None, (100, 3), &[4, 5, 6, 7, 8]);
    // The next number, but not the event before.
    check(&log, "7-3", reset, (100, 3), &[4, 5, 6, 7, 8]);
    check(&log, "100-1", Some((GapReason::Trimmed, Some(2))), (100, 3), &[4, 5, 6, 7, 8]);
    check(&log, "0-0", Some((GapReason::Trimmed, Some(3))), (100, 3), &[4, 5, 6, 7, 8]);
    check(&log, "90-77", reset, (100, 3), &[4, 5, 6, 7, 8]);
    check(&log, "100-9", reset, (100, 8), &[]);
    check(&log, "2000000-1", unknown, (100, 3), &[4, 5, 6, 7, 8]);
    check(&log, "rubbish", unknown, (100, 3), &[4, 5, 6, 7, 8]);

    let mut mixed = log_with(100, 4..=6);
    mixed.notify(Notification { after: id(100, 6), frames: vec![frame(200, 7)] }, Instant::now());
    for lost in ["150-2", "150-5", "150-6", "150-9"] {
        check(&mixed, lost, reset, (100, 6), &[7]);
    }
    check(&mixed, "250-5", reset, (200, 7), &[]);

    let empty = Log::new(LIMITS);
    check(&empty, "0-0", None, (0, 0), &[]);
    check(&empty, "100-3", reset, (0, 0), &[]);
    check(&empty, "x", unknown, (0, 0), &[]);

    let mut forgotten = Log::new(LIMITS);
    forgotten.merge(History { floor: id(100, 8), ..History::default() }, Instant::now());
    check(&forgotten, "100-8", None, (100, 8), &[]);
    check(&forgotten, "100-6", Some((GapReason::Trimmed, Some(2))), (100, 8), &[]);

    // Nothing was lost since 50, and the pipeline had no event at 70.
    let loss = LossRecord { since_ms: 50, now_ms: 70, ttl_ms: 1000 };
    let mut began = Log::new(LIMITS);
    began.merge(History { floor: EventId::at(50), frames: Vec::new(), loss }, Instant::now());
    check(&began, "70-0", None, (70, 0), &[]);
    check(&began, "50-0", None, (50, 0), &[]);
    check(&began, "49-0", reset, (70, 0), &[]);
    check(&began, "60-1", reset, (70, 0), &[]);
    began.notify(Notification { after: EventId::at(50), frames: frames(100, 1..=2) }, Instant::now());
    check(&began, "60-0", None, (60, 0), &[1, 2]);
    check(&began, "0-0", None, (0, 0), &[1, 2]);
    check(&began, "49-0", reset, (100, 0), &[1, 2]);
    let later = LossRecord { now_ms: 1100, ..loss };
    let mut read_later = Log::new(LIMITS);
    read_later.merge(History { floor: EventId::at(50), frames: frames(1090, 1..=2), loss: later }, Instant::now());
    check(&read_later, "92-0", None, (92, 0), &[1, 2]);
    check(&read_later, "91-0", reset, (1090, 0), &[1, 2]);
    let mut restarted = Log::new(LIMITS);
    let loss = LossRecord { since_ms: 150, ..later };
    restarted.merge(History { floor: id(100, 3), frames: frames(200, 4..=8), loss }, Instant::now());
    check(&restarted, "90-1", Some((GapReason::Trimmed, None)), (100, 3), &[4, 5, 6, 7, 8]);
}

#[test]
fn newest_few_are_counted_after_the_filter() {
    let log = log_with(100, 4..=8);
    let check = |count, filter: fn(&Frame) -> bool, after, expected: &[u64]| {
        let mut cursor = log.place_newest(count, filter);
        assert_eq!(cursor.after(), after);
        assert_eq!(read_seqs(&log, &mut cursor), expected);
    };
    check(100, |_| true, id(100, 3), &[4, 5, 6, 7, 8]);
    check(2, |_| true, id(100, 6), &[7, 8]);
    check(0, |_| true, id(100, 8), &[]);
    check(1, |frame| frame.channel() == "third", id(100, 5), &[6, 7, 8]);
    check(2, |frame| frame.channel() == "third", id(100, 3), &[4, 5, 6, 7, 8]);
    let first = log_with(100, 1..=3);
    assert_eq!(first.place_newest(100, |_| true).after(), id(100, 0));
}

#[test]
fn one_large_batch_costs_a_reader_who_was_up_to_date_no_gap() {
    let mut log = log_with(100, 1..=5);
    let mut cursor = log.place_newest(0, |_| true);
    assert_eq!(log.notify(notification(100, 6..=500), Instant::now()), NotifyResult::Added);
    assert_eq!(read_seqs(&log, &mut cursor), (6..=500).collect::<Vec<_>>());
    assert_eq!(log.history_len(), 5);
    log.notify(notification(100, 501..=501), Instant::now());
    assert!(log.bytes() < 400, "{} bytes are kept without readers", log.bytes());
}

#[test]
fn lagging_reader_gets_one_gap_and_the_oldest_kept() {
    let mut log = log_with(100, 1..=5);
    let mut cursor = log.place_newest(0, |_| true);
    for seq in 6..=40 {
        log.notify(notification(100, seq..=seq), Instant::now());
    }
    let gap = read_gap(&log, &mut cursor);
    assert_eq!((gap.reason, gap.missed, gap.resume), (GapReason::Slow, Some(30), id(100, 35)));
    assert_eq!(read_seqs(&log, &mut cursor), [36, 37, 38, 39, 40]);
}

#[test]
fn history_is_bounded_in_bytes_and_always_has_its_newest_event() {
    // Each has 32 bytes.
    let limits = LogLimits { history: 5, history_bytes: 3 * 32, backlog_bytes: 0, ..LIMITS };
    let mut log = Log::new(limits);
    log.merge(history(100, 1..=5), Instant::now());
    assert_eq!((log.history_len(), log.base()), (3, id(100, 2)));
    log.notify(notification(100, 6..=6), Instant::now());
    assert_eq!((log.history_len(), log.bytes()), (3, 3 * 32));
    // A list that is shorter than `history.limit` because of its bytes has forgotten nothing.
    let mut log = Log::new(LogLimits { backlog_bytes: 150, ..limits });
    log.merge(history(100, 1..=3), Instant::now());
    let mut cursor = log.place_newest(0, |_| true);
    log.notify(notification(100, 4..=7), Instant::now());
    log.merge(history(100, 5..=7), Instant::now());
    assert_eq!(read_seqs(&log, &mut cursor), [4, 5, 6, 7]);
    let mut log = Log::new(LogLimits { history_bytes: 1, ..limits });
    log.merge(history(100, 1..=5), Instant::now());
    assert_eq!((log.history_len(), log.tail()), (1, id(100, 5)));
}

#[test]
fn backlog_goes_when_it_is_old() {
    let mut log = log_with(100, 1..=5);
    let now = Instant::now();
    log.notify(notification(100, 6..=8), now);
    let full = log.bytes();
    log.trim(now + Duration::from_secs(4));
    assert_eq!(log.bytes(), full);
    log.trim(now + Duration::from_secs(6));
    assert_eq!(log.bytes(), history(100, 4..=8).frames.iter().map(|frame| frame.text().len()).sum::<usize>());
}

#[test]
fn notifications_that_are_doubled_late_or_lost_are_told_apart() {
    let mut log = log_with(100, 1..=5);
    let now = Instant::now();
    assert_eq!(log.notify(notification(100, 5..=5), now), NotifyResult::Known);
    assert_eq!(log.notify(notification(100, 4..=6), now), NotifyResult::Added);
    assert_eq!(log.notify(notification(100, 8..=8), now), NotifyResult::Missing);
    // A counter that restarted and reached the next number by chance is not a continuation.
    assert_eq!(log.notify(notification(200, 7..=7), now), NotifyResult::Missing);
    assert_eq!(log.notify(Notification { after: id(100, 6), frames: Vec::new() }, now), NotifyResult::Missing);
    assert_eq!(log.tail(), id(100, 6));
}

#[test]
fn store_that_came_back_empty_is_one_reset_gap() {
    let mut log = log_with(100, 1..=5);
    let mut cursor = log.place_newest(0, |_| true);
    log.merge(history(200, 1..=2), Instant::now());
    let gap = read_gap(&log, &mut cursor);
    assert_eq!((gap.reason, gap.missed, gap.resume), (GapReason::Reset, None, id(200, 0)));
    assert_eq!(read_seqs(&log, &mut cursor), [1, 2]);
    assert_eq!(read_seqs(&log, &mut cursor), [0; 0]);
}

#[test]
fn late_copy_from_a_lost_history_is_not_added_to_an_empty_log() {
    let mut log = log_with(100, 1..=1);
    log.merge(History::default(), Instant::now());
    assert_eq!(log.notify(notification(100, 1..=1), Instant::now()), NotifyResult::Missing);
    assert_eq!(log.notify(notification(200, 1..=1), Instant::now()), NotifyResult::Added);
}

#[test]
fn failover_that_lost_the_newest_events_is_followed() {
    let mut log = log_with(100, 1..=5);
    let mut ahead = log.place_newest(0, |_| true);
    let (mut behind, _) = log.place_after(&ResumePoint::After(id(100, 3)), NOW_MS);
    let mut promoted = history(100, 1..=3);
    promoted.frames.push(frame(200, 4));
    log.merge(promoted, Instant::now());
    let gap = read_gap(&log, &mut ahead);
    assert_eq!((gap.reason, gap.resume), (GapReason::Reset, id(100, 3)));
    assert_eq!(read_seqs(&log, &mut ahead), [4]);
    assert_eq!(read_seqs(&log, &mut behind), [4]);
}

#[test]
fn forgotten_history_is_gone_and_readers_who_had_it_see_no_gap() {
    let mut log = log_with(100, 1..=5);
    let mut cursor = log.place_newest(0, |_| true);
    log.merge(History { floor: id(100, 5), ..History::default() }, Instant::now());
    assert_eq!((log.history_len(), log.bytes(), log.tail()), (0, 0, id(100, 5)));
    assert_eq!(read_seqs(&log, &mut cursor), [0; 0]);
    assert_eq!(log.notify(notification(100, 6..=6), Instant::now()), NotifyResult::Added);
    assert_eq!(read_seqs(&log, &mut cursor), [6]);
    assert_eq!(log.base(), id(100, 5));
}

#[test]
fn reader_who_had_not_come_to_forgotten_events_was_not_slow() {
    let mut log = log_with(100, 1..=3);
    let mut cursor = log.place_newest(3, |_| true);
    // What DELETE leaves, and an event after it.
    log.merge(History { floor: id(100, 3), frames: frames(100, 4..=4), loss: LossRecord::default() }, Instant::now());
    let gap = read_gap(&log, &mut cursor);
    assert_eq!((gap.reason, gap.missed), (GapReason::Trimmed, Some(3)));
    assert_eq!(read_seqs(&log, &mut cursor), [4]);
}

/// What happens to a pipeline and to this node's view of it.
#[derive(Clone, Debug)]
enum Step {
    /// Events are accepted and announced.
    Publish { count: u64, is_heard: bool },
    /// This node reads the store's list.
    ReRead,
    /// All data is lost.
    Flush,
    /// A failover to a server that lacks the newest events. The node connects to it and reads the list.
    RollBack(usize),
    /// The server restarts with its data. The node connects again and reads the list.
    Restart,
    /// The node is cut off for so long that the list expires.
    Expire,
    /// The history is forgotten on request.
    Forget,
    /// A reader reads at most so many.
    Read { reader: usize, at_most: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u64..9, prop::bool::weighted(0.8)).prop_map(|(count, is_heard)| Step::Publish { count, is_heard }),
        2 => Just(Step::ReRead),
        1 => Just(Step::Flush),
        1 => (1usize..6).prop_map(Step::RollBack),
        1 => Just(Step::Restart),
        1 => Just(Step::Expire),
        1 => Just(Step::Forget),
        6 => (0usize..3, 1usize..12).prop_map(|(reader, at_most)| Step::Read { reader, at_most }),
    ];
    prop::collection::vec(step, 1..60)
}

/// A model of a client: the ids it received, and its resume point.
struct Reader {
    cursor: Cursor,
    at: EventId,
}

/// The store's list, and what it knows about itself.
struct Store {
    /// Each event, and the one that it names.
    list: Vec<(EventId, Frame)>,
    /// What the next event names.
    newest: EventId,
    began_ms: u64,
    ms: u64,
}

impl Store {
    /// How long a list is kept.
    const TTL_MS: u64 = 10_000;

    fn publish(&mut self, count: u64, limits: LogLimits) -> Notification {
        self.ms += 10;
        let after = self.newest;
        for seq in (1..=count).map(|n| after.seq + n) {
            self.list.push((self.newest, sized_frame(self.ms, seq)));
            self.newest = id(self.ms, seq);
        }
        let new = self.list.len() - usize::try_from(count).unwrap();
        let frames = self.list[new..].iter().map(|(_, frame)| frame.clone()).collect();
        self.list.drain(..self.list.len() - kept(&self.frames(), limits));
        Notification { after, frames }
    }

    fn frames(&self) -> Vec<Frame> {
        self.list.iter().map(|(_, frame)| frame.clone()).collect()
    }

    /// Data may have been lost until now.
    fn begin_again(&mut self) {
        self.ms += 1;
        self.began_ms = self.ms + 1;
        if self.list.is_empty() && self.newest.is_beginning() {
            self.newest = EventId::at(self.began_ms);
        }
    }

    fn lose_all(&mut self) {
        (self.list, self.newest) = (Vec::new(), EventId::at(self.began_ms));
    }

    fn view(&self) -> History {
        let loss = LossRecord { since_ms: self.began_ms, now_ms: self.ms, ttl_ms: Self::TTL_MS };
        let marker = self.list.is_empty() && !self.newest.is_beginning();
        let marker = marker.then(|| Entry::text(self.newest, None));
        let entries = self.list.iter().map(|(before, frame)| Entry::text(*before, Some(frame)));
        History::from_entries(marker.into_iter().chain(entries), loss)
    }
}

/// The promise of the whole project, on the log only: a reader's events have nothing missing, no
/// duplicate and no disorder without a gap, and in the end it has everything.
fn check(steps: Vec<Step>, limits: LogLimits) -> Result<(), TestCaseError> {
    let now = Instant::now();
    let mut log = Log::new(limits);
    let mut store = Store { list: Vec::new(), newest: EventId::at(100), began_ms: 100, ms: 100 };
    log.merge(store.view(), now);
    let mut every_id: Vec<EventId> = Vec::new();
    // No trace is left of what a failover lost.
    let mut rolled_back: Vec<EventId> = Vec::new();
    let mut readers: Vec<_> =
        (0..3).map(|_| log.place_newest(0, |_| true)).map(|cursor| Reader { cursor, at: cursor.after() }).collect();

    let read = |log: &Log,
                reader: &mut Reader,
                at_most: usize,
                every_id: &[EventId],
                rolled_back: &[EventId]|
     -> Result<bool, TestCaseError> {
        let portion = ReadLimits { frames: at_most, bytes: 1 << 20 };
        match log.read(&mut reader.cursor, portion, NOW_MS, |_| true) {
            Read::Nothing => return Ok(false),
            Read::Gap(gap) => {
                prop_assert_eq!(gap.after, ResumePoint::After(reader.at));
                reader.at = gap.resume;
            }
            Read::Frames(frames) => {
                prop_assert!(frames.len() <= at_most);
                for frame in frames {
                    let id = frame.id();
                    prop_assert!(reader.at < id && every_id.contains(&id), "{} after {}", id, reader.at);
                    let is_owed =
                        |other: &&EventId| reader.at < **other && **other < id && !rolled_back.contains(other);
                    let skipped = every_id.iter().find(is_owed);
                    prop_assert!(skipped.is_none(), "{:?} is skipped between {} and {}", skipped, reader.at, id);
                    // Its own event was lost, so it is told.
                    let is_lost = rolled_back.contains(&reader.at) && !rolled_back.contains(&id);
                    prop_assert!(!is_lost, "{} after {}, which was lost", id, reader.at);
                    reader.at = id;
                }
            }
        }
        Ok(true)
    };
    for step in steps {
        match step {
            Step::Publish { count, is_heard } => {
                let notification = store.publish(count, limits);
                every_id.extend(notification.frames.iter().map(Frame::id));
                if is_heard {
                    if log.notify(notification, now) == NotifyResult::Missing {
                        log.merge(store.view(), now);
                    }
                    prop_assert_eq!(log.tail(), store.newest);
                }
            }
            Step::ReRead => log.merge(store.view(), now),
            Step::Flush => {
                store.newest = EventId::ZERO;
                store.list.clear();
                store.begin_again();
            }
            Step::RollBack(events) => {
                for _ in 0..events {
                    let Some((before, frame)) = store.list.pop() else { break };
                    rolled_back.push(frame.id());
                    store.newest = before;
                }
                store.begin_again();
                log.merge(store.view(), now);
            }
            Step::Restart => {
                store.begin_again();
                log.merge(store.view(), now);
            }
            Step::Expire => {
                store.ms += Store::TTL_MS;
                store.lose_all();
                log.merge(store.view(), now);
            }
            Step::Forget => store.list.clear(),
            Step::Read { reader, at_most } => {
                read(&log, &mut readers[reader], at_most, &every_id, &rolled_back)?;
            }
        }
        let newest: Vec<_> = log.history().cloned().collect();
        prop_assert_eq!(kept(&newest, limits), newest.len(), "more than is kept");
        prop_assert!(newest.windows(2).all(|pair| pair[0].id().is_followed_by(pair[1].id())));
    }
    log.merge(store.view(), now);
    prop_assert_eq!(log.history().cloned().collect::<Vec<_>>(), store.frames());
    for reader in &mut readers {
        while read(&log, reader, 7, &every_id, &rolled_back)? {}
        match store.newest.is_beginning() {
            true => prop_assert!(reader.at.is_beginning()),
            false => prop_assert_eq!(reader.at, store.newest),
        }
    }
    Ok(())
}

/// An event whose size follows from its number, some larger than all that a small bound allows.
fn sized_frame(ms: u64, seq: u64) -> Frame {
    let filler = "x".repeat(usize::try_from(seq * 37 % 11 * seq % 150).unwrap());
    Frame::new(id(ms, seq), format!("event: a\ndata: \"{filler}\"\n\n").as_bytes()).unwrap()
}

/// How many of the newest the store keeps: as many as fit into both bounds, the newest always.
fn kept(list: &[Frame], limits: LogLimits) -> usize {
    let mut bytes = 0;
    let fits = |(count, frame): &(usize, &Frame)| {
        bytes += frame.text().len();
        *count == 0 || *count < limits.history && bytes <= limits.history_bytes
    };
    list.iter().rev().enumerate().take_while(fits).count()
}

proptest! {
    // PROPTEST_CASES raises the number.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(2000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn no_reader_misses_doubles_or_reorders_an_event_without_a_gap(
        steps in steps(),
        history in 1usize..8,
        history_bytes in prop_oneof![Just(usize::MAX), 1usize..400],
        backlog_bytes in 0usize..400,
    ) {
        check(steps, LogLimits { history, history_bytes, backlog_bytes, ..LIMITS })?;
    }
}
