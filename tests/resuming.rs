//! Resume points against the histories that a store can have: flushed, expired, restarted, restored from an old snapshot, rolled
//! back by a failover, with a clock that stepped back, trimmed, forgotten. The judge here knows every event by a number of its
//! own and asks one thing: did the client get it, or was it told? It shares no code with the log.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::time::{Duration, Instant};

use pipecast::event::{EventId, Gap, GapReason, ResumePoint};
use pipecast::log::{Log, LogLimits, Read, ReadLimits};
use pipecast::sse::frame::{Entry, Frame, History, LossRecord};
use proptest::prelude::*;

const LIMIT: usize = 6;
const NOW_MS: u64 = 1_000_000;
/// How long the store keeps a history.
const TTL_MS: u64 = 40;

/// What happens to a pipeline's list in the store.
#[derive(Clone, Debug)]
enum Step {
    /// A batch is stored, so long after the last one by the store's clock.
    Publish { count: u64, ms: u64 },
    /// All data is lost.
    Flush,
    /// Nobody publishes for so long that the list expires.
    Expire,
    /// A failover: the newest events were not replicated.
    LoseTail { events: usize },
    /// The server writes a snapshot.
    Save,
    /// The server restarts from its last snapshot.
    Restore,
    /// The server restarts and has everything.
    Restart,
    /// The store's clock steps back, as that of another machine may.
    TurnBack { ms: u64 },
    /// The history is forgotten on request; ids go on.
    Forget,
    /// A client reads all that there is, and leaves. Where there is nothing it is told a moment.
    Leave,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1u64..6, 0u64..4).prop_map(|(count, ms)| Step::Publish { count, ms }),
        1 => Just(Step::Flush),
        1 => Just(Step::Expire),
        2 => (1usize..8).prop_map(|events| Step::LoseTail { events }),
        1 => Just(Step::Save),
        1 => Just(Step::Restore),
        1 => Just(Step::Restart),
        1 => (1u64..12).prop_map(|ms| Step::TurnBack { ms }),
        1 => Just(Step::Forget),
        5 => Just(Step::Leave),
    ];
    prop::collection::vec(step, 1..40)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Event {
    id: EventId,
    /// The number that no other event has.
    serial: usize,
}

/// The data of a server.
#[derive(Clone, Default, Debug)]
struct Data {
    /// Every event of the present history since it began or was forgotten, oldest first.
    branch: Vec<Event>,
    /// What the first of them names: the last id that was forgotten, or a moment.
    floor: Option<EventId>,
    /// How many of the oldest are not kept any more.
    gone: usize,
    /// When this set of data began, once somebody has asked for it.
    began_ms: Option<u64>,
}

/// The store, with a memory that no store has.
#[derive(Default)]
struct Store {
    data: Data,
    saved: Data,
    /// How many events there had been.
    saved_at: usize,
    clock_ms: u64,
    /// The id of every event ever, by its number.
    published: Vec<EventId>,
    /// Whether a failover or an old snapshot lost it. The publisher had an answer, and no trace is left.
    rolled_back: Vec<bool>,
    /// How often data was lost, or may have been.
    losses: usize,
    turned_back: usize,
}

/// A client that left.
struct Left {
    at: EventId,
    /// The events that it has had.
    had: Vec<usize>,
    /// How many there were, and what had happened.
    published: usize,
    losses: usize,
    turned_back: usize,
    clock_ms: u64,
}

impl Store {
    fn began_ms(&mut self) -> u64 {
        let now = self.clock_ms;
        *self.data.began_ms.get_or_insert(now + 1)
    }

    /// Another server, or the same in another life: data may have been lost until now.
    fn begin_again(&mut self) {
        // Which takes time.
        self.clock_ms += 1;
        self.data.began_ms = Some(self.clock_ms.max(self.data.began_ms.unwrap_or_default()) + 1);
        self.losses += 1;
    }

