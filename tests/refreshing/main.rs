//! A live log against everything that can happen between a node and its store, in any order: notifications lost, doubled,
//! late and reordered; subscriptions lost and regained; reads that fail, take long or return a list that is older than
//! what was notified; a store that trims, deletes or loses events; clients that come with a resume point, lag and leave.
//!
//! The judge is a plain list of what was published and what became of it ([`store`]), seen by each client ([`client`]). It
//! shares no code with the log. Time is a number that a step moves.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod client;
mod store;

use std::time::{Duration, Instant};

use pipecast::event::EventId;
use pipecast::hub::live_log::{Action, AfterRead, LiveLog, Question, Ticket};
use pipecast::log::LogLimits;
use pipecast::sse::frame::Frame;
use proptest::prelude::*;
use proptest::sample::Index;

use client::Client;
use store::{LIMIT, List, Store, Subscription};

/// Backlog for about four frames.
const LIMITS: LogLimits = LogLimits {
    history: LIMIT,
    history_bytes: usize::MAX,
    backlog_bytes: 120,
    backlog_age: Duration::from_secs(5),
    compresses: false,
};

#[derive(Clone, Debug)]
enum Step {
    Publish(u64),
    /// A notification arrives so many times: 0 loses it. The oldest on its way, or any.
    Deliver(Option<Index>, usize),
    /// Another copy of one will arrive later.
    Double(Index),
    /// The hub gives the log its turn.
    Begin,
    /// The store's answer arrives: its list as of some moment since the question.
    Answer(Index),
    Fail,
    RetryDue,
    /// The hub asks for the newest ids of all open logs.
    Compare,
    /// That answer arrives, as of some moment since.
    Compared(Index),
    Disconnect,
    /// The store confirms the subscription and sends from here on. The log hears of it at the next such step.
    Confirm,
    RollBack(usize),
    Restart,
    Flush,
    Delete,
    Wait(u64),
    /// A new client comes, or one that left resumes.
    Join(Option<Index>),
    /// A client leaves; with the last one the node closes the log, or does not yet.
    Leave(Index, bool),
    /// A client that is awake reads so many events at most.
    Read(Index, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<Index>;
    let times = prop_oneof![8 => Just(1usize), 1 => Just(0), 1 => Just(2)];
    let step = prop_oneof![
        10 => (1u64..4).prop_map(Step::Publish),
        10 => (prop::option::weighted(0.2, index()), times).prop_map(|(which, times)| Step::Deliver(which, times)),
        1 => index().prop_map(Step::Double),
        6 => Just(Step::Begin),
        6 => index().prop_map(Step::Answer),
        2 => Just(Step::Fail),
        2 => Just(Step::RetryDue),
        1 => Just(Step::Compare),
        1 => index().prop_map(Step::Compared),
        1 => Just(Step::Disconnect),
        5 => Just(Step::Confirm),
        1 => (1usize..4).prop_map(Step::RollBack),
        1 => Just(Step::Restart),
        1 => Just(Step::Flush),
        1 => Just(Step::Delete),
        2 => (1u64..8000).prop_map(Step::Wait),
        4 => prop::option::of(index()).prop_map(Step::Join),
        2 => (index(), any::<bool>()).prop_map(|(which, closes)| Step::Leave(which, closes)),
        8 => (index(), 1usize..20).prop_map(|(which, at_most)| Step::Read(which, at_most)),
    ];
    prop::collection::vec(step, 1..160)
}

/// What lets the log notice in the end that it is behind. Each is enough by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    Resubscribed,
    Compared,
    Published,
}

/// One node with one log, and what its hub remembers.
struct World {
    store: Store,
    log: LiveLog,
    now: Instant,
    is_queued: bool,
    /// A question, and all lists of the store since it was asked.
    reading: Option<(Question, Vec<List>)>,
    retries: Vec<u64>,
    /// The log's newest id when it was compared, and all lists since.
    comparing: Option<(EventId, Vec<List>)>,
    clients: Vec<Client>,
    left: Vec<Client>,
}

