//! More of everything than there should be: bodies, chunks, headers, addresses, parameters.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::interval;

use super::Target;
use crate::support::PATIENCE;
use crate::support::node::Options;
use crate::support::raw::Raw;

const POST: &str = "POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

/// What one client may make the node hold at most: a body of `limits.max_request_size` in the making and as it grows.
const A_BODY: u64 = 3 * (4 << 20);

/// Fails unless the node refuses with one of these statuses, or closes before its answer was read: it need not
/// wait until all was sent.
async fn assert_turned_away(raw: &mut Raw, statuses: &[u16]) {
    raw.read_to_end().await;
    let text = raw.text();
    let is_one = statuses.iter().any(|status| text.starts_with(&format!("HTTP/1.1 {status} ")));
    assert!(text.is_empty() || is_one && text.matches("HTTP/1.1 ").count() == 1, "{text}");
}

#[tokio::test]
async fn gigabyte_announced_a_hundred_times_costs_nothing() {
    let target = Target::start(Options::default()).await;
    for expect in ["", "Expect: 100-continue\r\n"] {
        let mut attackers = Vec::new();
        for _ in 0..100 {
            let mut raw = Raw::connect(&target.node).await;
            raw.send(format!("{POST}{expect}Content-Length: 1073741824\r\n\r\n")).await;
            attackers.push(raw);
        }
        for raw in &mut attackers {
            let text = raw.read_until("\r\n\r\n").await;
            assert!(text.starts_with("HTTP/1.1 413 ") && !text.contains(" 100 "), "{text}");
        }
        assert!(target.grown_bytes() < A_BODY + super::KEPT_BYTES, "{} bytes", target.grown_bytes());
    }
    target.assert_unharmed().await;
}

