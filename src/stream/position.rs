//! How far one client has come in a pipeline's log: where its stream begins, what it is sent next, and when it has missed
//! events. No I/O and no clock: time is handed in.

use std::time::Duration;

use bytes::Bytes;

use super::wanted::{Channels, Start, Wanted};
use crate::event::{EventId, Gap, ResumePoint};
use crate::hub::live_log::Ticket;
use crate::hub::open_log::LogView;
use crate::log::{Cursor, Log, Read, ReadLimits, is_from_the_future};
use crate::metrics::{Metrics, StreamStart};
use crate::sse::control;
use crate::sse::frame::Frame;

/// What a client is sent at once: enough to fill a vectored write.
const READ_LIMITS: ReadLimits = ReadLimits { frames: 32, bytes: 64 << 10 };

/// How far one client has come in a pipeline's log. Does not know the pipeline.
#[derive(Debug)]
pub struct StreamPosition {
    channels: Channels,
    placement: Placement,
}

#[derive(Debug)]
enum Placement {
    /// The client waits for the history to be read.
    Waiting {
        start: Start,
        ticket: Ticket,
        /// Whether the store was asked again because the resume point is ahead of the log. What it answers is final.
        is_final: bool,
    },
    /// The client has a place in the log.
    Following {
        cursor: Cursor,
        /// Events newer than this were published since.
        live_after: EventId,
        /// Whether the filter held back events after the last one that the client was sent.
        is_ahead: bool,
    },
}

/// What comes next.
#[derive(Debug)]
pub enum Item {
    /// The client was placed in the log.
    Placed {
        /// Its position, sent only if it asked for a part of the history.
        position: Option<EventId>,
        /// What it has missed.
        gap: Option<Gap>,
        /// What its stream begins with.
        start: StreamStart,
    },
    /// The client fell behind, or the history was replaced.
    Gap(Gap),
    /// Events, oldest first.
    Frames(Vec<Frame>),
}

/// What a look at the log gave.
#[derive(Debug)]
pub enum Next {
    /// Something to send.
    Item(Item),
    /// Nothing until the log changes.
    Nothing,
    /// The client is ahead of the log: the store must be asked again, see [`StreamPosition::wait_for`].
    ReadAgain,
}

impl Item {
    /// The block that tells the client, which is counted. `None` for [`Item::Frames`], and if there is nothing to tell.
    pub fn into_block(self, metrics: &Metrics) -> Option<Bytes> {
        let (position, gap) = match self {
            Self::Frames(_) => (None, None),
            Self::Gap(gap) => (None, Some(gap)),
            Self::Placed { position, gap, start } => {
                metrics.stream_started(start);
                (position.map(control::position), gap)
            }
        };
        gap.map(|gap| {
            metrics.gap_told(gap.reason);
            gap.text()
        })
        .or(position)
    }
}

impl StreamPosition {
    /// A client that is not placed yet.
    pub fn new(wanted: Wanted) -> Self {
        let Wanted { start, channels } = wanted;
        Self { channels, placement: Placement::Waiting { start, ticket: Ticket::FIRST, is_final: false } }
    }

    /// Looks for what comes next, and moves past it. `now_ms` is this node's clock, in milliseconds since the Unix epoch.
    pub fn next(&mut self, view: &LogView<'_>, now_ms: u64) -> Next {
        match &self.placement {
            Placement::Waiting { ticket, .. } if !view.has_read(*ticket) => Next::Nothing,
            Placement::Waiting { .. } | Placement::Following { .. } => self.next_in(view.log, now_ms),
        }
    }

    /// The same when the read that the client waited for is done.
    fn next_in(&mut self, log: &Log, now_ms: u64) -> Next {
        let (start, is_final) = match &mut self.placement {
            Placement::Waiting { start, is_final, .. } => (start, *is_final),
            Placement::Following { cursor, is_ahead, .. } => {
                return follow(&self.channels, cursor, is_ahead, log, now_ms);
            }
        };
        // The client comes from a node that is faster than this one: ask the store before judging. No node can have given
        // out an id from the future, and a client that makes one up must not cause reads of the store.
        if let Start::After(ResumePoint::After(id)) = start
            && *id > log.tail()
            && !is_from_the_future(*id, now_ms)
            && !is_final
        {
            return Next::ReadAgain;
        }
        let (placement, item) = place(log, start, &self.channels, now_ms);
        self.placement = placement;
        Next::Item(item)
    }

