//! The admin listener serves a scraper and a probe; any other client gets little from it.

use std::time::Instant;

use super::Target;
use crate::support::node::Options;
use crate::support::raw::Raw;
use crate::support::{PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_requests_to_the_admin_listener_are_let_go() {
    // Its own time is short, however much publishers are given.
    let target = Target::start(Options::default().set("LIMITS__REQUEST_TIMEOUT", "10m")).await;
    let mut attackers = Vec::new();
    for half in ["", "GET /met", "GET /metrics HTTP/1.1\r\nHost: x\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
        .iter()
        .cycle()
        // The listener has 64 slots: with all of them in use, probes would have to wait.
        .take(40)
    {
        let mut raw = Raw::connect_to(target.node.admin_address()).await;
        raw.try_send(half).await;
        attackers.push(raw);
    }
    let began = Instant::now();
    while !attackers.iter_mut().all(Raw::has_ended) {
        assert!(began.elapsed() < PATIENCE, "they are not let go");
        assert!(target.node.is_ready().await);
    }
    assert!(attackers.iter().all(|raw| !raw.text().contains(" 200 ")));
    target.assert_unharmed().await;
}

#[tokio::test]
async fn bodies_for_the_admin_listener_are_not_read() {
    let target = Target::start(Options::default()).await;
    for (first, status) in [("GET /livez", 200), ("POST /livez", 405), ("PUT /metrics", 405), ("DELETE /x", 405)] {
        for length in ["Content-Length: 1073741824", "Transfer-Encoding: chunked"] {
            let mut raw = Raw::connect_to(target.node.admin_address()).await;
            raw.send(format!("{first} HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n")).await;
            let text = raw.read_until("\r\n\r\n").await;
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{first}: {text}");
            let mut sent = 0;
            while sent < 64 << 20 && raw.try_send(vec![b'1'; 1 << 20]).await {
                sent += 1 << 20;
            }
            assert!(sent < 16 << 20, "{first}, {length}: {sent} bytes were accepted");
        }
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn large_head_for_the_admin_listener_is_refused() {
    let target = Target::start(Options::default()).await;
    let mut raw = Raw::connect_to(target.node.admin_address()).await;
    raw.try_send(format!("GET /livez HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(12 << 10))).await;
    raw.read_to_end().await;
    let text = raw.text();
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 431 "), "{text}");
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapes_that_are_not_taken_are_ended() {
    let target = Target::start(Options::default().set("STREAM__WRITE_TIMEOUT", "1s")).await;
    let mut attackers = Vec::new();
    for _ in 0..50 {
        let mut raw = Raw::connect_to(target.node.admin_address()).await;
        raw.try_send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(5000)).await;
        attackers.push(raw);
    }
    eventually("all are let in", || async { target.node.open_files() > 50 }).await;
    eventually("their connections are ended", || async { target.node.open_files() < 50 }).await;
    drop(attackers);
    target.assert_unharmed().await;
}
