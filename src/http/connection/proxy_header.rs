//! The PROXY protocol, version 2: a proxy that does not speak HTTP sends the client's address first.

use std::io;
use std::net::IpAddr;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The signature, a version and command, a family, and the length of what follows.
const FIXED: usize = 16;

/// Where the version and the command are. `LOCAL` is the command for the proxy's own connections.
const COMMAND: usize = 12;
const LOCAL: u8 = 0;

/// Maximum length of the rest: two addresses, and what proxies add. The format allows 64 KiB, from a client not yet known.
const MOST_FURTHER: usize = 2 << 10;

const CONFIG: ParseConfig = ParseConfig { include_tlvs: false, allow_v1: false, allow_v2: true };

/// Who has opened a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::http) enum Introduced {
    /// The proxy itself, for example for a health check.
    Proxy,
    /// A client at this address.
    Client(IpAddr),
    /// A client whose address the proxy does not know, for example on a Unix socket.
    Unknown,
}

/// Reads the header and nothing beyond it: a TLS handshake may follow.
pub(in crate::http) async fn read(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<Introduced> {
    let mut header = vec![0; FIXED];
    socket.read_exact(&mut header).await?;
    let further = usize::from(u16::from_be_bytes([header[FIXED - 2], header[FIXED - 1]]));
    // Before the length is trusted.
    if further > MOST_FURTHER || parse(&header).is_err_and(|error| error != proxy_header::Error::BufferTooShort) {
        return Err(invalid(proxy_header::Error::Invalid));
    }
    header.resize(FIXED + further, 0);
    socket.read_exact(&mut header[FIXED..]).await?;
    parse(&header).map_err(invalid)
}

fn parse(header: &[u8]) -> Result<Introduced, proxy_header::Error> {
    let (parsed, _) = ProxyHeader::parse(header, CONFIG)?;
    let client = parsed.proxied_address().map(|address| address.source.ip().to_canonical());
    // The library has no address for either, but only LOCAL is the proxy itself.
    let is_local = header[COMMAND] & 0x0f == LOCAL;
    Ok(client.map_or(if is_local { Introduced::Proxy } else { Introduced::Unknown }, Introduced::Client))
}

fn invalid(error: proxy_header::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read of these bytes, and how many are left.
    fn read_all(bytes: &[u8]) -> (io::Result<Introduced>, usize) {
        let mut rest = bytes;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let address = runtime.block_on(read(&mut rest));
        (address, rest.len())
    }

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, body].concat()
    }

    #[test]
    fn header_is_read_and_not_a_byte_beyond() {
        let ipv4 = [203, 0, 113, 9, 192, 0, 2, 1, 1, 2, 3, 4];
        let check = |mut bytes: Vec<u8>, expected: Introduced| {
            bytes.extend_from_slice(b"GET /");
            let (introduced, left) = read_all(&bytes);
            assert_eq!((introduced.unwrap(), left), (expected, 5), "{bytes:?}");
        };
        let client = |text: &str| Introduced::Client(text.parse().unwrap());
        check(header(0x21, 0x11, &ipv4), client("203.0.113.9"));
        check(header(0x21, 0x11, &[&ipv4[..], &[4, 0, 1, 0]].concat()), client("203.0.113.9"));
        let mut ipv6 = [0; 36];
        ipv6[..4].copy_from_slice(&[0x20, 1, 4, 0x70]);
        check(header(0x21, 0x21, &ipv6), client("2001:470::"));
        // A health check, and clients of which nothing is known.
        check(header(0x20, 0x11, &ipv4), Introduced::Proxy);
        check(header(0x20, 0, &[]), Introduced::Proxy);
        check(header(0x20, 0x31, &[0; 216]), Introduced::Proxy);
        check(header(0x21, 0, &[]), Introduced::Unknown);
        check(header(0x21, 0x31, &[0; 216]), Introduced::Unknown);
        check(header(0x21, 0x32, &[0; 216]), Introduced::Unknown);
    }

    #[test]
    fn non_header_bytes_are_rejected_at_once() {
        for bytes in [
            b"GET /pipelines/p/sse HTTP/1.1\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2\r\n".to_vec(),
            header(0x31, 0x11, &[0; 12]),
            header(0x21, 0x41, &[0; 12]),
            header(0x21, 0x11, &[0; 11]),
            header(0x21, 0x11, &[0; 4096]),
        ] {
            assert_eq!(read_all(&bytes).0.unwrap_err().kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            (command, family) in (prop_oneof![Just(0x20), Just(0x21), any::<u8>()], any::<u8>()),
        ) {
            let _ = read_all(&bytes);
            let whole = header(command, family, &bytes);
            if read_all(&whole).0.is_ok() {
                prop_assert_eq!(read_all(&whole).1, 0);
                prop_assert!(read_all(&whole[..whole.len() - 1]).0.is_err());
            }
        }
    }
}
