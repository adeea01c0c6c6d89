//! Publish rates: a bucket for each publisher and each pipeline, in bounded memory.
//!
//! The arithmetic of [`Bucket`] and one map, instead of a rate limiter's library: a publish takes from two buckets or from
//! none, a batch may take more than a bucket holds, and the number of buckets must have an end.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::address::AddressBlock;
use super::rate::{Bucket, Rate};
use crate::metrics::Refusal;
use crate::pipeline::PipelineId;

/// Keys that have a bucket of their own at the same time.
const MOST_KEYS: usize = 1 << 16;

/// Buckets that all further keys share.
const SHARED: u64 = 1 << 6;

/// Between two looks for buckets that are full again and need not be remembered, in nanoseconds.
const SWEEP_EVERY: u64 = 1_000_000_000;

/// Fewer buckets are not worth a look.
const FEW: usize = 1 << 10;

/// Who publishes, as far as rates go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Publisher<'a> {
    /// Somebody at this address.
    Address(IpAddr),
    /// Whoever holds the key of this name.
    Key(&'a str),
}

/// A publish is over a rate.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{whose} more than {rate} events ({setting}, a batch counts as its events); nothing was stored, send it again in {} s",
    self.retry_after()
)]
pub struct RateReached {
    whose: &'static str,
    setting: &'static str,
    rate: Rate,
    wait: Duration,
    /// The reason as the metrics count it.
    pub refusal: Refusal,
}

impl RateReached {
    /// Whole seconds after which the same request passes, if nobody else takes from the same buckets.
    pub fn retry_after(&self) -> u64 {
        self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0)
    }
}

/// The rates of publishing, of each publisher and of each pipeline.
#[derive(Debug)]
pub(super) struct PublishRates {
    began: Instant,
    /// Nobody outside knows its keys, so nobody can choose names that meet in one bucket.
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
    bucket: Bucket,
    whose: &'static str,
    setting: &'static str,
    refusal: Refusal,
    /// When each will be full, in nanoseconds since the node began, by the hash of its key; without an entry it is.
    full_at: HashMap<u64, u64>,
    swept_at: u64,
}

impl PublishRates {
    pub(super) fn new(publisher: Option<Rate>, pipeline: Option<Rate>) -> Self {
        let table = |rate: Rate, whose, setting, refusal| Table {
            rate,
            bucket: Bucket::new(rate),
            whose,
            setting,
            refusal,
            full_at: HashMap::new(),
            swept_at: 0,
        };
        let publishers =
            publisher.map(|rate| table(rate, "from this publisher come", "limits.publish_rate", Refusal::PublishRate));
        let pipelines = pipeline.map(|rate| {
            table(rate, "to this pipeline come", "limits.publish_rate_per_pipeline", Refusal::PipelineRate)
        });
        Self {
            began: Instant::now(),
            hasher: RandomState::new(),
            is_on: publishers.is_some() || pipelines.is_some(),
            tables: Mutex::new(Tables { publishers, pipelines }),
        }
    }

    /// Takes so many events from both buckets, or from neither.
    pub(super) fn take(&self, who: Publisher<'_>, pipeline: &PipelineId, events: usize) -> Result<(), RateReached> {
        if !self.is_on {
            return Ok(());
        }
        let who = match who {
            Publisher::Address(address) => self.hasher.hash_one((0, AddressBlock::of(address))),
            Publisher::Key(name) => self.hasher.hash_one((1, name)),
        };
        let pipeline = self.hasher.hash_one(pipeline.as_str());
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.tables.lock().take(now, who, pipeline, events as u64)
    }
}

impl Tables {
    fn take(&mut self, now: u64, who: u64, pipeline: u64, events: u64) -> Result<(), RateReached> {
        let mut both = [(&mut self.publishers, who), (&mut self.pipelines, pipeline)];
        // All are looked at before anything is taken: what is refused by one takes nothing from the other. The longest wait is
        // the one that is true.
        let mut reached = None::<RateReached>;
        for (table, key) in &mut both {
            let Some(table) = table else { continue };
            *key = table.own_key(*key, now);
            if let Some(wait) = table.bucket.wait(table.full_at(*key), now, events)
                && reached.as_ref().is_none_or(|reached| reached.wait < wait)
            {
                reached = Some(table.reached(wait));
            }
        }
        if let Some(reached) = reached {
            return Err(reached);
        }
        for (table, key) in both {
            let Some(table) = table else { continue };
            let full_at = table.bucket.take(table.full_at(key), now, events);
            table.full_at.insert(key, full_at);
        }
        Ok(())
    }
}

impl Table {
    fn full_at(&self, key: u64) -> u64 {
        self.full_at.get(&key).copied().unwrap_or_default()
    }

    /// The key that has a bucket: its own, or one of the shared ones when there are too many. A node under a flood of
    /// names then is too strict with new ones, and neither grows nor lets the flood pass.
    fn own_key(&mut self, key: u64, now: u64) -> u64 {
        if self.full_at.contains_key(&key) {
            return key;
        }
        if self.full_at.len() >= FEW && now.saturating_sub(self.swept_at) >= SWEEP_EVERY {
            self.swept_at = now;
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        if self.full_at.len() < MOST_KEYS { key } else { key % SHARED }
    }

    fn reached(&self, wait: Duration) -> RateReached {
        let Self { whose, setting, rate, refusal, .. } = *self;
        RateReached { whose, setting, rate, wait, refusal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn tables(publisher: Option<&str>, pipeline: Option<&str>) -> Tables {
        let rate = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        PublishRates::new(rate(publisher), rate(pipeline)).tables.into_inner()
    }

    #[test]
    fn what_one_bucket_refuses_takes_nothing_from_the_other() {
        let mut tables = tables(Some("10/s"), Some("5/s"));
        assert!(tables.take(0, 1, 1, 5).is_ok());
        let reached = tables.take(0, 1, 1, 5).unwrap_err();
        assert_eq!((reached.refusal, reached.retry_after()), (Refusal::PipelineRate, 1));
        // The five that were refused are still the publisher's.
        assert!(tables.take(0, 1, 2, 5).is_ok());
        let reached = tables.take(0, 1, 3, 1).unwrap_err();
        assert_eq!((reached.refusal, reached.retry_after()), (Refusal::PublishRate, 1));
        assert!(tables.take(0, 2, 3, 1).is_ok());
        assert!(tables.take(SECOND, 1, 1, 5).is_ok());
    }

    #[test]
    fn a_flood_of_names_neither_grows_without_end_nor_passes() {
        let mut tables = tables(Some("1/m"), None);
        let passed = (SHARED..SHARED + 300_000).filter(|key| tables.take(0, *key, 0, 1).is_ok()).count();
        let most = MOST_KEYS + usize::try_from(SHARED).unwrap();
        assert!(passed <= most, "{passed}");
        assert!(tables.publishers.as_ref().unwrap().full_at.len() <= most);
        // Buckets that are full again are forgotten.
        assert!(tables.take(10_000 * SECOND, u64::MAX, 0, 1).is_ok());
        assert_eq!(tables.publishers.unwrap().full_at.len(), 1);
    }
}
