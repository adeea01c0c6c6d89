//! Many buckets of one rate, by key, in memory that has an end whatever keys a flood makes up.
//!
//! A bucket that is not full takes a place, and a place has an owner: who took from the bucket first. While there are free
//! places an owner may have any number. When there are none, a new key gets the place of an owner that has more of them
//! than its own one; an owner that has most of them already shares one bucket among all further keys. So a flood of
//! names is too strict with whoever makes it, and with nobody else.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use super::address::AddressBlock;
use super::rate::{Bucket, Rate};

/// Keys that have a bucket of their own at the same time.
pub(super) const MOST_PLACES: usize = 1 << 16;

/// Buckets for owners that have no further place, one for each hash.
const SHARED: usize = 1 << 12;

/// Places that are looked at for one to be taken away. The owner of most of them has most of these.
const LOOKED_AT: usize = 16;

/// From one of them to the next: odd and large, so that they lie apart.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Between two looks for buckets that are full again and need not be remembered, in nanoseconds.
const SWEEP_EVERY: u64 = 1_000_000_000;

/// Fewer buckets are not worth a look.
const FEW: usize = 1 << 10;

/// One bucket of a table, hashed with keys that nobody outside knows: nobody can choose names that meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Claim {
    /// Which bucket.
    pub(super) key: u64,
    /// Who asks for it.
    pub(super) owner: u64,
    /// What it holds, and how fast it fills.
    pub(super) bucket: Bucket,
}

/// The buckets.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    places: Vec<Place>,
    /// Where in `places` a key's is; without one its bucket is full.
    by_key: HashMap<u64, usize>,
    /// How many places each owner has.
    owned: HashMap<u64, usize>,
    /// When each of the shared ones is full. Made when the first is needed.
    shared: Vec<u64>,
    swept_at: u64,
}

#[derive(Debug)]
struct Place {
    key: u64,
    owner: u64,
    /// In nanoseconds since the node began.
    full_at: u64,
}

/// The bucket that a claim comes to.
#[derive(Clone, Copy, Debug)]
enum Slot {
    /// Its own, at this place.
    Own(usize),
    /// Its own, which is full and has no place yet.
    Fresh,
    /// The same, for which this place is to be taken from another key.
    Instead(usize),
    /// The one that its owner shares among all keys without a place.
    Shared,
}

impl Claim {
    /// What a client at this address claims of a rate: of its own block, and more of the networks around that.
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
    /// How long until so many may be taken from all of these buckets; nothing when they may be taken at once.
    pub(super) fn wait(&mut self, claims: &[Claim], now: u64, count: u64) -> Option<Duration> {
        self.sweep(now);
        claims.iter().filter_map(|claim| claim.bucket.wait(self.full_at(claim), now, count)).max()
    }

    /// Takes so many from all of these buckets.
    pub(super) fn take(&mut self, claims: &[Claim], now: u64, count: u64) {
        for claim in claims {
            let full_at = claim.bucket.take(self.full_at(claim), now, count);
            match self.slot(claim) {
                Slot::Own(at) => self.places[at].full_at = full_at,
                Slot::Fresh => self.add(claim, full_at),
                Slot::Instead(at) => {
                    self.remove(at);
                    self.add(claim, full_at);
                }
                Slot::Shared => {
                    self.shared.resize(SHARED, 0);
                    self.shared[shared(claim.owner)] = full_at;
                }
            }
        }
    }

    fn full_at(&self, claim: &Claim) -> u64 {
        match self.slot(claim) {
            Slot::Own(at) => self.places[at].full_at,
            Slot::Fresh | Slot::Instead(_) => 0,
            Slot::Shared => self.shared.get(shared(claim.owner)).copied().unwrap_or_default(),
        }
    }

