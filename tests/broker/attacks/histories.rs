//! Histories as JSON that are requested and not read: what costs an attacker a few bytes must not cost the node a
//! whole history for each.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::interval;

use super::{KEPT_BYTES, Target};
use crate::support::cgroup::Cgroup;
use crate::support::http2::{DATA, END_STREAM, Http2, INITIAL_WINDOW, RST_STREAM, WINDOW_UPDATE, frame, get};
use crate::support::node::{Node, Options};
use crate::support::raw::Raw;
use crate::support::redis::Redis;
use crate::support::{PATIENCE, eventually, http2};

const EVENTS: &str = "/pipelines/large/events";

/// What all answers under way may hold, `limits.histories`, and what the allocator keeps.
const SHARE: u64 = 16 << 20;
const MOST_BYTES: u64 = 2 * SHARE + KEPT_BYTES;

fn options() -> Options {
    // Long enough for no client to be ended by it.
    Options::default().set("STREAM__WRITE_TIMEOUT", "10m").set("LIMITS__HISTORIES", "16MiB")
}

/// Publishes a history of 25 MB.
async fn fill(node: &Node) {
    for n in 0..100 {
        node.publish("large", "a", json!({"n": n, "filler": "x".repeat(250 << 10)})).await;
    }
}

async fn target(options: Options) -> Target {
    let node = options.start().await;
    fill(&node).await;
    // What the publishing took, and the log that one reader of the history leaves, is not the attack's.
    eventually("a whole history is read", || async {
        node.history("large", "").await["events"][99]["payload"]["n"] == 99
    })
    .await;
    Target::of(node).await
}

/// Publishes live events beside the attack and hands each to a reader; the most memory that was used meanwhile.
async fn peak_beside_live_events(target: &Target, mut each_turn: impl AsyncFnMut()) -> u64 {
    let placed = async || target.node.metric("pipecast_streams_opened_total{start=\"history\"}").await;
    let placed_before = placed().await;
    let mut reader = target.node.open("live", "?replay=0").await;
    eventually("the reader is placed", || async { placed().await > placed_before }).await;
    let mut peak = 0;
    for n in 0..100u64 {
        each_turn().await;
        let id = target.node.publish("live", "a", json!(n)).await;
        assert_eq!(reader.next().await.id, id);
        peak = peak.max(target.grown_bytes());
    }
    peak
}

