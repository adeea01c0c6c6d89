//! The rates of new connections, per node and per client address: one client cannot use up the rate of the node.

use std::hash::RandomState;
use std::net::IpAddr;
use std::time::Instant;

use parking_lot::Mutex;

use super::buckets::{Buckets, Claim};
use super::rate::{Bucket, Rate};
use crate::metrics::Rejection;

/// How fast connections may arrive.
#[derive(Debug)]
pub(super) struct ArrivalRates {
    node: Option<Bucket>,
    per_address: Option<Rate>,
    began: Instant,
    hasher: RandomState,
    /// Written and read by every new connection, if there is a rate.
    buckets: Mutex<ArrivalBuckets>,
}

#[derive(Debug, Default)]
struct ArrivalBuckets {
    /// When the node's bucket is full, in nanoseconds since it began.
    full_at: u64,
    addresses: Buckets,
}

impl ArrivalRates {
    pub(super) fn new(node: Option<Rate>, per_address: Option<Rate>) -> Self {
        let (began, hasher, buckets) = (Instant::now(), RandomState::new(), Mutex::default());
        Self { node: node.map(Bucket::new), per_address, began, hasher, buckets }
    }

    /// Takes one connection from both rates, or from none; `client` is `None` when the peer is a proxy.
    ///
    /// # Errors
    /// The rate that is reached.
    pub(super) fn take(&self, client: Option<IpAddr>) -> Result<(), Rejection> {
        let claims: Vec<_> = match (client, self.per_address) {
            (Some(client), Some(rate)) => Claim::of_address(client, rate, &self.hasher).collect(),
            _ => Vec::new(),
        };
        if claims.is_empty() && self.node.is_none() {
            return Ok(());
        }
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut buckets = self.buckets.lock();
        let ArrivalBuckets { full_at, addresses } = &mut *buckets;
        // First: a client over its own rate takes nothing from the others.
        if addresses.wait(&claims, now, 1).is_some() {
            return Err(Rejection::AddressConnectionRate);
        }
        if let Some(node) = self.node {
            if node.wait(*full_at, now, 1).is_some() {
                return Err(Rejection::ConnectionRate);
            }
            *full_at = node.take(*full_at, now, 1);
        }
        addresses.take(&claims, now, 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_use_up_the_rate_of_the_node() {
        let rates = ArrivalRates::new(Some("40/h".parse().unwrap()), Some("4/h".parse().unwrap()));
        let passed = |client: &str| (0..1000).filter(|_| rates.take(Some(client.parse().unwrap())).is_ok()).count();
        assert_eq!(passed("192.0.2.1"), 4);
        assert_eq!(rates.take(Some("192.0.2.1".parse().unwrap())), Err(Rejection::AddressConnectionRate));
        // Nor can a client with a /56 or a /48.
        assert_eq!((0..256).map(|n| passed(&format!("2001:db8:1:{n:x}::1"))).sum::<usize>(), 16);
        assert_eq!(passed("192.0.2.2"), 4);
        // A proxy with many clients behind it.
        assert_eq!((0..16).filter(|_| rates.take(None).is_ok()).count(), 16);
        assert_eq!(rates.take(Some("192.0.2.3".parse().unwrap())), Err(Rejection::ConnectionRate));
    }
}
