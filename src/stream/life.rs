//! The life of a stream: when a keepalive is due, when the stream ends, and why.
//!
//! Fan-out threads and hyper's bodies carry streams in different ways, but both ask here. Time and chance are handed
//! in. This module does no I/O and has no clock and no locks, so its tests can run through years in seconds.

use std::num::NonZeroU8;
use std::time::{Duration, Instant};

use crate::metrics::StreamEnd;

/// The earliest end of a stream as a share of `stream.max_age`: streams that began together must not reconnect together.
const EARLIEST_MAX_AGE: f64 = 0.8;

/// The same for what is left of the client's token.
const EARLIEST_TOKEN_END: f64 = 0.9;

/// What the settings say about the life of every stream.
#[derive(Clone, Copy, Debug)]
pub struct LifeRules {
    /// Where timestamps begin.
    epoch: Instant,
    keepalive: Duration,
    keepalive_tolerance: Duration,
    write_timeout: Duration,
    max_age: Option<Duration>,
}

impl LifeRules {
    /// Rules for streams that begin after `epoch`.
    pub fn new(keepalive: Duration, write_timeout: Duration, max_age: Option<Duration>, epoch: Instant) -> Self {
        Self { epoch, keepalive, keepalive_tolerance: Duration::ZERO, write_timeout, max_age }
    }

    /// Lets a keepalive be sent this much early, for a carrier that looks at a stream only once per period.
    #[must_use]
    pub fn with_keepalive_tolerance(self, keepalive_tolerance: Duration) -> Self {
        Self { keepalive_tolerance, ..self }
    }

    fn timestamp(&self, at: Instant) -> Timestamp {
        Timestamp::after(at.saturating_duration_since(self.epoch))
    }

    fn instant(&self, timestamp: Timestamp) -> Option<Instant> {
        (timestamp != Timestamp::NEVER).then_some(self.epoch + Duration::from_nanos(timestamp.0))
    }
}

/// Nanoseconds since the epoch of the rules: half the size of an `Instant`, of which each stream would need three.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Timestamp(u64);

impl Timestamp {
    const NEVER: Self = Self(u64::MAX);

    fn after(since_epoch: Duration) -> Self {
        u64::try_from(since_epoch.as_nanos()).map_or(Self::NEVER, Self)
    }

    fn plus(self, duration: Duration) -> Self {
        self.plus_share(1.0, duration)
    }

    /// Later by a share of the duration, from 0 to 1. A duration of centuries leads to `NEVER`.
    fn plus_share(self, share: f64, duration: Duration) -> Self {
        let whole = Self::after(duration);
        // Nanoseconds that fill a float's 53 bits are 104 days; further away, some are rounded off.
        let part = if share < 1.0 && whole != Self::NEVER { (whole.0 as f64 * share) as u64 } else { whole.0 };
        Self(self.0.saturating_add(part))
    }
}

/// How much the client has read of what was waiting for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intake {
    /// All of it.
    All,
    /// A part; the rest still waits.
    Some,
    /// Nothing at all.
    Nothing,
}

/// How long a client has read nothing of what waits for it: the write deadline of streams and of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stall {
    /// `NEVER` while nothing waits.
    since: Timestamp,
}

impl Stall {
    /// A client for which nothing waits.
    pub const NONE: Self = Self { since: Timestamp::NEVER };

    /// Whether something waits for the client.
    pub fn is_waiting(self) -> bool {
        self != Self::NONE
    }

    /// Records what the client has read.
    pub fn record(&mut self, intake: Intake, rules: &LifeRules, now: Instant) {
        match intake {
            Intake::All => *self = Self::NONE,
            Intake::Some => self.since = rules.timestamp(now),
            Intake::Nothing if self.is_waiting() => {}
            Intake::Nothing => self.since = rules.timestamp(now),
        }
    }

    /// When the connection is to be closed unless the client reads something; `None` while nothing waits for it.
    pub fn deadline(self, rules: &LifeRules) -> Option<Instant> {
        rules.instant(self.closes_at(rules))
    }

    fn closes_at(self, rules: &LifeRules) -> Timestamp {
        self.since.plus(rules.write_timeout)
    }
}

/// What the carrier of a stream has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Send events as they come.
    Continue,
    /// Send a keepalive, then continue.
    Keepalive,
    /// Send the last block and end the body.
    End,
    /// Close the connection at once: the client has read nothing for `stream.write_timeout`.
    Cut,
    /// Nothing: the stream has ended.
    Over,
}

