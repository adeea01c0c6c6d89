//! Counts of what clients and pipelines have, where there is a limit on them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hash, RandomState};

use super::address::{AddressBlock, Network};
use crate::event::PipelineId;

/// What each client has.
#[derive(Debug)]
pub(super) struct ClientCounts {
    /// Without a limit nothing is counted.
    max: Option<usize>,
    counts: Counts<Network>,
}

/// What each pipeline has.
#[derive(Debug)]
pub(super) struct PipelineCounts {
    /// Without a limit nothing is counted.
    max: Option<usize>,
    counts: Counts<PipelineHash>,
}

/// A pipeline's name, hashed with keys that are unknown outside: two of a million pipelines collide with a chance below one in
/// a hundred thousand, and then share a limit. Seven bytes, so that a [`super::StreamSlot`] has 24.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct PipelineHash([u8; 7]);

#[derive(Debug)]
struct Counts<K>(HashMap<K, usize>);

impl ClientCounts {
    pub(super) fn new(max: Option<usize>) -> Self {
        Self { max, counts: Counts(HashMap::new()) }
    }

    /// Counts one more, in each of the networks that the client is in. Returns whether there was room in all of them; if not,
    /// nothing is counted.
    pub(super) fn add(&mut self, client: AddressBlock) -> bool {
        let Some(max) = self.max else { return true };
        for (counted, (network, times)) in client.networks().enumerate() {
            let max = max.saturating_mul(usize::try_from(times).unwrap_or(usize::MAX));
            if !self.counts.add(network, max) {
                client.networks().take(counted).for_each(|(network, _)| self.counts.remove(network));
                return false;
            }
        }
        true
    }

    /// Counts one less.
    pub(super) fn remove(&mut self, client: AddressBlock) {
        if self.max.is_some() {
            client.networks().for_each(|(network, _)| self.counts.remove(network));
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.counts.0.is_empty()
    }
}

impl PipelineCounts {
    pub(super) fn new(max: Option<usize>) -> Self {
        Self { max, counts: Counts(HashMap::new()) }
    }

    /// Counts one more. Returns whether there was room; if not, nothing is counted.
    pub(super) fn add(&mut self, pipeline: PipelineHash) -> bool {
        self.max.is_none_or(|max| self.counts.add(pipeline, max))
    }

    /// Counts one less.
    pub(super) fn remove(&mut self, pipeline: PipelineHash) {
        if self.max.is_some() {
            self.counts.remove(pipeline);
        }
    }
}

impl PipelineHash {
    pub(super) fn of(pipeline: &PipelineId, hasher: &RandomState) -> Self {
        let [hash @ .., _] = hasher.hash_one(pipeline.as_str()).to_be_bytes();
        Self(hash)
    }
}

impl<K: Eq + Hash> Counts<K> {
    fn add(&mut self, key: K, max: usize) -> bool {
        let count = self.0.entry(key).or_default();
        let has_room = *count < max;
        *count += usize::from(has_room);
        has_room
    }

    /// Keys without a count are not kept.
    fn remove(&mut self, key: K) {
        if let Entry::Occupied(mut entry) = self.0.entry(key) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}
