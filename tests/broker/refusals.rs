//! Publishers that are refused while their body is on its way: they read the answer, and what follows on the
//! connection works.

use reqwest::StatusCode;
use serde_json::json;

use crate::support::node::{Node, Options};
use crate::support::raw::Raw;

/// Longer than what sockets hold between the two, so that the node answers before all of it was sent.
const BODY: usize = 200 << 10;

const JSON: &str = "Content-Type: application/json\r\n";
const EVENT: &str = r#"{"channel":"a","payload":1}"#;

fn head(first: &str, headers: &str, length: usize) -> String {
    format!("{first} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n")
}

/// Reads one answer, body included, and leaves nothing of it behind.
async fn answer(raw: &mut Raw) -> String {
    let head = raw.read_until("\r\n\r\n").await;
    let end = head.find("\r\n\r\n").unwrap() + 4;
    let length: usize = head[..end]
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ").map(|length| length.parse().unwrap()))
        .unwrap_or(0);
    while raw.received.len() < end + length {
        assert!(raw.read_some().await > 0, "the answer broke off: {}", raw.text());
    }
    let rest = raw.received.split_off(end + length);
    String::from_utf8(std::mem::replace(&mut raw.received, rest)).unwrap()
}

async fn publish(raw: &mut Raw) {
    raw.send(head("POST /pipelines/p/events", JSON, EVENT.len()) + EVENT).await;
    let text = answer(raw).await;
    assert!(text.starts_with("HTTP/1.1 202 "), "{text}");
}

#[tokio::test]
async fn good_request_works_after_a_refusal_with_its_body_under_way() {
    let node = Node::embedded().await;
    let refused = [
        ("POST /pipelines/a%2fb/events", JSON, 400),
        ("POST /pipelines/p/events", "Content-Type: application/json\r\nIdempotency-Key: \r\n", 400),
        ("POST /pipelines/p/events", "Content-Type: text/plain\r\n", 415),
        ("POST /nowhere", JSON, 404),
        ("PUT /pipelines/p/events", JSON, 405),
        ("POST /pipelines/p/sse", JSON, 405),
        // Answered without a look at the body, and not refused.
        ("GET /pipelines/p/events", JSON, 200),
        ("DELETE /pipelines/p/events", JSON, 204),
        ("OPTIONS /pipelines/p/events", JSON, 204),
    ];
    let mut raw = Raw::connect(&node).await;
    for (first, headers, status) in refused.iter().cycle().take(4 * refused.len()) {
        raw.send(head(first, headers, BODY)).await;
        raw.send(vec![b' '; BODY / 2]).await;
        raw.send(vec![b' '; BODY / 2]).await;
        let text = answer(&mut raw).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{first}: {text}");
        assert!(!text.contains("connection: close"), "{text}");
        publish(&mut raw).await;
    }
}

