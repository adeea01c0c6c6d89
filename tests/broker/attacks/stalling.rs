//! Clients that hold a connection and do nothing with it: half a request, an answer that is never read.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Target;
use crate::support::node::{Options, both_ways};
use crate::support::raw::Raw;
use crate::support::stream::assert_contiguous;
use crate::support::{PATIENCE, eventually};

/// What unfinished clients send: nothing, the beginning of a head, a head without its body, and over HTTP/2 a
/// part of its first line, all of it, and that with the settings but never a request.
const HALVES: [&[u8]; 7] = [
    b"",
    b"G",
    b"GET /pipelines/p/sse HTTP/1.1\r\nHost: x\r\nX-Header: y\r\nX-Hea",
    b"POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"channel\"",
    b"PRI",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
];

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_requests_time_out_beside_live_traffic() {
    const ATTACKERS: usize = 5000;
    let target = Target::start(Options::default().set("LIMITS__REQUEST_TIMEOUT", "6s")).await;
    let mut reader = target.node.open("live", "").await;
    let mut attackers = Vec::with_capacity(ATTACKERS);
    let (mut published, mut most_open) = (0, 0);
    for half in HALVES.iter().cycle().take(ATTACKERS) {
        let mut raw = Raw::connect(&target.node).await;
        raw.try_send(half).await;
        attackers.push(raw);
        if attackers.len() % 50 == 0 {
            published += 1;
            target.node.publish("live", "a", json!(published)).await;
            most_open = most_open.max(target.node.open_files());
        }
    }
    assert!(most_open > ATTACKERS / 5, "only {most_open} files were open at once: no attack was made");
    let began = Instant::now();
    while !attackers.iter_mut().all(Raw::has_ended) {
        assert!(began.elapsed() < PATIENCE, "half-sent requests are not let go: {}", target.node.open_files());
        published += 1;
        target.node.publish("live", "a", json!(published)).await;
    }
    for raw in &attackers {
        assert!(!raw.text().contains(" 200 ") && !raw.text().contains(" 202 "), "{}", raw.text());
    }
    let events = reader.take(published).await;
    assert_contiguous(&events);
    drop((attackers, reader));
    eventually("their sockets are closed", || async { target.node.open_files() < 100 }).await;
    target.assert_unharmed().await;
}

/// The same over and over, each time from new connections: what one costs must not stay.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_come_and_go_leave_nothing_behind() {
    for way in both_ways() {
        let target = Target::start(way).await;
        for _ in 0..20 {
            let opening = (0..200).map(async |n| {
                let mut raw = Raw::connect(&target.node).await;
                if n % 2 == 0 {
                    raw.get("/pipelines/p/sse").await;
                    raw.read_until("retry: ").await;
                } else {
                    raw.try_send(HALVES[n % HALVES.len()]).await;
                }
            });
            futures_util::future::join_all(opening).await;
        }
        eventually("all have left", || async { target.node.metric("pipecast_streams").await == 0.0 }).await;
        eventually("their sockets are closed", || async { target.node.open_files() < 100 }).await;
        target.assert_unharmed().await;
    }
}

/// Fifty readers that would have to be sent 2 GB between them.
#[tokio::test(flavor = "multi_thread")]
async fn stalled_readers_cost_no_memory_and_no_events() {
    const STUCK: usize = 50;
    const EVENTS: usize = 640;
    /// The log (its backlog and history, twice while it is trimmed), and 256 KiB a reader.
    const MOST_BYTES: u64 = 2 * (4 << 20) + STUCK as u64 * (256 << 10) + super::KEPT_BYTES;
    for way in both_ways() {
        let options = way.set("HISTORY__LIMIT", "10").set("STREAM__WRITE_TIMEOUT", "10m");
        let target = Target::start(options).await;
        let mut stuck: Vec<_> = (0..STUCK).map(|_| Raw::connect_narrow(&target.node, 8 << 10)).collect();
        for raw in &mut stuck {
            raw.get("/pipelines/p/sse").await;
            raw.read_until("retry: ").await;
        }
        let mut fast = target.node.open("p", "").await;
        let filler = "x".repeat(64 << 10);
        let mut grown = 0;
        for n in 1..=EVENTS {
            target.node.publish("p", "a", json!({"n": n, "filler": filler})).await;
            if n % 16 == 0 {
                grown = grown.max(target.grown_bytes());
            }
        }
        let events = fast.take(EVENTS).await;
        assert!(events.iter().all(|event| event.event == "a"), "a gap was reported");
        assert_contiguous(&events);
        assert!(grown < MOST_BYTES, "{grown} bytes more, {MOST_BYTES} are allowed");
        // Still there, and none of them got what passed.
        assert_eq!(target.node.metric("pipecast_streams").await, (STUCK + 1) as f64);
        drop((stuck, fast));
        eventually("all have left", || async { target.node.metric("pipecast_streams").await == 0.0 }).await;
        target.node.forget("p").await;
        target.assert_unharmed().await;
    }
}

