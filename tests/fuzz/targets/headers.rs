//! Headers that any client writes: `Accept-Encoding`, `Last-Event-ID`, and who it is by its proxies' word.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use pipecast::event::ResumePoint;
use pipecast::limits::proxies::{ForwardedHeader, Peer, TrustedProxies};
use pipecast::http::fuzzing;

fuzz_target!(|data: &[u8]| {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    accept_encoding(&lines);
    if let Ok(text) = std::str::from_utf8(lines[0]) {
        resume_point(text);
    }
    client(&lines);
});

fn accept_encoding(lines: &[&[u8]]) {
    let is_named = data_contains(lines, b"gzip") || data_contains(lines, b"*");
    assert!(!fuzzing::wants_gzip(lines) || is_named, "nobody gets gzip who did not name it");
}

fn resume_point(text: &str) {
    match ResumePoint::parse(text) {
        None => assert!(text.is_empty()),
        // One event has one id.
        Some(ResumePoint::After(id)) => assert_eq!(id.to_string(), text),
        Some(ResumePoint::Malformed(kept)) => {
            assert!(text.starts_with(&kept) && (1..=ResumePoint::MAX_BYTES).contains(&kept.len()));
        }
    }
}

fn client(lines: &[&[u8]]) {
    let trusted: TrustedProxies = "10.0.0.0/8,2001:db8::/32".parse().expect("networks");
    let (proxy, stranger): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [203, 0, 113, 9].into());
    for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
        let client = |peer, lines: &[&[u8]]| trusted.client(peer, header, lines.iter().copied());
        assert_eq!(client(Peer::At(stranger), lines), stranger, "a stranger's word counts for nothing");
        assert_eq!(client(Peer::Behind(proxy), lines), proxy, "nor does that of a client whom its proxy does not name");
        let named = client(Peer::At(proxy), lines);
        assert!(
            named == proxy || !trusted.contains(named) || data_contains(lines, b"10.") || data_contains(lines, b":")
        );
        // What comes before a proxy's own entry is the client's word.
        let own: &[u8] = match header {
            ForwardedHeader::XForwardedFor => b"198.51.100.7",
            ForwardedHeader::Forwarded => b"for=198.51.100.7",
        };
        assert_eq!(client(Peer::At(proxy), &[lines, &[own]].concat()), IpAddr::from([198, 51, 100, 7]));
    }
}

fn data_contains(lines: &[&[u8]], text: &[u8]) -> bool {
    lines.iter().any(|line| line.to_ascii_lowercase().windows(text.len()).any(|part| part == text))
}
