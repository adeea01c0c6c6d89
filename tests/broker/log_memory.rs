//! `store.memory` as the bound of what a node keeps of the pipelines that are open on it.

use serde_json::json;

use crate::support::eventually;
use crate::support::node::{Node, Options};
use crate::support::raw::Raw;
use crate::support::redis::Redis;

/// 1 MiB for all logs: two of the pipelines below are too much.
async fn small_node(redis: &Redis) -> Node {
    Options::default().redis(&redis.url()).set("STORE__MEMORY", "1MiB").set("HUB__LINGER", "1h").start().await
}

/// A history of 640 KiB.
async fn fill(node: &Node, pipeline: &str) {
    for n in 0..10 {
        node.publish(pipeline, "large", json!(format!("{n}{}", "x".repeat(64 << 10)))).await;
    }
}

async fn open_pipelines(node: &Node) -> f64 {
    node.metric("pipecast_pipelines_open").await
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_without_readers_go_when_memory_is_needed() {
    let redis = Redis::start().await;
    let node = small_node(&redis).await;
    for pipeline in ["a", "b", "c"] {
        fill(&node, pipeline).await;
        assert_eq!(node.open(pipeline, "").await.take(10).await.len(), 10);
        eventually("it has left", || async { node.metric("pipecast_streams").await == 0.0 }).await;
    }
    eventually("only the last is open", || async { open_pipelines(&node).await == 1.0 }).await;
    assert!(node.metric("pipecast_event_buffer_bytes").await < f64::from(1 << 20));
    // The one that was left last is here without another read.
    assert_eq!(node.open("c", "").await.take(10).await.len(), 10);
    assert_eq!(node.metric("pipecast_history_reads_total{reason=\"open\"}").await, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_deferred_while_the_event_buffer_is_full() {
    const REFUSED: &str = "pipecast_rejected_total{reason=\"event_buffer_limit\"}";
    let redis = Redis::start().await;
    let node = small_node(&redis).await;
    let mut streams = Vec::new();
    for pipeline in ["a", "b"] {
        fill(&node, pipeline).await;
        let mut stream = node.open(pipeline, "").await;
        assert_eq!(stream.take(10).await.len(), 10);
        streams.push(stream);
    }
    eventually("a third is refused", || async {
        let mut refused = Raw::connect(&node).await;
        refused.get("/pipelines/c/sse").await;
        refused.read_some().await;
        refused.text().starts_with("HTTP/1.1 200 ") && node.metric(REFUSED).await > 0.0
    })
    .await;
    let mut refused = Raw::connect(&node).await;
    refused.get("/pipelines/c/sse").await;
    refused.read_to_end().await;
    let body = refused.body_text();
    let retry: u64 = body.strip_prefix("retry: ").unwrap().strip_suffix("\n\n").unwrap().parse().unwrap();
    assert!((5_000..=15_000).contains(&retry), "{retry}");
    // Open pipelines continue and accept more readers.
    node.publish("a", "large", json!("more")).await;
    assert_eq!(streams[0].next().await.data, "\"more\"");
    assert_eq!(node.open("a", "").await.take(11).await.len(), 11);
    // There is room once a pipeline's readers have left.
    drop(streams.pop());
    eventually("it is closed", || async { open_pipelines(&node).await == 1.0 }).await;
    node.publish("c", "small", json!(1)).await;
    eventually("a third is accepted", || async {
        node.open("c", "").await.try_next().await.is_some_and(|event| event.data == "1")
    })
    .await;
    let log = node.log();
    assert_eq!(log.matches("store.memory").count(), 1, "{log}");
}
