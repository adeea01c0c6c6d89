//! A distant Redis, and one that returns after an outage: what has to wait, and what must not.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;

use crate::support::eventually;
use crate::support::node::Options;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::stream::assert_contiguous;

/// Clients ask for far more than a distant Redis can answer over the pool's few connections.
#[tokio::test(flavor = "multi_thread")]
async fn client_history_reads_delay_no_stream_and_no_probe() {
    const CLIENTS: usize = 200;
    const EVENTS: u64 = 40;
    let redis = Redis::start().await;
    let proxy = Proxy::far_away(&redis, Duration::from_millis(20));
    let node = Options::default()
        .redis(&proxy.url())
        .set("REDIS__POOL_SIZE", "2")
        .set("REDIS__PROBE_INTERVAL", "200ms")
        .start()
        .await;
    node.publish_numbers("asked", 1..=3).await;
    let mut stream = node.open("p", "").await;
    let (is_over, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let asking = (0..CLIENTS).map(|_| async {
        while !is_over.load(Ordering::Relaxed) {
            let history = node.http.get(format!("{}/pipelines/asked/events", node.url)).send().await.unwrap();
            assert!(matches!(history.status(), StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE));
            asked.fetch_add(1, Ordering::Relaxed);
        }
    });
    let live = async {
        eventually("many ask", || async { asked.load(Ordering::Relaxed) > 50 }).await;
        for number in 1..=EVENTS {
            node.publish("p", "numbers", json!(number)).await;
            assert_eq!(stream.numbers(1).await, [number]);
            // A first reader's history is not in the clients' queue either.
            let mut first = node.open(&format!("p{number}"), "").await;
            node.publish(&format!("p{number}"), "numbers", json!(number)).await;
            assert_eq!(first.numbers(1).await, [number]);
        }
        is_over.store(true, Ordering::Relaxed);
    };
    futures_util::future::join(futures_util::future::join_all(asking), live).await;
    assert_eq!(node.metric("pipecast_store_reconnects_total").await, 0.0);
    assert!(node.is_ready().await);
}

/// During a long outage the listening connection backs off. Publishers resume at once, and must be heard.
#[tokio::test(flavor = "multi_thread")]
async fn redis_is_heard_at_its_first_publish_after_an_outage() {
    const EVENTS: u64 = 150;
    let mut redis = Redis::start_durable().await;
    let nodes = [
        Options::default().redis(&redis.url()).set("HUB__CHECK_INTERVAL", "1h").start().await,
        Options::default().redis(&redis.url()).set("HUB__CHECK_INTERVAL", "1h").start().await,
    ];
    let mut streams = [nodes[0].open("p", "").await, nodes[1].open("p", "").await];
    nodes[0].publish("p", "numbers", json!(0)).await;
    redis.kill();
    // The outage's length is what is tested.
    tokio::time::sleep(Duration::from_secs(7)).await;
    redis.restart().await;
    let began = Instant::now();
    for number in 1..=EVENTS {
        let key = number.to_string();
        let event = json!({"channel": "numbers", "payload": number});
        eventually("publishing works", || async {
            nodes[0].post_with("p", &event, &[("Idempotency-Key", &key)]).await.status() == StatusCode::ACCEPTED
        })
        .await;
        // Sixty a second: the history of a hundred is gone in less than two.
        tokio::time::sleep_until((began + Duration::from_millis(1000 / 60 * number)).into()).await;
    }
    for (stream, node) in streams.iter_mut().zip(&nodes) {
        let events = stream.take(usize::try_from(EVENTS).unwrap() + 1).await;
        assert!(events.iter().all(|event| event.event == "numbers"), "a gap was reported: {}", node.log());
        assert_contiguous(&events);
    }
}

/// A thousand pipelines are subscribed to again through a long way, while events and new readers come.
#[tokio::test(flavor = "multi_thread")]
async fn lost_listener_with_many_pipelines_loses_no_event() {
    const PIPELINES: usize = 1000;
    const ROUNDS: u64 = 3;
    let redis = Redis::start().await;
    let proxy = Proxy::far_away(&redis, Duration::from_millis(20));
    let far = Options::default().redis(&proxy.url()).set("HUB__CHECK_INTERVAL", "1h").start().await;
    let near = Options::default().redis(&redis.url()).start().await;
    let opening = (0..PIPELINES).map(async |n| far.open(&format!("p{n}"), "?replay=0").await);
    let mut streams = futures_util::future::join_all(opening).await;
    let reads = || async { far.metric("pipecast_history_reads_total{reason=\"open\"}").await };
    eventually("all are read", || async { reads().await == PIPELINES as f64 }).await;
    for round in 1..=ROUNDS {
        redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        let new = format!("new{round}");
        let mut first = far.open(&new, "").await;
        near.publish(&new, "numbers", json!(round)).await;
        assert_eq!(first.numbers(1).await, [round]);
        for n in 0..PIPELINES {
            near.publish(&format!("p{n}"), "numbers", json!(round)).await;
        }
        for stream in &mut streams {
            assert_eq!(stream.numbers(1).await, [round]);
        }
    }
    for stream in &mut streams {
        assert!(stream.arrived().is_empty());
    }
    assert!(far.metric("pipecast_store_reconnects_total").await >= ROUNDS as f64);
}

/// The subscriptions of streams that are open already are not put off for as long as others open.
#[tokio::test(flavor = "multi_thread")]
async fn open_streams_recover_while_new_pipelines_keep_coming() {
    let redis = Redis::start().await;
    let proxy = Proxy::far_away(&redis, Duration::from_millis(20));
    let far = Options::default().redis(&proxy.url()).set("HUB__CHECK_INTERVAL", "1h").start().await;
    let near = Options::default().redis(&redis.url()).start().await;
    let mut streams = [far.open("p1", "").await, far.open("p2", "").await];
    for (stream, pipeline) in streams.iter_mut().zip(["p1", "p2"]) {
        near.publish(pipeline, "numbers", json!(1)).await;
        assert_eq!(stream.numbers(1).await, [1]);
    }
    let (is_over, opened) = (AtomicBool::new(false), AtomicU64::new(0));
    let opening = (0..4).map(|_| async {
        while !is_over.load(Ordering::Relaxed) {
            let number = opened.fetch_add(1, Ordering::Relaxed);
            drop(far.open(&format!("new{number}"), "").await);
        }
    });
    let live = async {
        eventually("many come", || async { opened.load(Ordering::Relaxed) > 100 }).await;
        redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        for (stream, pipeline) in streams.iter_mut().zip(["p1", "p2"]) {
            near.publish(pipeline, "numbers", json!(2)).await;
            let came = tokio::time::timeout(Duration::from_secs(20), stream.numbers(1)).await;
            is_over.store(came.is_err(), Ordering::Relaxed);
            assert_eq!(came.expect("the event comes while others open"), [2]);
        }
        is_over.store(true, Ordering::Relaxed);
    };
    futures_util::future::join(futures_util::future::join_all(opening), live).await;
}

/// Each step of connecting is fast enough, but together they take longer than one command may.
#[tokio::test(flavor = "multi_thread")]
async fn connecting_may_take_longer_than_a_command() {
    let redis = Redis::start().await;
    let proxy = Proxy::far_away(&redis, Duration::from_millis(150));
    let far = Options::default().redis(&proxy.url()).set("REDIS__TIMEOUT", "500ms").start().await;
    let near = Options::default().redis(&redis.url()).start().await;
    near.publish("p", "numbers", json!(1)).await;
    let mut stream = far.open("p", "").await;
    assert_eq!(stream.numbers(1).await, [1]);
    near.publish("p", "numbers", json!(2)).await;
    assert_eq!(stream.numbers(1).await, [2]);
}
