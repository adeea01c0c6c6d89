//! The PROXY header, which anyone who reaches the port can write: read to its end and not a byte beyond.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use pipecast::server::fuzzing;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = SIGNATURE.len() + 4;

fuzz_target!(|data: &[u8]| {
    check(data);
    // Most of the way is behind the signature.
    check(&[SIGNATURE, data].concat());
});

fn check(data: &[u8]) {
    let (read, left) = fuzzing::read_proxy_header(data);
    let Ok(client) = read else { return };
    assert!(data.starts_with(SIGNATURE));
    let length = usize::from(u16::from_be_bytes([data[FIXED - 2], data[FIXED - 1]]));
    assert_eq!(left, data.len() - FIXED - length);
    let address: Option<IpAddr> = match (data[12], data[13] >> 4) {
        (0x21, 1) => data[FIXED..].first_chunk::<4>().map(|octets| (*octets).into()),
        (0x21, 2) => data[FIXED..].first_chunk::<16>().map(|octets| IpAddr::from(*octets).to_canonical()),
        _ => None,
    };
    assert_eq!(client, address);
}
