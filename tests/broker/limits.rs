//! Limits: each reached and released, and which client counts against which.

use std::time::{Duration, Instant};

use reqwest::{Response, StatusCode};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::auth::issuer::{SECRET, claims, hs256};
use crate::support::node::{Node, Options, both_ways};
use crate::support::raw::Raw;
use crate::support::{PATIENCE, eventually};

const STREAM: &str = "GET /pipelines/p/sse HTTP/1.1\r\nHost: x\r\n";

/// What became of a request for a stream.
#[derive(PartialEq, Eq, Debug)]
enum Answer {
    Opened,
    /// 200, a long `retry:` and the end.
    SentAway,
    /// Closed without a byte.
    Closed,
}

/// Sends the bytes and a request for a stream, with further header lines.
async fn ask(raw: &mut Raw, first: &[u8], headers: &str) -> Answer {
    raw.send([first, STREAM.as_bytes(), headers.as_bytes(), b"\r\n"].concat()).await;
    while !raw.text().contains("retry: ") || !raw.body().ends_with(b"\n") {
        if raw.read_some().await == 0 {
            assert_eq!(raw.text(), "");
            return Answer::Closed;
        }
    }
    let text = raw.text();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("content-type: text/event-stream; charset=utf-8\r\n"), "{text}");
    let body = raw.body_text();
    let retry: u64 = body.lines().next().unwrap().strip_prefix("retry: ").unwrap().parse().unwrap();
    if retry < 5000 {
        return Answer::Opened;
    }
    assert!(retry <= 15_000, "{retry}");
    raw.read_to_end().await;
    // A block of its own: some clients apply `retry:` only at the blank line.
    assert_eq!(raw.body_text(), format!("retry: {retry}\n\n"));
    Answer::SentAway
}

/// A stream asked for from an address, and what became of it.
async fn stream_from(node: &Node, source: &str, headers: &str) -> (Raw, Answer) {
    let mut raw = Raw::connect_from(node, source).await;
    let answer = ask(&mut raw, b"", headers).await;
    (raw, answer)
}

async fn refused(node: &Node, reason: &str) -> f64 {
    node.metric(&format!("pipecast_rejected_total{{reason=\"{reason}\"}}")).await
}

/// Asks again and again until there is a place, as an `EventSource` does, only sooner.
async fn stream_eventually(node: &Node, source: &str, headers: &str) -> Raw {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: a place is free");
        let (raw, answer) = stream_from(node, source, headers).await;
        if answer == Answer::Opened {
            return raw;
        }
    }
}

#[tokio::test]
async fn full_node_defers_streams_until_a_slot_frees() {
    for way in both_ways() {
        let node = way.set("LIMITS__STREAMS", "2").start().await;
        let (first, answer) = stream_from(&node, "127.0.0.1", "").await;
        assert_eq!(answer, Answer::Opened);
        let (mut second, answer) = stream_from(&node, "127.0.0.1", "").await;
        assert_eq!(answer, Answer::Opened);
        for turn in 1..=5 {
            assert_eq!(stream_from(&node, "127.0.0.1", "").await.1, Answer::SentAway);
            assert_eq!(refused(&node, "stream_limit").await, f64::from(turn));
        }
        assert_eq!(node.metric("pipecast_streams").await, 2.0);
        assert_eq!(node.metric("pipecast_streams_limit").await, 2.0);
        assert!(node.is_ready().await);
        node.publish("p", "a", json!(1)).await;
        second.read_until("data: 1\n").await;
        drop(first);
        let third = stream_eventually(&node, "127.0.0.1", "").await;
        assert_eq!(stream_from(&node, "127.0.0.1", "").await.1, Answer::SentAway);
        // The node logs when it becomes full, not for every client.
        assert_eq!(node.log().matches("the node is full").count(), 1, "{}", node.log());
        drop((second, third));
        eventually("all are gone", || async { node.metric("pipecast_streams").await == 0.0 }).await;
        eventually("so are their sockets", || async { node.metric("pipecast_connections").await == 0.0 }).await;
    }
}

