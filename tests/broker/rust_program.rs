//! A program in Rust that publishes and subscribes with reqwest, as docs/guide/clients/rust.md shows it.

use std::time::Duration;

use eventsource_stream::{Event, Eventsource};
use futures_util::StreamExt;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::support::node::Options;
use crate::support::redis::Redis;
use crate::support::{PATIENCE, http};

/// Publishes one event and returns its id. Sends it again, with the same key, until a node has acknowledged it.
async fn publish(
    http: &Client,
    url: &str,
    channel: &str,
    payload: Value,
) -> Result<String, Box<dyn std::error::Error>> {
    let key = format!("{:032x}", rand::random::<u128>());
    let body = json!({ "channel": channel, "payload": payload }).to_string();
    let mut pause = Duration::from_millis(200);
    loop {
        let request = http.post(url).header("Content-Type", "application/json").header("Idempotency-Key", &key);
        match request.body(body.clone()).timeout(Duration::from_secs(10)).send().await {
            Ok(response) if response.status() == StatusCode::ACCEPTED => {
                let answer: Value = serde_json::from_str(&response.text().await?)?;
                return Ok(answer["id"].as_str().unwrap_or_default().to_owned());
            }
            Ok(response) if !matches!(response.status().as_u16(), 408 | 429 | 502..=504) => {
                return Err(response.text().await?.into());
            }
            _ => {}
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

/// Calls `receive` with each event, and resumes after each break. Returns when a node rejects the request.
async fn subscribe(http: &Client, url: &str, mut receive: impl FnMut(Event)) -> reqwest::Error {
    let (mut last_event_id, mut pause) = (String::new(), Duration::from_secs(2));
    loop {
        let mut request = http.get(url).header("Accept", "text/event-stream");
        if !last_event_id.is_empty() {
            request = request.header("Last-Event-ID", &last_event_id);
        }
        match request.send().await.and_then(Response::error_for_status) {
            Ok(response) => {
                let mut events = response.bytes_stream().eventsource();
                while let Some(Ok(event)) = events.next().await {
                    pause = event.retry.unwrap_or(pause);
                    last_event_id.clone_from(&event.id);
                    receive(event);
                }
            }
            Err(error) if error.is_status() => return error,
            Err(_) => {} // nothing listens there, or the connection was lost
        }
        sleep(pause).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn program_with_reqwest_loses_nothing_when_its_node_is_killed() {
    let redis = Redis::start().await;
    let mut node = Options::default().redis(&redis.url()).start().await;
    let events = format!("{}/pipelines/p/events", node.url);
    let stream = format!("{}/pipelines/p/sse", node.url);
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    let subscriber = tokio::spawn(async move { subscribe(&http(), &stream, |event| _ = sender.send(event)).await });
    let publisher = tokio::spawn(async move {
        for number in 1..=40 {
            publish(&http(), &events, "numbers", json!(number)).await.unwrap();
            sleep(Duration::from_millis(10)).await;
        }
    });
    let mut numbers = Vec::new();
    let address = format!("127.0.0.1:{}", node.port());
    let mut replacement = None;
    while numbers.len() < 40 {
        let event = timeout(PATIENCE, received.recv()).await.expect("an event").unwrap();
        assert_eq!(event.event, "numbers");
        numbers.push(event.data.parse::<u64>().unwrap());
        if numbers.len() == 10 {
            node.kill();
            let options = Options::default().redis(&redis.url()).argument("--listen").argument(&address);
            replacement = Some(options.start().await);
        }
    }
    assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
    publisher.await.unwrap();
    subscriber.abort();
    drop(replacement);
}

#[tokio::test]
async fn program_with_reqwest_ends_when_a_node_rejects_it() {
    let node = Options::default().set("AUTH__PUBLISH", "token").set("AUTH__SUBSCRIBE", "token");
    let node = node.set("AUTH__JWT_SECRET", "0123456789abcdef0123456789abcdef").start().await;
    let url = format!("{}/pipelines/p", node.url);
    let error = publish(&http(), &format!("{url}/events"), "a", json!(1)).await.unwrap_err();
    assert!(error.to_string().contains("401"), "{error}");
    let error = timeout(PATIENCE, subscribe(&http(), &format!("{url}/sse"), |_| ())).await.expect("it ends");
    assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED));
}
