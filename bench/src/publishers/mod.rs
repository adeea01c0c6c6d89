//! All publishers of a run: each sends what the schedule says is due, and its answers are counted.

mod publisher;
mod schedule;

use std::collections::VecDeque;

use mio::event::Event;
use mio::{Registry, Token};

use crate::clock::Nanos;
use crate::http::PublishRequest;
use crate::shared::Shared;
use crate::tally::LatencyHistogram;

use publisher::{Publisher, PublisherChange};
pub(crate) use schedule::Schedule;

/// The publishers and their answers. Counts are of requests that were to be sent within the measured window.
pub(crate) struct Publishers {
    publishers: Vec<Publisher>,
    /// Publishers without a request, the longest free first.
    free: VecDeque<usize>,
    /// Event loop token of the first publisher.
    first_token: usize,
    schedule: Schedule,
    /// Events per request.
    batch: usize,
    timeout: Nanos,
    /// Publishers that wait for an answer.
    busy: usize,
    /// Whether a server has closed a connection between two requests, as servers do after a number of them or a time.
    pub(crate) needs_connection: bool,
    pub(crate) counts: PublishCounts,
    pub(crate) first_problem: Option<String>,
    /// From when a request was to be sent until its answer had come.
    pub(crate) latency: LatencyHistogram,
}

/// Requests and events, counted.
#[derive(Default, Clone, Copy, Debug)]
pub(crate) struct PublishCounts {
    pub(crate) requests: u64,
    pub(crate) events: u64,
    /// Requests that were rejected, broken off or not answered in time.
    pub(crate) errors: u64,
    /// Requests answered while the window was open, whenever they were to be sent.
    pub(crate) requests_within_window: u64,
    pub(crate) events_within_window: u64,
    /// Accepted at any time, within the window or not.
    pub(crate) all_requests: u64,
    pub(crate) all_events: u64,
    pub(crate) all_errors: u64,
}

impl Publishers {
    pub(crate) fn new(publishers: usize, first_token: usize, batch: usize, timeout: Nanos) -> Self {
        Self {
            publishers: (0..publishers).map(Publisher::new).collect(),
            free: VecDeque::with_capacity(publishers),
            first_token,
            schedule: Schedule::empty(),
            batch,
            timeout,
            busy: 0,
            needs_connection: false,
            counts: PublishCounts::default(),
            first_problem: None,
            latency: LatencyHistogram::new(),
        }
    }

    /// Begins to connect every publisher that has no connection.
    pub(crate) fn connect(&mut self, shared: &Shared, registry: &Registry) {
        self.needs_connection = false;
        for (number, publisher) in self.publishers.iter_mut().enumerate() {
            if let Err(error) = publisher.connect(Token(self.first_token + number), shared, registry) {
                self.first_problem.get_or_insert(error.to_string());
            }
        }
    }

    /// Whether every publisher is connected and has no request.
    pub(crate) fn are_all_free(&self) -> bool {
        self.free.len() == self.publishers.len()
    }

    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn follow(&mut self, schedule: Schedule) {
        self.schedule = schedule;
    }

    /// Whether the schedule is at its end and every request has been answered.
    pub(crate) fn is_over(&self, now: Nanos) -> bool {
        self.busy == 0 && self.schedule.next_due(now).is_none()
    }

    /// Events that were due and could not be sent.
    pub(crate) fn unsent(&self) -> u64 {
        self.schedule.unsent() * self.batch as u64
    }

    /// When the next request is to be sent, if a publisher is free.
    pub(crate) fn next_due(&self, now: Nanos) -> Option<Nanos> {
        if self.free.is_empty() { None } else { self.schedule.next_due(now) }
    }

    /// Sends what is due.
    pub(crate) fn send_due(&mut self, now: Nanos, shared: &mut Shared) {
        while let Some(due) = self.next_due(now).filter(|due| *due <= now) {
            let Some(number) = self.free.pop_front() else { return };
            let publisher = &mut self.publishers[number];
            if !publisher.is_free() {
                continue;
            }
            let pipeline = self.schedule.take() % shared.tally.pipelines() as u64;
            let pipeline = usize::try_from(pipeline).unwrap_or_default();
            let sequences = shared.tally.issue(number, pipeline, self.batch);
            let change = publisher.send(PublishRequest { publisher: number, pipeline, sequences, due }, shared);
            self.busy += 1;
            self.note(number, change, shared);
        }
    }

    /// Continues with the publisher whose connection is ready.
    pub(crate) fn ready(&mut self, token: usize, event: &Event, shared: &mut Shared) {
        let number = token - self.first_token;
        let Some(publisher) = self.publishers.get_mut(number) else { return };
        let change = publisher.ready(event, shared);
        self.note(number, change, shared);
    }

    /// Gives up on answers that take too long, and connects broken publishers again. Only here, so that a server that is down is
    /// not asked in a tight loop.
    pub(crate) fn tick(&mut self, now: Nanos, shared: &mut Shared, registry: &Registry) {
        for number in 0..self.publishers.len() {
            let change = self.publishers[number].give_up(now.saturating_sub(self.timeout));
            self.note(number, change, shared);
        }
        self.connect(shared, registry);
    }

    fn note(&mut self, number: usize, change: PublisherChange, shared: &mut Shared) {
        match change {
            PublisherChange::None => {}
            PublisherChange::Connected => self.free.push_back(number),
            PublisherChange::Accepted(request) => {
                self.accept(&request, shared);
                self.release(number);
            }
            PublisherChange::Rejected(request, problem) => {
                self.fail(&request, problem, shared);
                self.release(number);
            }
            PublisherChange::Broken(request, problem) => {
                self.busy -= 1;
                self.fail(&request, problem, shared);
            }
            PublisherChange::Closed => {
                self.free.retain(|free| *free != number);
                self.needs_connection = true;
            }
            PublisherChange::Failed(problem) => {
                self.first_problem.get_or_insert(problem);
            }
        }
    }

    fn release(&mut self, number: usize) {
        self.busy -= 1;
        if self.publishers[number].is_free() {
            self.free.push_back(number);
        } else {
            self.needs_connection = true;
        }
    }

    fn accept(&mut self, request: &PublishRequest, shared: &mut Shared) {
        let (now, events) = (shared.clock.now(), request.sequences.len() as u64);
        shared.tally.acknowledge(request.publisher, request.pipeline, request.sequences.clone());
        self.counts.all_requests += 1;
        self.counts.all_events += events;
        if shared.tally.is_measured(now) {
            self.counts.requests_within_window += 1;
            self.counts.events_within_window += events;
        }
        if shared.tally.is_measured(request.due) {
            self.counts.requests += 1;
            self.counts.events += events;
            self.latency.record(now.saturating_sub(request.due));
        }
    }

    fn fail(&mut self, request: &PublishRequest, problem: String, shared: &Shared) {
        self.counts.all_errors += 1;
        self.counts.errors += u64::from(shared.tally.is_measured(request.due));
        self.first_problem.get_or_insert(problem);
    }
}