    /// Waits for a read that was requested because of [`Next::ReadAgain`].
    pub fn wait_for(&mut self, read: Ticket) {
        if let Placement::Waiting { ticket, is_final, .. } = &mut self.placement {
            (*ticket, *is_final) = (read, true);
        }
    }

    /// The newest event that the client has passed, sent or filtered; `None` before it is placed.
    pub fn position(&self) -> Option<EventId> {
        self.cursor().map(|cursor| cursor.after())
    }

    /// The cursor, once the client is placed.
    pub fn cursor(&self) -> Option<Cursor> {
        match &self.placement {
            Placement::Following { cursor, .. } => Some(*cursor),
            Placement::Waiting { .. } => None,
        }
    }

    /// Moves the cursor past frames that were read from it for another client.
    pub fn pass(&mut self, to: Cursor) {
        if let Placement::Following { cursor, .. } = &mut self.placement {
            *cursor = to;
        }
    }

    /// Whether there is nothing after the client's cursor.
    pub fn is_at_end(&self, view: &LogView<'_>) -> bool {
        self.cursor().is_some_and(|cursor| view.log.is_end(&cursor))
    }

    /// The client's keepalive, when everything that it has passed is sent. It includes the client's position if the filter
    /// has held back events since the client last learned it.
    pub fn keepalive(&mut self) -> Bytes {
        match &mut self.placement {
            Placement::Following { cursor, is_ahead, .. } => {
                control::keepalive(std::mem::take(is_ahead).then(|| cursor.after()))
            }
            Placement::Waiting { .. } => control::keepalive(None),
        }
    }

    /// How long an event took from the store to the client, in whole milliseconds; `None` for an event of the replay.
    pub fn lag(&self, id: EventId, now_ms: u64) -> Option<Duration> {
        match &self.placement {
            Placement::Following { live_after, .. } if id > *live_after => {
                Some(Duration::from_millis(now_ms.saturating_sub(id.ms)))
            }
            Placement::Following { .. } | Placement::Waiting { .. } => None,
        }
    }

    /// Whether only some channels are wanted.
    pub fn is_filtered(&self) -> bool {
        !self.channels.is_all()
    }
}

/// What comes next for a client that has a place in the log.
fn follow(channels: &Channels, cursor: &mut Cursor, is_ahead: &mut bool, log: &Log, now_ms: u64) -> Next {
    let from = cursor.after();
    match log.read(cursor, READ_LIMITS, now_ms, |frame| channels.pass(frame)) {
        Read::Frames(frames) => {
            *is_ahead = frames.last().is_some_and(|last| last.id() != cursor.after());
            Next::Item(Item::Frames(frames))
        }
        Read::Gap(gap) => {
            // The gap event has the position as its id.
            *is_ahead = false;
            Next::Item(Item::Gap(channels.reported(gap)))
        }
        Read::Nothing => {
            *is_ahead |= cursor.after() != from;
            Next::Nothing
        }
    }
}

/// Places a client in the log.
fn place(log: &Log, start: &Start, channels: &Channels, now_ms: u64) -> (Placement, Item) {
    let passes = |frame: &Frame| channels.pass(frame);
    let (cursor, position, gap, start) = match start {
        Start::History => (log.place_newest(usize::MAX, passes), None, None, StreamStart::History),
        Start::Newest(count) => {
            let cursor = log.place_newest(*count, passes);
            (cursor, Some(cursor.after()), None, StreamStart::History)
        }
        Start::After(point) => {
            let (cursor, gap) = log.place_after(point, now_ms);
            let start = if gap.is_some() { StreamStart::Gap } else { StreamStart::Resumed };
            (cursor, None, gap, start)
        }
    };
    let gap = gap.map(|gap| channels.reported(gap));
    let placement = Placement::Following { cursor, live_after: log.tail(), is_ahead: false };
    (placement, Item::Placed { position, gap, start })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Instant;

    use super::*;
    use crate::event::GapReason;
    use crate::log::LogLimits;
    use crate::log::notification::Notification;
    use crate::sse::frame::History;
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
        log.merge(History { floor: EventId::ZERO, frames }, Instant::now());
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
        check(after(id(3).ms, 2), &[], (None, Some(GapReason::Reset), &[2, 3, 4, 5]));
        check(
            Start::After(ResumePoint::Malformed("x".into())),
            &[],
            (None, Some(GapReason::Unknown), &[1, 2, 3, 4, 5]),
        );
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
            log.merge(History { floor: EventId { ms: 1, seq: 0 }, frames: Vec::new() }, began);
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
}