/// It announces as much as may be discarded, and sends more.
#[tokio::test]
async fn gigabyte_that_is_sent_all_the_same_is_cut_off() {
    let target = Target::start(Options::default()).await;
    for head in ["Content-Length: 1073741824\r\n\r\n", "Content-Length: 16777216\r\n\r\n"] {
        let mut raw = Raw::connect(&target.node).await;
        raw.send(format!("{POST}{head}")).await;
        let mut sent = 0u64;
        while sent < 1 << 30 && raw.try_send(vec![b'1'; 1 << 20]).await {
            sent += 1 << 20;
            assert!(target.grown_bytes() < A_BODY + super::KEPT_BYTES, "{} bytes", target.grown_bytes());
        }
        assert!(sent < 64 << 20, "{sent} bytes were accepted");
        raw.read_to_end().await;
        let text = raw.text();
        // After a drained body comes something that is not a request.
        let is_refused = text.starts_with("HTTP/1.1 413 ") && text.matches("HTTP/1.1 4").count() <= 2;
        assert!(text.is_empty() || is_refused && !text.contains("HTTP/1.1 2"), "{text}");
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn body_of_endless_chunks_is_cut_off() {
    let target = Target::start(Options::default().set("LIMITS__REQUEST_TIMEOUT", "2s")).await;
    let mebibyte = [b"100000\r\n".as_slice(), &vec![b'1'; 1 << 20], b"\r\n"].concat();
    // Many small ones cost more than they carry.
    let small = b"1\r\n1\r\n".repeat(100_000);
    for chunks in [mebibyte, small] {
        let mut raw = Raw::connect(&target.node).await;
        raw.send(format!("{POST}Transfer-Encoding: chunked\r\n\r\n")).await;
        let mut sent = 0;
        while sent < 1 << 30 && raw.try_send(&chunks).await {
            sent += chunks.len();
            assert!(target.grown_bytes() < A_BODY + super::KEPT_BYTES, "{} bytes", target.grown_bytes());
        }
        assert!(sent < 256 << 20, "{sent} bytes were accepted");
        assert_turned_away(&mut raw, &[408, 413]).await;
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn chunks_of_nothing_but_extensions_and_trailers_are_cut_off() {
    let target = Target::start(Options::default()).await;
    let extension = format!("1;x={}\r\n1\r\n", "y".repeat(4000));
    for endless in
        [extension, ";".repeat(4000), format!("0\r\nX: {}\r\n", "y".repeat(4000)), "0\r\nX: y\r\n".to_owned()]
    {
        let mut raw = Raw::connect(&target.node).await;
        raw.send(format!("{POST}Transfer-Encoding: chunked\r\n\r\n1\r\n1\r\n")).await;
        let mut sent = 0;
        while sent < 64 << 20 && raw.try_send(endless.repeat(10)).await {
            sent += 10 * endless.len();
        }
        assert!(sent < 32 << 20, "{sent} bytes were accepted of {:?}", &endless[..10]);
        assert_turned_away(&mut raw, &[400, 408]).await;
    }
    target.assert_unharmed().await;
}

/// A byte now and then keeps nothing open: the time is for the whole body.
#[tokio::test]
async fn body_that_drips_is_refused_in_time() {
    let target = Target::start(Options::default().set("LIMITS__REQUEST_TIMEOUT", "1s")).await;
    let mut attackers = Vec::new();
    for n in 0..100 {
        let mut raw = Raw::connect(&target.node).await;
        let length = if n % 2 == 0 { "Content-Length: 1000" } else { "Transfer-Encoding: chunked" };
        raw.send(format!("{POST}{length}\r\n\r\n")).await;
        attackers.push(raw);
    }
    let began = Instant::now();
    let mut drips = interval(Duration::from_millis(100));
    while !attackers.iter_mut().all(Raw::has_ended) {
        assert!(began.elapsed() < PATIENCE, "drips keep connections open");
        drips.tick().await;
        for raw in &mut attackers {
            raw.try_send("1\r\n1\r\n").await;
        }
    }
    for raw in &attackers {
        let text = raw.text();
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 408 "), "{text}");
    }
    assert_eq!(target.node.metric("pipecast_rejected_total{reason=\"request_timeout\"}").await, 100.0);
    target.assert_unharmed().await;
}

#[tokio::test]
async fn head_that_is_too_large_is_refused() {
    let target = Target::start(Options::default()).await;
    let one = format!("X: {}\r\n", "y".repeat(64 << 10));
    let some: String = (0..64).map(|n| format!("X-{n}: {}\r\n", "y".repeat(1016))).collect();
    let same = format!("Cookie: {}\r\n", "y".repeat(1016)).repeat(64);
    let name = format!("{}: y\r\n", "X".repeat(64 << 10));
    let endless = format!("X: {}", "y".repeat(1 << 20));
    for headers in [one, some, same, name, endless] {
        for path in ["/pipelines/p/sse", "/nowhere", "/"] {
            let mut raw = Raw::connect(&target.node).await;
            raw.try_send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")).await;
            assert_turned_away(&mut raw, &[431, 400]).await;
        }
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn thousand_headers_are_refused() {
    let target = Target::start(Options::default()).await;
    for header in ["X: y\r\n", "Last-Event-ID: 1-1\r\n", "Content-Length: 0\r\n", "Authorization: Bearer x\r\n"] {
        let mut raw = Raw::connect(&target.node).await;
        raw.try_send(format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", header.repeat(1000))).await;
        assert_turned_away(&mut raw, &[431]).await;
        assert!(!raw.text().contains(" 200 "));
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn address_of_64_kib_is_refused() {
    let target = Target::start(Options::default()).await;
    let long = "x".repeat(64 << 10);
    for path in [
        format!("/{long}"),
        format!("/pipelines/{long}/sse"),
        format!("/?{long}"),
        format!("/{}", "%41".repeat(22_000)),
    ] {
        let mut raw = Raw::connect(&target.node).await;
        raw.try_send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_turned_away(&mut raw, &[414, 431]).await;
    }
    // The method and the version too.
    for first in [format!("{long} / HTTP/1.1"), format!("GET / HTTP/1.1{long}")] {
        let mut raw = Raw::connect(&target.node).await;
        raw.try_send(format!("{first}\r\nHost: x\r\n\r\n")).await;
        assert_turned_away(&mut raw, &[400, 414, 431]).await;
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn ten_thousand_query_parameters_are_read_or_refused() {
    let target = Target::start(Options::default()).await;
    let id = target.node.publish("p", "a", json!(1)).await;
    let fits = format!("{}last_event_id=0-0", "x&".repeat(10_000));
    let mut raw = Raw::connect(&target.node).await;
    raw.get(&format!("/pipelines/p/sse?{fits}")).await;
    raw.read_until(&format!("id: {id}\nevent: a\ndata: 1\n\n")).await;
    for (query, statuses) in [
        ("channel=a&".repeat(2000), [400, 400]),
        ("replay=1000000000000000000000&".repeat(100), [400, 400]),
        ("channel=a&".repeat(10_000), [414, 431]),
    ] {
        let mut raw = Raw::connect(&target.node).await;
        raw.try_send(format!("GET /pipelines/p/sse?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        assert_turned_away(&mut raw, &statuses).await;
    }
    drop(raw);
    target.assert_unharmed().await;
}