#[tokio::test]
async fn filling_a_node_repeatedly_does_not_grow_the_log() {
    const TURNS: usize = 30;
    let node = Options::default().set("LIMITS__STREAMS", "1").start().await;
    for turn in 1..=TURNS {
        let held = stream_eventually(&node, "127.0.0.1", "").await;
        assert_eq!(stream_from(&node, "127.0.0.1", "").await.1, Answer::SentAway);
        drop(held);
        eventually("it is gone", || async { node.metric("pipecast_connections").await == 0.0 }).await;
        assert!(refused(&node, "stream_limit").await >= turn as f64);
    }
    // Once a minute.
    assert!(node.log().matches("the node is full").count() < TURNS / 2, "{}", node.log());
}

#[tokio::test]
async fn places_come_back_however_often_clients_come_and_go() {
    for way in both_ways() {
        let limits = [("STREAMS", "3"), ("STREAMS_PER_ADDRESS", "3"), ("STREAMS_PER_PIPELINE", "3")];
        let way = limits.iter().fold(way, |way, (name, value)| way.set(&format!("LIMITS__{name}"), value));
        let node = way.start().await;
        for _ in 0..30 {
            drop(stream_eventually(&node, "127.0.0.1", "").await);
        }
        eventually("all are gone", || async { node.metric("pipecast_streams").await == 0.0 }).await;
        eventually("so are their sockets", || async { node.metric("pipecast_connections").await == 0.0 }).await;
        let mut held = Vec::new();
        for _ in 0..3 {
            let (raw, answer) = stream_from(&node, "127.0.0.1", "").await;
            assert_eq!(answer, Answer::Opened);
            held.push(raw);
        }
        assert_eq!(stream_from(&node, "127.0.0.1", "").await.1, Answer::SentAway);
    }
}

#[tokio::test]
async fn one_address_or_one_pipeline_cannot_take_all_places() {
    for way in both_ways() {
        let way = way.set("LIMITS__STREAMS_PER_ADDRESS", "2").set("LIMITS__STREAMS_PER_PIPELINE", "3");
        let node = way.start().await;
        let (first, second) = (stream_from(&node, "127.0.0.1", "").await, stream_from(&node, "127.0.0.1", "").await);
        assert_eq!((first.1, second.1), (Answer::Opened, Answer::Opened));
        assert_eq!(stream_from(&node, "127.0.0.1", "").await.1, Answer::SentAway);
        assert_eq!(refused(&node, "address_stream_limit").await, 1.0);
        let third = stream_from(&node, "127.0.0.2", "").await;
        assert_eq!(third.1, Answer::Opened);
        assert_eq!(stream_from(&node, "127.0.0.2", "").await.1, Answer::SentAway);
        assert_eq!(refused(&node, "pipeline_stream_limit").await, 1.0);
        // A client rejected at the pipeline's limit still has its address' slot.
        let mut other = Raw::connect_from(&node, "127.0.0.2").await;
        other.get("/pipelines/q/sse").await;
        other.read_until("retry: ").await;
        drop(first.0);
        stream_eventually(&node, "127.0.0.1", "").await;
    }
}

