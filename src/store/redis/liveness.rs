//! Whether the listening connection works, and how long to wait for the next one. Pure: no I/O, and time is handed in.

use std::time::Duration;

use crate::backoff::Backoff;

/// Judges one connection by what arrives on it.
#[derive(Debug, Default)]
pub(super) struct HearingCheck {
    arrived: u64,
}

impl HearingCheck {
    /// Whether the connection no longer hears what the server publishes: a probe has been published for longer than
    /// `timeout` without arriving, and nothing else has arrived since the last check either. A probe that is late behind
    /// megabytes of other messages proves nothing.
    pub(super) fn is_deaf(&mut self, arrived: u64, unheard_for: Option<Duration>, timeout: Duration) -> bool {
        let before = std::mem::replace(&mut self.arrived, arrived);
        unheard_for.is_some_and(|unheard_for| unheard_for >= timeout) && arrived == before
    }
}

/// Decides when to connect again, and what to log: each change once, not each attempt.
#[derive(Debug)]
pub(super) struct Reconnection {
    backoff: Backoff,
    is_lost: bool,
}

/// What a connection was good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Proof {
    /// A probe arrived on it.
    Heard,
    /// None did. That it could subscribe proves less: a server may close it for all the confirmations that it has to send.
    Nothing,
}

/// What follows from a lost connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Retry {
    /// How long to wait.
    pub(super) after: Duration,
    /// Whether this loss is the first since the last connection was made.
    pub(super) is_first: bool,
}

impl Reconnection {
    pub(super) fn new() -> Self {
        Self { backoff: Backoff::for_connections(), is_lost: false }
    }

    /// A connection was made. Returns whether one had been lost before.
    pub(super) fn connected(&mut self) -> bool {
        std::mem::take(&mut self.is_lost)
    }

    /// A connection was lost, or could not be made.
    pub(super) fn lost(&mut self, proof: Proof) -> Retry {
        if proof == Proof::Heard {
            self.backoff.reset();
        }
        let is_first = !std::mem::replace(&mut self.is_lost, true);
        Retry { after: self.backoff.next_delay(), is_first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(2);

    #[test]
    fn connection_is_deaf_when_nothing_arrives_and_a_probe_is_overdue() {
        let mut check = HearingCheck::default();
        assert!(!check.is_deaf(0, None, TIMEOUT), "no probe is missing");
        assert!(!check.is_deaf(0, Some(TIMEOUT / 2), TIMEOUT), "the probe may still arrive");
        assert!(!check.is_deaf(7, Some(TIMEOUT), TIMEOUT), "something arrived");
        assert!(!check.is_deaf(8, Some(TIMEOUT * 9), TIMEOUT), "something arrives, so the probe may be behind it");
        assert!(check.is_deaf(8, Some(TIMEOUT), TIMEOUT));
    }

    #[test]
    fn failed_attempts_wait_longer_until_a_probe_is_heard() {
        let mut reconnection = Reconnection::new();
        let waits = |reconnection: &mut Reconnection, proof| {
            (0..8).map(|_| reconnection.lost(proof).after).max().unwrap_or_default()
        };
        assert!(waits(&mut reconnection, Proof::Nothing) >= Duration::from_millis(500));
        // Subscribing alone changes nothing.
        reconnection.connected();
        assert!(reconnection.lost(Proof::Nothing).after >= Duration::from_millis(500));
        assert!(waits(&mut reconnection, Proof::Heard) <= Duration::from_millis(100));
    }

    #[test]
    fn loss_and_recovery_are_reported_once() {
        let mut reconnection = Reconnection::new();
        assert!(!reconnection.connected(), "the first connection ends no outage");
        let firsts = [Proof::Heard, Proof::Nothing, Proof::Nothing].map(|proof| reconnection.lost(proof).is_first);
        assert_eq!(firsts, [true, false, false]);
        assert!(reconnection.connected() && !reconnection.connected());
        assert!(reconnection.lost(Proof::Nothing).is_first);
    }
}
