//! What counts as one client's address.

use std::net::IpAddr;

/// An IPv4 address, or 64 bits of an IPv6 address: whoever has one of those has the rest of its network too, and
/// would otherwise have as many addresses as it likes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct AddressBlock(u64);

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv6_counts_by_its_network_and_one_of_ipv4_by_itself() {
        let check = |first: &str, second: &str, is_same: bool| {
            let [first, second] = [first, second].map(|text| AddressBlock::of(text.parse().unwrap()));
            assert_eq!(first == second, is_same, "{first:?} {second:?}");
        };
        check("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true);
        check("2001:db8:1:2::1", "2001:db8:1:3::1", false);
        check("192.0.2.1", "::ffff:192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("192.0.2.1", "2001:db8::c000:201", false);
    }
}