/// One stream's life, from its first byte to its end.
#[derive(Debug)]
pub struct Life {
    ends_at: Timestamp,
    keepalive_at: Timestamp,
    stall: Stall,
    /// Why the stream ends at `ends_at`; once it has ended, why it did.
    reason: StreamEnd,
    state: State,
    /// Seconds, where the client asked for a period of its own.
    own_keepalive: Option<NonZeroU8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    Ended,
    /// Ended and reported.
    Closed,
}

impl Life {
    /// A stream that begins now.
    ///
    /// `own_keepalive` is the period in seconds that the client asked for, `token_left` how long its token is still
    /// valid. `draw` returns numbers from 0 to 1, evenly distributed.
    pub fn begin(
        rules: &LifeRules,
        own_keepalive: Option<NonZeroU8>,
        token_left: Option<Duration>,
        now: Instant,
        mut draw: impl FnMut() -> f64,
    ) -> Self {
        let begun = rules.timestamp(now);
        let mut end = |limit: Duration, earliest: f64| begun.plus_share(earliest + (1.0 - earliest) * draw(), limit);
        let ends = [
            rules.max_age.map(|age| (end(age, EARLIEST_MAX_AGE), StreamEnd::MaxAge)),
            token_left.map(|left| (end(left, EARLIEST_TOKEN_END), StreamEnd::Token)),
        ];
        // When nothing else limits the stream, it ends when its client leaves.
        let (ends_at, reason) = ends.into_iter().flatten().min().unwrap_or((Timestamp::NEVER, StreamEnd::Client));
        let mut life =
            Self { ends_at, keepalive_at: begun, stall: Stall::NONE, reason, state: State::Open, own_keepalive };
        life.keepalive_at = begun.plus(life.keepalive_period(rules));
        life
    }

    /// Whether the client asked for a keepalive period of its own.
    pub fn has_own_keepalive(&self) -> bool {
        self.own_keepalive.is_some()
    }

    /// The node drains: the stream ends within `window`, after the share `draw` of it. Returns whether that is earlier
    /// than it would have ended anyway.
    pub fn drain(&mut self, window: Duration, rules: &LifeRules, now: Instant, draw: f64) -> bool {
        let drains_at = rules.timestamp(now).plus_share(draw, window);
        let is_earlier = self.state == State::Open && drains_at < self.ends_at;
        if is_earlier {
            (self.ends_at, self.reason) = (drains_at, StreamEnd::Drain);
        }
        is_earlier
    }

    /// The node is draining already: a stream that arrives now ends at once.
    pub fn end_for_drain(&mut self, rules: &LifeRules, now: Instant) {
        self.drain(Duration::ZERO, rules, now, 0.0);
    }

    /// The client's key or token was revoked: the stream ends after the block that is being sent.
    pub fn revoke(&mut self, rules: &LifeRules, now: Instant) {
        if self.state == State::Open {
            (self.ends_at, self.reason) = (rules.timestamp(now), StreamEnd::Revoked);
        }
    }

    /// Records what the client has read. Only a carrier that writes to the socket by itself knows.
    pub fn record(&mut self, intake: Intake, rules: &LifeRules, now: Instant) {
        self.stall.record(intake, rules, now);
    }

    /// Whether something waits that the client has not read yet.
    pub fn is_blocked(&self) -> bool {
        self.stall.is_waiting()
    }

    /// Says what is to be done now. Ask between two blocks, and whenever [`Life::deadline`] has passed.
    ///
    /// While the client is blocked, neither a keepalive nor the end can be sent. Ask again when it has read everything.
    pub fn next(&mut self, rules: &LifeRules, now: Instant) -> Step {
        if self.state != State::Open {
            return Step::Over;
        }
        let now = rules.timestamp(now);
        if self.stall.is_waiting() {
            if self.stall.closes_at(rules) <= now {
                self.write_timed_out();
                return Step::Cut;
            }
            // A keepalive that falls due meanwhile is skipped: what the client has yet to read will do.
            self.take_keepalive(rules, now);
            Step::Continue
        } else if self.ends_at <= now {
            self.state = State::Ended;
            Step::End
        } else if self.take_keepalive(rules, now) {
            Step::Keepalive
        } else {
            Step::Continue
        }
    }

    /// When to ask [`Life::next`] again at the latest; `None` when nothing will happen by itself.
    pub fn deadline(&self, rules: &LifeRules) -> Option<Instant> {
        match self.state {
            State::Open if self.stall.is_waiting() => self.stall.deadline(rules),
            State::Open => rules.instant(self.ends_at.min(self.keepalive_at)),
            State::Ended | State::Closed => None,
        }
    }

    /// The part of [`Life::deadline`] that is about the end.
    pub fn end_deadline(&self, rules: &LifeRules) -> Option<Instant> {
        rules.instant(self.ends_at)
    }