    fn publish(&mut self, count: u64, ms: u64) {
        self.clock_ms += ms;
        let began = EventId::at(self.began_ms());
        let floor = *self.data.floor.get_or_insert(began);
        let newest = self.data.branch.last().map_or(floor, |event| event.id);
        for n in 1..=count {
            let id = EventId { ms: self.clock_ms.max(newest.ms), seq: newest.seq + n };
            self.data.branch.push(Event { id, serial: self.published.len() });
            self.published.push(id);
            self.rolled_back.push(false);
        }
        self.data.gone = self.data.gone.max(self.data.branch.len().saturating_sub(LIMIT));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish { count, ms } => self.publish(count, ms),
            Step::Flush => {
                self.data = Data::default();
                self.losses += 1;
                self.clock_ms += 1;
            }
            Step::Expire => {
                self.clock_ms += TTL_MS;
                self.data = Data { began_ms: self.data.began_ms, ..Data::default() };
            }
            Step::LoseTail { events } => {
                // What the replica still has: it lags in what was added, and so in what was trimmed.
                let length = self.data.branch.len().saturating_sub(events);
                let lost: Vec<_> = self.data.branch.drain(length..).collect();
                lost.iter().for_each(|event| self.rolled_back[event.serial] = true);
                self.data.gone = self.data.gone.min(length.saturating_sub(LIMIT));
                if length == 0 && self.data.floor.is_some_and(EventId::is_beginning) {
                    self.data.floor = None;
                }
                self.begin_again();
            }
            Step::Save => (self.saved, self.saved_at) = (self.data.clone(), self.published.len()),
            Step::Restore => {
                self.data = self.saved.clone();
                self.rolled_back[self.saved_at..].fill(true);
                self.data.branch.iter().for_each(|event| self.rolled_back[event.serial] = false);
                self.begin_again();
            }
            Step::Restart => self.begin_again(),
            Step::TurnBack { ms } => {
                self.clock_ms -= ms.min(self.clock_ms);
                self.turned_back += 1;
            }
            Step::Forget => {
                let newest = self.data.branch.last().map(|event| event.id).or(self.data.floor);
                self.data = Data { floor: newest, began_ms: self.data.began_ms, ..Data::default() };
            }
            Step::Leave => {}
        }
    }

    fn kept(&self) -> &[Event] {
        &self.data.branch[self.data.gone..]
    }

    /// As the node reads the list.
    fn log(&mut self) -> Log {
        let limits = LogLimits {
            history: LIMIT,
            history_bytes: usize::MAX,
            backlog_bytes: 0,
            backlog_age: Duration::ZERO,
            compresses: false,
        };
        let loss = LossRecord { since_ms: self.began_ms(), now_ms: self.clock_ms, ttl_ms: TTL_MS };
        let floor = self.data.gone.checked_sub(1).map(|last| self.data.branch[last].id).or(self.data.floor);
        let mut entries = Vec::new();
        if let (Some(before), true) = (floor, self.kept().is_empty()) {
            entries.push(Entry::text(before, None));
        }
        let mut before = floor.unwrap_or_default();
        for event in self.kept() {
            let frame = Frame::new(event.id, format!("event: a\ndata: {}\n\n", event.serial).as_bytes()).unwrap();
            entries.push(Entry::text(before, Some(&frame)));
            before = event.id;
        }
        let mut log = Log::new(limits);
        log.merge(History::from_entries(entries, loss), Instant::now());
        log
    }

    /// A client that reads everything and leaves.
    fn leave(&mut self) -> Left {
        let log = self.log();
        Left {
            at: log.place_newest(0, |_| true).after(),
            had: self.data.branch.iter().map(|event| event.serial).collect(),
            published: self.published.len(),
            losses: self.losses,
            turned_back: self.turned_back,
            clock_ms: self.clock_ms,
        }
    }
}

/// What a reconnecting client receives: a gap, and the numbers of the events.
fn resume(log: &Log, at: EventId) -> (Option<Gap>, Vec<usize>) {
    let (mut cursor, gap) = log.place_after(&ResumePoint::After(at), NOW_MS);
    if let Some(gap) = &gap {
        assert_eq!(gap.resume, cursor.after());
        let (_, again) = log.place_after(&ResumePoint::After(gap.resume), NOW_MS);
        assert_eq!(again, None, "the same gap is reported again after {}", gap.resume);
    }
    let all = ReadLimits { frames: usize::MAX, bytes: usize::MAX };
    let events = match log.read(&mut cursor, all, NOW_MS, |_| true) {
        Read::Frames(frames) => frames.iter().map(|frame| frame.payload().parse().unwrap()).collect(),
        Read::Nothing => Vec::new(),
        Read::Gap(gap) => panic!("a second gap: {gap:?}"),
    };
    (gap, events)
}

