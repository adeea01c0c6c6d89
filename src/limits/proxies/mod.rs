//! Proxies whose word on a client's address is taken, and what they say in a request's headers.
//!
//! Anyone can send `X-Forwarded-For`. Only what a trusted proxy has added is believed: the list is read from its end, past other
//! trusted proxies, to the first address that is none. What stands before that came with the request. So did a header that
//! they do not write, of whatever name: one is believed, and the other is nothing.

mod forwarded;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

/// Networks of proxies that are trusted. Setting `server.trusted_proxies`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

/// What is no list of networks.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{0}` is no network; write an address with the length of its prefix, such as 10.0.0.0/8 or 2001:db8::/32, or a single address"
)]
pub struct InvalidNetwork(String);

impl FromStr for TrustedProxies {
    type Err = InvalidNetwork;

    /// Reads networks and addresses separated by commas.
    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let network = |text: &str| {
            let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            parsed.map(|network| network.trunc()).map_err(|_| InvalidNetwork(text.to_owned()))
        };
        text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&networks.join(","))
    }
}

/// The header in which trusted proxies name the client. Setting `server.forwarded_header`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, which most write.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// Whoever has this address, a proxy perhaps.
    At(IpAddr),
    /// Somebody of whom the proxy at this address tells nothing but that they are not the proxy itself.
    Behind(IpAddr),
}

impl Peer {
    /// The address that it is counted by.
    pub fn address(self) -> IpAddr {
        let (Self::At(address) | Self::Behind(address)) = self;
        address
    }
}

impl TrustedProxies {
    /// Whether none is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a trusted proxy is at this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client's address: the peer's, unless that is a trusted proxy that names another one in the lines of this header.
    ///
    /// The peer's, too, where what they say cannot be read.
    pub fn client<'a>(&self, peer: Peer, header: ForwardedHeader, lines: impl Iterator<Item = &'a [u8]>) -> IpAddr {
        let address = peer.address().to_canonical();
        let is_proxy = matches!(peer, Peer::At(_)) && self.contains(address);
        if !is_proxy {
            return address;
        }
        let list = match header {
            ForwardedHeader::XForwardedFor => forwarded::split_lines(lines),
            ForwardedHeader::Forwarded => forwarded::parse_lines(lines),
        };
        list.and_then(|list| self.outermost(&list)).unwrap_or(address)
    }

    /// The last address of a list that is no trusted proxy; the first, where all are. `None` where one that is reached cannot be read.
    fn outermost(&self, list: &[&str]) -> Option<IpAddr> {
        let mut reached = None;
        for text in list.iter().rev() {
            let address = node_address(text)?;
            reached = Some(address);
            if !self.contains(address) {
                break;
            }
        }
        reached
    }
}

