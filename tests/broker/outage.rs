//! Redis becoming unreachable and returning while clients are connected.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;

use crate::support::eventually;
use crate::support::node::{Node, Options};
use crate::support::proxy::Proxy;
use crate::support::raw::Raw;
use crate::support::redis::Redis;
use crate::support::stream::{assert_contiguous, number};

/// Probes often, so that outages are noticed within a test's time; and never compares open logs
/// with the store, which would eventually repair whatever a reconnect left broken.
fn watchful(url: &str) -> Options {
    Options::default().redis(url).set("REDIS__PROBE_INTERVAL", "200ms").set("HUB__CHECK_INTERVAL", "1h")
}

/// Publishing fails as promised: 503 with a date, in time, and nothing acknowledged.
async fn assert_refused(node: &Node) {
    let began = Instant::now();
    let answer = node.post("p", json!({"channel": "refused", "payload": 0})).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(answer.headers().contains_key("Retry-After"));
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
}

async fn until_published(node: &Node, number: u64) {
    eventually("publishing works again", || async {
        // The key makes it once, whatever became of earlier tries.
        let key = number.to_string();
        let event = json!({"channel": "numbers", "payload": number});
        node.post_with("p", event, &[("Idempotency-Key", &key)]).await.status() == StatusCode::ACCEPTED
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_restart_with_data_costs_clients_only_time() {
    let mut redis = Redis::start_durable().await;
    let node = watchful(&redis.url()).set("STREAM__KEEPALIVE", "100ms").start().await;
    let mut stream = node.open("p", "").await;
    let ids = node.publish_numbers("p", 1..=3).await;
    assert_eq!(stream.numbers(3).await, [1, 2, 3]);

    redis.kill();
    assert_refused(&node).await;
    eventually("the node is not ready", || async { !node.is_ready().await }).await;
    assert_eq!(node.admin_status("/livez").await, Some(StatusCode::OK));
    assert_eq!(node.metric("pipecast_store_up").await, 0.0);
    assert!(node.metric("pipecast_store_errors_total{op=\"append\"}").await >= 1.0);
    // A new stream of a pipeline that is not open here waits with keepalives.
    let mut waiting = Raw::connect(&node).await;
    waiting.get("/pipelines/other/sse").await;
    waiting.read_until(":keepalive\n\n").await;
    assert!(waiting.text().starts_with("HTTP/1.1 200 "));

    redis.restart().await;
    until_published(&node, 4).await;
    assert_eq!(stream.numbers(1).await, [4]);
    eventually("the node is ready", || async { node.is_ready().await }).await;
    node.publish("other", "a", json!("first")).await;
    waiting.read_until("data: \"first\"\n\n").await;
    assert_eq!(node.open_with("p", "", Some(&ids[0])).await.numbers(3).await, [2, 3, 4]);
    assert!(stream.arrived().is_empty());
    assert!(node.metric("pipecast_store_reconnects_total").await >= 1.0);
    let warnings = node.log().matches("lost the Redis pub/sub connection").count();
    assert_eq!(warnings, 1, "an outage is logged once: {}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_comes_back_empty_is_one_gap() {
    let mut redis = Redis::start().await;
    let node = watchful(&redis.url()).start().await;
    let mut stream = node.open("p", "").await;
    let ids = node.publish_numbers("p", 1..=3).await;
    assert_eq!(stream.numbers(3).await, [1, 2, 3]);
    redis.kill();
    redis.restart().await;
    until_published(&node, 4).await;
    assert_eq!(stream.gap().await.0, json!({"reason": "reset", "after": ids[2], "missed": null}));
    assert_eq!(stream.numbers(1).await, [4]);
    let mut resumed = node.open_with("p", "", Some(&ids[2])).await;
    assert_eq!(resumed.gap().await.0["reason"], "reset");
    assert_eq!(resumed.numbers(1).await, [4]);
    assert!(stream.arrived().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_hangs_is_noticed_and_forgiven() {
    let redis = Redis::start().await;
    let node = watchful(&redis.url()).set("REDIS__TIMEOUT", "500ms").start().await;
    let mut stream = node.open("p", "").await;
    node.publish_numbers("p", 1..=2).await;
    assert_eq!(stream.numbers(2).await, [1, 2]);
    redis.signal("STOP");
    assert_refused(&node).await;
    eventually("the node is not ready", || async { !node.is_ready().await }).await;
    redis.signal("CONT");
    eventually("the node is ready", || async { node.is_ready().await }).await;
    until_published(&node, 3).await;
    // What was refused may have been stored after all; it comes once, and nothing else does.
    let mut events = stream.take(1).await;
    while events.last().is_none_or(|event| event.event == "refused") {
        events.push(stream.next().await);
    }
    assert_eq!(number(events.last().unwrap()), 3);
    assert!(events.len() <= 2, "{events:?}");
    assert_contiguous(&events);
}

#[tokio::test(flavor = "multi_thread")]
async fn pubsub_connections_cut_again_and_again_lose_nothing() {
    const EVENTS: u64 = 400;
    let redis = Redis::start().await;
    let nodes = [watchful(&redis.url()).start().await, watchful(&redis.url()).start().await];
    let mut streams = [nodes[0].open("p", "").await, nodes[1].open("p", "").await];
    // Slowly enough that no outage is longer than the history; otherwise lost events would be reported as a gap.
    let mut ticks = tokio::time::interval(Duration::from_millis(8));
    for n in 1..=EVENTS {
        ticks.tick().await;
        if n % 40 == 0 {
            redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        }
        nodes[usize::try_from(n % 2).unwrap()].publish("p", "numbers", json!(n)).await;
    }
    for stream in &mut streams {
        let events = stream.take(usize::try_from(EVENTS).unwrap()).await;
        assert_contiguous(&events);
        assert!(events.iter().zip(1..).all(|(event, n)| number(event) == n));
        assert!(stream.arrived().is_empty());
    }
    for node in &nodes {
        assert!(node.metric("pipecast_store_reconnects_total").await >= 1.0);
        assert_eq!(node.metric("pipecast_gaps_total{reason=\"trimmed\"}").await, 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_look_open_and_are_dead_are_made_anew() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis);
    let behind = watchful(&proxy.url()).set("REDIS__TIMEOUT", "500ms").start().await;
    let other = watchful(&redis.url()).start().await;
    let mut stream = behind.open("p", "").await;
    other.publish_numbers("p", 1..=2).await;
    assert_eq!(stream.numbers(2).await, [1, 2]);
    proxy.silence_open_connections();
    // No call fails; only the probe does not return.
    other.publish_numbers("p", 3..=4).await;
    assert_eq!(stream.numbers(2).await, [3, 4]);
    until_published(&behind, 5).await;
    assert_eq!(stream.numbers(1).await, [5]);
    eventually("the node is ready", || async { behind.is_ready().await }).await;
    assert!(behind.metric("pipecast_store_reconnects_total").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_cut_off_for_hearing_too_slowly_reads_what_it_missed() {
    let redis = Redis::start().await;
    redis.command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 64kb 64kb 1"]);
    let slow = watchful(&redis.url()).start().await;
    let other = watchful(&redis.url()).start().await;
    let mut stream = slow.open("p", "").await;
    other.publish("p", "numbers", json!(1)).await;
    assert_eq!(stream.numbers(1).await, [1]);
    slow.signal("STOP");
    let filler = "x".repeat(100 << 10);
    for _ in 0..20 {
        other.publish("p", "large", json!(filler)).await;
    }
    eventually("Redis has cut the slow node off", || async {
        redis.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).lines().count() == 1
    })
    .await;
    slow.signal("CONT");
    assert_contiguous(&stream.take(20).await);
    other.publish("p", "numbers", json!(22)).await;
    assert_eq!(stream.numbers(1).await, [22]);
    assert_eq!(slow.metric("pipecast_gaps_total{reason=\"trimmed\"}").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_starts_before_its_redis_waits_for_it() {
    let mut redis = Redis::start().await;
    redis.kill();
    let node = watchful(&redis.url()).set("STREAM__KEEPALIVE", "100ms").start_unready().await;
    assert_eq!(node.admin_status("/readyz").await, Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(node.admin_status("/livez").await, Some(StatusCode::OK));
    assert_refused(&node).await;
    let mut stream = node.open("p", "").await;
    redis.restart().await;
    eventually("the node is ready", || async { node.is_ready().await }).await;
    until_published(&node, 1).await;
    assert_eq!(stream.numbers(1).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_without_the_store_fails_only_while_draining() {
    const ALONE: &str = "/readyz?exclude=store";
    let mut redis = Redis::start().await;
    let node = watchful(&redis.url()).set("DRAIN__LEAD", "1m").set("DRAIN__DEADLINE", "1m").start().await;
    assert_eq!(node.admin_status(ALONE).await, Some(StatusCode::OK));
    redis.kill();
    eventually("the node is not ready", || async { !node.is_ready().await }).await;
    assert_eq!(node.admin_status(ALONE).await, Some(StatusCode::OK));
    // And one that never had its Redis.
    let other = watchful(&redis.url()).start_unready().await;
    assert_eq!(other.admin_status("/readyz").await, Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(other.admin_status(ALONE).await, Some(StatusCode::OK));
    node.signal("TERM");
    eventually("it drains", || async { node.admin_status(ALONE).await == Some(StatusCode::SERVICE_UNAVAILABLE) }).await;
}

/// 25 MB at 80 Mbit/s need five times `redis.timeout`, and arrive nevertheless.
#[tokio::test(flavor = "multi_thread")]
async fn large_history_is_read_over_a_slow_line() {
    let redis = Redis::start().await;
    let near = Options::default().redis(&redis.url()).start().await;
    for n in 1..=100 {
        near.publish("p", "a", json!({"n": n, "filler": "x".repeat(250 << 10)})).await;
    }
    let proxy = Proxy::before(&redis);
    // The history needs five seconds, each page a twentieth of one: a busy machine may be late for one.
    let far = Options::default().redis(&proxy.url()).set("REDIS__TIMEOUT", "2s").start().await;
    proxy.narrow_to(5 << 20);
    let mut stream = far.open("p", "").await;
    let events = stream.take(100).await;
    assert_contiguous(&events);
    assert_eq!(far.history("p", "").await["events"].as_array().unwrap().len(), 100);
    assert_eq!(far.metric("pipecast_store_errors_total{op=\"history\"}").await, 0.0);
}

/// Publishers get 503 from the first moment on: the balancer should know long before three probes are missing.
#[tokio::test(flavor = "multi_thread")]
async fn unreachable_redis_is_reported_before_probes_are_late() {
    let mut redis = Redis::start().await;
    let node = Options::default().redis(&redis.url()).start().await;
    redis.kill();
    eventually("the node is not ready", || async { !node.is_ready().await }).await;
    let age = node.metric("pipecast_store_probe_age_seconds").await;
    assert!((0.0..15.0).contains(&age), "{age} s: it has waited for three probes of 5 s");
    redis.restart().await;
    eventually("the node is ready", || async { node.is_ready().await }).await;
}

/// The first probe may be announced before the node listens: it must not wait for the next one.
#[tokio::test(flavor = "multi_thread")]
async fn node_is_ready_from_its_start_on_however_rarely_it_probes() {
    let redis = Redis::start().await;
    let proxy = Proxy::far_away(&redis, Duration::from_millis(20));
    for url in [redis.url(), proxy.url()] {
        for _ in 0..5 {
            Options::default().redis(&url).set("REDIS__PROBE_INTERVAL", "60s").start().await;
        }
    }
}
