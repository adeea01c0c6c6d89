//! Many buckets of one rate, one per key, in bounded memory whatever keys a flood makes up.
//!
//! A bucket that is not full has an entry in a table, and each entry has an owner: the client that first took from the bucket.
//! While the table has free entries, an owner may have any number. When it has none, a new key replaces an entry of an owner
//! that has more entries than the key's own owner. An owner that already has the most shares one bucket among all further
//! keys. So a flood of names is limited too strictly for the client that makes it, and for no other client.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use super::address::AddressBlock;
use super::rate::{Bucket, Rate};

/// Maximum keys with a bucket of their own at the same time.
const MAX_ENTRIES: usize = 1 << 16;

/// Shared buckets, for owners that may have no further entry, chosen by hash.
const SHARED: usize = 1 << 12;

/// Entries to choose from when one is replaced. The owner with the most entries has most of these.
const LOOKED_AT: usize = 16;

/// From one of them to the next: odd and large, so that they are spread over the table.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Minimum nanoseconds between two searches for buckets that are full again and need no entry.
const SWEEP_EVERY: u64 = 1_000_000_000;

/// Minimum entries for such a search.
const SWEEP_FROM: usize = 1 << 10;

/// A request for one bucket. Key and owner are hashed with keys that are unknown outside, so no client can choose names that
/// collide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Claim {
    pub(super) key: u64,
    /// The client that asks for it.
    pub(super) owner: u64,
    /// What it holds, and how fast it fills.
    pub(super) bucket: Bucket,
}

#[derive(Debug, Default)]
pub(super) struct Buckets {
    entries: Vec<BucketEntry>,
    /// The index of a key in `entries`. The bucket of a key without one is full.
    by_key: HashMap<u64, usize>,
    /// How many entries each owner has.
    owned: HashMap<u64, usize>,
    /// When each of the shared buckets is full. Allocated when the first is needed.
    shared: Vec<u64>,
    swept_at: u64,
}

#[derive(Debug)]
struct BucketEntry {
    key: u64,
    owner: u64,
    /// In nanoseconds since the node began.
    full_at: u64,
}

/// Which bucket serves a claim.
#[derive(Clone, Copy, Debug)]
enum Serving {
    /// Its own, at this index.
    Own(usize),
    /// Its own, which is full and has no entry yet.
    New,
    /// Its own, which is full and replaces the entry at this index.
    Replacing(usize),
    /// The one that its owner shares among all keys without an entry.
    Shared,
}

impl Claim {
    /// What a client at this address takes from a rate: from its own block, and from the wider networks around it.
    pub(super) fn of_address(address: IpAddr, rate: Rate, hasher: &RandomState) -> impl Iterator<Item = Self> {
        let block = AddressBlock::of(address);
        let owner = hasher.hash_one(block.widest());
        block.networks().map(move |(network, times)| Self {
            key: hasher.hash_one(network),
            owner,
            bucket: Bucket::of_several(rate, times),
        })
    }
}

impl Buckets {
    /// How long until `count` tokens can be taken from all of these buckets; `None` when they can be taken now.
    pub(super) fn wait(&mut self, claims: &[Claim], now: u64, count: u64) -> Option<Duration> {
        self.sweep(now);
        claims.iter().filter_map(|claim| claim.bucket.wait(self.full_at(claim), now, count)).max()
    }

    /// Takes `count` tokens from all of these buckets.
    pub(super) fn take(&mut self, claims: &[Claim], now: u64, count: u64) {
        for claim in claims {
            let full_at = claim.bucket.take(self.full_at(claim), now, count);
            match self.serving(claim) {
                Serving::Own(at) => self.entries[at].full_at = full_at,
                Serving::New => self.add(claim, full_at),
                Serving::Replacing(at) => {
                    self.remove(at);
                    self.add(claim, full_at);
                }
                Serving::Shared => {
                    self.shared.resize(SHARED, 0);
                    self.shared[shared(claim.owner)] = full_at;
                }
            }
        }
    }

    fn full_at(&self, claim: &Claim) -> u64 {
        match self.serving(claim) {
            Serving::Own(at) => self.entries[at].full_at,
            Serving::New | Serving::Replacing(_) => 0,
            Serving::Shared => self.shared.get(shared(claim.owner)).copied().unwrap_or_default(),
        }
    }

