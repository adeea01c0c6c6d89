//! Bytes that are not an HTTP/1.1 request: each connection gets one answer that says what is wrong and that its sender can read.

use serde_json::{Value, json};

use crate::support::http;
use crate::support::node::{Node, Options, both_ways};
use crate::support::raw::Raw;

const EVENT: &str = r#"{"channel":"a","payload":1}"#;

/// More than sockets hold between the two.
const MUCH: usize = 4 << 20;

/// What is sent, and the status.
fn misread() -> Vec<(Vec<u8>, u16)> {
    let head = |lines: &str| format!("GET /pipelines/p HTTP/1.1\r\nHost: x\r\n{lines}\r\n").into_bytes();
    let mut all = vec![
        (b"garbage\r\n\r\n".to_vec(), 400),
        (b"\0\0\0\0".to_vec(), 400),
        // HTTP/0.9, versions that there are and that there are not.
        (b"GET /\r\n".to_vec(), 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n".to_vec(), 400),
        (b"GET / HTTP/3\r\nHost: x\r\n\r\n".to_vec(), 400),
        (b"GET / HTTP/1.11\r\nHost: x\r\n\r\n".to_vec(), 400),
        (b"GET / http/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        (b"G@T / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        (b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n".to_vec(), 400),
        (b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        // The preface of HTTP/2, but for its end.
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\nX".to_vec(), 400),
        (head("X\r\n"), 400),
        (head("X : y\r\n"), 400),
        (head(" X: y\r\n"), 400),
        (head("X: a\0b\r\n"), 400),
        (head("Content-Length: x\r\n"), 400),
        (head("Content-Length: 1\r\nContent-Length: 2\r\n"), 400),
        (head("Transfer-Encoding: gzip\r\n"), 400),
        (head(&"X: y\r\n".repeat(101)), 431),
        (head(&format!("X: {}\r\n", "y".repeat(64 << 10))), 431),
        (head(&format!("Cookie: {}\r\n", "y".repeat(1000)).repeat(64)), 431),
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(64 << 10)).into_bytes(), 431),
        (vec![b'x'; 64 << 10], 431),
    ];
    // A client of TLS.
    all.push(([&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..], &[7; 500]].concat(), 400));
    all
}

/// Fails unless these bytes are one whole answer, the last of their connection, that says what is wrong; its detail.
fn assert_problem(text: &str, status: u16, what: &[u8]) -> String {
    let what = String::from_utf8_lossy(&what[..what.len().min(60)]);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{what:?} was answered: {text:?}"));
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{what:?} was answered: {text}");
    for line in [
        "content-type: application/problem+json",
        "x-content-type-options: nosniff",
        "connection: close",
        &format!("content-length: {}", body.len()),
    ] {
        assert_eq!(head.lines().filter(|have| *have == line).count(), 1, "{what:?}: {line} in {text}");
    }
    assert_eq!(head.lines().filter(|line| line.starts_with("date: ")).count(), 1, "{text}");
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!((problem["status"].as_u64(), problem["type"].as_str()), (Some(status.into()), Some("about:blank")));
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.len() > 20, "{detail}");
    detail.to_owned()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[tokio::test]
async fn non_http_bytes_get_a_readable_problem() {
    for options in both_ways() {
        let node = options.start().await;
        for (bytes, status) in misread() {
            // Alone, and with more behind it than the node has read when it answers.
            for more in [0, MUCH] {
                let mut raw = Raw::connect(&node).await;
                raw.send(&bytes).await;
                assert!(raw.try_send(vec![b'z'; more]).await, "reset before the answer was read");
                assert_problem(&raw.read_to_clean_end().await, status, &bytes);
            }
        }
        for (reason, status) in [("bad_request", 400), ("too_large", 431)] {
            let expected = 2 * misread().iter().filter(|(_, each)| *each == status).count();
            let counted = node.metric(&format!("pipecast_rejected_total{{reason=\"{reason}\"}}")).await;
            assert_eq!(counted, f64::from(u32::try_from(expected).unwrap()));
        }
    }
}

#[tokio::test]
async fn it_says_what_to_do() {
    let node = Node::embedded().await;
    for (bytes, expected) in [
        (misread().last().unwrap().0.clone(), "server.tls_cert"),
        (vec![b'x'; 64 << 10], "32768 bytes"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(101)).into_bytes(), "100 headers"),
        (b"GET / HTTP/1.1\r\nHost x\r\n\r\n".to_vec(), "header"),
        (b"G@T / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "method"),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n".to_vec(), "version"),
    ] {
        let mut raw = Raw::connect(&node).await;
        raw.send(&bytes).await;
        let status = if expected.starts_with(|first: char| first.is_ascii_digit()) { 431 } else { 400 };
        let detail = assert_problem(&raw.read_to_clean_end().await, status, &bytes);
        assert!(detail.contains(expected), "{expected}: {detail}");
    }
}

