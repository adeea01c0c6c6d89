//! Lists in Redis that cannot be read, for a while or for good, and what that costs others.

use serde_json::json;

use crate::support::eventually;
use crate::support::node::{Node, Options};
use crate::support::redis::Redis;
use crate::support::stream::{assert_contiguous, number};

/// A node that never compares open logs with the store, which would settle in the end what reads left undone.
fn unchecked(redis: &Redis) -> Options {
    Options::default().redis(&redis.url()).set("HUB__CHECK_INTERVAL", "1h")
}

/// Cuts the node's listening connection and waits until it is subscribed to the pipeline again.
async fn reconnect(redis: &Redis, node: &Node, pipeline: &str) {
    let reconnects = node.metric("pipecast_store_reconnects_total").await;
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    eventually("it listens again", || async {
        let count = redis.command(&["PUBSUB", "NUMSUB", &format!("pipecast:{{{pipeline}}}")]);
        node.metric("pipecast_store_reconnects_total").await > reconnects && count.ends_with('1')
    })
    .await;
}

async fn reads(node: &Node, reason: &str) -> f64 {
    node.metric(&format!("pipecast_history_reads_total{{reason=\"{reason}\"}}")).await
}

/// How often Redis ran this command, in scripts too.
fn calls(redis: &Redis, command: &str) -> u64 {
    let stats = redis.command(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_heard_arrive_while_the_list_cannot_be_read() {
    const EVENTS: usize = 300;
    let redis = Redis::start().await;
    let node = unchecked(&redis).start().await;
    let mut stream = node.open("p", "").await;
    node.publish_numbers("p", 1..=1).await;
    assert_eq!(stream.numbers(1).await, [1]);
    redis.command(&["ACL", "SETUSER", "default", "-lrange"]);
    reconnect(&redis, &node, "p").await;
    eventually("a read is refused", || async {
        node.metric("pipecast_store_errors_total{op=\"history\"}").await > 0.0
    })
    .await;
    // Three times what the list keeps. The last one is seen before the list can be read again.
    for n in 2..=EVENTS as u64 {
        node.publish("p", "numbers", json!(n)).await;
    }
    let events = stream.take(EVENTS - 1).await;
    assert_contiguous(&events);
    redis.command(&["ACL", "SETUSER", "default", "+lrange"]);
    node.publish("p", "numbers", json!(EVENTS + 1)).await;
    assert_eq!(stream.numbers(1).await, [EVENTS as u64 + 1]);
    assert!(stream.arrived().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnect_that_missed_nothing_reads_nothing() {
    let redis = Redis::start().await;
    let node = unchecked(&redis).start().await;
    let mut stream = node.open("p", "").await;
    node.publish_numbers("p", 1..=1).await;
    assert_eq!(stream.numbers(1).await, [1]);
    // Kept from reading for a moment, as by many other reads that come first.
    redis.command(&["ACL", "SETUSER", "default", "-lrange"]);
    reconnect(&redis, &node, "p").await;
    eventually("a read is refused", || async {
        node.metric("pipecast_store_errors_total{op=\"history\"}").await > 0.0
    })
    .await;
    node.publish("p", "numbers", json!(2)).await;
    assert_eq!(stream.numbers(1).await, [2]);
    redis.command(&["ACL", "SETUSER", "default", "+lrange"]);
    let refused = calls(&redis, "lrange");
    let errors = node.metric("pipecast_store_errors_total{op=\"history\"}").await;
    // A second pipeline's read comes after any that the first would still want.
    node.publish("q", "numbers", json!(1)).await;
    assert_eq!(node.open("q", "").await.numbers(1).await, [1]);
    assert_eq!(calls(&redis, "lrange"), refused + 1);
    assert_eq!(node.metric("pipecast_store_errors_total{op=\"history\"}").await, errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_another_type_cost_a_healthy_pipeline_nothing() {
    let redis = Redis::start().await;
    let node = unchecked(&redis).start().await;
    let mut stuck = Vec::new();
    for n in 0..40 {
        redis.command(&["SET", &format!("pipecast:{{bad{n}}}:events"), "x"]);
        stuck.push(node.open(&format!("bad{n}"), "").await);
    }
    eventually("all have been tried", || async { reads(&node, "open").await >= 40.0 }).await;
    node.publish("good", "numbers", json!(1)).await;
    assert_eq!(node.open("good", "").await.numbers(1).await, [1]);
    // One that is repaired gets its own.
    redis.command(&["DEL", "pipecast:{bad7}:events"]);
    node.publish("bad7", "numbers", json!(7)).await;
    assert_eq!(stuck[7].numbers(1).await, [7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_read_stops_without_readers_and_restarts_with_one() {
    let redis = Redis::start().await;
    let node = unchecked(&redis).set("HUB__LINGER", "1h").start().await;
    redis.command(&["SET", "pipecast:{p}:events", "x"]);
    let stream = node.open("p", "").await;
    eventually("it was tried", || async { node.metric("pipecast_store_errors_total{op=\"history\"}").await > 0.0 })
        .await;
    drop(stream);
    eventually("the reader has left", || async { node.metric("pipecast_streams").await == 0.0 }).await;
    redis.command(&["DEL", "pipecast:{p}:events"]);
    node.publish("p", "numbers", json!(1)).await;
    assert_eq!(node.open("p", "").await.numbers(1).await, [1]);
    assert_eq!(node.metric("pipecast_pipelines_open").await, 1.0, "it is the same log");
}

#[tokio::test(flavor = "multi_thread")]
async fn list_of_another_type_does_not_end_the_check_of_others() {
    let redis = Redis::start().await;
    let node = Options::default().redis(&redis.url()).set("HUB__CHECK_INTERVAL", "200ms").start().await;
    let mut streams = Vec::new();
    for pipeline in ["a", "b", "c"] {
        streams.push(node.open(pipeline, "").await);
        node.publish(pipeline, "numbers", json!(1)).await;
        assert_eq!(streams.last_mut().unwrap().numbers(1).await, [1]);
    }
    redis.command(&["SET", "pipecast:{b}:events", "x"]);
    eventually("the check fails", || async { node.metric("pipecast_store_errors_total{op=\"check\"}").await > 0.0 })
        .await;
    // Events that were stored and whose notification is lost.
    for (pipeline, stream) in ["a", "c"].iter().zip([0, 2]) {
        let last = node.history(pipeline, "").await["events"][0]["id"].as_str().unwrap().to_owned();
        let ms = last.split_once('-').unwrap().0.to_owned();
        let entry = format!("{last}\nid: {ms}-2\nevent: numbers\ndata: 2\n\n");
        redis.command(&["RPUSH", &format!("pipecast:{{{pipeline}}}:events"), &entry]);
        assert_eq!(streams[stream].numbers(1).await, [2]);
    }
}

/// Bytes to Redis and from it since its start.
fn moved_bytes(redis: &Redis) -> u64 {
    let stats = redis.command(&["INFO", "stats"]);
    let moved = stats
        .lines()
        .filter_map(|line| line.split_once("put_bytes:").filter(|(name, _)| name.starts_with("total_net_")));
    moved.map(|(_, bytes)| bytes.trim().parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn check_moves_ids_and_no_events() {
    const PIPELINES: u64 = 100;
    let redis = Redis::start().await;
    let options = Options::default().redis(&redis.url()).set("REDIS__PROBE_INTERVAL", "60s");
    let node = options.set("HUB__CHECK_INTERVAL", "100ms").start().await;
    let mut streams = Vec::new();
    for n in 0..PIPELINES {
        streams.push(node.open(&format!("pipeline-{n}"), "").await);
        node.publish(&format!("pipeline-{n}"), "large", json!("x".repeat(10 << 10))).await;
        streams.last_mut().unwrap().next().await;
    }
    let (checks, bytes) = (calls(&redis, "pttl"), moved_bytes(&redis));
    eventually("all are checked some times", || async { calls(&redis, "pttl") >= checks + 50 * PIPELINES }).await;
    let (bytes, checks) = (moved_bytes(&redis) - bytes, calls(&redis, "pttl") - checks);
    // 71 each, and what asking for these figures moves.
    assert!(bytes < checks << 11, "{bytes} bytes for {checks} checks");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_forgotten_unheard_is_found_by_the_check() {
    let redis = Redis::start().await;
    let node = Options::default().redis(&redis.url()).set("HUB__CHECK_INTERVAL", "200ms").start().await;
    let mut stream = node.open("p", "").await;
    let ids = node.publish_numbers("p", 1..=3).await;
    assert_eq!(stream.numbers(3).await, [1, 2, 3]);
    // As DELETE does, without a word.
    redis.command(&["DEL", "pipecast:{p}:events"]);
    redis.command(&["RPUSH", "pipecast:{p}:events", &format!("{}\n", ids[2])]);
    node.publish_numbers("p", 4..=4).await;
    assert_eq!(stream.numbers(1).await, [4]);
    eventually("a new client gets nothing of it", || async {
        // A client that arrives between the two histories gets a gap first.
        let first = node.open("p", "").await.next().await;
        first.event == "numbers" && number(&first) == 4
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resume_point_that_is_made_up_costs_no_read_of_the_history() {
    const CLIENTS: u64 = 30;
    let redis = Redis::start().await;
    let node = unchecked(&redis).start().await;
    let mut first = node.open("p", "").await;
    let newest = node.publish_numbers("p", 1..=5).await.pop().unwrap();
    assert_eq!(first.numbers(5).await, [1, 2, 3, 4, 5]);
    let (ms, seq) = crate::support::parts(&newest);
    let (lrange, lindex) = (calls(&redis, "lrange"), calls(&redis, "lindex"));
    for n in 1..=CLIENTS {
        let mut stream = node.open_with("p", "", Some(&format!("{}-{}", ms + n, seq + n))).await;
        assert_eq!(stream.gap().await.0["reason"], "reset");
    }
    assert_eq!(reads(&node, "ahead").await, 0.0);
    assert_eq!(calls(&redis, "lrange"), lrange);
    let asked = calls(&redis, "lindex");
    assert!(asked > lindex && asked <= lindex + 2 * CLIENTS, "{lindex} then {asked}");
    // An id from the future: the store is not asked.
    let mut stream = node.open_with("p", "", Some(&format!("{}-6", ms + 3_600_000))).await;
    assert_eq!(stream.gap().await.0["reason"], "unknown");
    assert_eq!(stream.numbers(5).await, [1, 2, 3, 4, 5]);
    assert_eq!(calls(&redis, "lindex"), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_from_a_faster_node_still_gets_what_the_store_has() {
    let redis = Redis::start().await;
    let node = unchecked(&redis).start().await;
    let mut first = node.open("p", "").await;
    let newest = node.publish_numbers("p", 1..=2).await.pop().unwrap();
    assert_eq!(first.numbers(2).await, [1, 2]);
    let (ms, _) = crate::support::parts(&newest);
    let ids = [format!("{}-3", ms + 1), format!("{}-4", ms + 1)];
    for (n, (id, before)) in ids.iter().zip([&newest, &ids[0]]).enumerate() {
        let entry = format!("{before}\nid: {id}\nevent: numbers\ndata: {}\n\n", n + 3);
        redis.command(&["RPUSH", "pipecast:{p}:events", &entry]);
    }
    assert_eq!(node.open_with("p", "", Some(&ids[0])).await.numbers(1).await, [4]);
    assert_eq!(reads(&node, "ahead").await, 1.0);
    assert_eq!(first.numbers(2).await, [3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_renews_the_ttl_only_after_a_third_of_it() {
    let redis = Redis::start().await;
    let node = Options::default()
        .redis(&redis.url())
        .set("HUB__CHECK_INTERVAL", "100ms")
        .set("HISTORY__TTL", "1h")
        .start()
        .await;
    let key = "pipecast:{p}:events";
    let mut stream = node.open("p", "").await;
    node.publish_numbers("p", 1..=1).await;
    assert_eq!(stream.numbers(1).await, [1]);
    let (checks, expires) = (calls(&redis, "pttl"), calls(&redis, "pexpire"));
    eventually("it is checked", || async { calls(&redis, "pttl") >= checks + 3 }).await;
    assert_eq!(calls(&redis, "pexpire"), expires);
    redis.command(&["PEXPIRE", key, &(1_000 * 60 * 39).to_string()]);
    eventually("it lives on", || async { redis.command(&["PTTL", key]).parse::<u64>().unwrap() > 1_000 * 60 * 59 })
        .await;
    redis.command(&["PERSIST", key]);
    eventually("it has a time to live", || async { redis.command(&["PTTL", key]) != "-1" }).await;
}
