//! A node's log against everything that can happen between it and the store: announcements late, lost, doubled; lists
//! that come back older or newer than what was announced; a store that loses its newest events. The judge knows what was
//! stored and when, and shares no code with the log.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use pipecast::event::EventId;
use pipecast::hub::open_log::OpenLog;
use pipecast::log::announcement::Announcement;
use pipecast::log::refresh::{Question, ReadRequest, Refresh, Ticket};
use pipecast::log::{Cursor, LogLimits, Portion, Read};
use pipecast::metrics::ReadReason;
use pipecast::sse::frame::{Frame, History};
use pipecast::store::Newest;
use proptest::prelude::*;
use proptest::sample::Index;

const LIMIT: usize = 40;

#[derive(Clone, Debug)]
enum Step {
    Publish {
        count: u64,
    },
    /// The oldest announcement on its way arrives, or not, or twice.
    Deliver {
        times: usize,
    },
    /// The hub gives the log its turn.
    Begin,
    /// The store's answer comes: the list as it was at some moment since the question.
    Finish {
        moment: Index,
    },
    Fail,
    /// The pub/sub connection is made anew: what was on its way is lost.
    Reconnect,
    /// A failover: the newest events are gone, and connections are made anew.
    RollBack {
        events: usize,
    },
    Forget,
    /// A client comes that says to be ahead.
    Ask,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1u64..3).prop_map(|count| Step::Publish { count }),
        8 => prop_oneof![8 => Just(1usize), 1 => Just(0), 1 => Just(2)].prop_map(|times| Step::Deliver { times }),
        5 => Just(Step::Begin),
        5 => any::<Index>().prop_map(|moment| Step::Finish { moment }),
        2 => Just(Step::Fail),
        1 => Just(Step::Reconnect),
        1 => (1usize..4).prop_map(|events| Step::RollBack { events }),
        1 => Just(Step::Forget),
        1 => Just(Step::Ask),
    ];
    prop::collection::vec(step, 1..80)
}

/// The store's list at one moment: a marker's id or none, and events.
#[derive(Clone, Default)]
struct List {
    marker: EventId,
    events: Vec<EventId>,
}

impl List {
    fn newest(&self) -> EventId {
        self.events.last().copied().unwrap_or(self.marker)
    }

    fn history(&self) -> History {
        let marker = (self.marker != EventId::ZERO).then(|| format!("id: {}\n\n", self.marker).into());
        History::from_entries(marker.into_iter().chain(self.events.iter().map(|id| frame(*id).shared_text())))
    }

    fn told(&self) -> Newest {
        match self.events.last() {
            Some(id) => Newest::Event { id: *id, events: self.events.len() },
            None => Newest::Nothing(self.marker),
        }
    }
}

fn frame(id: EventId) -> Frame {
    Frame::new(id, b"event: a\ndata: 1\n\n").unwrap()
}

struct World {
    list: List,
    /// All lists since the question that is open.
    since_question: Vec<List>,
    on_its_way: VecDeque<Announcement>,
    ms: u64,
    log: OpenLog,
    is_queued: bool,
    question: Option<Question>,
    tickets: Vec<Ticket>,
    cursor: Cursor,
    /// What the reader got, and where it stands.
    got: Vec<EventId>,
    at: EventId,
    /// Events that are not in the store any more: lost by a failover, forgotten, trimmed.
    gone: Vec<EventId>,
    ever: Vec<EventId>,
}

impl World {
    fn new() -> Self {
        let limits = LogLimits {
            history: LIMIT,
            history_bytes: usize::MAX,
            backlog_bytes: usize::MAX,
            backlog_age: Duration::from_secs(3600),
            compresses: false,
        };
        let log = OpenLog::new("p".parse().unwrap(), limits, Arc::default());
        log.join();
        log.subscribed();
        log.begin_read().unwrap();
        assert!(!log.finish_read(History::default()));
        let cursor = log.look(|view| view.log.place_newest(0, |_| true));
        Self {
            list: List::default(),
            since_question: Vec::new(),
            on_its_way: VecDeque::new(),
            ms: 100,
            log,
            is_queued: false,
            question: None,
            tickets: Vec::new(),
            cursor,
            got: Vec::new(),
            at: EventId::ZERO,
            gone: Vec::new(),
            ever: Vec::new(),
        }
    }

    fn changed(&mut self) {
        self.since_question.push(self.list.clone());
    }

    fn publish(&mut self, count: u64) {
        self.ms += 10;
        let after = self.list.newest();
        let ids: Vec<_> = (1..=count).map(|n| EventId { ms: self.ms, seq: after.seq + n }).collect();
        self.list.events.extend(&ids);
        if self.list.events.len() > LIMIT {
            self.gone.extend(self.list.events.drain(..self.list.events.len() - LIMIT));
            self.list.marker = EventId::ZERO;
        }
        self.ever.extend(&ids);
        self.on_its_way.push_back(Announcement { after, frames: ids.into_iter().map(frame).collect() });
        self.changed();
    }

    fn wants(&mut self, request: Option<ReadRequest>) {
        self.is_queued |= matches!(request, Some(ReadRequest::Start(_)));
    }

    fn deliver(&mut self) -> Result<(), TestCaseError> {
        let Some(announcement) = self.on_its_way.front().cloned() else { return Ok(()) };
        let follows = announcement.after == self.at && !announcement.frames.is_empty();
        let newest = announcement.frames.last().map(Frame::id);
        let request = self.log.announce(announcement);
        self.wants(request);
        self.read()?;
        if follows {
            prop_assert_eq!(Some(self.at), newest, "what follows is not shown at once");
        }
        Ok(())
    }

