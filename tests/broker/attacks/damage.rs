//! What another user of the same Redis, or damage, can put where the node reads: lists and notifications.

use serde_json::json;

use super::Target;
use crate::support::eventually;
use crate::support::node::Options;
use crate::support::raw::Raw;
use crate::support::redis::Redis;

async fn start() -> (Target, Redis) {
    let redis = Redis::start().await;
    let options = Options::default().redis(&redis.url()).set("HUB__CHECK_INTERVAL", "100ms");
    (Target::start(options).await, redis)
}

fn list(pipeline: &str) -> String {
    format!("pipecast:{{{pipeline}}}:events")
}

fn frame(id: &str, payload: &str) -> String {
    format!("id: {id}\nevent: a\ndata: {payload}\n\n")
}

/// An entry of a list: it names the event before.
fn entry(before: &str, id: &str, payload: &str) -> String {
    format!("{before}\n{}", frame(id, payload))
}

/// Entries and notifications that are nearly what a node writes for the event of this id.
fn nearly_frames(id: &str) -> Vec<String> {
    let whole = frame(id, "1");
    let mut nearly = vec![
        String::new(),
        "rubbish".into(),
        "\n\n".into(),
        ":\n\n".into(),
        "data: injected\n\n".into(),
        "retry: 0\n\n".into(),
        "id: 5-1\nretry: 0\n\n".into(),
        frame(id, "1\ndata: injected"),
        frame(id, "1\r\ndata: injected"),
        frame(id, "1\rdata: injected"),
        frame(id, "1\n\ndata: injected"),
        frame(&format!("{id}\ndata: injected"), "1"),
        frame("9007199254740992-9007199254740992", "1"),
        frame("18446744073709551615-18446744073709551615", "1"),
        frame("-1--1", "1"),
        format!("{whole}data: injected\n\n"),
        whole.replace('\n', "\r\n"),
        whole.replace("event: a", &format!("event: {}", "x".repeat(300))),
        whole.replace("event: a", "event: a\r"),
        whole.replace(": ", ":"),
        format!("\u{feff}{whole}"),
        "x".repeat(100_000),
    ];
    nearly.extend((1..whole.len()).step_by(3).map(|length| whole[..length].to_owned()));
    nearly
}

