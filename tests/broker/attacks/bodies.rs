//! Bodies that are begun and never finished: together they must leave room for those that are.

use serde_json::json;

use super::{KEPT_BYTES, Target};
use crate::support::cgroup::Cgroup;
use crate::support::eventually;
use crate::support::http2::{DATA, END_HEADERS, HEADERS, Http2, frame, header, request};
use crate::support::node::{Node, Options};
use crate::support::raw::Raw;

/// What a body of 4 MiB lacks of its end.
const SENT: usize = 3900 << 10;
const ANNOUNCED: usize = 4 << 20;

/// What all bodies in flight may hold, and what the allocator keeps.
const SHARE: u64 = 32 << 20;
const MOST_BYTES: u64 = 2 * SHARE + KEPT_BYTES;

fn options() -> Options {
    Options::default().set("LIMITS__BODIES", "32MiB")
}

/// A body over HTTP/1.1 that stops short of its end.
struct Stalling {
    raw: Raw,
    sent: usize,
}

impl Stalling {
    /// Announces it.
    async fn begin(node: &Node) -> Self {
        let mut raw = Raw::connect(node).await;
        raw.send(format!(
            "POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {ANNOUNCED}\r\n\r\n"
        ))
        .await;
        Self { raw, sent: 0 }
    }

    /// Sends as much as the node accepts.
    fn go_on(&mut self) {
        self.sent += self.raw.send_what_is_taken(&vec![b' '; SENT - self.sent]);
    }
}

/// The same over HTTP/2, without minding its windows.
async fn stall_streams(node: &Node, count: u32) -> Http2 {
    let mut client = Http2::connect(node, &[]).await;
    let head = [request("POST", "/pipelines/p/events"), header(0, "content-type", "application/json")].concat();
    for n in 0..count {
        client.send(frame(HEADERS, END_HEADERS, 2 * n + 1, &head)).await;
    }
    // Each stream a window's worth, and no more of all than the connection's.
    for n in 0..count.min(3) {
        for _ in 0..4 {
            client.raw.try_send(frame(DATA, 0, 2 * n + 1, &[b' '; 16_000])).await;
        }
    }
    client
}

/// Publishes beside the attack, small and at most of middle size; the most memory that was used meanwhile.
async fn peak_beside_publishers(node: &Node, used: impl Fn() -> u64, mut each_turn: impl AsyncFnMut()) -> u64 {
    let mut peak = 0;
    for n in 0..60u64 {
        each_turn().await;
        node.publish("live", "a", json!(n)).await;
        node.publish("live", "a", json!("x".repeat(40 << 10))).await;
        peak = peak.max(used());
    }
    peak
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_bodies_leave_room_for_other_publishers() {
    let target = Target::start(options()).await;
    let mut attackers = Vec::new();
    for _ in 0..200 {
        attackers.push(Stalling::begin(&target.node).await);
    }
    let peak = peak_beside_publishers(
        &target.node,
        || target.grown_bytes(),
        async || {
            attackers.iter_mut().for_each(Stalling::go_on);
        },
    )
    .await;
    assert!(peak < MOST_BYTES, "{peak} bytes more");
    eventually("those without room are rejected", || async {
        target.node.metric("pipecast_rejected_total{reason=\"body_memory_limit\"}").await > 0.0
    })
    .await;
    // A stalled body gives up its room when others wait, so a whole body gets through.
    let large = json!({"channel": "a", "payload": "x".repeat(200 << 10)});
    let large = json!(vec![large; 15]);
    eventually("a large body is accepted", || async { target.node.post("q", &large).await.status() == 202 }).await;
    drop(attackers);
    eventually("nothing is held any longer", || async { target.node.metric("pipecast_bodies_bytes").await == 0.0 })
        .await;
    target.node.forget("q").await;
    target.node.forget("live").await;
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_whose_bodies_stall_are_bounded_by_their_connection() {
    let target = Target::start(options()).await;
    let mut attackers = Vec::new();
    for _ in 0..20 {
        attackers.push(stall_streams(&target.node, 100).await);
    }
    let peak = peak_beside_publishers(&target.node, || target.grown_bytes(), async || {}).await;
    assert!(peak < MOST_BYTES, "{peak} bytes more");
    drop(attackers);
    eventually("nothing is held any longer", || async { target.node.metric("pipecast_bodies_bytes").await == 0.0 })
        .await;
    target.node.forget("live").await;
    target.assert_unharmed().await;
}

/// Each gets room for all of it or waits: none holds a part that another needs.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_that_come_at_once_take_turns() {
    let target = Target::start(options()).await;
    let large = json!({"channel": "a", "payload": "x".repeat(200 << 10)});
    let large = json!(vec![large; 19]).to_string();
    // A rejected publisher retries after `Retry-After`.
    let publishing = (0..30).map(|_| {
        eventually("a large body is accepted", || async { target.node.post("q", &large).await.status() == 202 })
    });
    futures_util::future::join_all(publishing).await;
    target.node.forget("q").await;
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn body_that_is_announced_as_too_large_takes_no_room() {
    let target = Target::start(options()).await;
    let mut raw = Raw::connect(&target.node).await;
    let length = 3 * ANNOUNCED;
    raw.send(format!(
        "POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ))
    .await;
    raw.send(vec![b' '; SENT]).await;
    for n in 0..20 {
        target.node.publish("live", "a", json!(n)).await;
        assert_eq!(target.node.metric("pipecast_bodies_bytes").await, 0.0);
    }
    raw.send(vec![b' '; length - SENT]).await;
    raw.read_until("HTTP/1.1 413 ").await;
    target.node.forget("live").await;
    target.assert_unharmed().await;
}

/// A body that is announced and never sent takes no room.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_only_announced_take_no_room() {
    let target = Target::start(options()).await;
    let mut attackers = Vec::new();
    for _ in 0..200 {
        attackers.push(Stalling::begin(&target.node).await);
    }
    let large = json!({"channel": "a", "payload": "x".repeat(200 << 10)});
    let large = json!(vec![large; 15]);
    assert_eq!(target.node.post("q", &large).await.status(), 202);
    assert_eq!(target.node.metric("pipecast_rejected_total{reason=\"body_memory_limit\"}").await, 0.0);
    drop(attackers);
    target.node.forget("q").await;
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_with_256_mib_survives_bodies_that_stall() {
    const MEMORY: u64 = 256 << 20;
    let cgroup = Cgroup::with_memory(MEMORY);
    let mut node = match &cgroup {
        Some(cgroup) => Options::default().within(cgroup),
        // As on a machine of that size.
        None => options(),
    }
    .start()
    .await;
    let mut attackers = Vec::new();
    for _ in 0..200 {
        attackers.push(Stalling::begin(&node).await);
    }
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(stall_streams(&node, 100).await);
    }
    let peak = peak_beside_publishers(
        &node,
        || node.own_bytes(),
        async || {
            attackers.iter_mut().for_each(Stalling::go_on);
        },
    )
    .await;
    assert!(peak < MEMORY, "{peak} bytes");
    assert!(node.is_alive(), "{}", node.log());
}
