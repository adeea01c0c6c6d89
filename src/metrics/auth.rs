//! Access: whether keys and revocations are up to date.

use prometheus::{Gauge, IntGauge, IntGaugeVec, Result};

use super::label::Label;
use super::registration::{CounterBy, Registration, set};
use crate::auth::{AuthHealth, Source};

pub(super) struct Auth {
    read_failures: CounterBy<Source>,
    stale: IntGaugeVec,
    keys_age: Gauge,
    keys_left_out: IntGauge,
    revocations: IntGauge,
}

impl Auth {
    pub(super) fn register(registration: &Registration<'_>) -> Result<Self> {
        Ok(Self {
            read_failures: registration.counter_by(
                "pipecast_auth_read_failures_total",
                "Failed attempts to read keys or revocations, by source.",
                "source",
            )?,
            stale: registration.gauges(
                "pipecast_auth_stale",
                "1 if the last attempt to read keys or revocations failed, so that those in use may be out of date; by source.",
                "source",
            )?,
            keys_age: registration.age(
                "pipecast_auth_keys_age_seconds",
                "Seconds since the keys at auth.jwks_url were last fetched; they are trusted for auth.jwks_max_age; -1 before the first fetch and without a URL.",
            )?,
            keys_left_out: registration.gauge(
                "pipecast_auth_keys_left_out",
                "Keys at auth.jwks_url that cannot verify any token because they are malformed or of an unknown type.",
            )?,
            revocations: registration.gauge("pipecast_auth_revocations", "Entries in auth.revocation_file.")?,
        })
    }

    pub(super) fn observe(&self, health: &AuthHealth) {
        for (source, health) in Source::ALL.iter().zip(&health.sources) {
            self.read_failures.raise(*source, health.failures);
            self.stale.with_label_values(&[source.value()]).set(health.is_stale.into());
        }
        self.keys_age.set(health.keys_age.map_or(-1.0, |age| age.as_secs_f64()));
        set(&self.keys_left_out, health.keys_left_out);
        set(&self.revocations, health.revocations);
    }
}