#[tokio::test]
async fn headers_name_the_client_only_when_a_trusted_proxy_sends_them() {
    for way in both_ways() {
        let way = way.set("LIMITS__STREAMS_PER_ADDRESS", "1").set("SERVER__TRUSTED_PROXIES", "127.0.0.2, ::1");
        let node = way.start().await;
        let mut held = Vec::new();
        let mut check = async |source: &str, headers: &str, expected: Answer| {
            let (raw, answer) = stream_from(&node, source, headers).await;
            assert_eq!(answer, expected, "{source} {headers}");
            held.push(raw);
        };
        check("127.0.0.2", "X-Forwarded-For: 203.0.113.1\r\n", Answer::Opened).await;
        check("127.0.0.2", "X-Forwarded-For: 203.0.113.1\r\n", Answer::SentAway).await;
        check("127.0.0.2", "X-Forwarded-For: 6.6.6.6, 203.0.113.1\r\n", Answer::SentAway).await;
        check("127.0.0.2", "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 203.0.113.1\r\n", Answer::SentAway).await;
        // The other header may be the client's own: one that writes it gains nothing.
        check("127.0.0.2", "X-Forwarded-For: 203.0.113.1\r\nForwarded: for=203.0.113.9\r\n", Answer::SentAway).await;
        check("127.0.0.2", "X-Forwarded-For: 203.0.113.1\r\nForwarded: for=203.0.113.1\r\n", Answer::SentAway).await;
        // By its /64, and what cannot be read or believed by the proxy's address.
        check("127.0.0.2", "X-Forwarded-For: 2001:db8::1\r\n", Answer::Opened).await;
        check("127.0.0.2", "X-Forwarded-For: 2001:db8::ffff:1\r\n", Answer::SentAway).await;
        check("127.0.0.2", "X-Forwarded-For: unknown\r\n", Answer::Opened).await;
        check("127.0.0.2", "Forwarded: for=203.0.113.9\r\n", Answer::SentAway).await;
        // Any other client counts as its own address.
        check("127.0.0.1", "X-Forwarded-For: 203.0.113.3\r\n", Answer::Opened).await;
        check("127.0.0.1", "X-Forwarded-For: 203.0.113.4\r\nForwarded: for=203.0.113.5\r\n", Answer::SentAway).await;
        // A proxy may have more sockets than any client.
        for _ in 0..30 {
            held.push(Raw::connect_from(&node, "127.0.0.2").await);
        }
        assert_eq!(stream_from(&node, "127.0.0.2", "X-Forwarded-For: 203.0.113.7\r\n").await.1, Answer::Opened);
        assert_eq!(refused(&node, "address_connection_limit").await, 0.0);
    }
}

#[tokio::test]
async fn proxies_that_write_forwarded_are_believed_in_that_alone() {
    let options = Options::default().set("LIMITS__STREAMS_PER_ADDRESS", "1");
    let options = options.set("SERVER__TRUSTED_PROXIES", "127.0.0.2").set("SERVER__FORWARDED_HEADER", "forwarded");
    let node = options.start().await;
    let mut held = Vec::new();
    for (headers, expected) in [
        ("Forwarded: for=203.0.113.1\r\n", Answer::Opened),
        ("Forwarded: for=6.6.6.6, for=203.0.113.1;proto=https\r\n", Answer::SentAway),
        ("Forwarded: for=203.0.113.1\r\nX-Forwarded-For: 203.0.113.9\r\n", Answer::SentAway),
        ("Forwarded: for=203.0.113.2\r\nX-Forwarded-For: 203.0.113.1\r\n", Answer::Opened),
        // The proxy's own address.
        ("X-Forwarded-For: 203.0.113.8\r\n", Answer::Opened),
        ("X-Forwarded-For: 203.0.113.9\r\n", Answer::SentAway),
    ] {
        let (raw, answer) = stream_from(&node, "127.0.0.2", headers).await;
        assert_eq!(answer, expected, "{headers}");
        held.push(raw);
    }
}

