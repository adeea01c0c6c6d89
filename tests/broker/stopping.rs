//! Stopping: what clients and load balancers see, in which order, and that it ends.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;

use crate::support::eventually;
use crate::support::node::{Node, Options, both_ways};
use crate::support::raw::Raw;

async fn streams(node: &Node, count: usize) -> Vec<Raw> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut raw = Raw::connect(node).await;
        raw.get("/pipelines/p/sse").await;
        raw.read_until("retry: ").await;
        streams.push(raw);
    }
    streams
}

/// The delay of the last `retry:`, a block of its own at the end: some clients apply it only at the blank line.
fn last_retry(body: &str) -> u64 {
    let body = body.strip_suffix("\n\n").unwrap_or_else(|| panic!("{body:?}"));
    body.lines().last().unwrap().strip_prefix("retry: ").unwrap_or_else(|| panic!("{body:?}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn node_leaves_in_order_and_spreads_the_ends_of_its_streams() {
    for way in both_ways() {
        let options = way.set("DRAIN__LEAD", "2s").set("DRAIN__WINDOW", "2s");
        a_node_leaves_in_order(&mut options.start().await).await;
    }
}

async fn a_node_leaves_in_order(node: &mut Node) {
    let mut open = streams(node, 40).await;
    node.publish("p", "a", json!(1)).await;
    let mut kept_alive = Raw::connect(node).await;
    kept_alive.get("/pipelines/p").await;
    kept_alive.read_until("}\n").await;

    node.signal("TERM");
    let began = Instant::now();
    eventually("readiness fails at once", || async {
        node.admin_status("/readyz").await == Some(StatusCode::SERVICE_UNAVAILABLE)
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(2), "during the lead");
    assert_eq!(node.admin_status("/livez").await, Some(StatusCode::OK));
    // Publishing goes on; new streams are sent elsewhere in a way that EventSource survives.
    node.publish("p", "a", json!(2)).await;
    let mut sent_away = Raw::connect(node).await;
    sent_away.get("/pipelines/p/sse").await;
    sent_away.read_to_end().await;
    assert!(sent_away.text().starts_with("HTTP/1.1 200 ") && !sent_away.text().contains("ontent-length"));
    let body = sent_away.body_text();
    assert_eq!(body.lines().count(), 2, "{body:?}");
    assert!((5000..=15_000).contains(&last_retry(&body)));
    for raw in &mut open {
        raw.read_until("data: 2\n\n").await;
    }
    assert_eq!(node.metric("pipecast_rejected_total{reason=\"draining\"}").await, 1.0);

    let mut ends = Vec::new();
    let reading = open.iter_mut().map(|raw| async {
        raw.read_to_end().await;
        let retry = last_retry(&raw.body_text());
        assert!((1000..=3000).contains(&retry), "{retry}");
        began.elapsed()
    });
    ends.extend(futures_util::future::join_all(reading).await);
    ends.sort();
    assert!(ends[0] >= Duration::from_millis(1900), "no stream ends before the lead is over: {:?}", ends[0]);
    assert!(ends[39] - ends[0] > Duration::from_millis(500), "the ends are spread: {ends:?}");
    assert_eq!(node.exit().await.code(), Some(0));
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", node.port())).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_are_refused_after_the_lead() {
    let options = Options::default().set("DRAIN__LEAD", "100ms").set("DRAIN__WINDOW", "1h");
    let node = options.start().await;
    let open = streams(&node, 1).await;
    node.signal("TERM");
    eventually("no connection is accepted", || async {
        tokio::net::TcpStream::connect(("127.0.0.1", node.port())).await.is_err()
    })
    .await;
    assert_eq!(node.metric("pipecast_streams").await, 1.0, "metrics can be read until the end");
    drop(open);
}

#[tokio::test(flavor = "multi_thread")]
async fn deadline_ends_what_does_not_end_by_itself() {
    let options = Options::default().set("DRAIN__LEAD", "0s").set("DRAIN__WINDOW", "1h").set("DRAIN__DEADLINE", "1s");
    let mut node = options.start().await;
    let mut open = streams(&node, 3).await;
    let began = Instant::now();
    node.signal("TERM");
    assert_eq!(node.exit().await.code(), Some(0));
    assert!(began.elapsed() >= Duration::from_millis(950));
    for raw in &mut open {
        raw.read_to_end().await;
    }
    assert!(node.log().contains("drain.deadline"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn second_signal_ends_at_once() {
    for (lead, window) in [("1h", "1h"), ("0s", "1h")] {
        let options =
            Options::default().set("DRAIN__LEAD", lead).set("DRAIN__WINDOW", window).set("DRAIN__DEADLINE", "2h");
        let mut node = options.start().await;
        let open = streams(&node, 1).await;
        node.signal("TERM");
        eventually("the first signal is handled", || async { node.log().contains("stopping") }).await;
        node.signal("TERM");
        assert_eq!(node.exit().await.code(), Some(1));
        drop(open);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn person_at_the_terminal_does_not_wait() {
    for way in both_ways() {
        let mut node = way.start().await;
        let mut open = streams(&node, 5).await;
        node.signal("INT");
        for raw in &mut open {
            raw.read_to_end().await;
            last_retry(&raw.body_text());
        }
        assert_eq!(node.exit().await.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_under_way_is_finished() {
    let options = Options::default().set("DRAIN__LEAD", "0s").set("DRAIN__WINDOW", "0s");
    let mut node = options.start().await;
    let mut raw = Raw::connect(&node).await;
    let body = json!({"channel": "a", "payload": 1}).to_string();
    let (first, rest) = body.split_at(5);
    let length = body.len();
    raw.send(format!("POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{first}")).await;
    // The node reads the head before it hears the signal: the metrics come after it in no order
    // of their own, so the answer of another request tells.
    node.publish("q", "a", json!(1)).await;
    node.signal("TERM");
    eventually("the node accepts no new connection", || async {
        tokio::net::TcpStream::connect(("127.0.0.1", node.port())).await.is_err()
    })
    .await;
    raw.send(rest).await;
    let text = raw.read_until("}\n").await;
    assert!(text.starts_with("HTTP/1.1 202 "), "{text}");
    assert_eq!(node.exit().await.code(), Some(0));
}