    fn finish(&mut self, moment: Index) {
        let Some(question) = self.question.take() else { return };
        let mut lists = std::mem::take(&mut self.since_question);
        let first = moment.index(lists.len());
        if let Question::Newest(before) = question
            && self.log.agrees(lists[first].told(), before)
        {
            self.is_queued |= self.log.finish_look();
            return;
        }
        self.is_queued |= self.log.finish_read(lists.swap_remove(first).history());
    }

    fn begin(&mut self) {
        if self.question.is_none() && std::mem::take(&mut self.is_queued) {
            self.question = self.log.begin_read();
            self.since_question = vec![self.list.clone()];
        }
    }

    /// The reader reads all that there is.
    fn read(&mut self) -> Result<(), TestCaseError> {
        loop {
            let all = Portion { frames: 1000, bytes: 1 << 20 };
            match self.log.look(|view| view.log.read(&mut self.cursor, all, 1_000_000, |_| true)) {
                Read::Nothing => return Ok(()),
                Read::Gap(gap) => {
                    let is_lost = self.gone.iter().any(|id| *id >= self.at);
                    prop_assert!(is_lost, "a gap although nothing was lost: {:?}", gap);
                    self.at = gap.resume;
                }
                Read::Frames(frames) => {
                    for id in frames.iter().map(Frame::id) {
                        prop_assert!(!self.got.contains(&id), "{id} comes twice");
                        prop_assert!(self.ever.contains(&id));
                        let skipped: Vec<_> =
                            self.ever.iter().filter(|other| self.at < **other && **other < id).collect();
                        prop_assert!(
                            skipped.iter().all(|id| self.gone.contains(id)),
                            "{skipped:?} skipped before {id}"
                        );
                        self.got.push(id);
                        self.at = id;
                    }
                }
            }
        }
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Publish { count } => self.publish(count),
            Step::Deliver { times } => {
                for _ in 0..times {
                    self.deliver()?;
                }
                self.on_its_way.pop_front();
            }
            Step::Begin => self.begin(),
            Step::Finish { moment } => self.finish(moment),
            Step::Fail => {
                if self.question.take().is_some() {
                    self.is_queued |= self.log.fail_read().is_some();
                }
            }
            Step::Reconnect => self.reconnect(),
            Step::RollBack { events } => {
                let length = self.list.events.len().saturating_sub(events);
                self.gone.extend(self.list.events.drain(length..));
                self.changed();
                self.reconnect();
            }
            Step::Forget => {
                self.gone.extend(&self.list.events);
                self.list = List { marker: self.list.newest(), events: Vec::new() };
                let forgotten = Announcement { after: self.list.marker, frames: Vec::new() };
                self.on_its_way.push_back(forgotten);
                self.changed();
            }
            Step::Ask => {
                let request = self.log.request_read(ReadReason::Ahead);
                self.tickets.push(request.ticket());
                self.wants(Some(request));
            }
        }
        self.read()
    }

    fn reconnect(&mut self) {
        self.on_its_way.clear();
        let request = self.log.subscribed();
        self.wants(Some(request));
    }

    /// Lets everything come to rest, and looks whether all is as it is in the store.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        self.publish(1);
        while !self.on_its_way.is_empty() {
            self.step(Step::Deliver { times: 1 })?;
        }
        self.finish_all()?;
        // What the hub does now and then; nothing was published meanwhile.
        let tail = self.log.look(|view| view.log.tail());
        if !self.log.agrees(self.list.told(), tail) {
            let request = self.log.request_read(ReadReason::Check);
            self.wants(Some(request));
        }
        self.finish_all()?;
        prop_assert_eq!(self.at, self.list.newest());
        self.log.look(|view| {
            prop_assert!(self.tickets.iter().all(|ticket| view.has_read(*ticket)), "a client waits for ever");
            let kept: Vec<_> = view.log.history().map(Frame::id).collect();
            prop_assert_eq!(&kept, &self.list.events);
            Ok(())
        })
    }

    fn finish_all(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..5 {
            self.finish_now()?;
            self.begin();
        }
        self.finish_now()?;
        prop_assert!(!self.is_queued && self.question.is_none(), "it reads for ever");
        Ok(())
    }

    /// The answer that is on its way, as of now.
    fn finish_now(&mut self) -> Result<(), TestCaseError> {
        self.since_question.drain(..self.since_question.len().saturating_sub(1));
        let last: Vec<_> = self.since_question.drain(..).collect();
        if self.question.is_some() {
            self.since_question = if last.is_empty() { vec![self.list.clone()] } else { last };
            let list = self.since_question[0].clone();
            if let Some(Question::Newest(before)) = self.question
                && self.log.agrees(list.told(), before)
            {
                self.question = None;
                self.is_queued |= self.log.finish_look();
            } else {
                self.question = None;
                self.is_queued |= self.log.finish_read(list.history());
            }
        }
        self.read()
    }
}

proptest! {
    // PROPTEST_CASES raises the number.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(4000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn readers_get_everything_and_no_false_gap_in_any_order(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step)?;
        }
        world.settle()?;
    }
}

#[test]
fn client_that_asks_waits_for_its_own_read() {
    let mut world = World::new();
    world.step(Step::Ask).unwrap();
    world.begin();
    world.step(Step::Ask).unwrap();
    assert!(world.tickets[0] > Refresh::FIRST && world.tickets[1] > world.tickets[0]);
    world.settle().unwrap();
}