#[tokio::test]
async fn whom_a_proxy_does_not_name_cannot_name_himself() {
    for way in both_ways() {
        let way = way.set("SERVER__TRUSTED_PROXIES", "127.0.0.2").set("SERVER__PROXY_PROTOCOL", "v2");
        let node = way.set("LIMITS__STREAMS_PER_ADDRESS", "1").start().await;
        let unspecified = b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0".to_vec();
        let unix = |kind: u8| [b"\r\n\r\n\0\r\nQUIT\n\x21", &[kind, 0, 216][..], &[b'/'; 216]].concat();
        let mut held = Vec::new();
        let mut n = 0;
        let mut check = async |first: &[u8], expected: Answer| {
            let mut raw = Raw::connect_from(&node, "127.0.0.2").await;
            n += 1;
            let answer = ask(&mut raw, first, &format!("X-Forwarded-For: 203.0.113.{n}\r\n")).await;
            assert_eq!(answer, expected, "{n} {first:?}");
            held.push(raw);
        };
        // All of them are one client, at the proxy's address.
        check(&unspecified, Answer::Opened).await;
        check(&unspecified, Answer::SentAway).await;
        check(&unix(0x31), Answer::SentAway).await;
        check(&unix(0x32), Answer::SentAway).await;
        // Connections of the proxy's own are what it says.
        check(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", Answer::Opened).await;
        check(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", Answer::Opened).await;
        // And their sockets are counted as those of one client.
        for _ in 0..40 {
            let mut raw = Raw::connect_from(&node, "127.0.0.2").await;
            raw.send(&unspecified).await;
            held.push(raw);
        }
        eventually("those beyond are closed", || async { refused(&node, "address_connection_limit").await >= 5.0 })
            .await;
    }
}

/// A header of the PROXY protocol, version 2, for a client at this address.
fn proxy_header(client: [u8; 4]) -> Vec<u8> {
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &client[..], &[127, 0, 0, 1, 1, 1, 2, 2]].concat()
}

#[tokio::test]
async fn proxy_header_names_the_client_and_nobody_comes_without_one() {
    for way in both_ways() {
        let way = way.set("SERVER__TRUSTED_PROXIES", "127.0.0.2").set("SERVER__PROXY_PROTOCOL", "v2");
        let way = way.set("LIMITS__STREAMS_PER_ADDRESS", "1").set("LIMITS__REQUEST_TIMEOUT", "2s");
        let node = way.start().await;
        let mut held = Vec::new();
        let mut check = async |source: &str, first: &[u8], headers: &str, expected: Answer| {
            let mut raw = Raw::connect_from(&node, source).await;
            assert_eq!(ask(&mut raw, first, headers).await, expected, "{source} {first:?}");
            held.push(raw);
        };
        let (one, two) = (proxy_header([203, 0, 113, 1]), proxy_header([203, 0, 113, 2]));
        check("127.0.0.2", &one, "", Answer::Opened).await;
        check("127.0.0.2", &one, "", Answer::SentAway).await;
        check("127.0.0.2", &two, "X-Forwarded-For: 203.0.113.3\r\n", Answer::Opened).await;
        check("127.0.0.2", &two, "X-Forwarded-For: 203.0.113.4\r\n", Answer::SentAway).await;
        // A health check of the proxy's own.
        check("127.0.0.2", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "", Answer::Opened).await;
        assert_eq!(refused(&node, "proxy_header").await, 0.0);
        check("127.0.0.2", b"", "", Answer::Closed).await;
        check("127.0.0.2", b"PROXY TCP4 203.0.113.5 127.0.0.1 1 2\r\n", "", Answer::Closed).await;
        assert_eq!(refused(&node, "proxy_header").await, 2.0);
        let mut stranger = Raw::connect_from(&node, "127.0.0.1").await;
        assert_eq!(stranger.read_to_end().await, 0);
        assert_eq!(refused(&node, "proxy_header").await, 3.0);
        // One that is never finished ends by itself, and one that comes in pieces is one.
        let mut slow = Raw::connect_from(&node, "127.0.0.2").await;
        slow.send(&one[..5]).await;
        let mut pieces = Raw::connect_from(&node, "127.0.0.2").await;
        let whole = proxy_header([203, 0, 113, 9]);
        for byte in &whole[..whole.len() - 1] {
            pieces.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(ask(&mut pieces, &whole[whole.len() - 1..], "").await, Answer::Opened);
        assert_eq!(slow.read_to_end().await, 0);
        // The client's own sockets are counted, beside eight more than it may have streams.
        for _ in 0..40 {
            let mut raw = Raw::connect_from(&node, "127.0.0.2").await;
            raw.send(proxy_header([203, 0, 113, 10])).await;
            held.push(raw);
        }
        eventually("those beyond are closed", || async { refused(&node, "address_connection_limit").await >= 5.0 })
            .await;
    }
}

#[tokio::test]
async fn streams_of_http2_count_each_and_their_socket_once() {
    let node = Options::default().set("LIMITS__STREAMS", "2").start().await;
    let mut raw = Raw::connect(&node).await;
    raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    // GET, http, a path and an authority, in HPACK without a table (RFC 7541).
    let path = b"/pipelines/p/sse";
    let head = [b"\x82\x86\x04\x10", &path[..], b"\x01\x01x"].concat();
    let length = u8::try_from(head.len()).unwrap();
    for stream in [1, 3, 5] {
        raw.send([&[0, 0, length, 1, 5, 0, 0, 0, stream], &head[..]].concat()).await;
    }
    eventually("one is asked to reconnect later", || async { refused(&node, "stream_limit").await == 1.0 }).await;
    while raw.text().matches("retry: ").count() < 3 {
        assert!(raw.read_some().await > 0, "{}", raw.text());
    }
    assert_eq!(node.metric("pipecast_streams").await, 2.0);
    assert_eq!(node.metric("pipecast_connections").await, 1.0);
    // Leaving a stream gives its place back: RST_STREAM, CANCEL. Any of the three may be the rejected one.
    for stream in [1, 3, 5] {
        raw.send([0, 0, 4, 3, 0, 0, 0, 0, stream, 0, 0, 0, 8]).await;
    }
    eventually("their places are free", || async { node.metric("pipecast_streams").await == 0.0 }).await;
    let mut other = stream_eventually(&node, "127.0.0.1", "").await;
    node.publish("p", "a", json!(1)).await;
    other.read_until("data: 1\n").await;
    drop((raw, other));
    eventually("all are gone", || async { node.metric("pipecast_connections").await == 0.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_from_one_address_leaves_another_its_service() {
    for way in both_ways() {
        let node = way.set("LIMITS__STREAMS_PER_ADDRESS", "4").start().await;
        let (mut served, answer) = stream_from(&node, "127.0.0.2", "").await;
        assert_eq!(answer, Answer::Opened);
        let mut flood = Vec::new();
        for turn in 1..=4 {
            for _ in 0..100 {
                flood.push(Raw::connect_from(&node, "127.0.0.1").await);
            }
            let sent = publish_from(&node, "127.0.0.3", "p", json!({"channel": "a", "payload": turn})).await;
            assert_eq!(sent.status(), StatusCode::ACCEPTED);
            served.read_until(&format!("data: {turn}\n")).await;
        }
        // Four streams, eight more sockets; the first ones may have said nothing in time and made room.
        eventually("the flood is closed", || async { refused(&node, "address_connection_limit").await >= 300.0 }).await;
        assert!(node.metric("pipecast_connections").await <= 14.0);
        assert_eq!(stream_from(&node, "127.0.0.4", "").await.1, Answer::Opened);
        drop(flood);
        eventually("its sockets are gone", || async { node.metric("pipecast_connections").await == 1.0 }).await;
        assert_eq!(stream_from(&node, "127.0.0.1", "").await.1, Answer::Opened);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_listener_answers_while_every_public_socket_is_taken() {
    let node = Options::default().set("LIMITS__STREAMS", "20").start().await;
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(Raw::connect_from(&node, "127.0.0.1").await);
    }
    eventually("those beyond are closed", || async { refused(&node, "connection_limit").await >= 100.0 }).await;
    assert!(node.metric("pipecast_connections").await <= 36.0);
    assert!(node.is_ready().await);
    drop(held);
    let kept = stream_eventually_after_flood(&node).await;
    // The admin listener has an end as well, and keeps to itself.
    let address = node.admin.strip_prefix("http://").unwrap().to_owned();
    let mut probes = Vec::new();
    for _ in 0..200 {
        probes.push(tokio::net::TcpStream::connect(&address).await.unwrap());
    }
    node.publish("p", "a", json!(1)).await;
    drop(probes);
    eventually("it answers again", || async { node.is_ready().await }).await;
    assert!(refused(&node, "admin_connection_limit").await >= 100.0);
    drop(kept);
}

/// As [`stream_eventually`], where connections may be closed without an answer for a while.
async fn stream_eventually_after_flood(node: &Node) -> Raw {
    eventually("the sockets are gone", || async { node.metric("pipecast_connections").await == 0.0 }).await;
    stream_eventually(node, "127.0.0.1", "").await
}

#[tokio::test]
async fn connections_beyond_their_rate_are_closed_and_open_ones_stay() {
    let options = Options::default().set("LIMITS__CONNECTION_RATE", "5/m");
    let node = options.set("LIMITS__CONNECTION_RATE_PER_ADDRESS", "off").start().await;
    let (mut served, answer) = stream_from(&node, "127.0.0.1", "").await;
    assert_eq!(answer, Answer::Opened);
    let mut publisher = Raw::connect(&node).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(Raw::connect(&node).await);
    }
    eventually("some are refused", || async { refused(&node, "connection_rate").await >= 5.0 }).await;
    let event = r#"{"channel":"a","payload":1}"#;
    let head = "POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    publisher.send(format!("{head}Content-Length: {}\r\n\r\n{event}", event.len())).await;
    publisher.read_until("202 Accepted").await;
    served.read_until("data: 1\n").await;
}

/// Whether a request from this address is answered, on a connection of its own that begins with `first`.
async fn is_answered(node: &Node, source: &str, first: &[u8]) -> bool {
    let mut raw = Raw::connect_from(node, source).await;
    raw.try_send([first, b"GET /pipelines/p/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"].concat()).await;
    raw.read_to_end().await;
    raw.text().starts_with("HTTP/1.1 200 ")
}

#[tokio::test]
async fn one_address_cannot_use_up_the_rate_of_new_connections() {
    let options = Options::default().set("LIMITS__CONNECTION_RATE", "100/h");
    let check = async |node: Node, connect: &dyn Fn(u8) -> (String, Vec<u8>)| {
        let mut answered = 0;
        for turn in 0..40 {
            // One socket at a time, opened and closed.
            for _ in 0..5 {
                let (source, first) = connect(1);
                is_answered(&node, &source, &first).await;
            }
            let (source, first) = connect(2 + turn % 8);
            answered += u8::from(is_answered(&node, &source, &first).await);
        }
        assert_eq!(answered, 40, "requests of others were answered");
        // A tenth of all, unless it is set.
        assert_eq!(refused(&node, "address_connection_rate").await, 190.0);
        assert_eq!(refused(&node, "connection_rate").await, 0.0);
    };
    check(options.clone().start().await, &|client| (format!("127.0.0.{client}"), Vec::new())).await;
    let options = options.set("SERVER__TRUSTED_PROXIES", "127.0.0.1").set("SERVER__PROXY_PROTOCOL", "v2");
    check(options.start().await, &|client| ("127.0.0.1".to_owned(), proxy_header([203, 0, 113, client]))).await;
}

async fn publish_from(node: &Node, source: &str, pipeline: &str, body: Value) -> Response {
    let source: std::net::IpAddr = source.parse().unwrap();
    let client = reqwest::Client::builder().local_address(source).build().unwrap();
    let url = format!("{}/pipelines/{pipeline}/events", node.url);
    client.post(url).json(&body).send().await.unwrap()
}

fn batch(events: u64) -> Value {
    (1..=events).map(|n| json!({"channel": "a", "payload": n})).collect()
}

/// A refusal's `Retry-After`, and its detail.
async fn too_many(answer: Response) -> (u64, String) {
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let wait = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["status"], 429);
    (wait, problem["detail"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn publisher_over_its_rate_succeeds_after_retry_after() {
    let node = Options::default().set("LIMITS__PUBLISH_RATE_PER_PUBLISHER", "15/m").start().await;
    let mut accepted = 0;
    let (wait, detail) = loop {
        let answer = node.post("p", json!({"channel": "a", "payload": accepted})).await;
        if answer.status() != StatusCode::ACCEPTED {
            break too_many(answer).await;
        }
        accepted += 1;
        assert!(accepted < 1000);
    };
    assert!((15..25).contains(&accepted) && (1..=4).contains(&wait), "{accepted} {wait}");
    assert!(detail.contains("limits.publish_rate_per_publisher") && detail.contains("15/m"), "{detail}");
    // Other publishers to the same pipeline or node are unaffected; the same publisher elsewhere is not.
    assert_eq!(node.post("q", batch(1)).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(publish_from(&node, "127.0.0.2", "p", batch(2)).await.status(), StatusCode::ACCEPTED);
    assert_eq!(node.history("p", "").await["events"].as_array().unwrap().len(), accepted + 2);
    assert_eq!(refused(&node, "publish_rate").await, 2.0);
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(node.post("p", json!({"channel": "a", "payload": 0})).await.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn publishers_behind_one_proxy_have_a_rate_each() {
    let node =
        Options::default().set("LIMITS__PUBLISH_RATE_PER_PUBLISHER", "2/h").set("SERVER__TRUSTED_PROXIES", "127.0.0.2");
    let node = node.start().await;
    let check = async |source: &str, client: &str, expected: StatusCode| {
        let http = reqwest::Client::builder().local_address(Some(source.parse().unwrap())).build().unwrap();
        let request = http.post(format!("{}/pipelines/p/events", node.url)).header("X-Forwarded-For", client);
        assert_eq!(request.json(&batch(2)).send().await.unwrap().status(), expected, "{source} {client}");
    };
    check("127.0.0.2", "203.0.113.1", StatusCode::ACCEPTED).await;
    check("127.0.0.2", "6.6.6.6, 203.0.113.1", StatusCode::TOO_MANY_REQUESTS).await;
    check("127.0.0.2", "203.0.113.2", StatusCode::ACCEPTED).await;
    check("127.0.0.1", "203.0.113.3", StatusCode::ACCEPTED).await;
    check("127.0.0.1", "203.0.113.4", StatusCode::TOO_MANY_REQUESTS).await;
}

#[tokio::test]
async fn batch_counts_as_its_events_and_passes_whole_or_not_at_all() {
    let node = Options::default().set("LIMITS__PUBLISH_RATE_PER_PIPELINE", "10/h").start().await;
    assert_eq!(node.post("p", batch(8)).await.status(), StatusCode::ACCEPTED);
    let (_, detail) = too_many(node.post("p", batch(3)).await).await;
    assert!(detail.contains("limits.publish_rate_per_pipeline"), "{detail}");
    assert_eq!(node.history("p", "").await["events"].as_array().unwrap().len(), 8);
    assert_eq!(node.post("p", batch(2)).await.status(), StatusCode::ACCEPTED);
    // More than the bucket holds needs a full one, and leaves a debt.
    let answer = node.post("q", batch(100)).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert_eq!(answer.json::<Value>().await.unwrap()["ids"].as_array().unwrap().len(), 100);
    let (wait, _) = too_many(node.post("q", batch(1)).await).await;
    assert!((9 * 3600..=91 * 360).contains(&wait), "{wait}");
    assert_eq!(refused(&node, "pipeline_publish_rate").await, 2.0);
    // A request that is not a publish costs nothing.
    assert_eq!(node.post("r", "{").await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(node.post("r", batch(10)).await.status(), StatusCode::ACCEPTED);
}

/// Publishes one event to each of these pipelines, all on one connection; how many were stored.
async fn publish_to_each(node: &Node, authorization: &str, pipelines: impl Iterator<Item = String>) -> usize {
    const AT_ONCE: usize = 200;
    let pipelines: Vec<_> = pipelines.collect();
    let event = r#"{"channel":"a","payload":1}"#;
    let request = |pipeline: &String| {
        format!(
            "POST /pipelines/{pipeline}/events HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{event}",
            event.len()
        )
    };
    let (mut raw, mut stored) = (Raw::connect(node).await, 0);
    for some in pipelines.chunks(AT_ONCE) {
        raw.received.clear();
        raw.send(some.iter().map(request).collect::<String>()).await;
        let answers = |raw: &Raw| memchr::memmem::find_iter(&raw.received, "HTTP/1.1 ").count();
        while answers(&raw) < some.len() || !raw.received.ends_with(b"}\n") {
            assert!(raw.read_some().await > 0, "{}", raw.text());
        }
        stored += memchr::memmem::find_iter(&raw.received, "HTTP/1.1 202 ").count();
    }
    stored
}

#[tokio::test(flavor = "multi_thread")]
async fn name_flood_leaves_others_their_first_event() {
    /// More than there are places for.
    const NAMES: usize = 70_000;
    let token = |pattern: &str| format!("Bearer {}", hs256(&claims(json!({"publish": [pattern]}))));
    let key = |name: &str| format!("Bearer a-key-for-{name}-of-the-test");
    let table = |name: &str| {
        let key = key(name);
        let key = key.strip_prefix("Bearer ").unwrap();
        format!(r#"{{name = "{name}", key = "{key}", publish = ["{name}_*"]}}"#)
    };
    let options = Options::default().set("LIMITS__PUBLISH_RATE_PER_PIPELINE", "1/h").set("AUTH__PUBLISH", "token");
    let options = options.set("AUTH__SUBSCRIBE", "open").set("AUTH__JWT_SECRET", SECRET);
    let options = options.set("AUTH__KEYS", &format!("[{}, {}]", table("a"), table("b")));
    // By tokens from one address, and by keys.
    for [flooding, other] in [[key("a"), key("b")], [token("a_*"), token("b_*")]] {
        let node = options.clone().start().await;
        let flood = (0..7).map(|part| {
            let names = (0..NAMES / 7).map(move |n| format!("a_{part}-{n}"));
            publish_to_each(&node, &flooding, names)
        });
        let stored: usize = futures_util::future::join_all(flood).await.into_iter().sum();
        assert!(stored < NAMES, "there was a place for all of them: no attack was made");
        let fresh = || (0..500).map(|n| format!("b_{n}"));
        assert_eq!(publish_to_each(&node, &other, fresh()).await, 500);
        // Each has its own bucket, which holds one.
        assert_eq!(publish_to_each(&node, &other, fresh()).await, 0);
        assert_eq!(refused(&node, "pipeline_publish_rate").await, (NAMES - stored + 500) as f64);
    }
}

#[tokio::test]
async fn node_may_open_as_many_files_as_the_system_allows_it() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // What a login shell has; a node inherits it.
    setrlimit(Resource::Nofile, Rlimit { current: Some(512), maximum }).unwrap();
    let node = Node::embedded().await;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let (soft, hard) = node.limit_on_open_files();
    assert_eq!(soft, hard);
    assert!(hard > 512, "this test needs a hard limit on open files above 512 (ulimit -Hn)");
    let limit = node.metric("pipecast_streams_limit").await;
    let available = hard - 128;
    assert_eq!(limit, (available / 9 * 8).max(available.saturating_sub(512)).min(1_000_000) as f64);
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused_and_counted() {
    let node = Node::embedded().await;
    let check = async |headers: String| {
        let mut raw = Raw::connect(&node).await;
        raw.send(format!("{STREAM}{headers}\r\n")).await;
        let text = raw.read_until("\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
    };
    check(format!("X: {}\r\n", "x".repeat(40 << 10))).await;
    check((0..200).map(|n| format!("X-{n}: x\r\n")).collect()).await;
    eventually("both are counted", || async { refused(&node, "too_large").await == 2.0 }).await;
}

#[tokio::test]
async fn limits_that_cannot_be_are_told_at_the_start() {
    let check = |settings: &[(&str, &str)], words: &[&str]| {
        let options = settings.iter().fold(Options::default(), |options, (name, value)| options.set(name, value));
        let output = options.command().output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
    };
    check(&[("SERVER__PROXY_PROTOCOL", "v2")], &["server.trusted_proxies", "nobody could connect"]);
    check(&[("SERVER__TRUSTED_PROXIES", "10.0.0.0/8,proxy")], &["`proxy` is not a network", "10.0.0.0/8"]);
    check(&[("LIMITS__PUBLISH_RATE_PER_PUBLISHER", "100")], &["limits.publish_rate_per_publisher", "100/s", "`off`"]);
    check(&[("LIMITS__STREAMS", "0")], &["limits.streams", "between 1 and", "`auto`"]);
}
