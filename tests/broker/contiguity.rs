//! Histories that were lost, in part or as a whole: who resumes gets what is new, and is told that something is missing.

use serde_json::json;

use crate::support::node::{Node, Options};
use crate::support::proxy::Proxy;
use crate::support::raw::Raw;
use crate::support::redis::Redis;
use crate::support::stream::Stream;
use crate::support::{eventually, seq};

/// The position that a live-only client is told before it has any event.
async fn position(node: &Node, pipeline: &str) -> String {
    let mut raw = Raw::connect(node).await;
    raw.get(&format!("/pipelines/{pipeline}/sse?replay=0")).await;
    raw.read_until("data: {}\n\n").await;
    let body = raw.body_text();
    let told = body.split_once("event: pipecast.position\nid: ").unwrap_or_else(|| panic!("{body}")).1;
    told.lines().next().unwrap().to_owned()
}

/// An open stream that has been told its position.
async fn open_live(node: &Node, pipeline: &str) -> Stream {
    let placed = "pipecast_streams_opened_total{start=\"history\"}";
    let before = node.metric(placed).await;
    let stream = node.open(pipeline, "?replay=0").await;
    eventually("it has its place", || async { node.metric(placed).await > before }).await;
    stream
}

/// A client that resumes is told of a gap for this reason, once, and then gets these. Returns how many it missed.
async fn assert_gap(node: &Node, pipeline: &str, from: &str, reason: &str, numbers: &[u64]) -> Option<u64> {
    let mut stream = node.open_with(pipeline, "", Some(from)).await;
    let (gap, id) = stream.gap().await;
    assert_eq!((&gap["reason"], &gap["after"]), (&json!(reason), &json!(from)));
    assert_eq!(stream.numbers(numbers.len()).await, numbers, "after {from}");
    // With the gap's id the same gap is not reported again.
    assert_no_gap(node, pipeline, &id, numbers).await;
    gap["missed"].as_u64()
}

async fn assert_no_gap(node: &Node, pipeline: &str, from: &str, numbers: &[u64]) {
    let mut stream = node.open_with(pipeline, "", Some(from)).await;
    assert_eq!(stream.numbers(numbers.len()).await, numbers, "after {from}");
}

async fn node_on(redis: &Redis) -> Node {
    Options::default().redis(&redis.url()).set("HISTORY__LIMIT", "5").set("HUB__LINGER", "0s").start().await
}

