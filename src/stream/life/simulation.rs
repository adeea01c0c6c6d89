//! Lives under simulated carriers, in random orders of time, data, drain and revocation.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Intake, Life, LifeRules, Step};
use crate::metrics::StreamEnd;

const MINUTE: Duration = Duration::from_secs(60);
const KEEPALIVE: Duration = Duration::from_secs(15);
const TIMEOUT: Duration = Duration::from_secs(30);

/// How a carrier finds the time to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Carrier {
    /// It has a timer for each stream, and is late by at most a pass. A body of hyper.
    Timer,
    /// It looks at each stream once per period for keepalives, and has a timer for the rest. A fan-out thread.
    Wheel,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// The client is sent an event and reads so much of it at once.
    Sent(Intake),
    /// The client reads so much of what waits for it.
    Reads(Intake),
    Drain(Duration),
    Revoke,
}

/// How late a carrier is at most.
const PASS: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(250);

/// Of shares of a time.
const ROUNDING: Duration = Duration::from_micros(1);

/// A stream under a carrier, and a plain account of what has happened to it.
struct Simulation {
    rules: LifeRules,
    life: Life,
    carrier: Carrier,
    now: Instant,
    next_visit: Instant,
    /// How late its next look is.
    lateness: Duration,
    /// Chance, from a list that repeats.
    draws: std::iter::Cycle<std::vec::IntoIter<f64>>,
    /// Since when the client has read nothing.
    blocked_since: Option<Instant>,
    unblocked_at: Instant,
    last_keepalive: Instant,
    begun: Instant,
    keepalives: u32,
    /// When each reason is to end the stream.
    due: Vec<(StreamEnd, Instant)>,
    ended: Option<StreamEnd>,
}

impl Simulation {
    fn begin(carrier: Carrier, max_age: Option<Duration>, token: Option<Duration>, draws: Vec<f64>) -> Self {
        let epoch = Instant::now();
        let mut draws = draws.into_iter().cycle();
        let tolerance = if carrier == Carrier::Wheel { TICK } else { Duration::ZERO };
        let rules = LifeRules::new(KEEPALIVE, TIMEOUT, max_age, epoch).with_keepalive_tolerance(tolerance);
        let now = epoch + MINUTE;
        let mut same_draws = draws.clone();
        let mut end = |limit: Option<Duration>, earliest: f64, reason| {
            limit.map(|limit| (reason, now + limit.mul_f64(earliest + (1.0 - earliest) * same_draws.next().unwrap())))
        };
        let due = [end(max_age, 0.8, StreamEnd::MaxAge), end(token, 0.9, StreamEnd::Token)];
        let life = Life::begin(&rules, None, token, now, || draws.next().unwrap());
        let first_visit = now + KEEPALIVE - TICK.mul_f64(draws.next().unwrap());
        Self {
            rules,
            life,
            carrier,
            now,
            next_visit: first_visit,
            lateness: PASS,
            draws,
            blocked_since: None,
            unblocked_at: now,
            last_keepalive: now,
            begun: now,
            keepalives: 0,
            due: due.into_iter().flatten().collect(),
            ended: None,
        }
    }

    fn draw(&mut self) -> f64 {
        self.draws.next().unwrap()
    }

    /// When the carrier is to look at the stream next if nothing happens.
    fn next_look(&self) -> Option<Instant> {
        let timer = match self.carrier {
            Carrier::Timer => self.life.deadline(&self.rules),
            Carrier::Wheel if self.life.is_blocked() => self.life.write_deadline(&self.rules),
            Carrier::Wheel => self.life.end_deadline(&self.rules),
        };
        let visit = (self.carrier == Carrier::Wheel).then_some(self.next_visit);
        timer.into_iter().chain(visit).min()
    }

    /// Lets the time pass until `until`.
    fn pass(&mut self, until: Instant) {
        while self.ended.is_none()
            && let Some(look) = self.next_look().map(|look| look + self.lateness)
            && look <= until
        {
            self.now = self.now.max(look);
            if self.next_visit <= self.now {
                // A wheel never hurries through what it has missed.
                self.next_visit = (self.next_visit + KEEPALIVE).max(self.now + KEEPALIVE - TICK);
            }
            self.look();
            self.lateness = PASS.mul_f64(self.draw());
            // Each look gets somewhere: no deadline stays in the past.
            let next = self.next_look();
            assert!(self.ended.is_some() || next.is_none_or(|next| next > self.now), "{:?}", self.life);
        }
        self.now = self.now.max(until);
    }

