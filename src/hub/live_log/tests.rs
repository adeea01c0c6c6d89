//! The phases of a live log, one at a time. `tests/refreshing` has them in any order.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::*;
use crate::sse::frame::{Frame, LossRecord};

const LIMITS: LogLimits = LogLimits {
    history: 100,
    history_bytes: usize::MAX,
    backlog_bytes: 1 << 20,
    backlog_age: Duration::from_secs(5),
    compresses: false,
};

fn id(seq: u64) -> EventId {
    EventId { ms: 9, seq }
}

fn frames(seqs: RangeInclusive<u64>) -> Vec<Frame> {
    seqs.map(|seq| Frame::new(id(seq), b"event: a\ndata: 1\n\n").unwrap()).collect()
}

fn notification(seqs: RangeInclusive<u64>) -> Notification {
    Notification { after: id(seqs.start() - 1), frames: frames(seqs) }
}

fn history(seqs: RangeInclusive<u64>) -> History {
    History { floor: id(seqs.start() - 1), frames: frames(seqs), loss: LossRecord::default() }
}

fn notify(log: &mut LiveLog, seqs: RangeInclusive<u64>) -> Action {
    log.notify(notification(seqs), Instant::now())
}

fn arrive(log: &mut LiveLog, seqs: RangeInclusive<u64>) -> AfterRead {
    log.history_arrived(history(seqs), Instant::now())
}

fn tail(log: &LiveLog) -> u64 {
    log.log().tail().seq
}

/// A log with a reader whose first read found these.
fn following(seqs: RangeInclusive<u64>) -> LiveLog {
    let mut log = LiveLog::new(LIMITS);
    assert_eq!(log.reader_joined(), Action::Nothing);
    assert_eq!(log.subscribed(), Action::QueueRead);
    assert_eq!(log.start_read(), Some(Question::History(ReadReason::Open)));
    assert!(!log.has_read(Ticket::FIRST));
    assert_eq!(arrive(&mut log, seqs), AfterRead::Done);
    assert!(log.has_read(Ticket::FIRST));
    log
}

#[test]
fn nothing_is_read_before_the_subscription() {
    let mut log = LiveLog::new(LIMITS);
    assert_eq!(log.reader_joined(), Action::Nothing);
    assert_eq!(log.request_read(ReadReason::Ahead), (Ticket::FIRST, Action::Nothing));
    assert_eq!((log.start_read(), log.urgency()), (None, Urgency::Awaited));
    assert_eq!(log.subscribed(), Action::QueueRead);
    assert_eq!(log.start_read(), Some(Question::History(ReadReason::Open)));
}

#[test]
fn notifications_during_the_first_read_come_after_it() {
    let mut log = LiveLog::new(LIMITS);
    let _ = log.subscribed();
    assert_eq!(notify(&mut log, 3..=3), Action::Nothing, "the list has it, since the read comes later");
    let _ = log.start_read();
    assert_eq!(notify(&mut log, 4..=4), Action::Nothing);
    assert_eq!(notify(&mut log, 5..=6), Action::Nothing);
    assert_eq!(tail(&log), 0);
    assert_eq!(arrive(&mut log, 1..=4), AfterRead::Done);
    assert_eq!(tail(&log), 6);
}

#[test]
fn notifications_that_follow_are_added_at_once_during_a_read() {
    let mut log = following(1..=3);
    let _ = log.request_read(ReadReason::Check);
    let _ = log.start_read();
    assert_eq!(notify(&mut log, 4..=5), Action::WakeReaders);
    assert_eq!(tail(&log), 5);
    assert_eq!(arrive(&mut log, 1..=3), AfterRead::Done, "an older list");
    assert_eq!(tail(&log), 5);
    assert!(log.log().holds(id(1)), "and no reset");
    // Also while reads fail, again and again.
    let _ = log.request_read(ReadReason::Check);
    for seq in 6..=9 {
        let _ = log.start_read();
        assert_eq!(notify(&mut log, seq..=seq), Action::WakeReaders);
        assert!(matches!(log.read_failed(), AfterRead::Retry(_)));
        assert_eq!(tail(&log), seq);
    }
    let _ = log.start_read();
    assert_eq!(arrive(&mut log, 1..=9), AfterRead::Done);
    assert_eq!(tail(&log), 9);
}

