//! What clients can rely on, the same on both stores.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::node::{Node, Options};
use crate::support::redis::Redis;
use crate::support::stream::{Stream, assert_contiguous, number};
use crate::support::{eventually, http2, parts, seq};

/// A node, and the Redis below it if there is one.
struct Broker {
    node: Node,
    _redis: Option<Redis>,
}

#[derive(Clone, Copy)]
enum Kind {
    Memory,
    Redis,
}

impl Broker {
    async fn start(kind: Kind, options: Options) -> Self {
        match kind {
            Kind::Memory => Self { node: options.start().await, _redis: None },
            Kind::Redis => {
                let redis = Redis::start().await;
                Self { node: options.redis(&redis.url()).start().await, _redis: Some(redis) }
            }
        }
    }
}

/// Makes four tests of each function: on the embedded store, on Redis, with streams that the HTTP library
/// carries instead of the fan-out threads, and over HTTP/2.
macro_rules! on_both_stores_and_ways {
    ($($name:ident: $options:expr;)*) => {
        mod memory {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let broker = Broker::start(Kind::Memory, $options).await;
                super::$name(&broker.node).await;
            })*
        }
        mod redis {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let broker = Broker::start(Kind::Redis, $options).await;
                super::$name(&broker.node).await;
            })*
        }
        mod over_http2 {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let broker = Broker::start(Kind::Memory, $options.client(http2())).await;
                super::$name(&broker.node).await;
            })*
        }
        mod carried_by_hyper {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let broker = Broker::start(Kind::Redis, $options.set("FANOUT__THREADS", "0")).await;
                super::$name(&broker.node).await;
            })*
        }
    };
}

fn defaults() -> Options {
    Options::default()
}

on_both_stores_and_ways! {
    acknowledged_id_is_a_resume_point: defaults();
    new_client_gets_the_newest_hundred_then_live_events: defaults();
    replay_chooses_how_much_of_the_past: defaults();
    live_only_client_without_events_resumes_exactly: defaults();
    header_wins_over_query_and_the_last_query_over_the_first: defaults();
    client_that_missed_too_much_gets_one_gap: defaults();
    malformed_id_is_a_gap_and_everything_kept: defaults();
    forgetting_keeps_the_counter: defaults();
    forgetting_reaches_open_streams_without_a_gap: defaults();
    repeated_key_publishes_once: defaults();
    history_as_json_pages_filters_and_keeps_every_digit: defaults();
    history_of_many_pages_answers_as_one_of_a_page: defaults();
    history_trimmed_while_read_has_a_gap_and_no_duplicate: defaults();
    history_has_a_bound_in_bytes: defaults().set("HISTORY__BYTES", "64KiB");
    head_of_a_history_reads_nothing: defaults();
    pipeline_facts_are_answered: defaults();
    filter_lets_only_its_channels_through: defaults();
    filtered_stream_moves_its_resume_point: defaults().set("STREAM__KEEPALIVE", "200ms");
    batch_of_a_thousand_reaches_an_open_stream_whole: defaults();
    faulty_batch_stores_nothing: defaults();
    large_and_strange_payloads_arrive_as_they_were: defaults();
    keepalives_come_on_busy_streams_too: defaults().set("STREAM__KEEPALIVE", "100ms");
    stream_may_ask_for_a_keepalive_of_its_own: defaults().set("STREAM__KEEPALIVE", "1h");
    streams_end_at_their_age_and_resume: defaults().set("STREAM__MAX_AGE", "1s");
    history_expires_and_ids_still_grow: defaults().set("HISTORY__TTL", "1s").set("HUB__LINGER", "100ms");
    history_with_readers_does_not_expire: defaults().set("HISTORY__TTL", "1s");
    shorter_history_is_kept_as_set: defaults().set("HISTORY__LIMIT", "7");
    clients_that_come_while_events_flow_see_one_contiguous_run: defaults();
}