/// Readers that read a little now and then: never stalled long enough to be closed, and blocked again and again.
#[tokio::test(flavor = "multi_thread")]
async fn trickling_readers_cost_no_memory_and_no_events() {
    const DRIPPING: usize = 50;
    const EVENTS: usize = 400;
    for way in both_ways() {
        let options = way.set("HISTORY__LIMIT", "10").set("STREAM__WRITE_TIMEOUT", "5s").set("HUB__HOLD", "0s");
        let target = Target::start(options).await;
        let mut dripping: Vec<_> = (0..DRIPPING).map(|_| Raw::connect_narrow(&target.node, 8 << 10)).collect();
        for raw in &mut dripping {
            raw.get("/pipelines/p/sse").await;
            raw.read_until("retry: ").await;
        }
        let mut fast = target.node.open("p", "").await;
        let filler = "x".repeat(16 << 10);
        for n in 1..=EVENTS {
            target.node.publish("p", "a", json!({"n": n, "filler": filler})).await;
            for raw in &mut dripping {
                raw.received.clear();
                // Whatever there is, and no more than a piece of it: the socket stays full.
                raw.take_piece();
            }
        }
        let events = fast.take(EVENTS).await;
        assert!(events.iter().all(|event| event.event == "a"), "a gap was reported");
        assert_contiguous(&events);
        // The log, what each reader has not been sent, and nothing for each time that one was blocked.
        let most = 2 * (4 << 20) + DRIPPING as u64 * (256 << 10) + super::KEPT_BYTES;
        assert!(target.grown_bytes() < most, "{} bytes more, {most} are allowed", target.grown_bytes());
        assert_eq!(target.node.metric("pipecast_streams").await, (DRIPPING + 1) as f64, "one was closed");
        drop((dripping, fast));
        eventually("all have left", || async { target.node.metric("pipecast_streams").await == 0.0 }).await;
        target.node.forget("p").await;
        target.assert_unharmed().await;
    }
}

/// A client that keeps asking and never reads an answer.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_not_taken_end_the_connection() {
    let target = Target::start(Options::default().set("STREAM__WRITE_TIMEOUT", "1s")).await;
    let big = json!({"filler": "x".repeat(100 << 10)});
    target.node.publish("p", "a", big).await;
    let mut attackers = Vec::new();
    for _ in 0..50 {
        let mut raw = Raw::connect_narrow(&target.node, 8 << 10);
        raw.try_send("GET /pipelines/p/events HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200)).await;
        attackers.push(raw);
    }
    eventually("all are let in", || async { target.node.open_files() > 50 }).await;
    eventually("their connections are ended", || async { target.node.open_files() < 50 }).await;
    drop(attackers);
    target.node.forget("p").await;
    target.assert_unharmed().await;
}

/// Between its requests too a connection has no more time than a request.
#[tokio::test(flavor = "multi_thread")]
async fn connection_that_asks_nothing_more_is_let_go() {
    let target = Target::start(Options::default().set("LIMITS__IDLE_TIMEOUT", "500ms")).await;
    let mut raw = Raw::connect(&target.node).await;
    raw.get("/nowhere").await;
    raw.read_until("}\n").await;
    let asked = Instant::now();
    raw.read_to_end().await;
    assert!(asked.elapsed() > Duration::from_millis(100), "it was closed at once");
    target.assert_unharmed().await;
}