fn assert_clean(raw: &Raw) {
    let body = raw.body_text();
    assert!(!body.contains(['\r', '\0']), "{body:?}");
    for line in body.lines() {
        let is_known = line.is_empty()
            || ["retry: ", "id: ", "event: ", "data: ", ":keepalive"].iter().any(|known| line.starts_with(known));
        assert!(is_known && !line.contains("injected") && line != "retry: 0", "{line:?} in {body:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_in_a_list_breaks_no_stream_and_no_history() {
    let (target, redis) = start().await;
    let mut raw = Raw::connect(&target.node).await;
    raw.get("/pipelines/p/sse").await;
    raw.read_until("retry: ").await;
    // Valid frames before and after it continue: if it were treated as a frame, it would be sent.
    // Later than every moment at which the list is empty: what is earlier is not sent to clients that were there by then.
    let ms = pipecast::clock::clock_ms() + 3_600_000;
    let id = |seq: u64| format!("{ms}-{seq}");
    let bare = nearly_frames(&id(3));
    let named = bare.iter().map(|rubbish| format!("{}\n{rubbish}", id(2)));
    for rubbish in bare.iter().cloned().chain(named) {
        redis.command(&["DEL", &list("p")]);
        redis.command(&[
            "RPUSH",
            &list("p"),
            &entry(&format!("{ms}-0"), &id(1), "1"),
            &entry(&id(1), &id(2), "2"),
            &rubbish,
            &entry(&id(3), &id(4), "\"end\""),
        ]);
        assert!(!target.node.history("p", "").await.to_string().contains("injected"), "{rubbish:?}");
        // A new reader reads the same list.
        let mut other = Raw::connect(&target.node).await;
        other.get("/pipelines/p/sse").await;
        other.read_until("data: \"end\"\n\n").await;
        assert_clean(&other);
    }
    // Whatever was there, the next publish starts a readable history.
    target.node.publish("p", "a", json!("after all that")).await;
    raw.read_until("data: \"after all that\"\n\n").await;
    assert_clean(&raw);
    drop(raw);
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_notifications_get_no_line_into_a_stream() {
    let (target, redis) = start().await;
    let newest = target.node.publish("p", "a", json!("before")).await;
    let mut raw = Raw::connect(&target.node).await;
    raw.get("/pipelines/p/sse").await;
    raw.read_until("data: \"before\"\n\n").await;
    let (ms, seq) = crate::support::parts(&newest);
    for rubbish in nearly_frames(&format!("{ms}-{}", seq + 1)) {
        for after in [&newest, "0-0", "9007199254740991-9007199254740991", "x", ""] {
            redis.command(&["PUBLISH", "pipecast:{p}", &format!("{after}\n{rubbish}")]);
        }
        redis.command(&["PUBLISH", "pipecast:{p}", &rubbish]);
        redis.command(&["PUBLISH", "pipecast:{other}", &rubbish]);
    }
    target.node.publish("p", "a", json!("after all that")).await;
    raw.read_until("data: \"after all that\"\n\n").await;
    assert_clean(&raw);
    drop(raw);
    target.assert_unharmed().await;
}

/// One notification or entry with the highest numbers there are must not overflow anything.
#[tokio::test(flavor = "multi_thread")]
async fn highest_ids_there_are_end_a_pipeline_and_no_node() {
    let (target, redis) = start().await;
    let highest = "9007199254740991-9007199254740991";
    redis.command(&["RPUSH", &list("p"), &entry("9007199254740991-9007199254740990", highest, "1")]);
    let mut stream = target.node.open("p", "").await;
    assert_eq!(stream.next().await.id, highest);
    // No id can follow it; the publisher gets an error, and deleting the history repairs it.
    let answer = target.node.post("p", json!({"channel": "a", "payload": 2})).await;
    assert!([202, 503].contains(&answer.status().as_u16()), "{answer:?}");
    let resumed = target.node.open_with("p", "", Some(highest)).await;
    redis.command(&[
        "PUBLISH",
        "pipecast:{p}",
        &format!("{highest}\n{}", frame("9007199254740991-9007199254740992", "3")),
    ]);
    redis.command(&["DEL", &list("p")]);
    let id = target.node.publish("p", "a", json!("after all that")).await;
    while stream.next().await.id != id {}
    drop((stream, resumed));
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backward_ids_become_a_gap_and_never_reorder() {
    let (target, redis) = start().await;
    for (pipeline, ids) in
        [("p", ["9-1", "9-2", "5-3", "4-4"]), ("q", ["9-9", "9-8", "9-7", "9-6"]), ("r", ["9-1", "9-1", "9-1", "9-2"])]
    {
        let mut stream = target.node.open(pipeline, "").await;
        for id in ids {
            let (ms, seq) = crate::support::parts(id);
            redis.command(&["RPUSH", &list(pipeline), &entry(&format!("{ms}-{}", seq - 1), id, "1")]);
        }
        let last = target.node.publish(pipeline, "a", json!("last")).await;
        let mut seen: Option<(u64, u64)> = None;
        loop {
            let event = stream.next().await;
            let id = crate::support::parts(&event.id);
            if event.event != "pipecast.gap" {
                assert!(seen.is_none_or(|seen| seen < id || id.1 <= seen.1), "{pipeline}: {id:?} after {seen:?}");
            }
            seen = Some(id);
            if event.id == last && event.event == "a" {
                break;
            }
        }
    }
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn key_of_another_kind_fails_its_pipeline_alone() {
    let (target, redis) = start().await;
    for (kind, command) in [
        ("string", &["SET", "KEY", "x"][..]),
        ("hash", &["HSET", "KEY", "a", "b"]),
        ("set", &["SADD", "KEY", "a"]),
        ("sorted", &["ZADD", "KEY", "1", "a"]),
        ("stream", &["XADD", "KEY", "*", "a", "b"]),
    ] {
        let key = list(kind);
        redis.command(&command.iter().map(|word| if *word == "KEY" { &*key } else { *word }).collect::<Vec<_>>());
        assert_eq!(target.node.post(kind, json!({"channel": "a", "payload": 1})).await.status(), 500, "{kind}");
        let history =
            target.node.http.get(format!("{}/pipelines/{kind}/events", target.node.url)).send().await.unwrap();
        assert_eq!(history.status(), 500, "{kind}");
        // A stream waits, as it does while Redis is unreachable, and receives events once the key is right.
        let mut stream = target.node.open(kind, "").await;
        redis.command(&["DEL", &key]);
        target.node.publish(kind, "a", json!(1)).await;
        assert_eq!(stream.numbers(1).await, [1], "{kind}");
    }
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn list_of_a_million_entries_is_read_at_its_end_and_trimmed() {
    let (target, redis) = start().await;
    let fill = "for n = 1, 1000000 do redis.call('RPUSH', KEYS[1], '5-' .. n - 1 .. '\\nid: 5-' .. n .. '\\nevent: a\\ndata: 1\\n\\n') end";
    redis.command(&["EVAL", fill, "1", &list("p")]);
    let mut stream = target.node.open("p", "").await;
    let events = stream.take(100).await;
    assert_eq!((&*events[0].id, &*events[99].id), ("5-999901", "5-1000000"));
    assert!(target.grown_bytes() < super::KEPT_BYTES, "{} bytes", target.grown_bytes());
    target.node.publish("p", "a", json!("last")).await;
    assert_eq!(stream.next().await.data, "\"last\"");
    eventually("the list is trimmed", || async { redis.command(&["LLEN", &list("p")]) == "100" }).await;
    drop(stream);
    target.assert_unharmed().await;
}