#[tokio::test]
async fn it_is_answered_after_the_answers_before_it() {
    let node = Node::embedded().await;
    let large = "x".repeat(2 << 10);
    node.post("p", Value::from_iter((0..100).map(|_| json!({"channel": "a", "payload": large})))).await;
    let history = http().get(format!("{}/pipelines/p/events", node.url)).send().await.unwrap().text().await.unwrap();
    let post = format!(
        "POST /pipelines/q/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{EVENT}",
        EVENT.len()
    );
    for (bytes, status) in misread() {
        // One after the other, on a connection that is kept.
        let mut raw = Raw::connect(&node).await;
        for good in [get("/pipelines/p"), post.clone()] {
            raw.send(good).await;
            raw.read_until("}\n").await;
            assert!(raw.text().starts_with("HTTP/1.1 20"), "{}", raw.text());
            raw.received.clear();
        }
        raw.send(&bytes).await;
        assert_problem(&raw.read_to_clean_end().await, status, &bytes);

        // All at once, to a client that reads slowly while answers are still in flight.
        let mut raw = Raw::connect_narrow(&node, 4 << 10);
        raw.send([get("/pipelines/p/events").as_bytes(), post.as_bytes(), &bytes].concat()).await;
        let text = raw.read_to_clean_end().await;
        let answers: Vec<_> = text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at..]).collect();
        assert_eq!(answers.len(), 3, "{}", answers.len());
        assert!(answers[0].starts_with("HTTP/1.1 200 ") && answers[1].starts_with("HTTP/1.1 202 "));
        let whole = text[..text.len() - answers[1].len()].len();
        assert!(whole > history.len() && text[..whole].ends_with("0\r\n\r\n"), "{whole} of {}", history.len());
        assert_problem(answers[2], status, &bytes);
    }
}

/// An answer may hold the very words that the HTTP library uses.
#[tokio::test]
async fn answers_that_look_like_it_are_sent_as_they_are() {
    let node = Node::embedded().await;
    let payload = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".repeat(2000);
    for _ in 0..3 {
        node.publish("p", "a", json!(payload)).await;
    }
    let history = http().get(format!("{}/pipelines/p/events", node.url)).send().await.unwrap().text().await.unwrap();
    for _ in 0..5 {
        let mut raw = Raw::connect_narrow(&node, 4 << 10);
        raw.send("GET /pipelines/p/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        raw.read_to_clean_end().await;
        assert!(raw.body_text() == history, "{} bytes of {}", raw.body().len(), history.len());
    }
}

#[tokio::test]
async fn truncated_heads_are_answered_and_empty_connections_are_not() {
    let node = Node::embedded().await;
    for half in ["G", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\n", "POST /"] {
        let mut raw = Raw::connect(&node).await;
        raw.send(half).await;
        raw.finish().await;
        // So few bytes could still become the preface of HTTP/2, or of a request.
        let text = raw.read_to_clean_end().await;
        if half.len() >= 4 {
            assert_problem(&text, 400, half.as_bytes());
        }
    }
    for after in [String::new(), get("/pipelines/p")] {
        let mut raw = Raw::connect(&node).await;
        raw.send(&after).await;
        raw.finish().await;
        assert_eq!(raw.read_to_clean_end().await.matches("HTTP/1.1 ").count(), usize::from(!after.is_empty()));
    }
}

#[tokio::test]
async fn body_that_is_none_is_answered_and_its_sender_reads_it() {
    let node = Node::embedded().await;
    let head = "POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunk in ["x\r\n", "1\r\n{}\r\n", "-1\r\n", "FFFFFFFFFFFFFFFFF\r\n", "1 x\r\n", "\r\n"] {
        for path in ["/pipelines/p/events", "/nowhere"] {
            let mut raw = Raw::connect(&node).await;
            raw.send(format!("{}{chunk}", head.replace("/pipelines/p/events", path))).await;
            assert!(raw.try_send(vec![b'z'; MUCH]).await, "reset before the answer was read");
            let status = if path == "/nowhere" { 404 } else { 400 };
            assert_problem(&raw.read_to_clean_end().await, status, chunk.as_bytes());
        }
    }
    // What is refused for its head, with more behind it.
    for lines in
        ["Host: x\r\n", "Transfer-Encoding: gzip, chunked\r\n", "Content-Type: text/plain\r\nContent-Type: a/b\r\n"]
    {
        let mut raw = Raw::connect(&node).await;
        raw.send(format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n0\r\n\r\n")).await;
        raw.try_send(vec![b'z'; MUCH]).await;
        let text = raw.read_to_clean_end().await;
        assert!(text.starts_with("HTTP/1.1 400 "), "{lines}: {text}");
    }
}

/// The answer is larger than what sockets hold, so that its end still waits to be written when it is made.
#[tokio::test]
async fn answer_that_ends_its_connection_is_whole_for_a_slow_client() {
    let node = Node::embedded().await;
    // Where the end falls in the sockets' buffers depends on the length.
    let pipelines: Vec<_> = (0..16).map(|n| (format!("p{n}"), "x".repeat(6000 + 64 * n))).collect();
    for (pipeline, payload) in &pipelines {
        node.post(pipeline, Value::from_iter((0..100).map(|_| json!({"channel": "a", "payload": payload})))).await;
    }
    for lines in ["Content-Length: 1000000000\r\n", "Connection: close\r\n"] {
        for (pipeline, payload) in &pipelines {
            let mut raw = Raw::connect_narrow(&node, 4 << 10);
            raw.send(format!("GET /pipelines/{pipeline}/events HTTP/1.1\r\nHost: x\r\n{lines}\r\n")).await;
            let text = raw.read_to_clean_end().await;
            assert!(text.ends_with("\r\n0\r\n\r\n"), "{lines}: {} bytes of 100 times {}", text.len(), payload.len());
        }
    }
}

#[tokio::test]
async fn admin_listener_says_it_too() {
    let node = Options::default().start().await;
    for (bytes, status) in misread() {
        let mut raw = Raw::connect_to(node.admin_address()).await;
        raw.send(&bytes).await;
        let detail = assert_problem(&raw.read_to_clean_end().await, status, &bytes);
        assert!(status == 400 || detail.contains("8192 bytes"), "{detail}");
    }
    let mut raw = Raw::connect_to(node.admin_address()).await;
    raw.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let detail = assert_problem(&raw.read_to_clean_end().await, 400, b"PRI");
    assert!(detail.contains("HTTP2"), "{detail}");
}