#[test]
fn requests_share_the_read_that_starts_after_them() {
    let mut log = following(1..=4);
    let (first, action) = log.request_read(ReadReason::Check);
    assert_eq!(action, Action::QueueRead);
    assert_eq!(log.request_read(ReadReason::MissedNotification), (first, Action::Nothing));
    assert_eq!(log.start_read(), Some(Question::History(ReadReason::Check)));
    assert_eq!(log.start_read(), None, "it was in the queue twice");
    let (second, action) = log.request_read(ReadReason::Ahead);
    assert!(second > first && action == Action::Nothing);
    assert_eq!(arrive(&mut log, 1..=4), AfterRead::Queue);
    assert!(log.has_read(first) && !log.has_read(second));
    assert_eq!((log.urgency(), log.start_read()), (Urgency::Awaited, Some(Question::Newest)));
    assert_eq!(log.newest_arrived(Newest::Event { id: id(4), events: 4 }), Some(AfterRead::Done));
    assert!(log.has_read(second));
}

#[test]
fn reconnect_needs_no_read_once_a_notification_names_the_tail() {
    let mut log = following(1..=4);
    assert_eq!(log.subscribed(), Action::QueueRead);
    assert_eq!(notify(&mut log, 5..=5), Action::WakeReaders);
    assert_eq!(log.start_read(), None);
    // A client that is ahead still gets its answer.
    let _ = log.subscribed();
    let (ticket, _) = log.request_read(ReadReason::Ahead);
    assert_eq!(notify(&mut log, 6..=6), Action::WakeReaders);
    assert!(!log.has_read(ticket));
    assert_eq!(log.start_read(), Some(Question::Newest));
    assert_eq!(log.newest_arrived(Newest::Event { id: id(6), events: 6 }), Some(AfterRead::Done));
    // And missing events are read about in any case.
    let _ = log.subscribed();
    assert_eq!(notify(&mut log, 8..=8), Action::Nothing);
    assert_eq!(notify(&mut log, 7..=7), Action::WakeReaders);
    assert_eq!(log.start_read(), Some(Question::History(ReadReason::MissedNotification)));
}

#[test]
fn list_that_lost_its_newest_events_is_followed() {
    let mut log = following(1..=6);
    let _ = log.request_read(ReadReason::Check);
    let _ = log.start_read();
    let _ = notify(&mut log, 7..=7);
    // The store has lost 5 and 6, so 7 is lost, too.
    assert_eq!(arrive(&mut log, 1..=4), AfterRead::Queue, "7 does not follow");
    assert_eq!(tail(&log), 7);
    let _ = log.start_read();
    assert_eq!(arrive(&mut log, 1..=4), AfterRead::Done);
    assert_eq!(tail(&log), 4);
}

#[test]
fn list_older_than_a_notification_is_read_again() {
    let mut log = following(1..=3);
    assert_eq!(notify(&mut log, 5..=5), Action::QueueRead);
    let _ = log.start_read();
    assert_eq!(notify(&mut log, 7..=7), Action::Nothing);
    assert_eq!(arrive(&mut log, 1..=5), AfterRead::Queue, "6 is missing");
    assert_eq!(tail(&log), 5);
    let _ = log.start_read();
    assert_eq!(arrive(&mut log, 1..=7), AfterRead::Done);
    assert_eq!(tail(&log), 7);
}

#[test]
fn overflow_during_a_read_costs_a_read_and_no_reset() {
    let mut log = following(1..=3);
    let (ticket, _) = log.request_read(ReadReason::Check);
    let _ = log.start_read();
    let body = format!("event: a\ndata: \"{}\"\n\n", "x".repeat(1 << 20));
    for seq in 4..=20 {
        let frames = vec![Frame::new(id(seq), body.as_bytes()).unwrap()];
        let _ = log.notify(Notification { after: id(seq - 1), frames }, Instant::now());
        assert_eq!(tail(&log), seq);
    }
    assert_eq!(arrive(&mut log, 1..=3), AfterRead::Queue);
    assert_eq!((tail(&log), log.has_read(ticket)), (20, false));
}

