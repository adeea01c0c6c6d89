//! Readers that are slow or stalled: what they receive, and what they cost others.

use serde_json::json;

use crate::support::node::{Node, both_ways};
use crate::support::raw::Raw;
use crate::support::{eventually, seq};

/// Publishes numbered events of 64 KiB each.
async fn publish_large(node: &Node, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        node.publish("p", "large", json!({"n": n, "filler": "x".repeat(64 << 10)})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_reader_gets_a_gap_and_a_fast_one_everything() {
    for way in both_ways() {
        a_slow_reader_gets_a_gap(&way.set("HISTORY__LIMIT", "10").start().await).await;
    }
}

async fn a_slow_reader_gets_a_gap(node: &Node) {
    let mut slow = Raw::connect_narrow(node, 16 << 10);
    slow.get("/pipelines/p/sse").await;
    slow.read_until("retry: ").await;
    let mut fast = node.open("p", "").await;
    publish_large(node, 1..=150).await;
    let events = fast.take(150).await;
    assert!(events.iter().zip(1..).all(|(event, n)| seq(&event.id) == n && event.event == "large"));

    slow.read_until("pipecast.gap").await;
    slow.read_until("-150\nevent: large").await;
    let body = slow.body_text();
    let ids: Vec<_> = body.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let gaps: Vec<_> = body.lines().filter(|line| line.starts_with("data: {\"reason\":")).collect();
    assert_eq!(gaps.len(), 1, "one gap is reported once");
    let gap: serde_json::Value = serde_json::from_str(gaps[0].strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(gap["reason"], "slow");
    // The gap's id is the event before the next one: counted in, nothing is missing.
    let numbers: Vec<_> = ids.iter().map(|id| seq(id)).collect();
    let jump = numbers.windows(2).position(|pair| pair[1] != pair[0] + 1).expect("a gap");
    assert!(numbers[jump + 1..].windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    assert_eq!(gap["missed"], numbers[jump + 1] - numbers[jump]);
    assert_eq!(seq(gap["after"].as_str().unwrap()), numbers[jump]);
    assert_eq!(node.metric("pipecast_gaps_total{reason=\"slow\"}").await, 1.0);
}

/// Publishers outrun readers: they are slowed down, and no reader loses an event.
#[tokio::test(flavor = "multi_thread")]
async fn publishers_are_held_to_what_most_readers_take() {
    const READERS: usize = 20;
    const PUBLISHERS: u64 = 8;
    const EVENTS: u64 = 100;
    for way in both_ways() {
        let node =
            way.set("HUB__BACKLOG", "1MiB").set("HUB__BACKLOG_AGE", "1m").set("HISTORY__LIMIT", "10").start().await;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let mut raw = Raw::connect_narrow(&node, 8 << 10);
            raw.get("/pipelines/p/sse").await;
            raw.read_until("retry: ").await;
            readers.push(raw);
        }
        // Each a task of its own, so that they read at about the same speed.
        let reading: Vec<_> = readers
            .into_iter()
            .map(|mut raw| {
                tokio::spawn(async move { raw.read_until_seen(&format!("-{}\n", PUBLISHERS * EVENTS)).await })
            })
            .collect();
        let publishing = futures_util::future::join_all((0..PUBLISHERS).map(async |publisher| {
            for n in 0..EVENTS {
                node.publish("p", "large", json!([publisher, n, "x".repeat(8 << 10)])).await;
            }
        }));
        publishing.await;
        for reader in reading {
            reader.await.unwrap();
        }
        assert_eq!(node.metric("pipecast_gaps_total{reason=\"slow\"}").await, 0.0);
        assert_eq!(node.metric("pipecast_events_delivered_total").await, (READERS as u64 * PUBLISHERS * EVENTS) as f64);
        assert!(
            node.metric("pipecast_publishes_delayed_total").await > 0.0,
            "nothing was too fast, so nothing is proved"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_that_takes_nothing_is_closed_with_little_unsent() {
    for way in both_ways() {
        let options = way.set("STREAM__WRITE_TIMEOUT", "1s").set("HISTORY__LIMIT", "10");
        a_reader_that_takes_nothing_is_closed(&options.start().await).await;
    }
}

async fn a_reader_that_takes_nothing_is_closed(node: &Node) {
    const NARROW: usize = 8 << 10;
    let mut stuck: Vec<_> = (0..50).map(|_| Raw::connect_narrow(node, NARROW)).collect();
    for raw in &mut stuck {
        raw.get("/pipelines/p/sse").await;
        raw.read_until("retry: ").await;
    }
    let mut fast = node.open("p", "").await;
    let memory_before = node.metric("process_resident_memory_bytes").await;
    publish_large(node, 1..=300).await;
    fast.take(300).await;
    let grown = node.metric("process_resident_memory_bytes").await - memory_before;
    assert!(grown < 64e6, "{grown} bytes more for 50 stuck readers of 20 MB");
    eventually("stuck readers are closed", || async {
        node.metric("pipecast_streams_closed_total{reason=\"write_timeout\"}").await == 50.0
    })
    .await;
    assert_eq!(node.metric("pipecast_streams").await, 1.0);
    for raw in &mut stuck {
        // What was under way when the connection was closed: buffers of both kernels.
        let received = raw.read_to_cut().await;
        assert!(received < (256 << 10) + 8 * NARROW, "{received} bytes were sent to a stalled client");
    }
    publish_large(node, 301..=301).await;
    assert_eq!(seq(&fast.next().await.id), 301);
}
