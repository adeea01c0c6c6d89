//! The embedded store at its bound: what goes, what stays, and what clients see of it.

use reqwest::StatusCode;
use serde_json::json;

use crate::support::eventually;
use crate::support::node::{Node, Options};
use crate::support::raw::Raw;

/// Publishes one small event to each of many pipelines.
async fn publish_to_many(node: &Node, prefix: &str, count: usize, headers: &str) {
    const AT_ONCE: usize = 500;
    let mut raw = Raw::connect(node).await;
    for first in (0..count).step_by(AT_ONCE) {
        let body = r#"{"channel":"a","payload":1}"#;
        let mut requests = String::new();
        for n in first..count.min(first + AT_ONCE) {
            let headers = headers.replace("{n}", &n.to_string());
            requests.push_str(&format!(
                "POST /pipelines/{prefix}{n}/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}",
                body.len()
            ));
        }
        raw.send(requests).await;
        let wanted = count.min(first + AT_ONCE) - first;
        while memchr::memmem::find_iter(&raw.received, b"HTTP/1.1 202 ").count() < wanted {
            assert!(raw.read_some().await > 0, "{}", raw.text());
        }
        raw.received.clear();
    }
}

fn options(memory: &str) -> Options {
    Options::default().set("STORE__MEMORY", memory).set("HUB__LINGER", "0s")
}

#[tokio::test(flavor = "multi_thread")]
async fn invented_pipelines_stay_within_memory_and_spare_read_ones() {
    const MEMORY: u64 = 16 << 20;
    let node = options("16MiB").start().await;
    let mut reader = node.open("read", "").await;
    let id = node.publish("read", "a", json!(1)).await;
    assert_eq!(reader.next().await.id, id);
    let forgotten = node.publish("forgotten", "a", json!(1)).await;
    publish_to_many(&node, "warm", 1000, "").await;
    let before = node.own_bytes();
    publish_to_many(&node, "made-up-", 60_000, "").await;
    let grown = node.own_bytes().saturating_sub(before);
    assert!(grown < MEMORY + (4 << 20), "{grown} bytes more");
    let counted = node.metric("pipecast_store_memory_bytes").await;
    assert!(counted > 10e6 && counted < MEMORY as f64, "{counted}");
    assert!(node.metric("pipecast_store_evicted_total{what=\"pipeline\"}").await > 20_000.0);
    assert_eq!(node.history("read", "").await["events"].as_array().unwrap().len(), 1);
    // A client of an evicted pipeline gets a gap, even when the pipeline has new events.
    assert_eq!(node.history("forgotten", "").await["events"], json!([]));
    let mut back = node.open_with("forgotten", "", Some(&forgotten)).await;
    assert_eq!(back.gap().await.0["reason"], "reset");
    let again = node.publish("forgotten", "a", json!(2)).await;
    assert_eq!(back.next().await.id, again);
    let mut late = node.open_with("forgotten", "", Some(&forgotten)).await;
    assert_eq!(late.gap().await.0["reason"], "reset");
    assert_eq!(late.next().await.id, again);
    eventually("the reader goes on", || async { node.metric("pipecast_streams").await == 3.0 }).await;
    let id = node.publish("read", "a", json!(2)).await;
    assert_eq!(reader.next().await.id, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_idempotency_keys_take_no_more_than_their_share() {
    const MEMORY: u64 = 8 << 20;
    let node = options("8MiB").set("HISTORY__LIMIT", "1").start().await;
    publish_to_many(&node, "warm", 1000, "").await;
    let before = node.own_bytes();
    let headers = "Idempotency-Key: a-key-of-a-usual-length-such-as-a-uuid-{n}\r\n";
    publish_to_many(&node, "p", 30_000, headers).await;
    let grown = node.own_bytes().saturating_sub(before);
    assert!(grown < MEMORY + (4 << 20), "{grown} bytes more");
    assert!(node.metric("pipecast_store_evicted_total{what=\"answer\"}").await > 10_000.0);
    // The newest are known, which is what a publisher repeats.
    let key = [("Idempotency-Key", "a-key-of-a-usual-length-such-as-a-uuid-29999")];
    let answer = node.post_with("p29999", json!({"channel": "a", "payload": 1}), &key).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert_eq!(answer.headers()["idempotency-replayed"], "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_is_rejected_only_while_everything_kept_is_read() {
    let node = options("2MiB").start().await;
    let large = json!({"channel": "a", "payload": "x".repeat(200 << 10)});
    let mut readers = Vec::new();
    let refused = loop {
        let pipeline = format!("read-{}", readers.len());
        readers.push(node.open(&pipeline, "").await);
        eventually("it is open", || async { node.metric("pipecast_pipelines_open").await == readers.len() as f64 })
            .await;
        let answer = node.post(&pipeline, &large).await;
        if answer.status() != StatusCode::ACCEPTED {
            break answer;
        }
        readers.last_mut().unwrap().next().await;
        assert!(readers.len() < 20, "nothing limits them");
    };
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    let problem: serde_json::Value = refused.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("store.memory"), "{problem}");
    assert_eq!(node.metric("pipecast_rejected_total{reason=\"store_memory_limit\"}").await, 1.0);
    assert_eq!(node.metric("pipecast_store_evicted_total{what=\"pipeline\"}").await, 0.0);
    drop(readers);
    eventually("their readers have left", || async { node.metric("pipecast_pipelines_open").await == 0.0 }).await;
    eventually("there is room", || async { node.post("other", &large).await.status() == StatusCode::ACCEPTED }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_bounded_in_bytes_and_keeps_the_newest_event() {
    let node = Options::default().set("HISTORY__BYTES", "4KiB").start().await;
    let kept = async || -> Vec<u64> {
        let history = node.history("p", "").await;
        history["events"].as_array().unwrap().iter().map(|event| event["payload"][0].as_u64().unwrap()).collect()
    };
    let mut ids = Vec::new();
    for n in 1..=10 {
        ids.push(node.publish("p", "a", json!([n, "x".repeat(1000)])).await);
    }
    assert_eq!(kept().await, [8, 9, 10]);
    // Contiguous after the last one that went, a gap after one before it.
    assert_eq!(node.history("p", &format!("?after={}", ids[6])).await["gap"], false);
    assert_eq!(node.history("p", &format!("?after={}", ids[5])).await["gap"], true);
    node.publish("p", "a", json!([11, "x".repeat(10_000)])).await;
    assert_eq!(kept().await, [11]);
}