#[test]
fn store_with_nothing_newer_needs_no_read_of_the_history() {
    let newest = |seq, events| Newest::Event { id: id(seq), events };
    for (newest, agrees) in [
        (newest(3, 3), true),
        (newest(4, 4), true),
        (newest(5, 5), false),
        (newest(2, 2), false),
        (newest(4, 1), false),
        (Newest::Nothing(EventId::ZERO), false),
    ] {
        let mut log = following(1..=3);
        let (ticket, _) = log.request_read(ReadReason::Ahead);
        assert_eq!(log.start_read(), Some(Question::Newest));
        assert_eq!(log.newest_arrived(Newest::Nothing(id(3))), None, "all was deleted");
        let _ = notify(&mut log, 4..=4);
        assert_eq!(log.newest_arrived(newest), agrees.then_some(AfterRead::Done), "{newest:?}");
        assert_eq!(log.has_read(ticket), agrees);
    }
}

#[test]
fn missed_events_are_read_although_nothing_is_newer() {
    let mut log = following(1..=4);
    let _ = log.request_read(ReadReason::Ahead);
    let _ = log.start_read();
    assert_eq!(notify(&mut log, 6..=6), Action::Nothing);
    let newest = Newest::Event { id: id(4), events: 4 };
    assert_eq!(log.newest_arrived(newest), Some(AfterRead::Queue));
    assert_eq!(log.start_read(), Some(Question::History(ReadReason::MissedNotification)));
}

#[test]
fn comparison_that_differs_starts_a_read() {
    let newest = |seq| Newest::Event { id: id(seq), events: 4 };
    assert_eq!(LiveLog::new(LIMITS).checked(newest(5), EventId::ZERO), Action::Nothing, "it is read anyway");
    let mut log = following(1..=4);
    assert_eq!(log.checked(newest(4), id(4)), Action::Nothing);
    assert_eq!(log.checked(newest(5), id(4)), Action::QueueRead);
    assert_eq!(log.start_read(), Some(Question::History(ReadReason::Check)));
}

#[test]
fn failed_read_answers_later_requests_at_its_next_attempt() {
    let mut log = following(1..=4);
    let (first, _) = log.request_read(ReadReason::Ahead);
    let _ = log.start_read();
    let (second, _) = log.request_read(ReadReason::Check);
    let AfterRead::Retry(attempts) = log.read_failed() else { panic!("it has a reader") };
    assert_eq!(log.retry_due(attempts), Action::QueueRead);
    assert_eq!(log.start_read(), Some(Question::History(ReadReason::Check)));
    assert_eq!(arrive(&mut log, 1..=4), AfterRead::Done);
    assert!(log.has_read(first) && log.has_read(second));
}

#[test]
fn failed_read_is_parked_without_readers_until_one_joins() {
    let mut log = LiveLog::new(LIMITS);
    let _ = log.reader_joined();
    let _ = log.subscribed();
    let _ = log.start_read();
    let AfterRead::Retry(first) = log.read_failed() else { panic!("it has a reader") };
    assert_eq!(log.retry_due(first), Action::QueueRead);
    let _ = log.start_read();
    let AfterRead::Retry(second) = log.read_failed() else { panic!("it has a reader") };
    assert_eq!(log.retry_due(first), Action::Nothing, "the store was asked since");
    log.reader_left();
    assert_eq!(log.retry_due(second), Action::Nothing);
    assert_eq!(log.start_read(), None);
    assert_eq!(log.reader_joined(), Action::QueueRead);
    let _ = log.start_read();
    assert_eq!(arrive(&mut log, 1..=1), AfterRead::Done);
    // A read that fails after the last reader has left.
    let _ = log.request_read(ReadReason::Check);
    let _ = log.start_read();
    log.reader_left();
    assert_eq!((log.read_failed(), log.start_read()), (AfterRead::Done, None));
    assert_eq!(log.request_read(ReadReason::Check).1, Action::QueueRead);
}

