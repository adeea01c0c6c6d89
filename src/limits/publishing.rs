//! Publish rates: a bucket for each publisher and each pipeline.
//!
//! The arithmetic of [`Bucket`] and one table, instead of a library: a publish takes from several buckets or from none, a batch
//! may take more than a bucket holds, and the number of buckets must be bounded.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::address::AddressBlock;
use super::buckets::{Buckets, Claim};
use super::rate::{Bucket, Rate};
use crate::auth::Pattern;
use crate::event::PipelineId;
use crate::metrics::Rejection;

/// The publisher that a rate applies to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Publisher<'a> {
    /// The client at this address.
    Address(IpAddr),
    /// The client at this address with a token for these pipelines. It has the address's rate, since an issuer may give a client
    /// any number of tokens, but it cannot use up the rate of pipelines that it may not publish to.
    Token(IpAddr, &'a [Pattern]),
    /// The holder of the static key with this name.
    Key(&'a str),
}

/// A publish exceeds a rate.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{whose} more than {rate} events ({setting}; each event of a batch counts); nothing was stored, retry in {} s",
    self.retry_after()
)]
pub struct RateReached {
    whose: &'static str,
    setting: &'static str,
    rate: Rate,
    wait: Duration,
    /// The reason as the metrics count it.
    pub rejection: Rejection,
}

impl RateReached {
    /// Whole seconds after which the same request succeeds, unless others take from the same buckets.
    pub fn retry_after(&self) -> u64 {
        self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0)
    }
}

/// The rates per publisher and per pipeline.
#[derive(Debug)]
pub(super) struct PublishRates {
    began: Instant,
    /// Its keys are unknown outside, so no client can choose names that share a bucket.
    hasher: RandomState,
    /// Written and read by every publish, if there is a rate.
    tables: Mutex<Tables>,
    is_on: bool,
}

#[derive(Debug)]
struct Tables {
    publishers: Option<Table>,
    pipelines: Option<Table>,
}

/// The buckets of one rate.
#[derive(Debug)]
struct Table {
    rate: Rate,
    whose: &'static str,
    setting: &'static str,
    rejection: Rejection,
    buckets: Buckets,
}

/// The buckets that a publish takes from.
#[derive(Debug, Default)]
struct PublishClaims {
    /// The publisher's: one for its key, or one for each network that its address is in.
    publisher: Vec<Claim>,
    pipeline: Vec<Claim>,
}

impl PublishRates {
    pub(super) fn new(publisher: Option<Rate>, pipeline: Option<Rate>) -> Self {
        let table = |rate: Rate, whose, setting, rejection| Table {
            rate,
            whose,
            setting,
            rejection,
            buckets: Buckets::default(),
        };
        let publishers = publisher.map(|rate| {
            table(rate, "from this publisher come", "limits.publish_rate_per_publisher", Rejection::PublishRate)
        });
        let pipelines = pipeline.map(|rate| {
            table(rate, "to this pipeline come", "limits.publish_rate_per_pipeline", Rejection::PipelinePublishRate)
        });
        Self {
            began: Instant::now(),
            hasher: RandomState::new(),
            is_on: publishers.is_some() || pipelines.is_some(),
            tables: Mutex::new(Tables { publishers, pipelines }),
        }
    }

    /// Takes this many events from all buckets, or from none.
    pub(super) fn take(&self, who: Publisher<'_>, pipeline: &PipelineId, events: usize) -> Result<(), RateReached> {
        if !self.is_on {
            return Ok(());
        }
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut tables = self.tables.lock();
        let claims = tables.claims(who, pipeline, &self.hasher);
        tables.take(now, &claims, events as u64)
    }
}

impl Tables {
    fn claims(&self, who: Publisher<'_>, pipeline: &PipelineId, hasher: &RandomState) -> PublishClaims {
        let widest = |address| AddressBlock::of(address).widest();
        let owner = match who {
            Publisher::Address(address) => hasher.hash_one(widest(address)),
            Publisher::Key(name) => hasher.hash_one(name),
            Publisher::Token(address, patterns) => hasher.hash_one((widest(address), patterns)),
        };
        let mut claims = PublishClaims::default();
        if let Some(table) = &self.publishers {
            let bucket = Bucket::new(table.rate);
            claims.publisher = match who {
                Publisher::Key(_) => vec![Claim { key: owner, owner, bucket }],
                Publisher::Address(address) | Publisher::Token(address, _) => {
                    Claim::of_address(address, table.rate, hasher).collect()
                }
            };
        }
        if let Some(table) = &self.pipelines {
            let key = hasher.hash_one(pipeline.as_str());
            claims.pipeline = vec![Claim { key, owner, bucket: Bucket::new(table.rate) }];
        }
        claims
    }