fn check(store: &mut Store, client: &Left) -> Result<(), TestCaseError> {
    let (gap, got) = resume(&store.log(), client.at);
    let kept: Vec<_> = store.kept().iter().map(|event| event.serial).collect();
    let told = format!("at {} with {:?}, kept {kept:?}: {gap:?}, then {got:?}", client.at, store.data);
    prop_assert!(kept.ends_with(&got), "not the newest in order: {}", told);
    prop_assert!(got.iter().all(|serial| !client.had.contains(serial)), "twice: {}", told);

    // What the client is owed: all that was published since it left. A failover that lost an event leaves no trace of it.
    let owed: Vec<_> = (client.published..store.published.len()).filter(|serial| !store.rolled_back[*serial]).collect();
    let missing: Vec<_> = owed.iter().filter(|serial| !got.contains(serial)).collect();
    // What cannot be known: another event has the id of the client's, or it had none and the clock stepped back to before the moment
    // that it was told.
    let is_double = |serial: &usize| store.published[*serial] == client.at && !client.had.contains(serial);
    let is_unknowable = (0..store.published.len()).any(|serial| is_double(&serial))
        || client.at.is_beginning() && (client.turned_back != store.turned_back || client.at.ms > client.clock_ms + 1);
    prop_assert!(missing.is_empty() || gap.is_some() || is_unknowable, "skipped {:?} without a gap: {}", missing, told);

    let own = client.had.last();
    let place = store.data.branch.iter().position(|event| Some(&event.serial) == own);
    let is_lost = own.is_some_and(|own| store.rolled_back[*own]);
    prop_assert!(!is_lost || gap.is_some() || is_unknowable, "its own event was lost, and it is not told: {}", told);
    let newer: Vec<_> = store.kept().iter().filter(|event| event.id > client.at).map(|event| event.serial).collect();
    if gap.is_some() {
        prop_assert!(got.ends_with(&newer), "an event after the resume point is not sent: {}", told);
    }

    // No false gap: the client's event is in the history, or nothing can have been lost.
    let has_kept_place = place.is_some_and(|place| place + 1 >= store.data.gone);
    let is_forgotten = own.is_some() && store.data.gone == 0 && store.data.floor == Some(client.at);
    let is_safe = client.at.is_beginning()
        && (client.losses, client.turned_back) == (store.losses, store.turned_back)
        && store.clock_ms + 1 < client.clock_ms + TTL_MS
        && store.data.gone == 0
        && store.data.floor.is_none_or(EventId::is_beginning);
    if has_kept_place || is_forgotten || is_safe {
        prop_assert_eq!(&gap, &None, "a false gap: {}", told);
    }
    if let Some(Gap { reason, missed: Some(missed), .. }) = gap {
        prop_assert_eq!(reason, GapReason::Trimmed, "{}", told);
        let since = store.published.len() - client.published;
        // A clock that is behind older ids hides a loss from the count.
        prop_assert!(store.turned_back > 0 || missed == (since - got.len()) as u64, "not the number: {}", told);
    }
    // While no data is lost, the number is known.
    if let (Some(place), true) = (place, client.losses == store.losses)
        && !has_kept_place
        && client.at.ms >= store.began_ms()
        && store.clock_ms + 1 < client.clock_ms.max(client.at.ms) + TTL_MS
        && client.turned_back == store.turned_back
    {
        let missed = Some((store.data.gone - place - 1) as u64);
        let (gap, _) = resume(&store.log(), client.at);
        prop_assert_eq!(gap.map(|gap| (gap.reason, gap.missed)), Some((GapReason::Trimmed, missed)), "{}", told);
    }
    Ok(())
}

