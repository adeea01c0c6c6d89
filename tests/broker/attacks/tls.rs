//! Handshakes that never end, and clients that speak something else than TLS to a port that speaks nothing else.

use std::time::Instant;

use serde_json::json;

use super::Target;
use crate::support::node::Options;
use crate::support::raw::Raw;
use crate::support::{PATIENCE, eventually};

/// A node with a self-signed certificate, and a client that accepts it.
async fn start(options: Options) -> (Target, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let cert = file("cert.pem", certified.cert.pem());
    let key = file("key.pem", certified.signing_key.serialize_pem());
    let options = options.set("SERVER__TLS_CERT", &cert).set("SERVER__TLS_KEY", &key);
    let mut node = options.start().await;
    node.url = format!("https://{}", node.address());
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).pool_max_idle_per_host(0);
    node.http = client.read_timeout(PATIENCE).build().unwrap();
    (Target::of(node).await, folder)
}

/// The first message of a handshake, offering at most this version (RFC 5246, 7.4.1.2).
fn client_hello(version: [u8; 2]) -> Vec<u8> {
    let suites = [0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x0a, 0xc0, 0x14, 0x00, 0x2f, 0x00, 0x35];
    // Groups, point formats and signature schemes that any server knows.
    let extensions = [
        &[0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x17][..],
        &[0x00, 0x0b, 0x00, 0x02, 0x01, 0x00],
        &[0x00, 0x0d, 0x00, 0x06, 0x00, 0x04, 0x04, 0x03, 0x08, 0x04],
    ]
    .concat();
    let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
    let body =
        [&version[..], &[7; 32], &[0], &length(suites.len()), &suites, &[1, 0], &length(extensions.len()), &extensions]
            .concat();
    let handshake = [&[1, 0][..], &length(body.len()), &body].concat();
    [&[22, 3, 1][..], &length(handshake.len()), &handshake].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_handshakes_time_out_beside_live_traffic() {
    let (target, _folder) = start(Options::default().set("LIMITS__REQUEST_TIMEOUT", "3s")).await;
    let mut reader = target.node.open("live", "").await;
    let hello = client_hello([3, 3]);
    // Nothing; a part of the first message; all of it; a record that is announced and does not come.
    let halves = [&[][..], &hello[..7], &hello, &[22, 3, 1, 0x3f, 0xff]];
    let mut attackers = Vec::new();
    let (mut published, mut most_open) = (0u64, 0);
    for half in halves.iter().cycle().take(500) {
        let mut raw = Raw::connect(&target.node).await;
        raw.try_send(half).await;
        attackers.push(raw);
        most_open = most_open.max(target.node.open_files());
    }
    let began = Instant::now();
    while !attackers.iter_mut().all(Raw::has_ended) {
        assert!(began.elapsed() < PATIENCE, "handshakes are not let go");
        published += 1;
        target.node.publish("live", "a", json!(published)).await;
    }
    assert!(most_open > 100, "only {most_open} files were open at once: no attack was made");
    assert_eq!(reader.numbers(usize::try_from(published).unwrap()).await, (1..=published).collect::<Vec<_>>());
    drop((attackers, reader));
    eventually("their sockets are closed", || async { target.node.open_files() < 100 }).await;
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn non_tls_bytes_end_the_connection() {
    let (target, _folder) = start(Options::default().set("LIMITS__REQUEST_TIMEOUT", "2s")).await;
    let hello = client_hello([3, 3]);
    let mut broken = hello.clone();
    broken[8] = 0xff;
    for garbage in [
        vec![0xff; 100_000],
        vec![0; 100_000],
        broken,
        [&[23][..], &hello[1..]].concat(),
        [&hello[..], &[0xff; 1000]].concat(),
        [22, 3, 1, 0, 1, 1].repeat(10_000),
        // An empty record, again and again, and alerts.
        [22, 3, 3, 0, 0].repeat(10_000),
        [21, 3, 3, 0, 2, 1, 0].repeat(10_000),
        // SSL 2.
        vec![0x80, 0x2e, 1, 0, 2],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
    ] {
        let mut raw = Raw::connect(&target.node).await;
        raw.try_send(&garbage).await;
        raw.read_to_end().await;
        assert!(!raw.text().contains("HTTP"), "{}", raw.text());
    }
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_tls_before_1_2_are_refused() {
    let (target, _folder) = start(Options::default()).await;
    for version in [[3, 0], [3, 1], [3, 2]] {
        let mut raw = Raw::connect(&target.node).await;
        raw.send(client_hello(version)).await;
        raw.read_to_end().await;
        // A fatal alert: protocol_version.
        assert_eq!((raw.received[0], &raw.received[5..]), (21, &[2, 70][..]), "{version:?}: {:?}", raw.received);
    }
    let mut raw = Raw::connect(&target.node).await;
    raw.send(client_hello([3, 3])).await;
    raw.read_some().await;
    assert_eq!(raw.received[0], 22, "1.2 is answered: the message itself is in order");
    drop(raw);
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_a_tls_port_gets_no_http_answer() {
    let (target, _folder) = start(Options::default()).await;
    for request in [
        "GET /pipelines/p/sse HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /pipelines/p/events HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    ] {
        let mut raw = Raw::connect(&target.node).await;
        raw.send(request).await;
        raw.read_to_end().await;
        assert!(!raw.text().contains("HTTP"), "{}", raw.text());
    }
    target.assert_unharmed().await;
}
