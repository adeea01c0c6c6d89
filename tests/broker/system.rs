//! Several nodes on one Redis.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::node::{Node, Options};
use crate::support::redis::Redis;
use crate::support::stream::{assert_contiguous, number};
use crate::support::{eventually, parts, seq};

async fn nodes(redis: &Redis, count: usize, options: &Options) -> Vec<Node> {
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(options.clone().redis(&redis.url()).start().await);
    }
    nodes
}

/// An entry as a node would have written it: it names the event before.
fn entry(before: &str, id: &str, payload: u64) -> String {
    format!("{before}\nid: {id}\nevent: numbers\ndata: {payload}\n\n")
}

/// Writes an event into the list without a word to anyone: a notification that was lost.
fn write_without_notifying(redis: &Redis, pipeline: &str, before: &str, id: &str, payload: u64) {
    redis.command(&["RPUSH", &format!("pipecast:{{{pipeline}}}:events"), &entry(before, id, payload)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_from_all_nodes_arrive_in_one_order() {
    let redis = Redis::start().await;
    let nodes = nodes(&redis, 3, &Options::default()).await;
    let mut readers = Vec::new();
    for node in nodes.iter().cycle().take(9) {
        readers.push(node.open("p", "").await);
    }
    const EACH: u64 = 200;
    let publish = nodes.iter().map(|node| async move {
        for n in 0..EACH {
            if n % 10 == 0 {
                node.publish_numbers("p", 1..=5).await;
            } else {
                node.publish("p", "numbers", json!(n)).await;
            }
        }
    });
    futures_util::future::join_all(publish).await;
    let total = 3 * usize::try_from(EACH / 10 * 14).unwrap();
    let mut first: Option<Vec<_>> = None;
    for reader in &mut readers {
        let events = reader.take(total).await;
        assert_eq!(seq(&events[0].id), 1);
        assert_contiguous(&events);
        let seen: Vec<_> = events.into_iter().map(|event| (event.id, event.data)).collect();
        assert_eq!(first.get_or_insert_with(|| seen.clone()), &seen);
        assert!(reader.arrived().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_moving_between_nodes_miss_nothing() {
    const EVENTS: u64 = 800;
    let redis = Redis::start().await;
    // All of them are kept: a client that a busy machine leaves waiting is as good as any.
    let nodes = nodes(&redis, 2, &Options::default().set("HISTORY__LIMIT", "800")).await;
    let done = AtomicU64::new(0);
    let publish = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        for n in 1..=EVENTS {
            ticks.tick().await;
            nodes[usize::try_from(n % 2).unwrap()].publish("p", "numbers", json!(n)).await;
        }
        done.store(1, Ordering::SeqCst);
    };
    // Each client reads a few events and moves to the other node, ten clients at a time.
    let clients = (0..10u64).map(|client| {
        let nodes = &nodes;
        async move {
            let (mut last, mut expected, mut turn) = ("0-0".to_owned(), 1, client);
            while expected <= EVENTS {
                let node = &nodes[usize::try_from(turn % 2).unwrap()];
                let mut stream = node.open_with("p", "", Some(&last)).await;
                for _ in 0..=(turn % 13) {
                    if expected > EVENTS {
                        break;
                    }
                    let event = stream.next().await;
                    assert_eq!(number(&event), expected, "client {client}");
                    last = event.id;
                    expected += 1;
                }
                turn += 1;
            }
            turn - client
        }
    });
    let (moves, ()) = tokio::join!(futures_util::future::join_all(clients), publish);
    assert!(moves.iter().sum::<u64>() > 500, "{moves:?}");
    for node in &nodes {
        for reason in ["trimmed", "reset", "unknown", "slow"] {
            assert_eq!(node.metric(&format!("pipecast_gaps_total{{reason=\"{reason}\"}}")).await, 0.0, "{reason}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousand_clients_at_once_cost_one_history_read() {
    let redis = Redis::start().await;
    let nodes = nodes(&redis, 2, &Options::default()).await;
    nodes[1].publish_numbers("p", 1..=100).await;
    let opening = (0..1000).map(|_| nodes[0].open("p", ""));
    let mut streams = futures_util::future::join_all(opening).await;
    for stream in &mut streams {
        assert_eq!(stream.numbers(100).await, (1..=100).collect::<Vec<_>>());
    }
    let text = nodes[0].metrics().await;
    let reads: f64 = text
        .lines()
        .filter_map(|line| line.strip_prefix("pipecast_history_reads_total{")?.split_once(' '))
        .map(|(_, value)| value.parse::<f64>().unwrap())
        .sum();
    assert_eq!(reads, 1.0);
    nodes[1].publish_numbers("p", 101..=101).await;
    for stream in &mut streams {
        assert_eq!(stream.numbers(1).await, [101]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pubsub_connection_a_node_however_many_pipelines() {
    let redis = Redis::start().await;
    let nodes = nodes(&redis, 2, &Options::default().set("HUB__LINGER", "200ms")).await;
    let nodes = &nodes;
    let opening = (0..300).map(|n| async move { nodes[n % 2].open(&format!("p{n}"), "").await });
    let streams = futures_util::future::join_all(opening).await;
    let subscribers = || redis.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).lines().count();
    let channels =
        || redis.command(&["PUBSUB", "CHANNELS", "pipecast:{*"]).lines().filter(|line| !line.is_empty()).count();
    eventually("all pipelines are subscribed to", || async { channels() == 300 }).await;
    assert_eq!(subscribers(), 2);
    for node in nodes {
        node.publish("p0", "a", json!(1)).await;
    }
    assert_eq!(nodes[0].metric("pipecast_pipelines_open").await, 150.0);
    drop(streams);
    eventually("unread pipelines are unsubscribed", || async { channels() == 0 }).await;
    for node in nodes {
        eventually("its log is closed", || async { node.metric("pipecast_pipelines_open").await == 0.0 }).await;
        assert_eq!(node.metric("pipecast_event_buffer_bytes").await, 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_that_comes_back_within_the_linger_costs_no_read() {
    let redis = Redis::start().await;
    let node = &nodes(&redis, 1, &Options::default()).await[0];
    node.publish_numbers("p", 1..=3).await;
    for _ in 0..5 {
        assert_eq!(node.open("p", "").await.numbers(3).await, [1, 2, 3]);
        eventually("it has left", || async { node.metric("pipecast_streams").await == 0.0 }).await;
    }
    assert_eq!(node.metric("pipecast_history_reads_total{reason=\"open\"}").await, 1.0);
    // The log stayed current without readers.
    node.publish_numbers("p", 4..=4).await;
    assert_eq!(node.open("p", "").await.numbers(4).await, [1, 2, 3, 4]);
    assert_eq!(node.metric("pipecast_history_reads_total{reason=\"open\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_grow_when_the_list_is_flushed_and_clients_are_told_once() {
    let redis = Redis::start().await;
    let nodes = nodes(&redis, 2, &Options::default()).await;
    let mut connected = nodes[0].open("p", "").await;
    let old = nodes[1].publish_numbers("p", 1..=5).await;
    assert_eq!(connected.numbers(5).await, [1, 2, 3, 4, 5]);
    redis.command(&["FLUSHALL"]);
    let new = nodes[1].publish("p", "numbers", json!(6)).await;
    assert!(parts(&new) > parts(&old[4]));
    let told = json!({"reason": "reset", "after": old[4], "missed": null});
    assert_eq!(connected.gap().await.0, told);
    assert_eq!(connected.numbers(1).await, [6]);
    for node in &nodes {
        let mut resumed = node.open_with("p", "", Some(&old[4])).await;
        let (gap, resume) = resumed.gap().await;
        assert_eq!(gap, told);
        assert_eq!(resumed.numbers(1).await, [6]);
        assert_eq!(node.open_with("p", "", Some(&resume)).await.numbers(1).await, [6]);
    }
    assert!(connected.arrived().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_grow_when_the_clock_jumps_back_while_the_list_stands() {
    let redis = Redis::start().await;
    let node = &nodes(&redis, 1, &Options::default()).await[0];
    let first = node.publish("p", "numbers", json!(1)).await;
    let now = parts(&first).0;
    // An event from an hour ahead: for the next one the clock has jumped back.
    let ahead = now + 3_600_000;
    write_without_notifying(&redis, "p", &first, &format!("{ahead}-2"), 2);
    let ids = node.publish_numbers("p", 3..=4).await;
    assert_eq!(ids, [format!("{ahead}-3"), format!("{ahead}-4")]);
    assert_eq!(node.open("p", "").await.numbers(4).await, [1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_repeated_at_once_through_all_nodes_publishes_once() {
    let redis = Redis::start().await;
    let nodes = nodes(&redis, 3, &Options::default()).await;
    let body = json!({"channel": "a", "payload": 1});
    let posts = (0..30).map(|n| nodes[n % 3].post_with("p", &body, &[("Idempotency-Key", "same")]));
    let answers = futures_util::future::join_all(posts).await;
    let repeated = answers.iter().filter(|answer| answer.headers().contains_key("Idempotency-Replayed")).count();
    assert_eq!(repeated, 29);
    let mut ids = Vec::new();
    for answer in answers {
        ids.push(answer.json::<Value>().await.unwrap()["id"].clone());
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(nodes[0].history("p", "").await["events"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn resume_on_a_node_that_lags_shows_no_gap() {
    let redis = Redis::start().await;
    let node = &nodes(&redis, 1, &Options::default().set("HUB__CHECK_INTERVAL", "1h")).await[0];
    let mut connected = node.open("p", "").await;
    let ids = node.publish_numbers("p", 1..=2).await;
    assert_eq!(connected.numbers(2).await, [1, 2]);
    // What the other node's readers have, and this node has not heard of.
    let ms = parts(&ids[1]).0;
    write_without_notifying(&redis, "p", &ids[1], &format!("{}-3", ms + 1), 3);
    write_without_notifying(&redis, "p", &format!("{}-3", ms + 1), &format!("{}-4", ms + 2), 4);
    let mut resumed = node.open_with("p", "", Some(&format!("{}-3", ms + 1))).await;
    assert_eq!(resumed.numbers(1).await, [4]);
    assert_eq!(connected.numbers(2).await, [3, 4], "the re-read serves all readers");
    assert_eq!(node.metric("pipecast_history_reads_total{reason=\"ahead\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_last_notification_is_found() {
    let redis = Redis::start().await;
    let node = &nodes(&redis, 1, &Options::default().set("HUB__CHECK_INTERVAL", "200ms")).await[0];
    let mut stream = node.open("p", "").await;
    let id = node.publish("p", "numbers", json!(1)).await;
    assert_eq!(stream.numbers(1).await, [1]);
    write_without_notifying(&redis, "p", &id, &format!("{}-2", parts(&id).0 + 1), 2);
    assert_eq!(stream.numbers(1).await, [2]);
    redis.command(&["DEL", "pipecast:{p}:events"]);
    assert_eq!(stream.gap().await.0["reason"], "reset");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_notification_is_found_by_the_next_one() {
    let redis = Redis::start().await;
    let node = &nodes(&redis, 1, &Options::default().set("HUB__CHECK_INTERVAL", "1h")).await[0];
    let mut stream = node.open("p", "").await;
    let id = node.publish("p", "numbers", json!(1)).await;
    assert_eq!(stream.numbers(1).await, [1]);
    write_without_notifying(&redis, "p", &id, &format!("{}-2", parts(&id).0), 2);
    node.publish("p", "numbers", json!(3)).await;
    assert_eq!(stream.numbers(2).await, [2, 3]);
    assert_eq!(node.metric("pipecast_history_reads_total{reason=\"missed_notification\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_notifications_and_lists_break_nobody() {
    let redis = Redis::start().await;
    let node = &nodes(&redis, 1, &Options::default()).await[0];
    let mut stream = node.open("p", "").await;
    node.publish_numbers("p", 1..=2).await;
    assert_eq!(stream.numbers(2).await, [1, 2]);
    let ids: Vec<_> =
        node.history("p", "").await["events"].as_array().unwrap().iter().map(|e| e["id"].clone()).collect();
    let newest = ids[1].as_str().unwrap();
    for rubbish in [
        "",
        "rubbish",
        "0-0\n",
        "\n\n\n",
        &format!("{newest}\nid: 9-9\nevent: x\ndata: 1\n\nid: 7-7\n\n"),
        &format!("{newest}\ndata: injected\n\n"),
        &format!("{newest}\nid: 9999999999999-3\nevent: x\rdata: injected\ndata: 1\n\n"),
    ] {
        redis.command(&["PUBLISH", "pipecast:{p}", rubbish]);
    }
    // A notification of what the list does not have is corrected by the next read of it.
    node.publish_numbers("p", 3..=3).await;
    assert_eq!(stream.numbers(1).await, [3]);

    redis.command(&["RPUSH", "pipecast:{q}:events", "4-0\nid: 5-1\nevent: a\ndata: 1\n\ndata: injected\n\n"]);
    redis.command(&["RPUSH", "pipecast:{q}:events", &entry("5-1", "5-2", 2)]);
    assert_eq!(node.open("q", "").await.numbers(1).await, [2]);
    redis.command(&["RPUSH", "pipecast:{q}:events", "not a frame"]);
    let id = node.publish("q", "numbers", json!(7)).await;
    assert_eq!(seq(&id), 1, "nothing can follow an invalid frame");
    redis.command(&["SET", "pipecast:{r}:events", "a string"]);
    let answer = node.post("r", json!({"channel": "a", "payload": 1})).await;
    assert_eq!(answer.status(), 500);
    assert!(node.is_ready().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_dies_is_replaced_by_another_without_loss() {
    let redis = Redis::start().await;
    let mut nodes = nodes(&redis, 2, &Options::default()).await;
    let mut stream = nodes[0].open("p", "").await;
    nodes[1].publish_numbers("p", 1..=20).await;
    let last = stream.take(10).await.pop().unwrap().id;
    nodes[0].kill();
    nodes[1].publish_numbers("p", 21..=40).await;
    let mut resumed = nodes[1].open_with("p", "", Some(&last)).await;
    assert_eq!(resumed.numbers(30).await, (11..=40).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_that_share_round_trips_have_each_their_own_answer() {
    let redis = Redis::start().await;
    let node = &nodes(&redis, 1, &Options::default()).await[0];
    redis.command(&["SET", "pipecast:{broken}:events", "a string"]);
    node.publish("p", "a", json!(0)).await;
    redis.command(&["SCRIPT", "FLUSH"]);
    let posts = (0..300u64).map(|n| async move {
        let pipeline = if n % 10 == 9 { "broken".to_owned() } else { format!("p{}", n % 3) };
        let answer = node.post(&pipeline, json!({"channel": "numbers", "payload": n})).await;
        (n, pipeline, answer)
    });
    let mut ids: Vec<(String, String, u64)> = Vec::new();
    for (n, pipeline, answer) in futures_util::future::join_all(posts).await {
        if pipeline == "broken" {
            assert_eq!(answer.status(), 500);
        } else {
            assert_eq!(answer.status(), 202);
            let id = answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
            ids.push((pipeline, id, n));
        }
    }
    // Each publisher received the id of its own event.
    for pipeline in ["p0", "p1", "p2"] {
        let events = node.history(pipeline, "").await["events"].as_array().unwrap().clone();
        assert_eq!(events.len(), 90);
        for event in events {
            let told =
                (pipeline.to_owned(), event["id"].as_str().unwrap().to_owned(), event["payload"].as_u64().unwrap());
            assert!(ids.contains(&told), "{told:?}");
        }
    }
}