async fn acknowledged_id_is_a_resume_point(node: &Node) {
    let first = node.publish("p", "a", json!(1)).await;
    let ids = node.publish_numbers("p", 2..=4).await;
    let lines = "{\"channel\":\"a\",\"payload\":5}\n{\"channel\":\"a\",\"payload\":6}\n";
    let answer = node.post_with("p", lines, &[("Content-Type", "application/x-ndjson")]).await;
    let lines: Value = answer.json().await.unwrap();
    let all: Vec<_> = std::iter::once(first.as_str())
        .chain(ids.iter().map(String::as_str))
        .chain(lines["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()))
        .collect();
    assert_eq!(all.iter().map(|id| seq(id)).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert!(all.windows(2).all(|pair| parts(pair[0]) < parts(pair[1])));
    for (id, rest) in all.iter().zip((0..6).rev()) {
        let mut stream = node.open_with("p", "", Some(id)).await;
        let expected: Vec<_> = (1..=6).skip(6 - rest).collect();
        assert_eq!(stream.numbers(rest).await, expected, "after {id}");
        assert!(stream.arrived().is_empty());
    }
}

async fn new_client_gets_the_newest_hundred_then_live_events(node: &Node) {
    node.publish_numbers("p", 1..=130).await;
    let mut stream = node.open("p", "").await;
    assert_eq!(stream.headers["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(stream.numbers(100).await, (31..=130).collect::<Vec<_>>());
    for n in 131..=140 {
        node.publish("p", "live", json!(n)).await;
        let event = stream.next().await;
        assert_eq!((event.event.as_str(), number(&event), seq(&event.id)), ("live", n, n));
    }
}

async fn replay_chooses_how_much_of_the_past(node: &Node) {
    let ids = node.publish_numbers("p", 1..=20).await;
    assert_eq!(node.open("p", "?replay=5").await.numbers(5).await, [16, 17, 18, 19, 20]);
    assert_eq!(node.open("p", "?replay=100").await.numbers(20).await.len(), 20);
    let mut live = node.open("p", "?replay=0").await;
    // A resume point says better what is wanted than replay=, which a browser repeats.
    let mut resumed = node.open_with("p", "?replay=0", Some(&ids[17])).await;
    assert_eq!(resumed.numbers(2).await, [19, 20]);
    eventually("all are placed", || async {
        node.metric("pipecast_streams_opened_total{start=\"history\"}").await == 3.0
    })
    .await;
    node.publish_numbers("p", 21..=21).await;
    assert_eq!(live.numbers(1).await, [21]);
    for bad in ["101", "-1", "x", "", "1.0", "99999999999999999999"] {
        let url = format!("{}/pipelines/p/sse?replay={bad}", node.url);
        let answer = node.http.get(url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{bad:?}");
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().contains("0 to 100"), "{problem}");
    }
}

async fn live_only_client_without_events_resumes_exactly(node: &Node) {
    let position = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("id: "));
        line.map(str::to_owned)
    };
    let first_block = async |query: &str| {
        let mut raw = crate::support::raw::Raw::connect(node).await;
        raw.get(&format!("/pipelines/p/sse{query}")).await;
        raw.read_until("\n\n").await;
        raw.read_until("id: ").await;
        raw.read_until("\n\n\r\n").await;
        raw.body_text()
    };
    let empty = first_block("?replay=0").await;
    let beginning = position(&empty).unwrap();
    let first = node.publish_numbers("p", 1..=3).await.remove(0);
    let ((told_ms, 0), (first_ms, 1)) = (parts(&beginning), parts(&first)) else { panic!("{empty} then {first}") };
    // The store's time when it had nothing.
    assert!(told_ms <= first_ms && told_ms + 60_000 > first_ms, "{beginning} then {first}");
    for from in [&beginning, "0-0"] {
        assert_eq!(node.open_with("p", "?replay=0", Some(from)).await.numbers(3).await, [1, 2, 3]);
    }
    let history = node.history("p", &format!("?after={beginning}")).await;
    assert_eq!((&history["gap"], history["events"].as_array().unwrap().len()), (&json!(false), 3));
    let later = position(&first_block("?replay=0").await).unwrap();
    let before_two = position(&first_block("?replay=2").await).unwrap();
    node.publish_numbers("p", 4..=5).await;
    assert_eq!(node.open_with("p", "?replay=0", Some(&later)).await.numbers(2).await, [4, 5]);
    assert_eq!(node.open_with("p", "?replay=2", Some(&before_two)).await.numbers(4).await, [2, 3, 4, 5]);
}

async fn header_wins_over_query_and_the_last_query_over_the_first(node: &Node) {
    let ids = node.publish_numbers("p", 1..=9).await;
    let check = async |query: String, header: Option<&str>, first: u64| {
        let mut stream = node.open_with("p", &query, header).await;
        assert_eq!(number(&stream.next().await), first, "{query} {header:?}");
    };
    for name in ["last_event_id", "lastEventId", "Last-Event-ID"] {
        check(format!("?{name}={}", ids[3]), None, 5).await;
        check(format!("?{name}={}", ids[3]), Some(&ids[6]), 8).await;
        check(format!("?{name}={}&lastEventId={}", ids[3], ids[5]), None, 7).await;
        check(format!("?{name}="), None, 1).await;
        check(format!("?{name}={}", ids[3]), Some(""), 5).await;
    }
}

async fn client_that_missed_too_much_gets_one_gap(node: &Node) {
    let ids = node.publish_numbers("p", 1..=150).await;
    let mut stream = node.open_with("p", "", Some(&ids[9])).await;
    let (gap, resume) = stream.gap().await;
    assert_eq!(gap, json!({"reason": "trimmed", "after": ids[9], "missed": 40}));
    assert_eq!(stream.numbers(100).await, (51..=150).collect::<Vec<_>>());
    // Cut right after the gap: it is not reported a second time.
    let mut again = node.open_with("p", "", Some(&resume)).await;
    assert_eq!(again.numbers(100).await, (51..=150).collect::<Vec<_>>());
    // The last one trimmed is contiguous, the one before it is not.
    assert_eq!(node.open_with("p", "", Some(&ids[49])).await.numbers(1).await, [51]);
    assert_eq!(node.open_with("p", "", Some(&ids[48])).await.gap().await.0["missed"], 1);
    assert_eq!(node.metric("pipecast_gaps_total{reason=\"trimmed\"}").await, 2.0);
}

async fn malformed_id_is_a_gap_and_everything_kept(node: &Node) {
    node.publish_numbers("p", 1..=3).await;
    let long = "x".repeat(500);
    for (asked, told) in
        [("rubbish", "rubbish"), ("9999999999999-1", "9999999999999-1"), ("1-2-3", "1-2-3"), (&long, &long[..64])]
    {
        let mut stream = node.open_with("p", "", Some(asked)).await;
        let (gap, resume) = stream.gap().await;
        assert_eq!(gap, json!({"reason": "unknown", "after": told, "missed": null}));
        assert_eq!(stream.numbers(3).await, [1, 2, 3]);
        assert_eq!(node.open_with("p", "", Some(&resume)).await.numbers(3).await, [1, 2, 3]);
    }
    let mut empty = node.open_with("nothing", "", Some("rubbish")).await;
    assert_eq!(empty.gap().await.0["reason"], "unknown");
    node.publish_numbers("nothing", 1..=1).await;
    assert_eq!(empty.numbers(1).await, [1]);
}

async fn forgetting_keeps_the_counter(node: &Node) {
    node.forget("p").await;
    let ids = node.publish_numbers("p", 1..=5).await;
    node.forget("p").await;
    node.forget("p").await;
    assert_eq!(node.history("p", "").await, json!({"events": [], "gap": false}));
    assert_eq!(node.history("p", &format!("?after={}", ids[4])).await["gap"], false);
    assert_eq!(node.history("p", &format!("?after={}", ids[3])).await["gap"], true);
    let (gap, _) = node.open_with("p", "", Some(&ids[2])).await.gap().await;
    assert_eq!(gap, json!({"reason": "trimmed", "after": ids[2], "missed": 2}));
    let next = node.publish("p", "numbers", json!(6)).await;
    assert_eq!(seq(&next), 6);
    assert!(parts(&next) > parts(&ids[4]));
    assert_eq!(node.open_with("p", "", Some(&ids[4])).await.numbers(1).await, [6]);
}

async fn forgetting_reaches_open_streams_without_a_gap(node: &Node) {
    node.publish_numbers("p", 1..=5).await;
    let mut open = node.open("p", "").await;
    assert_eq!(open.numbers(5).await, [1, 2, 3, 4, 5]);
    node.forget("p").await;
    eventually("a new client gets nothing of the past", || async {
        node.publish("p", "numbers", json!(6)).await;
        node.open("p", "").await.numbers(1).await == [6]
    })
    .await;
    assert_eq!(open.numbers(1).await, [6]);
}

async fn repeated_key_publishes_once(node: &Node) {
    let one = json!({"channel": "a", "payload": 1});
    let many = json!([{"channel": "a", "payload": 1}, {"channel": "a", "payload": 2}]);
    for (key, body) in [("one", &one), ("many:~!", &many)] {
        let headers = [("Idempotency-Key", key)];
        let first = node.post_with("p", body, &headers).await;
        assert!(!first.headers().contains_key("Idempotency-Replayed"));
        let first = (first.status(), first.text().await.unwrap());
        let again = node.post_with("p", body, &headers).await;
        assert_eq!(again.headers()["Idempotency-Replayed"], "true");
        assert_eq!((again.status(), again.text().await.unwrap()), first);
    }
    assert_eq!(node.history("p", "").await["events"].as_array().unwrap().len(), 3);
    assert_eq!(node.metric("pipecast_events_published_total").await, 3.0);
    let elsewhere = node.post_with("q", &one, &[("Idempotency-Key", "one")]).await;
    assert!(!elsewhere.headers().contains_key("Idempotency-Replayed"));
    for bad in ["", "a b", &"x".repeat(256)] {
        assert_eq!(node.post_with("p", &one, &[("Idempotency-Key", bad)]).await.status(), StatusCode::BAD_REQUEST);
    }
}

async fn history_as_json_pages_filters_and_keeps_every_digit(node: &Node) {
    let digits = "12345678901234567890.123456789012345678901234567890e-5";
    node.post("p", format!("{{\"channel\":\"exact\",\"payload\":{{ \"b\" : {digits}, \"a\":[ ] }} }}")).await;
    let url = format!("{}/pipelines/p/events", node.url);
    let text = node.http.get(&url).send().await.unwrap().text().await.unwrap();
    assert!(text.contains(&format!("\"payload\":{{\"b\":{digits},\"a\":[]}}")), "{text}");

    let ids = node.publish_numbers("p", 2..=10).await;
    let numbers = async |query: &str| {
        let page = node.history("p", query).await;
        let events = page["events"].as_array().unwrap().clone();
        (events.iter().filter_map(|event| event["payload"].as_u64()).collect::<Vec<_>>(), page["gap"].clone())
    };
    assert_eq!(numbers("?limit=2").await, (vec![9, 10], json!(false)));
    assert_eq!(numbers(&format!("?after={}&limit=2", ids[3])).await, (vec![6, 7], json!(false)));
    assert_eq!(numbers("?channel=numbers&limit=100").await.0.len(), 9);
    assert_eq!(numbers("?channel=exact&channel=none").await.0, [0; 0]);
    assert_eq!(numbers("?limit=0").await.0, [0; 0]);
    assert_eq!(numbers("?after=5-500").await.1, json!(true));
    for bad in ["?after=x", "?limit=101", "?limit=x", "?channel="] {
        assert_eq!(
            node.http.get(format!("{url}{bad}")).send().await.unwrap().status(),
            StatusCode::BAD_REQUEST,
            "{bad}"
        );
    }
}

/// Byte by byte, whether a page is enough or not.
async fn history_of_many_pages_answers_as_one_of_a_page(node: &Node) {
    let get = async |query: &str| {
        let answer = node.http.get(format!("{}/pipelines/p/events{query}", node.url)).send().await.unwrap();
        (answer.headers().contains_key("content-length"), answer.text().await.unwrap())
    };
    for filler in [10, 8000] {
        node.forget("p").await;
        let (mut ids, mut all) = (Vec::new(), Vec::new());
        for n in 0..100 {
            let channel = ["a", "b"][usize::from(n % 10 == 0)];
            let x = "x".repeat(filler);
            let id = node.publish("p", channel, json!({"n": n, "x": x})).await;
            all.push(format!("{{\"id\":\"{id}\",\"channel\":\"{channel}\",\"payload\":{{\"n\":{n},\"x\":\"{x}\"}}}}"));
            ids.push(id);
        }
        let page = |events: &[&str], gap: bool| format!("{{\"events\":[{}],\"gap\":{gap}}}\n", events.join(","));
        let texts = |range: std::ops::Range<usize>| all[range].iter().map(String::as_str).collect::<Vec<_>>();
        let of_b: Vec<_> = (0..100).step_by(10).map(|n| all[n].as_str()).collect();
        let id = |n: usize| &ids[n];
        for (query, expected) in [
            (String::new(), page(&texts(0..100), false)),
            ("?limit=100".into(), page(&texts(0..100), false)),
            ("?limit=37".into(), page(&texts(63..100), false)),
            ("?limit=1".into(), page(&texts(99..100), false)),
            ("?limit=0".into(), page(&[], false)),
            ("?channel=b".into(), page(&of_b, false)),
            ("?channel=b&limit=3".into(), page(&of_b[7..], false)),
            ("?channel=a&channel=b&limit=50".into(), page(&texts(50..100), false)),
            ("?channel=none".into(), page(&[], false)),
            (format!("?after={}", id(0)), page(&texts(1..100), false)),
            (format!("?after={}", id(40)), page(&texts(41..100), false)),
            (format!("?after={}&limit=25", id(40)), page(&texts(41..66), false)),
            (format!("?after={}&channel=b&limit=2", id(40)), page(&of_b[5..7], false)),
            (format!("?after={}&limit=0", id(40)), page(&[], false)),
            (format!("?after={}", id(99)), page(&[], false)),
            ("?after=5-100000".into(), page(&texts(0..100), true)),
            ("?after=9007199254740991-5".into(), page(&texts(0..100), true)),
            ("?after=9007199254740991-5&limit=3".into(), page(&texts(0..3), true)),
        ] {
            let (has_length, text) = get(&query).await;
            assert!(text == expected, "{query} with {filler}: {} bytes, not {}", text.len(), expected.len());
            // What is looked through for a filter may be more than a page, and the answer less.
            let is_one_page = expected.len() < 100_000;
            assert!(has_length == is_one_page || query.contains("channel"), "{query} with {filler}");
        }
    }
}

/// Events are published, and old ones trimmed, between two pages of the same answer.
async fn history_trimmed_while_read_has_a_gap_and_no_duplicate(node: &Node) {
    for more in [30, 70, 150] {
        let filler = "x".repeat(40 << 10);
        let publish = async |count: u64| {
            for n in 0..count {
                node.publish("p", "a", json!({"n": n, "filler": filler})).await;
            }
        };
        publish(100).await;
        let newest = node.history("p", "?limit=1").await["events"][0]["id"].as_str().unwrap().to_owned();
        // What the kernel and the HTTP library hold is far from all of it.
        let mut raw = crate::support::raw::Raw::connect_narrow(node, 4 << 10);
        raw.send("GET /pipelines/p/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        raw.read_until("{\"events\":[").await;
        publish(more).await;
        raw.read_to_end().await;
        let page: Value = serde_json::from_slice(&raw.body()).unwrap();
        let ids: Vec<_> =
            page["events"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap()).collect();
        let is_whole = ids.windows(2).all(|pair| seq(pair[0]) + 1 == seq(pair[1])) && ids.last() == Some(&&*newest);
        assert!(ids.windows(2).all(|pair| parts(pair[0]) < parts(pair[1])), "{ids:?}");
        assert!(parts(ids[ids.len() - 1]) <= parts(&newest), "it follows the publishers: {ids:?}");
        assert_eq!(page["gap"], !is_whole, "{ids:?}");
        assert_eq!(is_whole, more == 30 && ids.len() == 100, "{more} more events: {ids:?}");
        node.forget("p").await;
    }
}

async fn history_has_a_bound_in_bytes(node: &Node) {
    for n in 1..=10 {
        node.publish("p", "a", json!({"n": n, "filler": "x".repeat(20 << 10)})).await;
    }
    let numbers = async |query: &str| {
        let page = node.history("p", query).await;
        let events = page["events"].as_array().unwrap().clone();
        (events.iter().map(|event| event["payload"]["n"].as_u64().unwrap()).collect::<Vec<_>>(), page["gap"].clone())
    };
    assert_eq!(numbers("").await, (vec![8, 9, 10], json!(false)));
    assert_eq!(numbers("?limit=2").await, (vec![9, 10], json!(false)));
    assert_eq!(numbers("?after=5-1").await, (vec![8, 9, 10], json!(true)));
    // The newest is kept whatever it has.
    let id = node.publish("p", "a", json!({"n": 11, "filler": "x".repeat(100 << 10)})).await;
    assert_eq!(numbers("").await.0, [11]);
    assert_eq!(numbers(&format!("?after={id}")).await, (vec![], json!(false)));
}

async fn head_of_a_history_reads_nothing(node: &Node) {
    node.publish("p", "a", json!(1)).await;
    let head = async |query: &str| {
        let answer = node.http.head(format!("{}/pipelines/p/events{query}", node.url)).send().await.unwrap();
        assert!(answer.headers()["content-type"].to_str().unwrap().contains("json"));
        answer.status()
    };
    assert_eq!((head("").await, head("?limit=x").await), (StatusCode::OK, StatusCode::BAD_REQUEST));
    assert_eq!(node.metric("pipecast_history_reads_total{reason=\"request\"}").await, 0.0);
}

async fn pipeline_facts_are_answered(node: &Node) {
    let about = async || {
        let answer = node.http.get(format!("{}/pipelines/p", node.url)).send().await.unwrap();
        answer.json::<Value>().await.unwrap()
    };
    assert_eq!(about().await, json!({"pipeline": "p", "last_id": null, "events": 0, "subscribers": 0}));
    let id = node.publish("p", "a", json!(1)).await;
    let stream = node.open("p", "").await;
    assert_eq!(about().await, json!({"pipeline": "p", "last_id": id, "events": 1, "subscribers": 1}));
    drop(stream);
    eventually("the subscriber is gone", || async { about().await["subscribers"] == 0 }).await;
}

async fn filter_lets_only_its_channels_through(node: &Node) {
    let batch: Vec<_> = (1..=30).map(|n| json!({"channel": (["a", "b", "c d"][n % 3]), "payload": n})).collect();
    node.post("p", Value::from(batch)).await;
    let mut stream = node.open("p", "?channel=a&channel=c+d&replay=4").await;
    assert_eq!(stream.numbers(4).await, [26, 27, 29, 30]);
    node.publish("p", "b", json!(31)).await;
    node.publish("p", "a", json!(32)).await;
    assert_eq!(stream.numbers(1).await, [32]);
    let refused = node.http.get(format!("{}/pipelines/p/sse?channel=pipecast.gap", node.url)).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
}

async fn filtered_stream_moves_its_resume_point(node: &Node) {
    node.publish("p", "rare", json!(1)).await;
    let mut raw = crate::support::raw::Raw::connect(node).await;
    raw.get("/pipelines/p/sse?channel=rare").await;
    raw.read_until("event: rare").await;
    let ids = node.publish_numbers("p", 2..=150).await;
    // By an event with data: some clients drop a block of only an id.
    let position = |id: &str| format!("event: pipecast.position\nid: {id}\ndata: {{}}\n\n");
    raw.read_body_until(&format!("{}:keepalive\n\n:keepalive\n\n", position(&ids[148]))).await;
    let told = raw.body_text();
    assert!(!told.contains("numbers"), "{told}");
    assert_eq!(told.matches(&position(&ids[148])).count(), 1, "repeated although no event passed: {told}");
    // An event is a position, too.
    let rare = node.publish("p", "rare", json!(151)).await;
    raw.read_body_until(&format!("id: {rare}\nevent: rare\ndata: 151\n\n:keepalive\n\n")).await;
    let [foreign] = &node.publish_numbers("p", 152..=152).await[..] else { panic!("one id") };
    raw.read_body_until(&format!("{}:keepalive\n\n", position(foreign))).await;
    let mut resumed = node.open_with("p", "?channel=rare", Some(&ids[148])).await;
    assert_eq!(resumed.numbers(1).await, [151]);
}

async fn batch_of_a_thousand_reaches_an_open_stream_whole(node: &Node) {
    let mut stream = node.open("p", "").await;
    node.publish_numbers("p", 1..=1).await;
    assert_eq!(stream.numbers(1).await, [1]);
    for round in 0..5 {
        let first = 2 + round * 1000;
        node.publish_numbers("p", first..=first + 999).await;
    }
    assert_eq!(stream.numbers(5000).await, (2..=5001).collect::<Vec<_>>());
    assert_eq!(node.history("p", "").await["events"].as_array().unwrap().len(), 100);
}

async fn faulty_batch_stores_nothing(node: &Node) {
    let good = json!({"channel": "a", "payload": 1});
    let check = async |body: String, status: u16, detail: &str, index: Value| {
        let answer = node.post("p", body).await;
        assert_eq!(answer.status(), status, "{detail}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
        assert_eq!((&problem["status"], &problem["index"]), (&json!(status), &index));
    };
    check(json!([good, {"channel": "a"}]).to_string(), 400, "index 1", json!(1)).await;
    check(json!([good, good, {"channel": "x\ny", "payload": 1}]).to_string(), 400, "index 2", json!(2)).await;
    check(format!("[{good},{good}"), 400, "EOF", Value::Null).await;
    check(json!([good, {"channel": "a", "payload": "x".repeat(300 << 10)}]).to_string(), 413, "index 1", json!(1))
        .await;
    check(Value::from(vec![good.clone(); 1001]).to_string(), 413, "more than 1000", Value::Null).await;
    check("[]".into(), 400, "no event", Value::Null).await;
    let deep = format!("{{\"channel\":\"a\",\"payload\":{}{}}}", "[".repeat(129), "]".repeat(129));
    check(deep, 400, "deeper than 128", Value::Null).await;
    assert_eq!(node.history("p", "").await["events"], json!([]));
    assert_eq!(seq(&node.publish("p", "a", json!(1)).await), 1);
}

async fn large_and_strange_payloads_arrive_as_they_were(node: &Node) {
    let payloads = [
        json!("x".repeat(250 << 10)),
        json!("\u{0}\u{1}\u{7f}\r\n\u{2028}\u{feff}\u{202e}</script>😀漢字"),
        json!({"": [null, true, -0.0, 1e300, "\\\""], "nested": {"a": {"b": [[[]]]}}}),
        json!("data: x\n\nid: 5\n\nevent: y"),
        Value::Null,
    ];
    let channels = ["message", "data: x", " leading", "trailing ", "😀:", "id", "retry", "data"];
    let mut stream = node.open("p", "").await;
    for payload in &payloads {
        for channel in channels {
            node.publish("p", channel, payload.clone()).await;
            let event = stream.next().await;
            assert_eq!(event.event, channel);
            assert_eq!(&serde_json::from_str::<Value>(&event.data).unwrap(), payload);
        }
    }
    let mut replayed = node.open("p", "").await.take(40).await;
    assert_contiguous(&replayed);
    assert_eq!(replayed.pop().unwrap().data, "null");
}

async fn keepalives_come_on_busy_streams_too(node: &Node) {
    let mut raw = crate::support::raw::Raw::connect(node).await;
    raw.get("/pipelines/p/sse").await;
    let mut n = 0;
    while raw.text().matches(":keepalive\n\n").count() < 3 {
        n += 1;
        node.publish("p", "numbers", json!(n)).await;
        raw.read_until(&format!("data: {n}\n\n")).await;
    }
    let body = raw.body_text();
    assert!(n > 3, "{n} events between three keepalives");
    for block in body.split_inclusive("\n\n").filter(|block| block.contains("keepalive")) {
        assert_eq!(block, ":keepalive\n\n", "a keepalive is a block of its own");
    }
}

async fn stream_may_ask_for_a_keepalive_of_its_own(node: &Node) {
    for bad in ["", "4s", "61s", "x", "5.5s", "-5s", "5ms", "99999999999999999999s"] {
        let answer = node.http.get(format!("{}/pipelines/p/sse?keepalive={bad}", node.url)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{bad:?}");
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().contains("5s to 60s"), "{problem}");
    }
    let mut streams = Vec::new();
    for query in ["", "?keepalive=5s", "?keepalive=5", "?keepalive=60s"] {
        let mut raw = crate::support::raw::Raw::connect(node).await;
        raw.get(&format!("/pipelines/p/sse{query}")).await;
        raw.read_until("retry: ").await;
        streams.push(raw);
    }
    // One that has left its place to another leaves it no keepalive.
    streams.remove(2);
    streams[1].read_body_until(":keepalive\n\n:keepalive\n\n").await;
    let id = node.publish("p", "a", json!(1)).await;
    for raw in &mut streams {
        raw.read_body_until(&format!("id: {id}\nevent: a\ndata: 1\n\n")).await;
    }
    let keepalives: Vec<_> = streams.iter().map(|raw| raw.body_text().matches(":keepalive").count()).collect();
    assert_eq!(keepalives, [0, 2, 0]);
}

async fn streams_end_at_their_age_and_resume(node: &Node) {
    let mut raw = crate::support::raw::Raw::connect(node).await;
    let id = node.publish("p", "a", json!(1)).await;
    raw.get("/pipelines/p/sse").await;
    let began = std::time::Instant::now();
    raw.read_until("0\r\n\r\n").await;
    assert!(began.elapsed() >= Duration::from_millis(790), "{:?}", began.elapsed());
    let body = raw.body_text();
    let last = body.strip_suffix("\n\n").and_then(|body| body.lines().last()).unwrap_or_else(|| panic!("{body:?}"));
    let retry: u64 = last.strip_prefix("retry: ").unwrap_or_else(|| panic!("{body}")).parse().unwrap();
    assert!((1000..=3000).contains(&retry), "{body:?}");
    node.publish("p", "a", json!(2)).await;
    assert_eq!(node.open_with("p", "", Some(&id)).await.numbers(1).await, [2]);
    assert!(node.metric("pipecast_streams_closed_total{reason=\"max_age\"}").await >= 1.0);
}

async fn history_expires_and_ids_still_grow(node: &Node) {
    let old = node.publish("p", "a", json!(1)).await;
    eventually("the history has expired", || async { node.history("p", "").await["events"] == json!([]) }).await;
    let new = node.publish("p", "a", json!(2)).await;
    assert!(parts(&new) > parts(&old));
    let mut stream = node.open_with("p", "", Some(&old)).await;
    assert_eq!(stream.gap().await.0, json!({"reason": "reset", "after": old, "missed": null}));
    assert_eq!(stream.numbers(1).await, [2]);
}

async fn history_with_readers_does_not_expire(node: &Node) {
    let mut stream = node.open("read", "").await;
    node.publish("read", "a", json!(1)).await;
    assert_eq!(stream.numbers(1).await, [1]);
    for round in 0..3 {
        node.publish("unread", "a", json!(round)).await;
        eventually("an unread history expires", || async { node.history("unread", "").await["events"] == json!([]) })
            .await;
    }
    assert_eq!(node.history("read", "").await["events"].as_array().unwrap().len(), 1);
}

async fn shorter_history_is_kept_as_set(node: &Node) {
    let ids = node.publish_numbers("p", 1..=20).await;
    assert_eq!(node.open("p", "").await.numbers(7).await, (14..=20).collect::<Vec<_>>());
    assert_eq!(node.open_with("p", "", Some(&ids[4])).await.gap().await.0["missed"], 8);
    assert_eq!(node.open("p", "?replay=100").await.numbers(7).await.len(), 7);
    assert_eq!(node.history("p", "?limit=100").await["events"].as_array().unwrap().len(), 7);
}

/// The race of history and live events: while events flow, clients connect without pause.
async fn clients_that_come_while_events_flow_see_one_contiguous_run(node: &Node) {
    const EVENTS: u64 = 600;
    let publish = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        for n in 1..=EVENTS {
            ticks.tick().await;
            node.publish("p", "numbers", json!(n)).await;
        }
    };
    let clients = async {
        let mut streams: Vec<Stream> = Vec::new();
        // A second more than enough clients, each at another moment of the run.
        for n in 0..120 {
            streams.push(node.open("p", ["", "?replay=10", "?replay=0"][n % 3]).await);
        }
        streams
    };
    let (mut streams, ()) = tokio::join!(clients, publish);
    for stream in &mut streams {
        let mut events = Vec::new();
        while events.last().is_none_or(|event| number(event) < EVENTS) {
            events.push(stream.next().await);
        }
        assert_contiguous(&events);
        assert!(stream.arrived().is_empty());
    }
}