    fn look(&mut self) {
        let step = self.life.next(&self.rules, self.now);
        if step != Step::Continue && step != Step::Cut {
            assert_eq!(self.blocked_since, None, "{step:?} inside an event");
        }
        match step {
            Step::Continue => {}
            Step::Keepalive => self.keep_alive(),
            Step::End | Step::Cut => self.end(step),
            Step::Over => panic!("it ended before"),
        }
        if self.ended.is_none() {
            assert!(self.life.keepalive_deadline(&self.rules) > Some(self.now), "an alarm would ring at once again");
            let is_over = self.blocked_since.is_none() && self.due.iter().any(|(_, due)| *due + ROUNDING < self.now);
            assert!(!is_over, "at {:?}: {:?}", self.now, self.due);
            self.assert_not_silent();
        }
    }

    fn keep_alive(&mut self) {
        self.keepalives += 1;
        self.assert_not_silent();
        assert!(self.now + TICK >= self.begun + self.keepalives * KEEPALIVE, "too many keepalives");
        self.last_keepalive = self.now;
    }

    fn assert_not_silent(&self) {
        let (since, longest) = match self.blocked_since {
            Some(since) => (since, TIMEOUT),
            // One late pass may hold up the wheel, and another one the next visit.
            None => (self.last_keepalive.max(self.unblocked_at), KEEPALIVE + TICK + PASS),
        };
        assert!(self.now - since <= longest + PASS, "{:?} of silence", self.now - since);
    }

    fn end(&mut self, step: Step) {
        let reason = self.life.close().unwrap();
        assert_eq!(self.life.close(), None, "an end is reported once");
        assert_eq!(step == Step::Cut, reason == StreamEnd::WriteTimeout);
        if reason == StreamEnd::WriteTimeout {
            assert!(self.now - self.blocked_since.unwrap() >= TIMEOUT);
        } else {
            let is_due = self.due.iter().any(|(why, due)| *why == reason && *due <= self.now + ROUNDING);
            assert!(is_due, "{reason:?} at {:?}: {:?}", self.now, self.due);
        }
        self.ended = Some(reason);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Sent(intake) if self.blocked_since.is_none() => self.takes(intake),
            // What is sent to a blocked client waits in the log.
            Event::Sent(_) => {}
            Event::Reads(intake) if self.blocked_since.is_some() => self.takes(intake),
            Event::Reads(_) => {}
            Event::Drain(window) => {
                let draw = self.draw();
                self.life.drain(window, &self.rules, self.now, draw);
                self.due.push((StreamEnd::Drain, self.now + window.mul_f64(draw)));
            }
            Event::Revoke => {
                self.life.revoke(&self.rules, self.now);
                self.due.push((StreamEnd::Revoked, self.now));
                self.look();
            }
        }
    }

    fn takes(&mut self, intake: Intake) {
        self.life.record(intake, &self.rules, self.now);
        let was_blocked = self.blocked_since.is_some();
        self.blocked_since = match (intake, self.blocked_since) {
            (Intake::All, _) => None,
            (Intake::Nothing, Some(since)) => Some(since),
            (Intake::Some | Intake::Nothing, _) => Some(self.now),
        };
        if was_blocked && self.blocked_since.is_none() {
            self.unblocked_at = self.now;
            self.look();
        }
    }
}

fn intake() -> impl Strategy<Value = Intake> {
    prop_oneof![4 => Just(Intake::All), 2 => Just(Intake::Some), 2 => Just(Intake::Nothing)]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => intake().prop_map(Event::Sent),
        12 => intake().prop_map(Event::Reads),
        1 => (0..120_u64).prop_map(|seconds| Event::Drain(Duration::from_secs(seconds))),
        1 => Just(Event::Revoke),
    ]
}

fn limit() -> impl Strategy<Value = Option<Duration>> {
    prop::option::of((1..600_u64).prop_map(Duration::from_secs))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(3000), ..ProptestConfig::default() })]

    /// In any order of time, data, drain and revocation: what [`Simulation`] asserts, and an end where there must be one.
    #[test]
    fn any_order_of_events_ends_a_stream_once_and_between_events(
        carrier in prop_oneof![Just(Carrier::Timer), Just(Carrier::Wheel)],
        max_age in limit(),
        token in limit(),
        draws in prop::collection::vec(0.0..=1.0_f64, 1..20),
        events in prop::collection::vec((0..20_000_u64, event()), 0..60),
    ) {
        let mut simulation = Simulation::begin(carrier, max_age, token, draws);
        for (delay, event) in events {
            simulation.pass(simulation.now + Duration::from_millis(delay));
            if simulation.ended.is_some() {
                break;
            }
            simulation.handle(event);
        }
        let limited = !simulation.due.is_empty() || simulation.blocked_since.is_some();
        simulation.pass(simulation.now + 20 * MINUTE);
        prop_assert_eq!(simulation.ended.is_some(), limited);
        if !limited {
            prop_assert_eq!(simulation.life.close(), Some(StreamEnd::Client));
        }
        prop_assert_eq!(simulation.life.next(&simulation.rules, simulation.now), Step::Over);
    }
}
