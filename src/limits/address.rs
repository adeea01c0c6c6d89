//! Which addresses count as one client, and which as one customer's network.

use std::net::IpAddr;

/// An IPv4 address, or the first 64 bits of an IPv6 address: a client with one IPv6 address has the rest of its /64 too, and
/// could otherwise use any number of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct AddressBlock(u64);

/// Addresses that count as one: an [`AddressBlock`], or an IPv6 network around it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Network {
    prefix: u64,
    bits: u8,
}

/// The IPv6 networks that count, narrow to wide, and how many times the limit of a /64 each may have. Providers give a customer
/// a /56 or a /48, which would otherwise count as 256 or 65,536 clients.
const NETWORKS: [(u8, u32); 3] = [(64, 1), (56, 4), (48, 16)];

impl AddressBlock {
    /// The block of an address. An IPv4-mapped IPv6 address counts as IPv4.
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            // In place of IPv6's ::/32, of which only loopback is in use.
            IpAddr::V4(address) => u64::from(u32::from(address)),
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64;
                u64::try_from(network).unwrap_or_default()
            }
        })
    }

    /// The block itself, then the networks around it, each with how many times the limit it may have.
    pub(super) fn networks(self) -> impl DoubleEndedIterator<Item = (Network, u32)> {
        let count = if self.is_ipv4() { 1 } else { NETWORKS.len() };
        NETWORKS.into_iter().take(count).map(move |(bits, times)| {
            let prefix = self.0 & (u64::MAX << (64 - bits));
            (Network { prefix, bits }, times)
        })
    }

    /// The widest of them: a customer that has all of it counts as one.
    pub(super) fn widest(self) -> Network {
        let bits = if self.is_ipv4() { 64 } else { 48 };
        Network { prefix: self.0 & (u64::MAX << (64 - bits)), bits }
    }

    fn is_ipv4(self) -> bool {
        self.0 >> 32 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> AddressBlock {
        AddressBlock::of(text.parse().unwrap())
    }

    #[test]
    fn ipv6_counts_per_network_and_ipv4_per_address() {
        let check = |first: &str, second: &str, is_same: bool| {
            assert_eq!(block(first) == block(second), is_same, "{first:?} {second:?}");
        };
        check("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true);
        check("2001:db8:1:2::1", "2001:db8:1:3::1", false);
        check("192.0.2.1", "::ffff:192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("192.0.2.1", "2001:db8::c000:201", false);
    }

    #[test]
    fn networks_around_an_ipv6_address_count_too() {
        let check = |first: &str, second: &str, in_common: usize| {
            let second: Vec<_> = block(second).networks().collect();
            assert_eq!(block(first).networks().filter(|one| second.contains(one)).count(), in_common);
        };
        check("2001:db8:1:2::1", "2001:db8:1:2::9", 3);
        check("2001:db8:1:2::1", "2001:db8:1:3::1", 2);
        check("2001:db8:1:2::1", "2001:db8:1:102::1", 1);
        check("2001:db8:1:2::1", "2001:db8:2:2::1", 0);
        check("192.0.2.1", "192.0.2.1", 1);
        check("192.0.2.1", "192.0.2.2", 0);
        // The first /64 of a /48 is not the /48.
        assert_eq!(
            block("2001:db8:1::1").networks().map(|(network, _)| network.prefix).max(),
            Some(0x2001_0db8_0001_0000)
        );
        assert_eq!(
            block("2001:db8:1::1")
                .networks()
                .map(|(network, _)| network)
                .collect::<std::collections::HashSet<_>>()
                .len(),
            3
        );
        for text in ["2001:db8:1:2::1", "192.0.2.1"] {
            assert_eq!(block(text).networks().next_back().map(|(network, _)| network), Some(block(text).widest()));
        }
    }
}
