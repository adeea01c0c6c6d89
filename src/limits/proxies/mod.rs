//! Trusted proxies, and the client address that they put into a request's headers.
//!
//! Any client can send `X-Forwarded-For`. Only what a trusted proxy has added counts: the list is read from its end, past other
//! trusted proxies, to the first address that is not one. Everything before it came with the request, and so did any header that
//! the proxies do not write. So exactly one header is read, and the others are ignored.

mod forwarded;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

/// Networks of proxies that are trusted. Setting `server.trusted_proxies`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

/// A text that is not a list of networks.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{0}` is not a network; write an address with a prefix length, such as 10.0.0.0/8 or 2001:db8::/32, or a single address"
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
    /// `X-Forwarded-For`, which most proxies write.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// A client or a proxy at this address.
    At(IpAddr),
    /// An unknown client behind the proxy at this address.
    Behind(IpAddr),
}

impl Peer {
    /// The address that it counts for.
    pub fn address(self) -> IpAddr {
        let (Self::At(address) | Self::Behind(address)) = self;
        address
    }
}

impl TrustedProxies {
    /// Whether no proxy is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is the address of a trusted proxy.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client's address: the peer's, unless the peer is a trusted proxy that names another one in the lines of this header.
    ///
    /// Also the peer's when those lines cannot be read.
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

    /// The last address of a list that is not a trusted proxy, or the first when all are. `None` when an address on the way there
    /// cannot be read.
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

/// An address as proxies write it: bare, in brackets, or with a port.
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
    fn client_is_the_last_address_that_is_not_a_trusted_proxy() {
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
        // An entry that cannot be read names no client.
        for rubbish in
            ["", ",", "unknown", "203.0.113.9,", "203.0.113.9, x", "203.0.113.999", "[203.0.113.9]", "2001:470::1]:80"]
        {
            check("10.0.0.1", &[rubbish], "10.0.0.1");
        }
        // From any other peer the header is ignored.
        check("203.0.113.1", &["203.0.113.9"], "203.0.113.1");
        check("203.0.113.1", &["10.0.0.1"], "203.0.113.1");
        check("10.0.0.1", &[], "10.0.0.1");
    }

    #[test]
    fn forwarded_header_is_read_the_same_way() {
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
        // A quote that the client left open must not hide what the proxy adds.
        check(&["for=6.6.6.6;by=\", for=203.0.113.9"], "10.0.0.1");
    }

    #[test]
    fn unnamed_client_behind_a_proxy_cannot_name_itself() {
        for header in [X_FORWARDED_FOR, ForwardedHeader::Forwarded] {
            let peer = Peer::Behind("10.0.0.1".parse().unwrap());
            assert_eq!(client_of(peer, header, &["203.0.113.9", "for=203.0.113.9"]), "10.0.0.1");
        }
    }

    #[test]
    fn networks_are_read_and_errors_show_the_form() {
        let shown = |text: &str| text.parse::<TrustedProxies>().map(|proxies| proxies.to_string());
        assert_eq!(shown("").as_deref(), Ok(""));
        assert_eq!(shown("10.1.2.3/8 , 192.0.2.1,::1").as_deref(), Ok("10.0.0.0/8,192.0.2.1/32,::1/128"));
        for wrong in ["10.0.0.0/33", "10.0.0/8", "localhost", "10.0.0.0/8 192.0.2.1", "::/129", "10.0.0.0/-1"] {
            assert!(shown(wrong).unwrap_err().to_string().contains("10.0.0.0/8"), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_of_networks_or_an_error(text in ".*", numbers in "[0-9a-f.:/, ]*") {
            for text in [text, numbers] {
                if let Ok(proxies) = text.parse::<TrustedProxies>() {
                    prop_assert_eq!(proxies.to_string().parse(), Ok(proxies));
                }
            }
        }

        #[test]
        fn any_header_bytes_give_an_address(
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
        fn entries_that_a_client_sends_change_nothing(front in "[ -~]{0,60}") {
            let line = format!("{front},203.0.113.9");
            prop_assert_eq!(client("10.0.0.1", X_FORWARDED_FOR, &[&line]), "203.0.113.9");
            let spoofed = client("10.0.0.1", ForwardedHeader::Forwarded, &[&format!("{front},for=203.0.113.9")]);
            // Never an address of the client's choice.
            prop_assert!(["203.0.113.9", "10.0.0.1"].contains(&spoofed.as_str()), "{}", spoofed);
        }
    }
}
