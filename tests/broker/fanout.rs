//! What is particular to the fan-out threads; all else is tested on both ways of carrying a stream.

use serde_json::json;

use crate::support::eventually;
use crate::support::node::{Node, Options};
use crate::support::raw::Raw;
use crate::support::strace::Strace;

async fn start(threads: &str) -> Node {
    Options::default().set("FANOUT__THREADS", threads).start().await
}

/// Calls by name, as `strace -c` counts them.
fn calls(table: &str) -> Vec<(String, u64)> {
    table
        .lines()
        .skip(2)
        .filter_map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let name = *words.last()?;
            let count = words.get(3)?.parse().ok()?;
            (name != "total").then(|| (name.to_owned(), count))
        })
        .collect()
}

/// The guard against slow growth of the cost, which does not depend on a clock.
#[tokio::test(flavor = "multi_thread")]
async fn delivery_is_one_write_and_no_other_call() {
    const READERS: u64 = 400;
    const EVENTS: u64 = 50;
    let node = start("1").await;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut raw = Raw::connect(&node).await;
        raw.get("/pipelines/p/sse").await;
        raw.read_until("retry: ").await;
        readers.push(raw);
    }
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("calls");
    let strace = Strace::attach(&node, "fanout-0", &["-c", "-o", &output.display().to_string()]).await;
    let before = node.metric("pipecast_events_delivered_total").await;
    for n in 0..EVENTS {
        node.publish("p", "a", json!(n)).await;
        // One at a time: a lagging reader gets several events in one call, which would flatter the result.
        let delivered = before + (READERS * (n + 1)) as f64;
        eventually("all have it", || async { node.metric("pipecast_events_delivered_total").await == delivered }).await;
    }
    strace.detach();
    let table = std::fs::read_to_string(&output).unwrap();
    let calls = calls(&table);
    let deliveries = READERS * EVENTS;
    let of = |name: &str| calls.iter().find(|(other, _)| other == name).map_or(0, |(_, count)| *count);
    assert!((deliveries..=deliveries + READERS).contains(&of("sendto")), "{deliveries} deliveries:\n{table}");
    let others: u64 = calls.iter().filter(|(name, _)| name != "sendto").map(|(_, count)| count).sum();
    assert!(others < deliveries / 10, "{deliveries} deliveries:\n{table}");
    drop(readers);
}