async fn assert_closed_windows_cost_little(target: &Target, requests: u32, window: u32) {
    let mut attacker = Http2::connect(&target.node, &[(INITIAL_WINDOW, window)]).await;
    attacker.send((0..requests).flat_map(|n| get(2 * n + 1, EVENTS)).collect::<Vec<_>>()).await;
    let peak = peak_beside_live_events(target, async || {}).await;
    assert!(peak < MOST_BYTES, "{peak} bytes more for {requests} requests with windows of {window}");
    drop(attacker);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_on_closed_windows_hold_a_page_each_and_not_a_history() {
    let redis = Redis::start().await;
    for options in [options(), options().redis(&redis.url())] {
        let target = target(options).await;
        for (requests, window) in [(12, 0), (12, 1000), (64, 0), (200, 100)] {
            assert_closed_windows_cost_little(&target, requests, window).await;
        }
        eventually("nothing is held any longer", || async {
            target.node.metric("pipecast_histories_bytes").await == 0.0
        })
        .await;
        target.node.forget("large").await;
        target.assert_unharmed().await;
    }
}

/// Each reads a few bytes now and then, so no stall timeout ends it.
#[tokio::test(flavor = "multi_thread")]
async fn trickling_history_readers_delay_no_live_event() {
    let redis = Redis::start().await;
    for options in [options(), options().redis(&redis.url())] {
        let target = target(options).await;
        let mut readers: Vec<_> = (0..300).map(|_| Raw::connect_narrow(&target.node, 4 << 10)).collect();
        for raw in &mut readers {
            raw.get(EVENTS).await;
        }
        let peak = peak_beside_live_events(&target, async || {
            for raw in &mut readers {
                raw.take_some(512);
            }
        })
        .await;
        assert!(peak < MOST_BYTES, "{peak} bytes more");
        assert!(target.node.metric("pipecast_histories_bytes").await <= SHARE as f64);
        eventually("those without room are rejected", || async {
            target.node.metric("pipecast_rejected_total{reason=\"history_memory_limit\"}").await > 0.0
        })
        .await;
        drop(readers);
        eventually("nothing is held any longer", || async {
            target.node.metric("pipecast_histories_bytes").await == 0.0
        })
        .await;
        target.node.forget("large").await;
        target.assert_unharmed().await;
    }
}

/// A connection has its part of the room, so that the others get theirs.
#[tokio::test(flavor = "multi_thread")]
async fn one_connection_cannot_take_the_room_of_all() {
    let target = target(options()).await;
    let mut attacker = Http2::connect(&target.node, &[(INITIAL_WINDOW, 0)]).await;
    attacker.send((0..250u32).flat_map(|n| get(2 * n + 1, EVENTS)).collect::<Vec<_>>()).await;
    eventually("it has what it can get", || async {
        target.node.metric("pipecast_rejected_total{reason=\"history_memory_limit\"}").await > 0.0
    })
    .await;
    assert_eq!(target.node.history("large", "?limit=1").await["events"][0]["payload"]["n"], 99);
    assert_eq!(target.node.history("large", "").await["events"].as_array().unwrap().len(), 100);
    drop(attacker);
    target.node.forget("large").await;
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_with_256_mib_survives_histories_that_are_not_taken() {
    const MEMORY: u64 = 256 << 20;
    let cgroup = Cgroup::with_memory(MEMORY);
    let options = Options::default().set("STREAM__WRITE_TIMEOUT", "10m");
    let mut node = match &cgroup {
        Some(cgroup) => options.within(cgroup),
        // As on a machine of that size.
        None => options.set("LIMITS__HISTORIES", "16MiB"),
    }
    .start()
    .await;
    fill(&node).await;
    let mut attackers = Vec::new();
    for _ in 0..8 {
        let mut attacker = Http2::connect(&node, &[(INITIAL_WINDOW, 0)]).await;
        attacker.send((0..64u32).flat_map(|n| get(2 * n + 1, EVENTS)).collect::<Vec<_>>()).await;
        attackers.push(attacker);
    }
    let mut readers: Vec<_> = (0..300).map(|_| Raw::connect_narrow(&node, 4 << 10)).collect();
    for raw in &mut readers {
        raw.get(EVENTS).await;
    }
    for n in 0..100 {
        for raw in &mut readers {
            raw.take_some(512);
        }
        node.publish("live", "a", json!(n)).await;
        assert!(node.own_bytes() < MEMORY, "{} bytes", node.own_bytes());
    }
    drop((attackers, readers));
    assert!(node.is_alive(), "{}", node.log());
    eventually("histories are answered again", || async {
        let answer = node.http.get(format!("{}{EVENTS}", node.url)).send().await.unwrap();
        answer.status() == 200
            && answer.json::<Value>().await.is_ok_and(|page| page["events"][99]["payload"]["n"] == 99)
    })
    .await;
}

/// How few bytes ever come out of it is the client's choice; how long a page's room is kept for that is not.
#[tokio::test(flavor = "multi_thread")]
async fn answer_of_which_hardly_anything_is_taken_gives_its_room_back() {
    let options = Options::default().set("STREAM__WRITE_TIMEOUT", "2s").set("LIMITS__HISTORIES", "16MiB");
    let target = Target::start(options).await;
    let held = async || target.node.metric("pipecast_histories_bytes").await;
    // One page, which the HTTP library buffers whole as soon as the window opens a little.
    target.node.publish("small", "a", json!("x".repeat(100 << 10))).await;
    fill(&target.node).await;
    for pipeline in ["small", "large"] {
        let path = format!("/pipelines/{pipeline}/events");
        for window in [1, 1000, 20_000] {
            let mut stalling = Http2::connect(&target.node, &[(INITIAL_WINDOW, window)]).await;
            stalling.send(get(1, &path)).await;
            eventually("it holds its room", || async { held().await > 0.0 }).await;
            let end = stalling.until(|frame| frame.stream == 1 && frame.kind == RST_STREAM);
            end.await;
            eventually("it holds none any longer", || async { held().await == 0.0 }).await;
        }
        let mut dripping = Raw::connect_narrow(&target.node, 4 << 10);
        dripping.get(&path).await;
        eventually("it holds its room", || async { held().await > 0.0 }).await;
        let (began, mut drips) = (Instant::now(), interval(Duration::from_millis(100)));
        while held().await > 0.0 {
            assert!(began.elapsed() < PATIENCE, "a trickling reader holds its room forever");
            // Far less than the 16 KiB in two seconds of one that reads on.
            drips.tick().await;
            dripping.take_some(64);
        }
    }
    target.node.forget("large").await;
    target.assert_unharmed().await;
}

/// Half a document must not pass for a whole one.
#[tokio::test(flavor = "multi_thread")]
async fn answer_that_the_store_cannot_finish_breaks_off() {
    let mut redis = Redis::start().await;
    let node = options().redis(&redis.url()).start().await;
    fill(&node).await;
    let mut raw = Raw::connect_narrow(&node, 4 << 10);
    raw.get(EVENTS).await;
    raw.read_until("{\"events\":[").await;
    let mut other = Http2::connect(&node, &[(INITIAL_WINDOW, 1000)]).await;
    other.send(get(1, EVENTS)).await;
    other.until(|frame| frame.kind == DATA).await;
    redis.kill();
    raw.read_to_end().await;
    assert!(!raw.received.ends_with(b"0\r\n\r\n"), "the body has a regular end");
    assert!(!raw.text().contains("\"gap\":") && !raw.text().contains("Redis"), "it says more than events");
    for stream in [0, 1] {
        other.send(frame(WINDOW_UPDATE, 0, stream, &(1u32 << 30).to_be_bytes())).await;
    }
    let end = other
        .until(|frame| frame.stream == 1 && (frame.kind == RST_STREAM || frame.flags & END_STREAM == END_STREAM))
        .await;
    assert_eq!(end.kind, RST_STREAM, "the body has a regular end");
}

/// A client that reads as fast as it can gets all of it, over both.
#[tokio::test(flavor = "multi_thread")]
async fn large_history_arrives_whole() {
    let redis = Redis::start().await;
    for options in [options(), options().redis(&redis.url()), options().client(http2())] {
        let node = options.start().await;
        fill(&node).await;
        let page = node.history("large", "").await;
        let numbers: Vec<_> =
            page["events"].as_array().unwrap().iter().map(|event| event["payload"]["n"].as_u64().unwrap()).collect();
        assert_eq!((numbers, &page["gap"]), ((0..100).collect(), &json!(false)));
    }
}
