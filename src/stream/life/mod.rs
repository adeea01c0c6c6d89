//! The life of a stream: when a keepalive is due, when the stream ends, and why.
//!
//! Fan-out threads and hyper's bodies carry streams in different ways, but both ask here. Time and chance are handed
//! in. This module does no I/O and has no clock and no locks, so its tests can run through years in seconds.

mod rules;
#[cfg(test)]
mod simulation;
mod stall;

use std::num::NonZeroU8;
use std::time::{Duration, Instant};

use crate::metrics::StreamEnd;
pub use rules::LifeRules;
use rules::Timestamp;
pub use stall::{Intake, Stall};

/// The earliest end of a stream as a share of `stream.max_age`: streams that began together must not reconnect together.
const EARLIEST_MAX_AGE: f64 = 0.8;

/// The same for what is left of the client's token.
const EARLIEST_TOKEN_END: f64 = 0.9;

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

    /// Whether a keepalive is due. If so, the next one is a period from now.
    fn take_keepalive(&mut self, rules: &LifeRules, now: Timestamp) -> bool {
        // Only carriers that look at all streams once per period look early; a period of the client's own has an alarm.
        let tolerance = if self.has_own_keepalive() { Duration::ZERO } else { rules.keepalive_tolerance };
        let is_due = self.keepalive_at <= now.plus(tolerance);
        if is_due {
            self.keepalive_at = now.plus(self.keepalive_period(rules));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const KEEPALIVE: Duration = Duration::from_secs(15);
    const TIMEOUT: Duration = Duration::from_secs(30);
    const MAX_AGE: Duration = Duration::from_secs(3600);

    fn rules() -> LifeRules {
        LifeRules::new(KEEPALIVE, TIMEOUT, Some(MAX_AGE), Instant::now())
    }

    /// A life that begins with the rules, every draw being `draw`.
    fn life(rules: &LifeRules, token_left: Option<Duration>, draw: f64) -> Life {
        Life::begin(rules, None, token_left, rules.epoch, || draw)
    }

    /// Asks as often as the life wants, past all keepalives. Returns what comes then, and after how long.
    fn run(life: &mut Life, rules: &LifeRules) -> (Step, Duration) {
        let mut now = rules.epoch;
        for _ in 0..100_000 {
            match life.next(rules, now) {
                Step::Keepalive => {}
                Step::Continue => now = life.deadline(rules).unwrap(),
                step => return (step, now - rules.epoch),
            }
        }
        panic!("{life:?} never ends");
    }

    /// Ends a stream for this reason. A new reason does not compile until it has its case here.
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
            // What happens while the last block is being sent changes nothing.
            life.revoke(&rules, rules.epoch);
            life.drain(MINUTE, &rules, rules.epoch, 0.0);
            life.write_timed_out();
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
    fn earliest_end_counts() {
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
    fn own_keepalive_period_is_not_shortened_by_a_coarse_wheel() {
        let rules = LifeRules { max_age: None, ..rules() }.with_keepalive_tolerance(10 * KEEPALIVE);
        let period = Duration::from_secs(5);
        let mut life = Life::begin(&rules, NonZeroU8::new(5), None, rules.epoch, || 0.5);
        for count in 1..100 {
            let at = rules.epoch + count * period;
            assert_eq!(life.next(&rules, at - Duration::from_nanos(1)), Step::Continue);
            assert_eq!((life.next(&rules, at), life.next(&rules, at)), (Step::Keepalive, Step::Continue));
        }
    }

    #[test]
    fn limit_of_centuries_is_no_limit() {
        let rules = LifeRules { max_age: Some(Duration::MAX), ..rules() };
        let life = life(&rules, Some(Duration::MAX), 1.0);
        assert_eq!((life.end_deadline(&rules), life.deadline(&rules)), (None, Some(rules.epoch + KEEPALIVE)));
    }

    /// A node keeps one for each of its streams.
    #[test]
    fn life_is_small() {
        assert_eq!(size_of::<Life>(), 32);
    }
}