    /// The bucket that a claim comes to: the same one until something is taken.
    fn slot(&self, claim: &Claim) -> Slot {
        if let Some(at) = self.by_key.get(&claim.key) {
            return Slot::Own(*at);
        }
        if self.places.len() < MOST_PLACES {
            return Slot::Fresh;
        }
        let places_of = |owner| self.owned.get(owner).copied().unwrap_or_default();
        let count_at = |at: &usize| places_of(&self.places[*at].owner);
        // The key is a hash that nobody can foresee: as good as drawing lots, and drawn again it is the same place.
        let lots = (0..LOOKED_AT as u64).map(|n| claim.key.wrapping_add(n.wrapping_mul(STEP)) % MOST_PLACES as u64);
        let at = lots.filter_map(|lot| usize::try_from(lot).ok()).max_by_key(count_at);
        // More than this owner would have with another one.
        match at.filter(|at| count_at(at) > places_of(&claim.owner) + 1) {
            Some(at) => Slot::Instead(at),
            None => Slot::Shared,
        }
    }

    fn add(&mut self, claim: &Claim, full_at: u64) {
        self.by_key.insert(claim.key, self.places.len());
        self.places.push(Place { key: claim.key, owner: claim.owner, full_at });
        *self.owned.entry(claim.owner).or_default() += 1;
    }

    fn sweep(&mut self, now: u64) {
        if self.places.len() < FEW || now.saturating_sub(self.swept_at) < SWEEP_EVERY {
            return;
        }
        self.swept_at = now;
        let mut at = 0;
        while at < self.places.len() {
            if self.places[at].full_at <= now {
                self.remove(at);
            } else {
                at += 1;
            }
        }
    }

    fn remove(&mut self, at: usize) {
        let Place { key, owner, .. } = self.places.swap_remove(at);
        self.by_key.remove(&key);
        if let Some(moved) = self.places.get(at) {
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

/// Where an owner's shared bucket is.
fn shared(owner: u64) -> usize {
    usize::try_from(owner % SHARED as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Takes one from the bucket of this key; whether there was one.
    fn take(buckets: &mut Buckets, key: u64, owner: u64, now: u64) -> bool {
        // As a hash would be, and the same for the same key.
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
        let places = buckets.places.len();
        assert_eq!((buckets.by_key.len(), buckets.owned.values().sum()), (places, places));
        assert!(buckets.places.iter().enumerate().all(|(at, place)| buckets.by_key[&place.key] == at));
    }

    #[test]
    fn a_flood_of_keys_neither_grows_without_end_nor_passes() {
        let mut buckets = Buckets::default();
        let passed = flood(&mut buckets, 1, 100_000);
        assert_eq!((passed, buckets.places.len()), (MOST_PLACES + 1, MOST_PLACES));
        // Buckets that are full again are forgotten.
        assert!(take(&mut buckets, u64::MAX, 1, 10_000 * SECOND));
        assert_eq!((buckets.places.len(), buckets.owned.len()), (1, 1));
        assert_counted(&buckets);
    }

    #[test]
    fn who_fills_the_places_leaves_others_theirs() {
        let mut buckets = Buckets::default();
        flood(&mut buckets, 1, 100_000);
        for key in 0..1000 {
            assert!(take(&mut buckets, key, 2, 0), "the first of key {key} was refused");
            assert!(!take(&mut buckets, key, 2, 0), "key {key} has no bucket of its own");
        }
        // Who came late has as many in the end, and not more.
        flood(&mut buckets, 3, 100_000);
        for owner in [1, 3] {
            let places = buckets.owned[&owner];
            assert!((MOST_PLACES / 3..=MOST_PLACES * 2 / 3).contains(&places), "{places} places of {owner}");
        }
        assert!((0..1000).all(|key| !take(&mut buckets, key, 2, 0)), "somebody with few places lost one");
        assert_eq!(buckets.places.len(), MOST_PLACES);
        assert_counted(&buckets);
    }

    #[test]
    fn among_many_owners_with_a_place_each_further_ones_share() {
        let mut buckets = Buckets::default();
        let passed = (0..80_000).filter(|owner| take(&mut buckets, 0, *owner, 0)).count();
        assert_eq!((passed, buckets.places.len()), (MOST_PLACES + SHARED, MOST_PLACES));
        assert_counted(&buckets);
    }
}
