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
    /// Why there has been no connection since the last one, each reason once; empty while there is one.
    reasons: Vec<String>,
}

/// Different reasons that are reported until there is a connection again.
const MAX_REASONS: usize = 4;

/// What to log of a loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Report {
    /// There was a connection until now.
    Lost,
    /// There was none, for another reason: that a connection was lost does not explain why the next cannot be made.
    OtherReason,
    /// The log has it already.
    Nothing,
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
    pub(super) report: Report,
}

impl Reconnection {
    pub(super) fn new() -> Self {
        Self { backoff: Backoff::for_connections(), reasons: Vec::new() }
    }

    /// A connection was made. Returns whether one had been lost before.
    pub(super) fn connected(&mut self) -> bool {
        !std::mem::take(&mut self.reasons).is_empty()
    }

    /// A connection was lost, or could not be made.
    pub(super) fn lost(&mut self, proof: Proof, reason: String) -> Retry {
        if proof == Proof::Heard {
            self.backoff.reset();
        }
        let report = if self.reasons.is_empty() {
            Report::Lost
        } else if self.reasons.len() < MAX_REASONS && !self.reasons.contains(&reason) {
            Report::OtherReason
        } else {
            Report::Nothing
        };
        if report != Report::Nothing {
            self.reasons.push(reason);
        }
        Retry { after: self.backoff.next_delay(), report }
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
            (0..8).map(|_| reconnection.lost(proof, "refused".into()).after).max().unwrap_or_default()
        };
        assert!(waits(&mut reconnection, Proof::Nothing) >= Duration::from_millis(500));
        // Subscribing alone changes nothing.
        reconnection.connected();
        assert!(reconnection.lost(Proof::Nothing, "refused".into()).after >= Duration::from_millis(500));
        assert!(waits(&mut reconnection, Proof::Heard) <= Duration::from_millis(100));
    }

    #[test]
    fn loss_and_recovery_are_reported_once() {
        let mut reconnection = Reconnection::new();
        assert!(!reconnection.connected(), "the first connection ends no outage");
        let mut reports = |reasons: &[&str]| -> Vec<_> {
            reasons.iter().map(|reason| reconnection.lost(Proof::Nothing, (*reason).to_owned()).report).collect()
        };
        use Report::{Lost, Nothing, OtherReason};
        assert_eq!(
            reports(&["closed", "closed", "WRONGPASS", "closed", "WRONGPASS"]),
            [Lost, Nothing, OtherReason, Nothing, Nothing]
        );
        assert_eq!(reports(&["a", "b", "c", "d"]), [OtherReason, OtherReason, Nothing, Nothing]);
        assert!(reconnection.connected() && !reconnection.connected());
        assert_eq!(reconnection.lost(Proof::Nothing, "closed".into()).report, Lost);
    }
}