#[tokio::test]
async fn good_request_works_after_one_without_a_right_to_publish() {
    const KEY: &str = "writer-0123456789abcdef";
    let keys = format!(r#"[{{name="writer", key="{KEY}", publish=["p"]}}]"#);
    let node = Options::default().set("AUTH__PUBLISH", "token").set("AUTH__KEYS", &keys).start().await;
    let good = format!("{JSON}Authorization: Bearer {KEY}\r\n");
    let mut raw = Raw::connect(&node).await;
    for _ in 0..20 {
        for (pipeline, headers, status) in [("p", JSON, 401), ("other", &*good, 403)] {
            raw.send(head(&format!("POST /pipelines/{pipeline}/events"), headers, BODY)).await;
            raw.send(vec![b' '; BODY]).await;
            let text = answer(&mut raw).await;
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
            raw.send(head("POST /pipelines/p/events", &good, EVENT.len()) + EVENT).await;
            let text = answer(&mut raw).await;
            assert!(text.starts_with("HTTP/1.1 202 "), "{text}");
        }
    }
}

#[tokio::test]
async fn chunks_that_follow_a_refusal_are_drained() {
    let node = Node::embedded().await;
    let mut raw = Raw::connect(&node).await;
    for _ in 0..10 {
        raw.send(format!("POST /nowhere HTTP/1.1\r\nHost: x\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n")).await;
        for _ in 0..4 {
            raw.send([b"8000\r\n".as_slice(), &[b' '; 32 << 10], b"\r\n"].concat()).await;
        }
        raw.send("0\r\n\r\n").await;
        let text = answer(&mut raw).await;
        assert!(text.starts_with("HTTP/1.1 404 ") && !text.contains("connection: close"), "{text}");
        publish(&mut raw).await;
    }
}

#[tokio::test]
async fn client_that_asks_first_is_told_that_the_connection_ends() {
    let node = Node::embedded().await;
    let mut raw = Raw::connect(&node).await;
    raw.send(head("POST /nowhere", "Expect: 100-continue\r\n", BODY)).await;
    let text = answer(&mut raw).await;
    assert!(text.starts_with("HTTP/1.1 404 ") && text.contains("connection: close\r\n"), "{text}");
    // One that sends it all the same is not reset before it has read the answer.
    assert!(raw.try_send(vec![b' '; BODY]).await);
    raw.read_to_end().await;

    let mut raw = Raw::connect(&node).await;
    raw.send(head("POST /pipelines/p/events", &format!("Expect: 100-continue\r\n{JSON}"), EVENT.len())).await;
    assert!(answer(&mut raw).await.starts_with("HTTP/1.1 100 "));
    raw.send(EVENT).await;
    let text = answer(&mut raw).await;
    assert!(text.starts_with("HTTP/1.1 202 ") && !text.contains("connection: close"), "{text}");
    publish(&mut raw).await;
}

#[tokio::test]
async fn stalled_body_is_rejected_and_its_connection_closed() {
    let node = Node::embedded().await;
    let mut raw = Raw::connect(&node).await;
    raw.send(head("POST /nowhere", JSON, BODY)).await;
    let text = answer(&mut raw).await;
    assert!(text.starts_with("HTTP/1.1 404 ") && text.contains("connection: close\r\n"), "{text}");
    raw.read_to_end().await;
}

/// What a client reads that sends all of its body before it looks for an answer.
#[tokio::test]
async fn body_of_forty_megabytes_gets_its_answer() {
    let node = Node::embedded().await;
    for (headers, is_chunked) in [("Content-Length: 40000000\r\n", false), ("Transfer-Encoding: chunked\r\n", true)] {
        let mut raw = Raw::connect(&node).await;
        raw.send(format!("POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\n{JSON}{headers}\r\n")).await;
        for _ in 0..40 {
            let piece = vec![b' '; 1_000_000];
            let piece = if is_chunked { [b"f4240\r\n".as_slice(), &piece, b"\r\n"].concat() } else { piece };
            assert!(raw.try_send(piece).await, "reset before the answer was read");
        }
        let text = answer(&mut raw).await;
        assert!(text.starts_with("HTTP/1.1 413 ") && text.contains("connection: close\r\n"), "{text}");
    }
}

#[tokio::test]
async fn body_a_little_too_large_keeps_the_connection() {
    let node = Node::embedded().await;
    let mut raw = Raw::connect(&node).await;
    raw.send(head("POST /pipelines/p/events", JSON, 5 << 20)).await;
    raw.send(vec![b' '; 5 << 20]).await;
    let text = answer(&mut raw).await;
    assert!(text.starts_with("HTTP/1.1 413 ") && !text.contains("connection: close"), "{text}");
    publish(&mut raw).await;
}

#[tokio::test]
async fn pooled_connection_works_after_each_rejection() {
    let node = Node::embedded().await;
    let client = reqwest::Client::builder().pool_max_idle_per_host(1).build().unwrap();
    for n in 0..60 {
        let refused = client
            .post(format!("{}/nowhere", node.url))
            .header("content-type", "application/json")
            .body(vec![b' '; BODY])
            .send()
            .await
            .unwrap();
        assert_eq!(refused.status(), StatusCode::NOT_FOUND);
        refused.bytes().await.unwrap();
        let published = client
            .post(format!("{}/pipelines/p/events", node.url))
            .json(&json!({"channel": "a", "payload": n}))
            .send()
            .await
            .unwrap();
        assert_eq!(published.status(), StatusCode::ACCEPTED);
        published.bytes().await.unwrap();
    }
    let refused = client
        .post(format!("{}/pipelines/p/events", node.url))
        .header("content-type", "application/json")
        .body(vec![b' '; 40_000_000])
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
}