    fn take(&mut self, now: u64, claims: &PublishClaims, events: u64) -> Result<(), RateReached> {
        let both = [(&mut self.publishers, &claims.publisher), (&mut self.pipelines, &claims.pipeline)];
        let mut both: Vec<_> = both.into_iter().filter_map(|(table, claims)| Some((table.as_mut()?, claims))).collect();
        // All are checked before anything is taken: a publish that one rejects takes nothing from the others. The longest wait
        // is the one to report.
        let mut reached = None::<RateReached>;
        for (table, claims) in &mut both {
            if let Some(wait) = table.buckets.wait(claims, now, events)
                && reached.as_ref().is_none_or(|reached| reached.wait < wait)
            {
                reached = Some(table.reached(wait));
            }
        }
        if let Some(reached) = reached {
            return Err(reached);
        }
        for (table, claims) in both {
            table.buckets.take(claims, now, events);
        }
        Ok(())
    }
}

impl Table {
    fn reached(&self, wait: Duration) -> RateReached {
        let Self { whose, setting, rate, rejection, .. } = *self;
        RateReached { whose, setting, rate, wait, rejection }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rates(publisher: Option<&str>, pipeline: Option<&str>) -> PublishRates {
        let rate = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        PublishRates::new(rate(publisher), rate(pipeline))
    }

    /// Publishes at a given moment.
    fn publish(
        rates: &PublishRates,
        now: u64,
        who: Publisher<'_>,
        pipeline: &str,
        events: u64,
    ) -> Result<(), RateReached> {
        let mut tables = rates.tables.lock();
        let claims = tables.claims(who, &pipeline.parse().unwrap(), &rates.hasher);
        tables.take(now, &claims, events)
    }

    #[test]
    fn publish_over_one_rate_takes_nothing_from_the_other() {
        let rates = rates(Some("10/s"), Some("5/s"));
        let [first, second] = ["first", "second"].map(Publisher::Key);
        assert!(publish(&rates, 0, first, "a", 5).is_ok());
        let reached = publish(&rates, 0, first, "a", 5).unwrap_err();
        assert_eq!((reached.rejection, reached.retry_after()), (Rejection::PipelinePublishRate, 1));
        // The publisher still has the five that were rejected.
        assert!(publish(&rates, 0, first, "b", 5).is_ok());
        let reached = publish(&rates, 0, first, "c", 1).unwrap_err();
        assert_eq!((reached.rejection, reached.retry_after()), (Rejection::PublishRate, 1));
        assert!(publish(&rates, 0, second, "c", 1).is_ok());
        assert!(publish(&rates, SECOND, first, "a", 1).is_ok());
    }

    #[test]
    fn ipv6_network_counts_as_a_few_publishers() {
        let rates = rates(Some("10/m"), None);
        let passed = |address: &str, events| {
            publish(&rates, 0, Publisher::Address(address.parse().unwrap()), "p", events).is_ok()
        };
        assert!(passed("2001:db8:1:2::1", 10) && !passed("2001:db8:1:2::2", 1));
        assert_eq!((0..256).filter(|n| passed(&format!("2001:db8:1:{n:x}::1"), 10)).count(), 3);
        assert_eq!((0..65_536).filter(|n| passed(&format!("2001:db8:1:{n:x}::1"), 10)).count(), 12);
        assert!(passed("2001:db8:2::1", 10) && passed("192.0.2.1", 10));
    }

    #[test]
    fn flood_of_names_leaves_others_their_first_event() {
        let patterns = ["a_*", "b_*"].map(|pattern| [pattern.parse::<Pattern>().unwrap()]);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let [here, there] = ["192.0.2.1", "192.0.2.2"].map(address);
        for [flooding, other] in [
            [Publisher::Key("a"), Publisher::Key("b")],
            [Publisher::Address(here), Publisher::Address(there)],
            [Publisher::Token(here, &patterns[0]), Publisher::Token(here, &patterns[1])],
            [Publisher::Token(here, &patterns[0]), Publisher::Token(there, &patterns[0])],
            [Publisher::Address(address("2001:db8:1:2::1")), Publisher::Address(address("2001:db8:2::1"))],
        ] {
            let rates = rates(None, Some("1/h"));
            for n in 0..80_000 {
                let _ = publish(&rates, 0, flooding, &format!("a_{n}"), 1);
            }
            let is_stored = |n: u64| publish(&rates, 0, other, &format!("b_{n}"), 1).is_ok();
            assert!((0..1000).all(is_stored), "{flooding:?} keeps {other:?} out");
            assert!(!(0..1000).any(is_stored), "{other:?} has no rate");
        }
        // A flood from all of a /48 is one.
        let rates = rates(None, Some("1/h"));
        for n in 0..80_000 {
            let from = address(&format!("2001:db8:1:{:x}::1", n % 65_536));
            let _ = publish(&rates, 0, Publisher::Address(from), &format!("a_{n}"), 1);
        }
        assert!((0..1000).all(|n| publish(&rates, 0, Publisher::Address(here), &format!("b_{n}"), 1).is_ok()));
    }
}
