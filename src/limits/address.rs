//! What counts as one client's address, and as one customer's network.

use std::net::IpAddr;

/// An IPv4 address, or 64 bits of an IPv6 address: whoever has one of those has the rest of its network too, and
/// would otherwise have as many addresses as it likes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct AddressBlock(u64);

/// A block of addresses that counts as one: an [`AddressBlock`], or an IPv6 network around it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Network {
    prefix: u64,
    bits: u8,
}

/// The networks of IPv6 that count, narrow to wide, and how many times as much as a /64 each may have. Providers give
/// a customer a /56 or a /48: 256 or 65,536 of what would otherwise be as many clients.
const NETWORKS: [(u8, u32); 3] = [(64, 1), (56, 4), (48, 16)];

impl AddressBlock {
    /// The block of an address. One of IPv4 within IPv6 is one of IPv4.
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            // Where IPv6 has its ::/32, of which nothing but loopback is ever seen.
            IpAddr::V4(address) => u64::from(u32::from(address)),
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64;
                u64::try_from(network).unwrap_or_default()
            }
        })
    }

    /// The block itself, then the networks around it, each with how many times as much it may have.
    pub(super) fn networks(self) -> impl DoubleEndedIterator<Item = (Network, u32)> {
        let count = if self.is_ipv4() { 1 } else { NETWORKS.len() };
        NETWORKS.into_iter().take(count).map(move |(bits, times)| {
            let prefix = self.0 & (u64::MAX << (64 - bits));
            (Network { prefix, bits }, times)
        })
    }

    /// The widest of them: whoever has that is counted as one, however much it has of it.
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
    fn an_address_of_ipv6_counts_by_its_network_and_one_of_ipv4_by_itself() {
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
        // The first /64 of a /48 is not taken for the /48.
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