/// An event on a quiet pipeline waits for a slice of a busy one's pass, and not for all of it.
#[tokio::test(flavor = "multi_thread")]
async fn quiet_pipeline_does_not_wait_for_all_readers_of_a_busy_one() {
    const READERS: usize = 1500;
    let node = start("1").await;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut raw = Raw::connect(&node).await;
        raw.get("/pipelines/busy/sse").await;
        raw.read_until("retry: ").await;
        readers.push(raw);
    }
    let mut quiet = node.open("quiet", "").await;
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("calls").display().to_string();
    // Recording each call also slows the pass down.
    let strace = Strace::attach(&node, "fanout-0", &["-s", "100", "-e", "trace=sendto", "-o", &output]).await;
    node.publish("busy", "busy", json!(1)).await;
    node.publish("quiet", "quiet", json!(1)).await;
    assert_eq!(quiet.numbers(1).await, [1]);
    for raw in &mut readers {
        raw.read_until("event: busy").await;
    }
    strace.detach();
    let calls = std::fs::read_to_string(&output).unwrap();
    let writes: Vec<_> = calls.lines().filter(|line| line.contains("event: ")).collect();
    let position = writes.iter().position(|line| line.contains("event: quiet")).expect("the quiet one's write");
    assert_eq!(writes.len(), READERS + 1);
    assert!(position < READERS / 2, "it was write number {position}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_thread_and_many_serve_many_pipelines() {
    for threads in ["1", "2", "5", "auto"] {
        let node = start(threads).await;
        let mut streams = Vec::new();
        for n in 0..60 {
            streams.push((n % 12, node.open(&format!("p{}", n % 12), "").await));
        }
        for round in 0..20u64 {
            for pipeline in 0..12 {
                node.publish(&format!("p{pipeline}"), "numbers", json!(round * 100 + pipeline)).await;
            }
        }
        for (pipeline, stream) in &mut streams {
            let expected: Vec<_> = (0..20).map(|round| round * 100 + *pipeline).collect();
            assert_eq!(stream.numbers(20).await, expected, "{threads} threads");
        }
        drop(streams);
        eventually("all have left", || async { node.metric("pipecast_streams").await == 0.0 }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_after_a_subscription_are_discarded() {
    let node = Options::default().set("FANOUT__THREADS", "1").set("STREAM__KEEPALIVE", "500ms").start().await;
    let mut chatty = Raw::connect(&node).await;
    chatty.send("GET /pipelines/p/sse HTTP/1.1\r\nHost: x\r\n\r\nGET /pipelines/q/sse HTTP/1.1\r\n").await;
    chatty.read_until("retry: ").await;
    let mut other = node.open("p", "").await;
    for n in 1..=20 {
        chatty.send(vec![b'x'; 10_000]).await;
        node.publish("p", "a", json!(n)).await;
        chatty.read_until(&format!("data: {n}\n\n")).await;
    }
    assert_eq!(other.numbers(20).await, (1..=20).collect::<Vec<_>>());
    assert_eq!(chatty.text().matches("HTTP/1.1 200").count(), 1);
    assert_eq!(node.metric("pipecast_streams").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_come_and_go_during_passes_cost_nobody_an_event() {
    const EVENTS: u64 = 400;
    let node = start("1").await;
    let mut staying = Vec::new();
    for _ in 0..50 {
        staying.push(node.open("p", "?replay=0").await);
    }
    eventually("all are placed", || async {
        node.metric("pipecast_streams_opened_total{start=\"history\"}").await == 50.0
    })
    .await;
    let coming_and_going = async {
        for round in 0..60 {
            let mut leaving = Vec::new();
            for _ in 0..10 {
                let mut raw = Raw::connect(&node).await;
                raw.get("/pipelines/p/sse").await;
                leaving.push(raw);
            }
            leaving[round % 10].read_until("retry: ").await;
        }
    };
    let publishing = async {
        for n in 1..=EVENTS {
            node.publish("p", "numbers", json!(n)).await;
        }
    };
    tokio::join!(coming_and_going, publishing);
    for stream in &mut staying {
        assert_eq!(stream.numbers(usize::try_from(EVENTS).unwrap()).await, (1..=EVENTS).collect::<Vec<_>>());
    }
}

/// A client that leaves is replaced in the pass by the last one, which must not be skipped.
#[tokio::test(flavor = "multi_thread")]
async fn swapped_client_still_receives_the_event() {
    let node = start("1").await;
    for round in 0..15u64 {
        let pipeline = format!("p{round}");
        let mut clients = Vec::new();
        // More leaving clients than fit a slice, then the ones that stay and move up.
        for _ in 0..300 {
            let mut raw = Raw::connect(&node).await;
            raw.get(&format!("/pipelines/{pipeline}/sse")).await;
            raw.read_until("retry: ").await;
            clients.push(raw);
        }
        let mut staying = clients.split_off(200);
        // Large events make the pass slow; once it has begun, the clients that it has served leave.
        let event = json!(["x".repeat(32 << 10), "end"]);
        let leave = async {
            clients[0].read_some().await;
            drop(clients);
        };
        tokio::join!(leave, node.publish(&pipeline, "a", event));
        for raw in &mut staying {
            // Nothing comes after it that would make up for it.
            raw.read_until("\"end\"]\n\n").await;
        }
    }
}

/// A thread that ended leaves a node that is half alive: its clients are cut, and the others are sent to other nodes.
#[tokio::test(flavor = "multi_thread")]
async fn node_drains_and_fails_when_a_fanout_thread_ends() {
    let options = Options::default().set("FANOUT__THREADS", "2").set("DRAIN__LEAD", "0s").set("DRAIN__WINDOW", "0s");
    let mut node = options.start().await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut raw = Raw::connect(&node).await;
        raw.get("/pipelines/p/sse").await;
        raw.read_until("retry: ").await;
        clients.push(raw);
    }
    // At the thread's next look at them, for a keepalive at the latest.
    let _strace = Strace::break_waits(&node, "fanout-0");
    assert_eq!(node.exit().await.code(), Some(1));
    for raw in &mut clients {
        raw.read_to_end().await;
    }
    // One was cut, the other was asked to reconnect later.
    assert_eq!(clients.iter().filter(|raw| raw.text().matches("retry: ").count() == 2).count(), 1);
    let log = node.log();
    assert!(
        log.contains("part=fan-out") && log.contains("fanout-0") && log.contains("stopped; all connections"),
        "{log}"
    );
}
