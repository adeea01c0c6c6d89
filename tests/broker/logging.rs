//! The log: nothing that happens to it may happen to the node.

use std::io::{PipeReader, Read};
use std::sync::Arc;

use parking_lot::Mutex;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::eventually;
use crate::support::node::{Node, Options};
use crate::support::raw::Raw;
use crate::support::redis::Redis;

/// A node that logs into a pipe, and the pipe's end.
async fn logging_into_a_pipe(options: Options) -> (Node, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let node = options.start_logging_to(writer.into()).await;
    eventually("the node is ready", || async { node.is_ready().await }).await;
    (node, reader)
}

/// Makes the node log so many lines, at `debug`.
async fn provoke_lines(node: &Node, count: usize) {
    for _ in 0..count {
        drop(Raw::connect(node).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_serves_and_drains_when_nothing_it_says_can_be_written() {
    let mut node = Options::default().set("DRAIN__LEAD", "0s").set("DRAIN__WINDOW", "0s").start_unheard().await;
    let mut stream = node.open("p", "").await;
    let id = node.publish("p", "a", json!(1)).await;
    assert_eq!(stream.next().await.id, id);
    assert!(node.metric("pipecast_log_lines_dropped_total{reason=\"failed\"}").await > 0.0);
    node.signal("TERM");
    assert_eq!(node.exit().await.code(), Some(0));
    assert!(stream.try_next().await.is_none(), "the stream was ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_follows_its_store_and_drains_after_the_log_pipe_broke() {
    let mut redis = Redis::start().await;
    let options = Options::default().redis(&redis.url()).set("REDIS__PROBE_INTERVAL", "200ms");
    let options = options.set("DRAIN__LEAD", "0s").set("DRAIN__WINDOW", "0s");
    let (mut node, pipe) = logging_into_a_pipe(options).await;
    drop(pipe);
    let mut stream = node.open("p", "").await;
    for n in 1..=2 {
        redis.kill();
        eventually("the store is unreachable", || async { node.metric("pipecast_store_up").await == 0.0 }).await;
        redis.restart().await;
        eventually("events are stored again", || async {
            node.post("p", json!({"channel": "a", "payload": n})).await.status() == StatusCode::ACCEPTED
        })
        .await;
        while stream.next().await.data != n.to_string() {}
    }
    node.signal("TERM");
    assert_eq!(node.exit().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_revocation_is_taken_after_the_log_pipe_broke() {
    let folder = tempfile::tempdir().unwrap();
    let revoked = folder.path().join("revoked");
    std::fs::write(&revoked, "").unwrap();
    let options = Options::default()
        .set("AUTH__PUBLISH", "token")
        .set("AUTH__KEYS", r#"[{ name = "one", key = "0123456789abcdef-one", publish = ["*"] }, { name = "two", key = "0123456789abcdef-two", publish = ["*"] }]"#)
        .set("AUTH__REVOCATION_FILE", revoked.to_str().unwrap());
    let (node, pipe) = logging_into_a_pipe(options).await;
    drop(pipe);
    let publish = async |secret: &str| {
        let authorization = format!("Bearer {secret}");
        let event = json!({"channel": "a", "payload": 1});
        node.post_with("p", event, &[("Authorization", authorization.as_str())]).await.status()
    };
    let mut names = String::new();
    for (name, secret) in [("one", "0123456789abcdef-one"), ("two", "0123456789abcdef-two")] {
        assert_eq!(publish(secret).await, StatusCode::ACCEPTED);
        names.push_str(&format!("{name}\n"));
        std::fs::write(&revoked, &names).unwrap();
        eventually("the key is refused", || async { publish(secret).await == StatusCode::UNAUTHORIZED }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_log_blocks_nothing_and_reports_dropped_lines() {
    let options = Options::default().set("LOG__FILTER", "debug").set("LOG__BUFFER", "64KiB");
    let (node, mut pipe) = logging_into_a_pipe(options).await;
    provoke_lines(&node, 4000).await;
    eventually("lines are dropped", || async {
        assert_eq!(node.admin_status("/livez").await, Some(StatusCode::OK));
        node.metric("pipecast_log_lines_dropped_total{reason=\"full\"}").await > 0.0
    })
    .await;
    node.publish("p", "a", json!(1)).await;
    let log = Arc::new(Mutex::new(String::new()));
    let copy = log.clone();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = pipe.read(&mut bytes) {
            copy.lock().push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    });
    eventually("the log tells of the loss, and goes on", || async {
        provoke_lines(&node, 1).await;
        let log = log.lock();
        log.split_once("log lines were lost").is_some_and(|(_, after)| after.contains("before its first request"))
    })
    .await;
    // Each line is whole.
    let log = log.lock();
    let (lines, _) = log.rsplit_once('\n').unwrap();
    assert!(lines.lines().all(|line| line.starts_with("20") && line.contains(" pipecast::")), "{lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_whose_log_nobody_reads_drains_and_ends() {
    let options = Options::default().set("LOG__FILTER", "debug").set("DRAIN__LEAD", "0s").set("DRAIN__WINDOW", "0s");
    let (mut node, _pipe) = logging_into_a_pipe(options).await;
    provoke_lines(&node, 1500).await;
    node.signal("TERM");
    assert_eq!(node.exit().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn last_lines_before_the_end_are_written() {
    let options = Options::default().set("DRAIN__LEAD", "0s").set("DRAIN__WINDOW", "0s");
    let (mut node, mut pipe) = logging_into_a_pipe(options).await;
    node.signal("TERM");
    assert_eq!(node.exit().await.code(), Some(0));
    let mut log = String::new();
    pipe.read_to_string(&mut log).unwrap();
    assert!(log.ends_with("stopped; all connections are closed\n"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_log_level_applies_to_our_code_only() {
    for (filter, is_heard) in [("debug", false), ("debug,h2=trace", true)] {
        let node = Options::default().set("LOG__FILTER", filter).start().await;
        let answer = crate::support::http2().get(format!("{}/pipelines/p", node.url)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        provoke_lines(&node, 1).await;
        eventually("our own lines are there", || async { node.log().contains("before its first request") }).await;
        let of_libraries: Vec<_> =
            node.log().lines().filter(|line| !line.contains(" pipecast::")).map(str::to_owned).collect();
        assert_eq!(!of_libraries.is_empty(), is_heard, "{filter}: {of_libraries:?}");
        assert!(of_libraries.iter().all(|line| line.contains("h2::")), "{of_libraries:?}");
    }
}