    /// The part of [`Life::deadline`] that is about the next keepalive.
    pub fn keepalive_deadline(&self, rules: &LifeRules) -> Option<Instant> {
        rules.instant(self.keepalive_at)
    }

    /// The part of [`Life::deadline`] that is about a stalled client.
    pub fn write_deadline(&self, rules: &LifeRules) -> Option<Instant> {
        self.stall.deadline(rules)
    }

    /// The write deadline has passed, as whatever is below the carrier has found.
    pub fn write_timed_out(&mut self) {
        if self.state == State::Open {
            (self.state, self.reason) = (State::Ended, StreamEnd::WriteTimeout);
        }
    }

    /// The connection is closed. Returns why the stream ended, once: a second call returns `None`.
    ///
    /// If nothing had ended the stream before, the client has left.
    pub fn close(&mut self) -> Option<StreamEnd> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Open => Some(StreamEnd::Client),
            State::Ended => Some(self.reason),
            State::Closed => None,
        }
    }

    fn keepalive_period(&self, rules: &LifeRules) -> Duration {
        self.own_keepalive.map_or(rules.keepalive, |seconds| Duration::from_secs(seconds.get().into()))
    }

    /// Whether a keepalive is due. If so, the next one is one or more whole periods after it.
    ///
    /// A late one does not push back the next. A carrier that looks once per period would find the next one not due yet, and
    /// send it a whole period late.
    fn take_keepalive(&mut self, rules: &LifeRules, now: Timestamp) -> bool {
        let is_due = self.keepalive_at <= now.plus(rules.keepalive_tolerance);
        if is_due {
            let period = Timestamp::after(self.keepalive_period(rules)).0.max(1);
            let periods = 1 + now.0.saturating_sub(self.keepalive_at.0) / period;
            self.keepalive_at = Timestamp(self.keepalive_at.0.saturating_add(period.saturating_mul(periods)));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const KEEPALIVE: Duration = Duration::from_secs(15);
    const TIMEOUT: Duration = Duration::from_secs(30);
    const MAX_AGE: Duration = Duration::from_secs(3600);

    fn rules() -> LifeRules {
        LifeRules::new(KEEPALIVE, TIMEOUT, Some(MAX_AGE), Instant::now())
    }

    /// A life that begins with the rules, with every draw at `draw`.
    fn life(rules: &LifeRules, token_left: Option<Duration>, draw: f64) -> Life {
        Life::begin(rules, None, token_left, rules.epoch, || draw)
    }

    /// What comes next other than keepalives, when asked as often as the life wants; and after how long.
    fn run(life: &mut Life, rules: &LifeRules) -> (Step, Duration) {
        let mut now = rules.epoch;
        for _ in 0..100_000 {
            match life.next(rules, now) {
                Step::Keepalive => {}
                Step::Continue => now = life.deadline(rules).expect("the life of a stream has an end here"),
                step => return (step, now - rules.epoch),
            }
        }
        panic!("{life:?} never ends");
    }

    /// How a stream can end, with everything that leads there. A new reason does not compile until it has its row here.
    fn check(reason: StreamEnd) {
        let rules = rules();
        let mut life = life(&rules, Some(2 * MAX_AGE), 0.5);
        let expected = match reason {
            StreamEnd::Client => None,
            StreamEnd::MaxAge => Some((Step::End, MAX_AGE.mul_f64(0.9))),
            StreamEnd::Token => {
                life = Life::begin(&rules, None, Some(MINUTE), rules.epoch, || 0.5);
                Some((Step::End, MINUTE.mul_f64(0.95)))
            }
            StreamEnd::Drain => {
                assert!(life.drain(MINUTE, &rules, rules.epoch, 0.5));
                Some((Step::End, MINUTE / 2))
            }
            StreamEnd::Revoked => {
                life.revoke(&rules, rules.epoch + MINUTE);
                Some((Step::End, MINUTE))
            }
            StreamEnd::WriteTimeout => {
                life.record(Intake::Nothing, &rules, rules.epoch);
                Some((Step::Cut, TIMEOUT))
            }
        };
        if let Some(expected) = expected {
            assert_eq!(run(&mut life, &rules), expected, "{reason:?}");
            assert_eq!(life.deadline(&rules), None);
        }
        assert_eq!(life.close(), Some(reason));
        assert_eq!((life.close(), life.next(&rules, rules.epoch + 9 * MAX_AGE)), (None, Step::Over));
    }

    #[test]
    fn each_reason_ends_a_stream_once() {
        use StreamEnd::{Client, Drain, MaxAge, Revoked, Token, WriteTimeout};
        for reason in [Client, Drain, MaxAge, WriteTimeout, Token, Revoked] {
            check(reason);
        }
    }

    #[test]
    fn the_earliest_end_counts() {
        let rules = rules();
        let mut aged = life(&rules, Some(MAX_AGE / 2), 1.0);
        assert_eq!((run(&mut aged, &rules), aged.close()), ((Step::End, MAX_AGE / 2), Some(StreamEnd::Token)));
        // A drain never makes a stream last longer.
        let mut drained = life(&rules, Some(MINUTE), 0.0);
        assert!(!drained.drain(MAX_AGE, &rules, rules.epoch, 1.0));
        assert_eq!((run(&mut drained, &rules).0, drained.close()), (Step::End, Some(StreamEnd::Token)));
    }

    #[test]
    fn without_limits_only_keepalives_are_due() {
        let rules = LifeRules { max_age: None, ..rules() };
        let mut life = life(&rules, None, 0.5);
        for period in 1..1000 {
            let at = rules.epoch + period * KEEPALIVE;
            assert_eq!((life.end_deadline(&rules), life.deadline(&rules)), (None, Some(at)));
            assert_eq!(life.next(&rules, at - Duration::from_nanos(1)), Step::Continue);
            assert_eq!((life.next(&rules, at), life.next(&rules, at)), (Step::Keepalive, Step::Continue));
        }
    }

    #[test]
    fn a_limit_of_centuries_is_no_limit() {
        let rules = LifeRules { max_age: Some(Duration::MAX), ..rules() };
        let life = life(&rules, Some(Duration::MAX), 1.0);
        assert_eq!((life.end_deadline(&rules), life.deadline(&rules)), (None, Some(rules.epoch + KEEPALIVE)));
    }

    /// A node keeps one for each of its streams.
    #[test]
    fn a_life_is_small() {
        assert_eq!(size_of::<Life>(), 32);
    }

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
        /// The earliest moment at which each reason may end the stream.
        allowed: Vec<(StreamEnd, Instant)>,
        ended: Option<StreamEnd>,
    }

    impl Simulation {
        fn begin(carrier: Carrier, max_age: Option<Duration>, token: Option<Duration>, draws: Vec<f64>) -> Self {
            let epoch = Instant::now();
            let mut draws = draws.into_iter().cycle();
            let rules = LifeRules::new(KEEPALIVE, TIMEOUT, max_age, epoch)
                .with_keepalive_tolerance(if carrier == Carrier::Wheel { TICK } else { Duration::ZERO });
            let now = epoch + MINUTE;
            let life = Life::begin(&rules, None, token, now, || draws.next().unwrap());
            let share =
                |limit: Option<Duration>, part: f64, reason| limit.map(|limit| (reason, now + limit.mul_f64(part)));
            let allowed = [share(max_age, 0.8, StreamEnd::MaxAge), share(token, 0.9, StreamEnd::Token)];
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
                allowed: allowed.into_iter().flatten().collect(),
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
                let silent_since = self.blocked_since.unwrap_or(self.last_keepalive.max(self.unblocked_at));
                let longest = if self.blocked_since.is_some() { TIMEOUT } else { KEEPALIVE + 2 * TICK };
                assert!(self.now - silent_since <= longest + PASS, "{:?} of silence", self.now - silent_since);
            }
        }

        fn keep_alive(&mut self) {
            self.keepalives += 1;
            assert!(self.now + TICK >= self.begun + self.keepalives * KEEPALIVE, "too many keepalives");
            self.last_keepalive = self.now;
        }

        fn end(&mut self, step: Step) {
            let reason = self.life.close().unwrap();
            assert_eq!(self.life.close(), None, "an end is reported once");
            assert_eq!(step == Step::Cut, reason == StreamEnd::WriteTimeout);
            if reason == StreamEnd::WriteTimeout {
                assert!(self.now - self.blocked_since.unwrap() >= TIMEOUT);
            } else {
                let from = self.allowed.iter().filter(|(allowed, _)| *allowed == reason).map(|(_, from)| *from).min();
                assert!(from.is_some_and(|from| from <= self.now), "{reason:?} at {:?}: {:?}", self.now, self.allowed);
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
                    self.allowed.push((StreamEnd::Drain, self.now));
                }
                Event::Revoke => {
                    self.life.revoke(&self.rules, self.now);
                    self.allowed.push((StreamEnd::Revoked, self.now));
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
        #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(5000), ..ProptestConfig::default() })]

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
            let limited = !simulation.allowed.is_empty() || simulation.blocked_since.is_some();
            simulation.pass(simulation.now + 20 * MINUTE);
            prop_assert_eq!(simulation.ended.is_some(), limited);
            if !limited {
                prop_assert_eq!(simulation.life.close(), Some(StreamEnd::Client));
            }
            prop_assert_eq!(simulation.life.next(&simulation.rules, simulation.now), Step::Over);
        }
    }
}
