//! The crate `eventsource-client`, unmodified: a Rust program that follows a pipeline.

use std::time::Duration;

use eventsource_client::{Client, ClientBuilder, ReconnectOptions, SSE};
use futures_util::TryStreamExt;
use launchdarkly_sdk_transport::HyperTransport;
use serde_json::json;
use tokio::time::timeout;

use crate::support::node::Options;
use crate::support::raw::Raw;
use crate::support::redis::Redis;
use crate::support::{PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn crate_eventsource_client_resumes_on_a_node_that_was_killed() {
    let redis = Redis::start().await;
    let mut node = Options::default().redis(&redis.url()).start().await;
    let other = Options::default().redis(&redis.url()).start().await;
    let reconnect = ReconnectOptions::reconnect(true).delay(Duration::from_millis(100)).build();
    let client = ClientBuilder::for_url(&format!("{}/pipelines/p/sse", node.url))
        .unwrap()
        .reconnect(reconnect)
        .build_with_transport(HyperTransport::builder().build_http().unwrap());
    let mut stream = client.stream();
    let mut events = Vec::new();
    let mut until = async |count: usize| {
        while events.len() < count {
            // An error is a connection that was lost; the next item comes over a new one.
            match timeout(PATIENCE, stream.try_next()).await.expect("an event") {
                Ok(Some(SSE::Event(event))) => events.push(event),
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => panic!("the stream has ended"),
            }
        }
        events.iter().map(|event| event.data.parse().unwrap()).collect::<Vec<u64>>()
    };
    other.publish_numbers("p", 1..=10).await;
    other.publish("p", "numbers", json!(11)).await;
    assert_eq!(until(11).await, (1..=11).collect::<Vec<_>>());
    let address = format!("127.0.0.1:{}", node.port());
    node.kill();
    other.publish_numbers("p", 12..=30).await;
    let _node = Options::default().redis(&redis.url()).argument("--listen").argument(&address).start().await;
    other.publish_numbers("p", 31..=40).await;
    assert_eq!(until(40).await, (1..=40).collect::<Vec<_>>());
    assert!(events.iter().all(|event| event.event_type == "numbers" && event.id.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn eventsource_client_crate_retries_a_full_node_and_gets_in() {
    let node = Options::default().set("LIMITS__STREAMS", "1").start().await;
    node.publish("p", "numbers", json!(1)).await;
    let mut holder = Raw::connect(&node).await;
    holder.get("/pipelines/p/sse").await;
    holder.read_until("data: 1").await;
    let reconnect = ReconnectOptions::reconnect(true).delay(Duration::from_millis(100)).build();
    let client = ClientBuilder::for_url(&format!("{}/pipelines/p/sse", node.url))
        .unwrap()
        .reconnect(reconnect)
        .build_with_transport(HyperTransport::builder().build_http().unwrap());
    let first_event = tokio::spawn(async move {
        let mut stream = client.stream();
        loop {
            match stream.try_next().await {
                Ok(Some(SSE::Event(event))) => return event.data,
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => panic!("the stream has ended"),
            }
        }
    });
    eventually("it is asked to reconnect later", || async {
        node.metric("pipecast_rejected_total{reason=\"stream_limit\"}").await >= 1.0
    })
    .await;
    drop(holder);
    assert_eq!(timeout(PATIENCE, first_event).await.expect("an event").unwrap(), "1");
}
