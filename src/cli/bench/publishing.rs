//! All publishers of a run: who sends what is due, and how it was answered.

use std::collections::VecDeque;

use mio::event::Event;
use mio::{Registry, Token};

use super::clock::Nanos;
use super::engine::Shared;
use super::latencies::Latencies;
use super::publisher::{Publisher, Request, Turn};
use super::schedule::Schedule;

/// The publishers and their answers. Counts are of what was to be sent within the window.
pub(super) struct Publishing {
    publishers: Vec<Publisher>,
    /// Those that can take a request, the longest free first.
    free: VecDeque<usize>,
    /// Token of the first publisher.
    first_token: usize,
    schedule: Schedule,
    /// Events in a request.
    batch: usize,
    timeout: Nanos,
    busy: usize,
    /// Whether a server has closed a connection in good order: after so many requests, or so long.
    pub(super) is_short: bool,
    pub(super) counts: PublishCounts,
    pub(super) first_problem: Option<String>,
    /// From when a request was to be sent until its answer had come.
    pub(super) latency: Latencies,
}

/// Requests and events, counted.
#[derive(Default, Clone, Copy, Debug)]
pub(super) struct PublishCounts {
    pub(super) requests: u64,
    pub(super) events: u64,
    /// Requests that were refused, broken off or not answered in time.
    pub(super) errors: u64,
    /// Requests answered while the window was open, whenever they were to be sent.
    pub(super) requests_within_window: u64,
    pub(super) events_within_window: u64,
    /// Accepted at any time.
    pub(super) all_requests: u64,
    pub(super) all_events: u64,
    pub(super) all_errors: u64,
}

impl Publishing {
    pub(super) fn new(publishers: usize, first_token: usize, batch: usize, timeout: Nanos) -> Self {
        Self {
            publishers: (0..publishers).map(Publisher::new).collect(),
            free: VecDeque::with_capacity(publishers),
            first_token,
            schedule: Schedule::empty(),
            batch,
            timeout,
            busy: 0,
            is_short: false,
            counts: PublishCounts::default(),
            first_problem: None,
            latency: Latencies::new(),
        }
    }

    /// Begins to connect those that are not connected.
    pub(super) fn connect(&mut self, shared: &Shared, registry: &Registry) {
        self.is_short = false;
        for (number, publisher) in self.publishers.iter_mut().enumerate() {
            if let Err(error) = publisher.connect(Token(self.first_token + number), shared, registry) {
                self.first_problem.get_or_insert(error.to_string());
            }
        }
    }

    /// Whether every one is connected and waits for work.
    pub(super) fn are_all_free(&self) -> bool {
        self.free.len() == self.publishers.len()
    }

    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    pub(super) fn follow(&mut self, schedule: Schedule) {
        self.schedule = schedule;
    }

    /// Whether all that was due was sent and answered.
    pub(super) fn is_over(&self, now: Nanos) -> bool {
        self.busy == 0 && self.schedule.next_due(now).is_none()
    }

    /// Events that were due and could not be sent.
    pub(super) fn unsent(&self) -> u64 {
        self.schedule.unsent() * self.batch as u64
    }

    /// When the next request is to be sent, if there is somebody to send it.
    pub(super) fn next_due(&self, now: Nanos) -> Option<Nanos> {
        if self.free.is_empty() { None } else { self.schedule.next_due(now) }
    }

    /// Sends what is due.
    pub(super) fn send_due(&mut self, now: Nanos, shared: &mut Shared) {
        while let Some(due) = self.next_due(now).filter(|due| *due <= now) {
            let Some(number) = self.free.pop_front() else { return };
            let publisher = &mut self.publishers[number];
            if !publisher.is_free() {
                continue;
            }
            let pipeline = self.schedule.take() % shared.ledger.pipelines() as u64;
            let pipeline = usize::try_from(pipeline).unwrap_or_default();
            let sequences = shared.ledger.issue(number, pipeline, self.batch);
            let turn = publisher.send(Request { publisher: number, pipeline, sequences, due }, shared);
            self.busy += 1;
            self.note(number, turn, shared);
        }
    }

    /// Goes on with the publisher that became ready.
    pub(super) fn ready(&mut self, token: usize, event: &Event, shared: &mut Shared) {
        let number = token - self.first_token;
        let Some(publisher) = self.publishers.get_mut(number) else { return };
        let turn = publisher.ready(event, shared);
        self.note(number, turn, shared);
    }

    /// Gives up on answers that take too long, and connects again what broke off: no more often than
    /// this, so that a server which is gone is not asked without end.
    pub(super) fn tick(&mut self, now: Nanos, shared: &mut Shared, registry: &Registry) {
        for number in 0..self.publishers.len() {
            let turn = self.publishers[number].give_up(now.saturating_sub(self.timeout));
            self.note(number, turn, shared);
        }
        self.connect(shared, registry);
    }

    fn note(&mut self, number: usize, turn: Turn, shared: &mut Shared) {
        match turn {
            Turn::None => {}
            Turn::Connected => self.free.push_back(number),
            Turn::Accepted(request) => {
                self.accept(&request, shared);
                self.release(number);
            }
            Turn::Refused(request, problem) => {
                self.fail(&request, problem, shared);
                self.release(number);
            }
            Turn::Broken(request, problem) => {
                self.busy -= 1;
                self.fail(&request, problem, shared);
            }
            Turn::Closed => {
                self.free.retain(|free| *free != number);
                self.is_short = true;
            }
            Turn::Failed(problem) => {
                self.first_problem.get_or_insert(problem);
            }
        }
    }

    fn release(&mut self, number: usize) {
        self.busy -= 1;
        if self.publishers[number].is_free() {
            self.free.push_back(number);
        } else {
            self.is_short = true;
        }
    }

    fn accept(&mut self, request: &Request, shared: &mut Shared) {
        let (now, events) = (shared.clock.now(), request.sequences.len() as u64);
        shared.ledger.acknowledge(request.publisher, request.pipeline, request.sequences.clone());
        self.counts.all_requests += 1;
        self.counts.all_events += events;
        if shared.ledger.is_measured(now) {
            self.counts.requests_within_window += 1;
            self.counts.events_within_window += events;
        }
        if shared.ledger.is_measured(request.due) {
            self.counts.requests += 1;
            self.counts.events += events;
            self.latency.record(now.saturating_sub(request.due));
        }
    }

    fn fail(&mut self, request: &Request, problem: String, shared: &Shared) {
        self.counts.all_errors += 1;
        self.counts.errors += u64::from(shared.ledger.is_measured(request.due));
        self.first_problem.get_or_insert(problem);
    }
}