impl World {
    fn new() -> Self {
        Self {
            store: Store::new(),
            log: LiveLog::new(LIMITS),
            now: Instant::now(),
            is_queued: false,
            reading: None,
            retries: Vec::new(),
            comparing: None,
            clients: Vec::new(),
            left: Vec::new(),
        }
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Publish(count) => self.store.publish(count),
            Step::Deliver(which, times) => self.deliver(which, times)?,
            Step::Double(which) => {
                if let Some(at) = pick(&self.store.on_their_way, which) {
                    let copy = self.store.on_their_way[at].clone();
                    self.store.on_their_way.push(copy);
                }
            }
            Step::Begin => self.begin(),
            Step::Answer(moment) => self.answer(|lists| moment.index(lists.len())),
            Step::Fail => {
                if self.reading.take().is_some() {
                    let after = self.log.read_failed();
                    self.after_read(after);
                }
            }
            Step::RetryDue => {
                if let Some(attempts) = self.retries.pop() {
                    let action = self.log.retry_due(attempts);
                    self.act(action);
                }
            }
            Step::Compare => self.comparing = Some((self.log.log().tail(), Vec::new())),
            Step::Compared(moment) => {
                if let Some((before, lists)) = self.comparing.take() {
                    let action = self.log.checked(lists[moment.index(lists.len())].newest(), before);
                    self.act(action);
                }
            }
            Step::Disconnect => self.store.disconnect(),
            Step::Confirm => self.confirm(),
            Step::RollBack(events) => self.store.roll_back(events),
            Step::Restart => self.store.restart(),
            Step::Flush => self.store.flush(),
            Step::Delete => self.store.delete(),
            Step::Wait(ms) => {
                self.now += Duration::from_millis(ms);
                self.log.trim(self.now);
            }
            Step::Join(which) => self.join(which),
            Step::Leave(which, closes) => self.leave(which, closes),
            Step::Read(which, at_most) => {
                if let Some(at) = pick(&self.clients, which) {
                    self.read(at, at_most)?;
                }
            }
        }
        self.remember_list();
        Ok(())
    }

    fn remember_list(&mut self) {
        let reading = self.reading.iter_mut().map(|(_, lists)| lists);
        for lists in reading.chain(self.comparing.iter_mut().map(|(_, lists)| lists)) {
            lists.push(self.store.list.clone());
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Nothing => {}
            Action::WakeReaders => self.clients.iter_mut().for_each(|client| client.is_awake = true),
            Action::QueueRead => self.is_queued = true,
        }
    }

    fn after_read(&mut self, after: AfterRead) {
        match after {
            AfterRead::Done => self.act(Action::WakeReaders),
            AfterRead::Queue => {
                self.act(Action::WakeReaders);
                self.is_queued = true;
            }
            AfterRead::Retry(attempts) => self.retries.push(attempts),
        }
    }

    fn deliver(&mut self, which: Option<Index>, times: usize) -> Result<(), TestCaseError> {
        let at = match which {
            Some(which) => pick(&self.store.on_their_way, which),
            None => (!self.store.on_their_way.is_empty()).then_some(0),
        };
        let Some(at) = at else { return Ok(()) };
        let notification = self.store.on_their_way.remove(at);
        for _ in 0..times {
            let newest = notification.frames.last().map(Frame::id);
            // Not one of a history that is lost: it may follow the beginning of another.
            let is_kept = newest.is_some_and(|newest| self.store.list.events.contains(&newest));
            let follows = is_kept && self.log.has_read(Ticket::FIRST) && notification.after == self.log.log().tail();
            let action = self.log.notify(notification.clone(), self.now);
            if follows {
                prop_assert_eq!((action, Some(self.log.log().tail())), (Action::WakeReaders, newest));
            }
            self.act(action);
        }
        Ok(())
    }

    fn begin(&mut self) {
        if self.reading.is_none() && std::mem::take(&mut self.is_queued) {
            self.reading = self.log.start_read().map(|question| (question, Vec::new()));
        }
    }

    fn answer(&mut self, moment: impl Fn(&[List]) -> usize) {
        let Some((question, mut lists)) = self.reading.take() else { return };
        if question == Question::Newest {
            let at = moment(&lists);
            match self.log.newest_arrived(lists[at].newest()) {
                Some(after) => return self.after_read(after),
                // The history is asked for after that.
                None => _ = lists.drain(..at),
            }
        }
        let after = self.log.history_arrived(lists[moment(&lists)].history(), self.now);
        self.after_read(after);
    }

    fn confirm(&mut self) {
        match self.store.subscription {
            Subscription::Off => self.store.subscription = Subscription::Confirmed,
            Subscription::Confirmed => {
                self.store.subscription = Subscription::On;
                let action = self.log.subscribed();
                self.act(action);
            }
            Subscription::On => {}
        }
    }

    fn join(&mut self, which: Option<Index>) {
        let resumed = which.and_then(|which| pick(&self.left, which)).map(|at| self.left.swap_remove(at).resumed());
        self.clients.push(resumed.unwrap_or_else(Client::new));
        let action = self.log.reader_joined();
        self.act(action);
    }

    fn leave(&mut self, which: Index, closes: bool) {
        let Some(at) = pick(&self.clients, which) else { return };
        self.left.push(self.clients.swap_remove(at));
        self.log.reader_left();
        if closes && self.clients.is_empty() {
            // The next reader opens another log.
            self.store.disconnect();
            self.log = LiveLog::new(LIMITS);
            self.is_queued = false;
            self.reading = None;
            self.comparing = None;
            self.retries.clear();
        }
    }

    fn read(&mut self, at: usize, at_most: usize) -> Result<(), TestCaseError> {
        if self.clients[at].is_awake {
            let action = self.clients[at].read(&mut self.log, &self.store, at_most)?;
            self.act(action);
        }
        Ok(())
    }

    /// A node whose log follows the store, with one client.
    fn following() -> Result<Self, TestCaseError> {
        let mut world = Self::new();
        world.join(None);
        world.subscribe()?;
        world.rest()?;
        Ok(world)
    }

    fn subscribe(&mut self) -> Result<(), TestCaseError> {
        while self.store.subscription != Subscription::On {
            self.step(Step::Confirm)?;
        }
        Ok(())
    }

    /// From here on the store answers and nothing is lost. Everything comes to rest, with what the store has.
    fn settle(&mut self, ending: Ending) -> Result<(), TestCaseError> {
        self.join(None);
        while let Some(client) = self.left.pop() {
            self.clients.push(client.resumed());
            let action = self.log.reader_joined();
            self.act(action);
        }
        match ending {
            Ending::Resubscribed => {
                self.store.disconnect();
                self.subscribe()?;
            }
            Ending::Compared => {
                self.subscribe()?;
                self.rest()?;
                let action = self.log.checked(self.store.list.newest(), self.log.log().tail());
                self.act(action);
            }
            Ending::Published => {
                self.subscribe()?;
                self.step(Step::Publish(1))?;
                while !self.store.on_their_way.is_empty() {
                    self.step(Step::Deliver(None, 1))?;
                }
            }
        }
        self.rest()?;
        let kept: Vec<_> = self.log.log().history().map(Frame::id).collect();
        if ending == Ending::Published {
            // One event after another does not give away that older ones were deleted.
            prop_assert!(kept.ends_with(&self.store.list.events));
        } else {
            prop_assert_eq!(&kept, &self.store.list.events);
        }
        for client in &self.clients {
            let newest = self.store.list.newest_id();
            let is_there =
                client.at() == Some(newest) || newest.is_beginning() && client.at().is_some_and(EventId::is_beginning);
            prop_assert!(is_there, "a client waits forever at {:?}", client.at());
        }
        Ok(())
    }

    /// Reads, retries and clients continue until nothing is left to do.
    fn rest(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..20 {
            self.remember_list();
            self.answer(|lists| lists.len() - 1);
            if self.retries.is_empty() {
                self.begin();
            } else {
                self.step(Step::RetryDue)?;
            }
            for at in 0..self.clients.len() {
                for _ in 0..2 * LIMIT {
                    self.read(at, 3)?;
                }
            }
        }
        let is_at_rest = !self.is_queued && self.reading.is_none() && self.retries.is_empty();
        prop_assert!(is_at_rest, "it never stops reading");
        Ok(())
    }
}

fn pick<T>(all: &[T], which: Index) -> Option<usize> {
    (!all.is_empty()).then(|| which.index(all.len()))
}

proptest! {
    // PROPTEST_CASES raises the number.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1500),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn clients_receive_each_event_once_or_a_gap_in_any_order(
        is_open in any::<bool>(),
        steps in steps(),
        ending in prop_oneof![Just(Ending::Resubscribed), Just(Ending::Compared), Just(Ending::Published)],
    ) {
        let mut world = if is_open { World::following()? } else { World::new() };
        for step in steps {
            world.step(step)?;
        }
        world.settle(ending)?;
    }
}
