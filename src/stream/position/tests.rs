//! Positions in logs that the tests make: every way to begin, and random orders of what happens to a log.

use std::collections::VecDeque;
use std::time::Instant;

use super::*;
use crate::event::GapReason;
use crate::log::LogLimits;
use crate::log::notification::Notification;
use crate::sse::frame::{History, LossRecord};
use proptest::prelude::*;

const NOW_MS: u64 = 1_000_000;
const SECOND: Duration = Duration::from_secs(1);

fn frame(ms: u64, seq: u64, channel: &str) -> Frame {
    Frame::new(EventId { ms, seq }, format!("event: {channel}\ndata: {seq}\n\n").as_bytes()).unwrap()
}

fn empty_log(history: usize, backlog_bytes: usize) -> Log {
    let backlog_age = 10 * SECOND;
    Log::new(LogLimits { history, history_bytes: 1 << 20, backlog_bytes, backlog_age, compresses: false })
}

/// Five events, one a second up to now, on the channels a and b in turn.
fn log() -> Log {
    let mut log = empty_log(100, 0);
    let channel = |seq| if seq % 2 == 0 { "a" } else { "b" };
    let frames = (1..=5).map(|seq| frame(NOW_MS - 5000 + seq * 1000, seq, channel(seq))).collect();
    log.merge(History { floor: EventId::ZERO, frames, loss: LossRecord::default() }, Instant::now());
    log
}

fn position(start: Start, channels: &[&str]) -> StreamPosition {
    let channels = Channels::only(channels.iter().map(|channel| (*channel).to_owned()).collect());
    StreamPosition::new(Wanted { start, channels })
}

fn seqs(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(|frame| frame.id().seq).collect()
}

/// All that a client is sent until there is nothing more: what it was placed with, and the events.
fn read(position: &mut StreamPosition, log: &Log) -> (Option<EventId>, Option<GapReason>, Vec<u64>) {
    let Next::Item(Item::Placed { position: sent, gap, .. }) = position.next_in(log, NOW_MS) else {
        panic!("it is not placed");
    };
    let mut all = Vec::new();
    while let Next::Item(item) = position.next_in(log, NOW_MS) {
        let Item::Frames(frames) = item else { panic!("{item:?}") };
        all.extend(seqs(&frames));
    }
    (sent, gap.map(|gap| gap.reason), all)
}

#[test]
fn client_begins_where_it_asks_to() {
    let after = |ms, seq| Start::After(ResumePoint::After(EventId { ms, seq }));
    let id = |seq| EventId { ms: NOW_MS - 5000 + seq * 1000, seq };
    let check = |start: Start, channels: &[&str], expected: (Option<EventId>, Option<GapReason>, &[u64])| {
        let read = read(&mut position(start.clone(), channels), &log());
        assert_eq!(read, (expected.0, expected.1, expected.2.to_vec()), "{start:?} {channels:?}");
    };
    check(Start::History, &[], (None, None, &[1, 2, 3, 4, 5]));
    check(Start::History, &["b"], (None, None, &[1, 3, 5]));
    check(Start::History, &["c"], (None, None, &[]));
    check(Start::Newest(2), &[], (Some(id(3)), None, &[4, 5]));
    check(Start::Newest(2), &["b"], (Some(id(2)), None, &[3, 5]));
    check(Start::Newest(0), &[], (Some(id(5)), None, &[]));
    check(after(id(3).ms, 3), &[], (None, None, &[4, 5]));
    check(after(id(5).ms, 5), &[], (None, None, &[]));
    check(after(id(3).ms, 2), &[], (None, Some(GapReason::Reset), &[3, 4, 5]));
    check(Start::After(ResumePoint::Malformed("x".into())), &[], (None, Some(GapReason::Unknown), &[1, 2, 3, 4, 5]));
}

#[test]
fn store_is_asked_once_about_a_resume_point_ahead_of_the_log() {
    let ahead = EventId { ms: NOW_MS + 1000, seq: 6 };
    let mut position = position(Start::After(ResumePoint::After(ahead)), &[]);
    assert!(matches!(position.next_in(&log(), NOW_MS), Next::ReadAgain));
    position.wait_for(Ticket::FIRST);
    let Next::Item(Item::Placed { gap: Some(gap), .. }) = position.next_in(&log(), NOW_MS) else { panic!() };
    assert_eq!(gap.reason, GapReason::Reset);
}