    /// Which bucket serves a claim: the same one until something is taken.
    fn serving(&self, claim: &Claim) -> Serving {
        if let Some(at) = self.by_key.get(&claim.key) {
            return Serving::Own(*at);
        }
        if self.entries.len() < MAX_ENTRIES {
            return Serving::New;
        }
        let entries_of = |owner| self.owned.get(owner).copied().unwrap_or_default();
        let count_at = |at: &usize| entries_of(&self.entries[*at].owner);
        // The key is an unpredictable hash, so these are random entries, but the same ones each time.
        let candidates =
            (0..LOOKED_AT as u64).map(|n| claim.key.wrapping_add(n.wrapping_mul(STEP)) % MAX_ENTRIES as u64);
        let at = candidates.filter_map(|at| usize::try_from(at).ok()).max_by_key(count_at);
        // Of an owner with more entries than this one would have.
        match at.filter(|at| count_at(at) > entries_of(&claim.owner) + 1) {
            Some(at) => Serving::Replacing(at),
            None => Serving::Shared,
        }
    }

    fn add(&mut self, claim: &Claim, full_at: u64) {
        self.by_key.insert(claim.key, self.entries.len());
        self.entries.push(BucketEntry { key: claim.key, owner: claim.owner, full_at });
        *self.owned.entry(claim.owner).or_default() += 1;
    }

    fn sweep(&mut self, now: u64) {
        if self.entries.len() < SWEEP_FROM || now.saturating_sub(self.swept_at) < SWEEP_EVERY {
            return;
        }
        self.swept_at = now;
        let mut at = 0;
        while at < self.entries.len() {
            if self.entries[at].full_at <= now {
                self.remove(at);
            } else {
                at += 1;
            }
        }
    }

    fn remove(&mut self, at: usize) {
        let BucketEntry { key, owner, .. } = self.entries.swap_remove(at);
        self.by_key.remove(&key);
        if let Some(moved) = self.entries.get(at) {
            self.by_key.insert(moved.key, at);
        }
        if let Some(count) = self.owned.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                self.owned.remove(&owner);
            }
        }
    }
}

/// The index of an owner's shared bucket.
fn shared(owner: u64) -> usize {
    usize::try_from(owner % SHARED as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Takes one token from the bucket of this key. Returns whether there was one.
    fn take(buckets: &mut Buckets, key: u64, owner: u64, now: u64) -> bool {
        // Like a hash: spread, and the same for the same key.
        let key = key.wrapping_add(owner << 32).wrapping_mul(STEP).rotate_left(32).wrapping_mul(STEP);
        let claims = [Claim { key, owner, bucket: Bucket::new("1/m".parse().unwrap()) }];
        let passes = buckets.wait(&claims, now, 1).is_none();
        if passes {
            buckets.take(&claims, now, 1);
        }
        passes
    }

    fn flood(buckets: &mut Buckets, owner: u64, count: u64) -> usize {
        (0..count).filter(|key| take(buckets, *key, owner, 0)).count()
    }

    fn assert_counted(buckets: &Buckets) {
        let entries = buckets.entries.len();
        assert_eq!((buckets.by_key.len(), buckets.owned.values().sum()), (entries, entries));
        assert!(buckets.entries.iter().enumerate().all(|(at, entry)| buckets.by_key[&entry.key] == at));
    }

    #[test]
    fn flood_of_keys_is_limited_in_bounded_memory() {
        let mut buckets = Buckets::default();
        let passed = flood(&mut buckets, 1, 100_000);
        assert_eq!((passed, buckets.entries.len()), (MAX_ENTRIES + 1, MAX_ENTRIES));
        // Buckets that are full again are forgotten.
        assert!(take(&mut buckets, u64::MAX, 1, 10_000 * SECOND));
        assert_eq!((buckets.entries.len(), buckets.owned.len()), (1, 1));
        assert_counted(&buckets);
    }

    #[test]
    fn flooding_owner_leaves_others_their_entries() {
        let mut buckets = Buckets::default();
        flood(&mut buckets, 1, 100_000);
        for key in 0..1000 {
            assert!(take(&mut buckets, key, 2, 0), "the first of key {key} was rejected");
            assert!(!take(&mut buckets, key, 2, 0), "key {key} has no bucket of its own");
        }
        // A later flood gets as many entries, and not more.
        flood(&mut buckets, 3, 100_000);
        for owner in [1, 3] {
            let entries = buckets.owned[&owner];
            assert!((MAX_ENTRIES / 3..=MAX_ENTRIES * 2 / 3).contains(&entries), "{entries} entries of {owner}");
        }
        assert!((0..1000).all(|key| !take(&mut buckets, key, 2, 0)), "an owner with few entries lost one");
        assert_eq!(buckets.entries.len(), MAX_ENTRIES);
        assert_counted(&buckets);
    }

    #[test]
    fn further_owners_share_when_each_entry_has_its_own_owner() {
        let mut buckets = Buckets::default();
        let passed = (0..80_000).filter(|owner| take(&mut buckets, 0, *owner, 0)).count();
        assert_eq!((passed, buckets.entries.len()), (MAX_ENTRIES + SHARED, MAX_ENTRIES));
        assert_counted(&buckets);
    }
}