#[test]
fn store_that_is_back_is_asked_before_the_retry_is_due() {
    let mut log = LiveLog::new(LIMITS);
    let _ = log.reader_joined();
    let _ = log.subscribed();
    let _ = log.start_read();
    assert!(matches!(log.read_failed(), AfterRead::Retry(_)));
    assert_eq!(log.subscribed(), Action::QueueRead);
}

/// A flush can be noticed during a read, while late copies of notifications still arrive.
#[test]
fn late_copy_of_a_lost_history_is_not_added_during_a_read() {
    let late = || Notification { after: EventId::ZERO, frames: frames(1..=1) };
    let mut log = following(1..=1);
    let _ = log.request_read(ReadReason::Check);
    let _ = log.start_read();
    // The copy arrives during the read that finds the history lost, and during the next one.
    let _ = log.notify(late(), Instant::now());
    assert_eq!(log.history_arrived(History::default(), Instant::now()), AfterRead::Done);
    assert_eq!(log.log().tail(), EventId::ZERO);
    let _ = log.request_read(ReadReason::Check);
    let _ = log.start_read();
    assert_eq!(log.notify(late(), Instant::now()), Action::Nothing);
    assert_eq!(log.history_arrived(History::default(), Instant::now()), AfterRead::Queue);
    assert_eq!(log.log().tail(), EventId::ZERO);
}

#[test]
fn comparison_confirms_that_there_is_no_history_yet() {
    let mut log = LiveLog::new(LIMITS);
    let _ = (log.reader_joined(), log.subscribed());
    log.start_read().unwrap();
    let loss = LossRecord { since_ms: 50, now_ms: 100, ttl_ms: 1000 };
    let nothing = History { floor: EventId::at(50), frames: Vec::new(), loss };
    assert_eq!(log.history_arrived(nothing, Instant::now()), AfterRead::Done);
    assert_eq!(log.log().tail(), EventId::at(100));
    let mut compare = |since_ms, now_ms| {
        let before = log.log().tail();
        (log.checked(Newest::Unknown { since_ms, now_ms }, before), log.log().tail().ms)
    };
    // However long nothing is published, no history can have expired unseen.
    assert_eq!(compare(50, 900), (Action::Nothing, 900));
    assert_eq!(compare(50, 1800), (Action::Nothing, 1800));
    assert_eq!(compare(1801, 1900), (Action::QueueRead, 1800), "data may have been lost since");
}

/// A log without events and a reader, read at 100. The store keeps a history for 1000.
fn empty_at_100() -> LiveLog {
    let mut log = LiveLog::new(LIMITS);
    let _ = (log.reader_joined(), log.subscribed());
    log.start_read().unwrap();
    let loss = LossRecord { since_ms: 50, now_ms: 100, ttl_ms: 1000 };
    let nothing = History { floor: EventId::at(50), frames: Vec::new(), loss };
    assert_eq!(log.history_arrived(nothing, Instant::now()), AfterRead::Done);
    log
}

#[test]
fn comparison_after_the_time_to_live_proves_nothing() {
    // The node was cut off meanwhile: a whole history may have come and expired.
    let mut log = empty_at_100();
    let before = log.log().tail();
    assert_eq!(log.checked(Newest::Unknown { since_ms: 50, now_ms: 1200 }, before), Action::QueueRead);
    assert_eq!(log.log().tail(), before);
}

#[test]
fn first_event_after_the_time_to_live_does_not_follow() {
    let mut log = empty_at_100();
    // The connection is back, and the event comes before the log is read.
    assert_eq!(log.subscribed(), Action::QueueRead);
    let frame = Frame::new(EventId { ms: 1200, seq: 1 }, b"event: a\ndata: 1\n\n").unwrap();
    let first = Notification { after: EventId::at(50), frames: vec![frame] };
    assert_eq!(log.notify(first, Instant::now()), Action::Nothing);
    assert!(matches!(log.start_read(), Some(Question::History(_))));
}