#[test]
fn resume_point_from_the_future_causes_no_read() {
    let day_ms = 86_400_000;
    let made_up = EventId { ms: NOW_MS + day_ms, seq: 6 };
    let start = || Start::After(ResumePoint::After(made_up));
    let Next::Item(Item::Placed { gap: Some(gap), .. }) = position(start(), &[]).next_in(&log(), NOW_MS) else {
        panic!("the store is asked");
    };
    assert_eq!(gap.reason, GapReason::Unknown);
    // A day later it is as good as any other.
    assert!(matches!(position(start(), &[]).next_in(&log(), NOW_MS + day_ms), Next::ReadAgain));
}

#[test]
fn only_events_after_the_placement_have_a_lag() {
    let mut log = log();
    let mut position = position(Start::History, &[]);
    assert_eq!(position.lag(log.tail(), NOW_MS), None);
    read(&mut position, &log);
    let live = frame(NOW_MS, 6, "a");
    log.notify(Notification { after: log.tail(), frames: vec![live.clone()] }, Instant::now());
    assert_eq!(position.lag(EventId { ms: NOW_MS - 5000, seq: 5 }, NOW_MS), None);
    assert_eq!(position.lag(live.id(), NOW_MS + 30), Some(Duration::from_millis(30)));
    // The store's clock may be ahead of this node's.
    assert_eq!(position.lag(live.id(), NOW_MS - 30), Some(Duration::ZERO));
}

/// What happens to a log and its client in a test.
#[derive(Clone, Debug)]
enum Step {
    /// Events on these channels.
    Publish(Vec<&'static str>),
    Wait(Duration),
    Read,
    Keepalive,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(prop::sample::select(vec!["a", "b"]), 1..50).prop_map(Step::Publish),
        1 => (0..20_u64).prop_map(|seconds| Step::Wait(Duration::from_secs(seconds))),
        4 => Just(Step::Read),
        1 => Just(Step::Keepalive),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(3000), ..ProptestConfig::default() })]

    /// Whatever the order, a client is sent each of its events once, or a gap that names how many events it missed.
    #[test]
    fn any_order_of_steps_sends_each_event_once_or_a_gap(
        steps in prop::collection::vec(step(), 0..40),
        is_filtered: bool,
        backlog_bytes in 0..2000_usize,
    ) {
        let (began, mut waited) = (Instant::now(), Duration::ZERO);
        let mut log = empty_log(10, backlog_bytes);
        log.merge(History { floor: EventId::at(1), ..History::default() }, began);
        let mut position = position(Start::History, if is_filtered { &["a"] } else { &[] });
        let is_placed = matches!(position.next_in(&log, NOW_MS), Next::Item(Item::Placed { gap: None, .. }));
        prop_assert!(is_placed);
        // What the client has yet to be sent, and its position as a keepalive last sent it.
        let mut expected: VecDeque<(u64, &str)> = VecDeque::new();
        let mut seq = 0;
        for step in steps.into_iter().chain([Step::Read]) {
            let now_ms = NOW_MS + u64::try_from(waited.as_millis()).unwrap();
            match step {
                Step::Wait(time) => waited += time,
                Step::Publish(channels) => {
                    let after = log.tail();
                    let frames = channels.into_iter().map(|channel| {
                        seq += 1;
                        expected.push_back((seq, channel));
                        frame(now_ms, seq, channel)
                    });
                    log.notify(Notification { after, frames: frames.collect() }, began + waited);
                }
                Step::Read => {
                    while let Next::Item(item) = position.next_in(&log, now_ms) {
                        match item {
                            Item::Frames(frames) => for frame in frames {
                                while is_filtered && expected.front().is_some_and(|(_, channel)| *channel == "b") {
                                    expected.pop_front();
                                }
                                let next = expected.pop_front();
                                prop_assert_eq!(next.map(|(seq, _)| seq), Some(frame.id().seq));
                            },
                            Item::Gap(gap) => {
                                prop_assert_eq!(gap.reason, GapReason::Slow);
                                let missed = usize::try_from(gap.missed.unwrap()).unwrap();
                                let skipped: Vec<_> = expected.drain(..missed.min(expected.len())).collect();
                                prop_assert_eq!(skipped.last().map(|(seq, _)| *seq), Some(gap.resume.seq));
                            }
                            Item::Placed { .. } => prop_assert!(false, "placed twice"),
                        }
                    }
                    expected.retain(|(_, channel)| !is_filtered || *channel == "a");
                    prop_assert!(expected.is_empty(), "{expected:?} were not sent");
                    prop_assert_eq!(position.position().map(|id| id.seq), Some(seq));
                }
                Step::Keepalive => {
                    let (first, second) = (position.keepalive(), position.keepalive());
                    prop_assert_eq!(&*second, b":keepalive\n\n");
                    let id = position.position().unwrap();
                    prop_assert!(first == second || (is_filtered && first == control::keepalive(Some(id))));
                }
            }
        }
    }
}