/// Until a stream that is opened now reads the history anew.
async fn closed(node: &Node) {
    eventually("no log is open", || async { node.metric("pipecast_pipelines_open").await == 0.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flush_is_a_gap_although_the_numbers_meet() {
    let redis = Redis::start().await;
    let node = node_on(&redis).await;
    let beginning = position(&node, "p").await;
    let ids = node.publish_numbers("p", 1..=3).await;
    assert_no_gap(&node, "p", &beginning, &[1, 2, 3]).await;
    closed(&node).await;
    redis.command(&["FLUSHALL"]);
    // Of eight, five are kept, the first of which is number 4.
    let new = node.publish_numbers("p", 11..=18).await;
    assert_eq!(seq(&new[3]), 4);
    assert_gap(&node, "p", &ids[2], "reset", &[14, 15, 16, 17, 18]).await;
    assert_eq!(assert_gap(&node, "p", &ids[0], "trimmed", &[14, 15, 16, 17, 18]).await, None);
    assert_gap(&node, "p", &beginning, "trimmed", &[14, 15, 16, 17, 18]).await;
    assert_eq!(assert_gap(&node, "p", &new[0], "trimmed", &[14, 15, 16, 17, 18]).await, Some(2));
    assert_no_gap(&node, "p", &new[2], &[14, 15, 16, 17, 18]).await;
    let history = node.history("p", &format!("?after={}", ids[2])).await;
    assert_eq!(history["gap"], json!(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn client_without_events_is_told_of_a_flush() {
    let redis = Redis::start().await;
    let node = node_on(&redis).await;
    let beginning = position(&node, "p").await;
    node.publish_numbers("p", 1..=2).await;
    closed(&node).await;
    redis.command(&["FLUSHALL"]);
    // Not yet another history.
    assert_eq!(node.open_with("p", "", Some(&beginning)).await.gap().await.0["reason"], "reset");
    closed(&node).await;
    let later = position(&node, "p").await;
    node.publish_numbers("p", 3..=4).await;
    assert_gap(&node, "p", &beginning, "reset", &[3, 4]).await;
    assert_no_gap(&node, "p", &later, &[3, 4]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connected_client_without_events_is_told_of_a_flush() {
    let redis = Redis::start().await;
    let node = node_on(&redis).await;
    let mut stream = open_live(&node, "p").await;
    redis.command(&["FLUSHALL"]);
    node.publish_numbers("p", 1..=2).await;
    assert_eq!(stream.gap().await.0["reason"], "reset");
    assert_eq!(stream.numbers(2).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_history_is_a_gap_and_a_quiet_pipeline_is_none() {
    let redis = Redis::start().await;
    let node = Options::default().redis(&redis.url()).set("HISTORY__TTL", "1s").set("HUB__LINGER", "0s").start().await;
    let beginning = position(&node, "p").await;
    let id = node.publish_numbers("p", 1..=1).await.remove(0);
    eventually("it expires", || async { redis.command(&["EXISTS", "pipecast:{p}:events"]) == "0" }).await;
    node.publish_numbers("p", 2..=3).await;
    assert_gap(&node, "p", &id, "reset", &[2, 3]).await;
    assert_gap(&node, "p", &beginning, "reset", &[2, 3]).await;
    // A connected client knows that nothing was published, for however long.
    let mut idle = open_live(&node, "quiet").await;
    node.publish_numbers("other", 1..=1).await;
    eventually("another expires", || async { redis.command(&["EXISTS", "pipecast:{other}:events"]) == "0" }).await;
    node.publish_numbers("quiet", 1..=1).await;
    assert_eq!(idle.numbers(1).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_from_an_old_snapshot_is_no_continuation() {
    let mut redis = Redis::start().await;
    let node = node_on(&redis).await;
    let old = node.publish_numbers("p", 1..=3).await;
    redis.command(&["SAVE"]);
    let lost = node.publish_numbers("p", 4..=5).await;
    let beginning = position(&node, "q").await;
    node.publish_numbers("q", 1..=2).await;
    let mut connected = node.open("p", "").await;
    assert_eq!(connected.numbers(5).await, [1, 2, 3, 4, 5]);
    redis.kill();
    redis.restart().await;
    eventually("publishing works again", || async {
        node.post_with("p", json!({"channel": "numbers", "payload": 6}), &[("Idempotency-Key", "6")]).await.status()
            == 202
    })
    .await;
    node.publish_numbers("q", 3..=4).await;
    assert_eq!(connected.gap().await.0["reason"], "reset");
    assert_eq!(connected.numbers(1).await, [6]);
    drop(connected);
    closed(&node).await;
    for id in &lost {
        assert_gap(&node, "p", id, "reset", &[6]).await;
    }
    assert_no_gap(&node, "p", &old[1], &[3, 6]).await;
    assert_gap(&node, "q", &beginning, "reset", &[3, 4]).await;
    node.publish_numbers("p", 7..=14).await;
    for id in &lost {
        assert_eq!(assert_gap(&node, "p", id, "trimmed", &[10, 11, 12, 13, 14]).await, None);
    }
}

async fn deleted_history_is_a_gap_for_those_who_lack_some_of_it(node: &Node) {
    let beginning = position(node, "p").await;
    let ids = node.publish_numbers("p", 1..=3).await;
    node.forget("p").await;
    assert_eq!(position(node, "p").await, ids[2]);
    let next = node.publish_numbers("p", 4..=5).await;
    assert_eq!(seq(&next[0]), 4);
    assert_eq!(assert_gap(node, "p", &beginning, "trimmed", &[4, 5]).await, Some(3));
    assert_eq!(assert_gap(node, "p", &ids[0], "trimmed", &[4, 5]).await, Some(2));
    assert_no_gap(node, "p", &ids[2], &[4, 5]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_history_on_redis() {
    let redis = Redis::start().await;
    deleted_history_is_a_gap_for_those_who_lack_some_of_it(&node_on(&redis).await).await;
    // The last id is kept only as long as it is needed: the next entry names it.
    assert_eq!(redis.command(&["LLEN", "pipecast:{p}:events"]), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_history_on_the_embedded_store() {
    deleted_history_is_a_gap_for_those_who_lack_some_of_it(&Node::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_of_the_embedded_store_is_a_gap() {
    let mut node = Node::embedded().await;
    let beginning = position(&node, "p").await;
    let id = node.publish_numbers("p", 1..=2).await.remove(0);
    assert_no_gap(&node, "p", &beginning, &[1, 2]).await;
    node.kill();
    let node = Node::embedded().await;
    assert_eq!(node.open_with("p", "", Some(&beginning)).await.gap().await.0["reason"], "reset");
    node.publish_numbers("p", 3..=4).await;
    assert_gap(&node, "p", &beginning, "reset", &[3, 4]).await;
    assert_gap(&node, "p", &id, "reset", &[3, 4]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn user_without_info_is_warned_and_sees_no_false_gap() {
    let redis = Redis::start().await;
    redis.command(&["ACL", "SETUSER", "default", "-info"]);
    let node = node_on(&redis).await;
    assert!(node.log().contains("are not told of a restart"), "{}", node.log());
    let beginning = position(&node, "p").await;
    node.publish_numbers("p", 1..=2).await;
    assert_no_gap(&node, "p", &beginning, &[1, 2]).await;
    closed(&node).await;
    redis.command(&["FLUSHALL"]);
    node.publish_numbers("p", 3..=3).await;
    assert_gap(&node, "p", &beginning, "reset", &[3]).await;
}

/// A moment that cannot be kept must not become a later one with each check.
#[tokio::test(flavor = "multi_thread")]
async fn redis_that_refuses_to_write_costs_idle_clients_no_gap() {
    let redis = Redis::start().await;
    let node = Options::default().redis(&redis.url()).set("HUB__CHECK_INTERVAL", "100ms").start().await;
    redis.command(&["DEL", "pipecast:began"]);
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let mut stream = open_live(&node, "p").await;
    let checks = || {
        let calls = redis.command(&["INFO", "commandstats"]);
        let line = calls.lines().find(|line| line.starts_with("cmdstat_info:")).unwrap_or_default().to_owned();
        line.split(['=', ',']).nth(1).and_then(|calls| calls.parse::<u64>().ok()).unwrap_or_default()
    };
    let before = checks();
    eventually("it is checked some times", || async { checks() >= before + 20 }).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert!(stream.arrived().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn entry_of_an_older_build_begins_the_history_anew() {
    let redis = Redis::start().await;
    let node = node_on(&redis).await;
    redis.command(&["RPUSH", "pipecast:{p}:events", "id: 5-1\nevent: numbers\ndata: 1\n\n"]);
    assert_eq!(node.open_with("p", "", Some("5-1")).await.gap().await.0["reason"], "reset");
    node.publish_numbers("p", 2..=3).await;
    assert_gap(&node, "p", "5-1", "reset", &[2, 3]).await;
    assert_eq!(redis.command(&["LLEN", "pipecast:{p}:events"]), "2");
}

/// The node was away for longer than `history.ttl`: a whole history came and expired.
#[tokio::test(flavor = "multi_thread")]
async fn history_that_came_and_expired_during_an_outage_is_a_gap() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis);
    let options =
        |url: &str| Options::default().redis(url).set("HISTORY__TTL", "1s").set("HUB__CHECK_INTERVAL", "100ms");
    let (far, near) = (options(&proxy.url()).start().await, options(&redis.url()).start().await);
    let mut streams = Vec::new();
    for n in 0..20 {
        streams.push(open_live(&far, &format!("p{n}")).await);
    }
    proxy.lead_nowhere();
    proxy.silence_open_connections();
    for n in 0..20 {
        near.publish_numbers(&format!("p{n}"), 1..=1).await;
    }
    eventually("they expire", || async { redis.command(&["KEYS", "pipecast:{p*"]).is_empty() }).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    proxy.lead_to(&redis);
    eventually("it is back", || async { far.metric("pipecast_store_reconnects_total").await >= 1.0 }).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let mut silent = Vec::new();
    for (n, stream) in streams.iter_mut().enumerate() {
        near.publish_numbers(&format!("p{n}"), 2..=2).await;
        let first = stream.next().await;
        if first.event != "pipecast.gap" {
            silent.push(n);
        }
    }
    assert_eq!(silent, [0; 0], "these missed an event and were not told");
}

/// The list and the logs count the same bytes: a log with more events than the list looks like one that missed a deletion.
#[tokio::test(flavor = "multi_thread")]
async fn history_at_its_limit_of_bytes_is_not_read_again_and_again() {
    let redis = Redis::start().await;
    let options = Options::default().redis(&redis.url()).set("HISTORY__BYTES", "64KiB");
    let node = options.set("HUB__CHECK_INTERVAL", "100ms").start().await;
    let _stream = node.open("p", "").await;
    let reads = || async { node.metric("pipecast_history_reads_total{reason=\"check\"}").await };
    let publish = || node.publish("p", "a", json!("x".repeat(1000)));
    for _ in 0..70 {
        publish().await;
    }
    let before = reads().await;
    for _ in 0..10 {
        publish().await;
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    // A comparison may be answered before the notification arrives, but not each time.
    let reads = reads().await - before;
    assert!(reads < 5.0, "{reads} reads");
}

/// Of a page that ends with an entry of another program nothing counts. The events after it are still to be read.
#[tokio::test(flavor = "multi_thread")]
async fn events_after_a_page_that_ends_with_damage_are_read() {
    let redis = Redis::start().await;
    let node = Options::default().redis(&redis.url()).start().await;
    // A stream's page has 256 KiB, a document's 128 KiB.
    for (pipeline, last_of_page) in [("stream", "51"), ("document", "25")] {
        let events =
            serde_json::Value::from_iter((0..100).map(|_| json!({"channel": "a", "payload": "x".repeat(5000)})));
        assert!(node.post(pipeline, events).await.status().is_success());
        redis.command(&["LSET", &format!("pipecast:{{{pipeline}}}:events"), last_of_page, "rubbish"]);
    }
    assert_eq!(seq(&node.open("stream", "").await.take(48).await[47].id), 100);
    assert_eq!(node.history("document", "").await["gap"], json!(true));
}