/// An address as proxies write it: alone, in brackets, with a port.
fn node_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let address = text.parse().ok().or_else(bare);
    address
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const X_FORWARDED_FOR: ForwardedHeader = ForwardedHeader::XForwardedFor;

    fn client(peer: &str, header: ForwardedHeader, lines: &[&str]) -> String {
        client_of(Peer::At(peer.parse().unwrap()), header, lines)
    }

    fn client_of(peer: Peer, header: ForwardedHeader, lines: &[&str]) -> String {
        let trusted: TrustedProxies = "10.0.0.0/8, 2001:db8::/32,192.0.2.1".parse().unwrap();
        trusted.client(peer, header, lines.iter().map(|line| line.as_bytes())).to_string()
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_trusted_proxy() {
        let check = |peer: &str, lines: &[&str], expected: &str| {
            assert_eq!(client(peer, X_FORWARDED_FOR, lines), expected, "{lines:?}");
        };
        check("10.0.0.1", &["203.0.113.9"], "203.0.113.9");
        check("10.0.0.1", &["6.6.6.6, 203.0.113.9"], "203.0.113.9");
        check("10.0.0.1", &["rubbish, 203.0.113.9,10.2.3.4"], "203.0.113.9");
        check("10.0.0.1", &["6.6.6.6", "203.0.113.9", "10.2.3.4, 192.0.2.1"], "203.0.113.9");
        check("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9");
        check("10.0.0.1", &["2001:470::1"], "2001:470::1");
        check("10.0.0.1", &["[2001:470::1]:80"], "2001:470::1");
        check("10.0.0.1", &["[2001:470::1]"], "2001:470::1");
        check("2001:db8::1", &["::ffff:203.0.113.9"], "203.0.113.9");
        check("::ffff:10.0.0.1", &["203.0.113.9"], "203.0.113.9");
        // All of them trusted: the first of them asks.
        check("10.0.0.1", &["10.9.9.9, 10.2.3.4"], "10.9.9.9");
        // What cannot be read is nobody's address.
        for rubbish in
            ["", ",", "unknown", "203.0.113.9,", "203.0.113.9, x", "203.0.113.999", "[203.0.113.9]", "2001:470::1]:80"]
        {
            check("10.0.0.1", &[rubbish], "10.0.0.1");
        }
        // From anyone else the header is nothing.
        check("203.0.113.1", &["203.0.113.9"], "203.0.113.1");
        check("203.0.113.1", &["10.0.0.1"], "203.0.113.1");
        check("10.0.0.1", &[], "10.0.0.1");
    }

    #[test]
    fn forwarded_says_the_same_in_its_own_way() {
        let check = |lines: &[&str], expected: &str| {
            assert_eq!(client("10.0.0.1", ForwardedHeader::Forwarded, lines), expected, "{lines:?}");
        };
        check(&["for=203.0.113.9"], "203.0.113.9");
        check(&["For=6.6.6.6, FOR=203.0.113.9;proto=https;by=10.0.0.2"], "203.0.113.9");
        check(&["for=\"[2001:470::1]:4711\""], "2001:470::1");
        check(&["proto=https; for=\"203.0.113.9:80\" , for=10.0.0.3"], "203.0.113.9");
        check(&["for=6.6.6.6;by=\"a, for=7.7.7.7\"", "for=203.0.113.9"], "203.0.113.9");
        for rubbish in [
            "",
            "for",
            "for=",
            "for=_hidden",
            "for=unknown",
            "by=203.0.113.9",
            "for=\"203.0.113.9",
            "for=203.0.113.9;for=6.6.6.6",
            "for=\"203.0.113.9\"x",
        ] {
            check(&[rubbish], "10.0.0.1");
        }
        // A quote that the client left open swallows nothing that the proxy adds.
        check(&["for=6.6.6.6;by=\", for=203.0.113.9"], "10.0.0.1");
    }

    #[test]
    fn whom_a_proxy_does_not_name_cannot_name_himself() {
        for header in [X_FORWARDED_FOR, ForwardedHeader::Forwarded] {
            let peer = Peer::Behind("10.0.0.1".parse().unwrap());
            assert_eq!(client_of(peer, header, &["203.0.113.9", "for=203.0.113.9"]), "10.0.0.1");
        }
    }

    #[test]
    fn networks_are_read_and_others_told() {
        let shown = |text: &str| text.parse::<TrustedProxies>().map(|proxies| proxies.to_string());
        assert_eq!(shown("").as_deref(), Ok(""));
        assert_eq!(shown("10.1.2.3/8 , 192.0.2.1,::1").as_deref(), Ok("10.0.0.0/8,192.0.2.1/32,::1/128"));
        for wrong in ["10.0.0.0/33", "10.0.0/8", "localhost", "10.0.0.0/8 192.0.2.1", "::/129", "10.0.0.0/-1"] {
            assert!(shown(wrong).unwrap_err().to_string().contains("10.0.0.0/8"), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_list_of_networks_is_read_or_refused(text in ".*", numbers in "[0-9a-f.:/, ]*") {
            for text in [text, numbers] {
                if let Ok(proxies) = text.parse::<TrustedProxies>() {
                    prop_assert_eq!(proxies.to_string().parse(), Ok(proxies));
                }
            }
        }

        #[test]
        fn any_bytes_in_a_header_end_in_an_address(
            lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..4),
            texts in proptest::collection::vec("[for=;,\" \\\\\\[\\]0-9a-f:.]{0,60}", 0..4),
        ) {
            let trusted: TrustedProxies = "10.0.0.0/8".parse().unwrap();
            let peer = Peer::At(IpAddr::from([10, 0, 0, 1]));
            let bytes = || lines.iter().map(Vec::as_slice);
            let texts = || texts.iter().map(|text| text.as_bytes());
            for header in [X_FORWARDED_FOR, ForwardedHeader::Forwarded] {
                for client in [trusted.client(peer, header, bytes()), trusted.client(peer, header, texts())] {
                    prop_assert_eq!(client, client.to_canonical());
                }
                let stranger = IpAddr::from([203, 0, 113, 1]);
                prop_assert_eq!(trusted.client(Peer::At(stranger), header, texts()), stranger);
            }
        }

        #[test]
        fn what_a_client_sends_in_front_changes_nothing(front in "[ -~]{0,60}") {
            let line = format!("{front},203.0.113.9");
            prop_assert_eq!(client("10.0.0.1", X_FORWARDED_FOR, &[&line]), "203.0.113.9");
            let spoofed = client("10.0.0.1", ForwardedHeader::Forwarded, &[&format!("{front},for=203.0.113.9")]);
            // Never an address of the client's choice; at worst none.
            prop_assert!(["203.0.113.9", "10.0.0.1"].contains(&spoofed.as_str()), "{}", spoofed);
        }
    }
}