fn follow(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut store = Store { clock_ms: 100, ..Store::default() };
    let mut clients: Vec<Left> = Vec::new();
    for step in steps {
        store.step(step);
        if let Step::Leave = step {
            let left = store.leave();
            clients.push(left);
        }
        for client in &clients {
            check(&mut store, client)?;
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
        follow(&steps)?;
    }
}

fn publish(count: u64, ms: u64) -> Step {
    Step::Publish { count, ms }
}

/// The history that these steps make, for a client that left among them.
fn left_among(steps: &[Step]) -> (Option<(GapReason, Option<u64>)>, Vec<usize>) {
    let mut store = Store { clock_ms: 100, ..Store::default() };
    let mut left = None;
    for step in steps {
        store.step(step);
        if let Step::Leave = step {
            left = Some(store.leave());
        }
    }
    let (gap, events) = resume(&store.log(), left.unwrap().at);
    (gap.map(|gap| (gap.reason, gap.missed)), events)
}

#[test]
fn numbers_of_two_histories_that_meet_are_no_continuation() {
    // The client has number 1, and the oldest that is kept is number 2 of another history.
    let met = left_among(&[publish(1, 0), Step::Leave, publish(1, 0), Step::Flush, publish(7, 1)]);
    assert_eq!(met, (Some((GapReason::Reset, None)), (3..9).collect()));
    let met = left_among(&[publish(1, 0), Step::Leave, Step::Expire, publish(7, 1)]);
    assert_eq!(met, (Some((GapReason::Reset, None)), (2..8).collect()));
}

#[test]
fn client_that_had_nothing_is_told_of_a_history_that_was_lost() {
    let reset = Some((GapReason::Reset, None));
    assert_eq!(left_among(&[Step::Leave, publish(2, 1)]), (None, vec![0, 1]));
    assert_eq!(left_among(&[Step::Flush, Step::Leave, publish(2, 1)]), (None, vec![0, 1]));
    assert_eq!(left_among(&[Step::Leave, publish(1, 1), Step::Flush, publish(1, 1)]), (reset, vec![1]));
    assert_eq!(left_among(&[Step::Leave, publish(1, 1), Step::Expire, publish(1, 1)]), (reset, vec![1]));
    assert_eq!(left_among(&[Step::Leave, Step::Expire]), (reset, vec![]));
    // One that came back with an old snapshot, in place of the one that began since.
    let restored = [publish(1, 1), Step::Save, Step::Flush, Step::Leave, publish(1, 1), Step::Restore, publish(1, 1)];
    assert_eq!(left_among(&restored), (reset, vec![2]));
    let trimmed = left_among(&[Step::Leave, publish(9, 1)]);
    assert_eq!(trimmed, (Some((GapReason::Trimmed, Some(3))), (3..9).collect()));
}

#[test]
fn events_after_a_lost_one_are_sent_after_one_gap() {
    let reset = Some((GapReason::Reset, None));
    let lost = [publish(5, 1), Step::Leave, Step::LoseTail { events: 2 }, publish(3, 5)];
    assert_eq!(left_among(&lost), (reset, vec![5, 6, 7]));
    let restored = [publish(2, 1), Step::Save, publish(3, 1), Step::Leave, Step::Restore, publish(3, 5)];
    assert_eq!(left_among(&restored), (reset, vec![5, 6, 7]));
    // More came since than is kept.
    let trimmed = [publish(5, 1), Step::Leave, Step::LoseTail { events: 2 }, publish(5, 5), publish(5, 1)];
    assert_eq!(left_among(&trimmed), (Some((GapReason::Trimmed, None)), (9..15).collect()));
}

#[test]
fn connected_reader_of_a_lost_event_is_told_although_another_has_its_id() {
    let id = |seq| EventId { ms: 1000, seq };
    let list = |data: u32| {
        let frame = |seq, data| Frame::new(id(seq), format!("event: a\ndata: {data}\n\n").as_bytes()).unwrap();
        History { floor: id(4), frames: vec![frame(5, 5), frame(6, data)], loss: LossRecord::default() }
    };
    let mut store = Store { clock_ms: 100, ..Store::default() };
    let mut log = store.log();
    log.merge(list(6), Instant::now());
    let (mut had_lost, mut had_common) = (log.place_newest(0, |_| true), log.place_newest(1, |_| true));
    log.merge(list(66), Instant::now());
    let all = ReadLimits { frames: usize::MAX, bytes: usize::MAX };
    let Read::Gap(gap) = log.read(&mut had_lost, all, NOW_MS, |_| true) else { panic!("it is not told") };
    assert_eq!((gap.reason, gap.resume), (GapReason::Reset, id(6)));
    let Read::Frames(frames) = log.read(&mut had_common, all, NOW_MS, |_| true) else { panic!("it is not sent") };
    assert_eq!(frames[0].payload(), "66");
}
