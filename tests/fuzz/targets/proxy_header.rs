//! The PROXY header, which anyone who reaches the port can write: read to its end and not a byte beyond.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use pipecast::limits::proxies::Peer;
use pipecast::http::fuzzing;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = SIGNATURE.len() + 4;

fuzz_target!(|data: &[u8]| {
    check(data);
    // Most of the way is behind the signature.
    check(&[SIGNATURE, data].concat());
});

fn check(data: &[u8]) {
    let proxy = IpAddr::from([192, 0, 2, 1]);
    let (read, left) = fuzzing::read_proxy_header(data, proxy);
    let Ok(peer) = read else {
        assert!(!is_of_a_client(data), "a header by the book is read");
        return;
    };
    assert!(data.starts_with(SIGNATURE));
    assert_eq!(left, data.len() - FIXED - length(data));
    let expected = match (data[12], data[13] >> 4) {
        (0x21, 1) => data[FIXED..].first_chunk::<4>().map(|octets| Peer::At((*octets).into())),
        (0x21, 2) => data[FIXED..].first_chunk::<16>().map(|octets| Peer::At(IpAddr::from(*octets).to_canonical())),
        // A client without an address is not the proxy.
        (0x21, _) => Some(Peer::Behind(proxy)),
        _ => Some(Peer::At(proxy)),
    };
    assert_eq!(Some(peer), expected);
}

/// What its header says of the bytes that follow it.
fn length(data: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([data[FIXED - 2], data[FIXED - 1]]))
}

/// Whether it names a client of TCP by the book, whole, and without further fields, of which some are wrong in themselves.
fn is_of_a_client(data: &[u8]) -> bool {
    let is_whole = data.starts_with(SIGNATURE) && data.len() >= FIXED && data.len() >= FIXED + length(data);
    is_whole && data[12] == 0x21 && matches!((data[13], length(data)), (0x11, 12) | (0x21, 36))
}
