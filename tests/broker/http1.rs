//! HTTP/1.1 as its RFCs have it, where a client library would not show it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::node::{Node, Options, both_ways};
use crate::support::raw::Raw;
use crate::support::redis::Redis;
use crate::support::{eventually, http};

const EVENT: &str = r#"{"channel":"a","payload":1}"#;

/// The answer to these bytes, to the end of the connection; a body is sent at once.
async fn answer(node: &Node, request: impl AsRef<[u8]>) -> String {
    let mut raw = Raw::connect(node).await;
    raw.try_send(request).await;
    let head = raw.read_until("\r\n\r\n").await;
    let end = head.find("\r\n\r\n").unwrap() + 4;
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |text| text.parse().unwrap());
    while raw.received.len() < end + length && raw.read_some().await > 0 {}
    raw.text()
}

async fn assert_status(node: &Node, request: &str, status: u16) -> String {
    let text = answer(node, request).await;
    assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {text}");
    text
}

async fn assert_problem(node: &Node, request: &str, status: u16) -> String {
    let text = assert_status(node, request, status).await;
    assert!(
        text.contains("content-type: application/problem+json\r\n") && text.contains("\"detail\":"),
        "{request:?}: {text}"
    );
    text
}

#[tokio::test]
async fn request_without_one_valid_host_is_refused() {
    // A node that was opened explicitly answers under any name.
    let node = Options::default().set("AUTH__PUBLISH", "open").start().await;
    for path in ["/", "/pipelines/p", "/pipelines/p/sse", "/nowhere"] {
        assert_problem(&node, &format!("GET {path} HTTP/1.1\r\n\r\n"), 400).await;
        assert_problem(&node, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"), 400).await;
    }
    for host in ["a b", "a/b", "user@a", "a:port", "[::1", "a,b", "a?b", "a:1:2", "[::1]x"] {
        assert_problem(&node, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400).await;
    }
    // Empty where the target has no authority (RFC 9112, 3.2).
    for host in ["", "a", "a:80", "a:", "127.0.0.1:8080", "[::1]", "[::1]:8080", "a_b.example", "xn--a.example"] {
        assert_status(&node, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), 200).await;
    }
    assert!(answer(&node, "GET / HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200 "));
}

#[tokio::test]
async fn target_that_is_no_path_is_refused() {
    let node = Node::embedded().await;
    for first in ["GET *", "POST *", "GET x:80", "CONNECT x:80", "OPTIONS x:80"] {
        assert_problem(&node, &format!("{first} HTTP/1.1\r\nHost: x\r\n\r\n"), 400).await;
    }
    let text = assert_status(&node, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 204).await;
    assert!(text.contains("\r\nallow: GET, HEAD, POST, DELETE, OPTIONS\r\n"), "{text}");
    // As clients write it to proxies.
    assert_status(&node, "GET http://x/pipelines/p HTTP/1.1\r\nHost: x\r\n\r\n", 200).await;
}

#[tokio::test]
async fn transfer_encoding_other_than_one_chunked_is_refused() {
    let node = Node::embedded().await;
    let head = "POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let chunks = format!("\r\n\r\n{:x}\r\n{EVENT}\r\n0\r\n\r\n", EVENT.len());
    for coding in ["gzip, chunked", "identity, chunked", "chunked, chunked", "chunked\r\nTransfer-Encoding: chunked"] {
        let text = answer(&node, format!("{head}Transfer-Encoding: {coding}{chunks}")).await;
        assert!(text.starts_with("HTTP/1.1 400 "), "{coding}: {text}");
    }
    for coding in ["chunked", "Chunked", " chunked "] {
        assert_status(&node, &format!("{head}Transfer-Encoding: {coding}{chunks}"), 202).await;
    }
    assert_eq!(node.history("p", "").await["events"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn content_coding_is_read_in_any_case_and_over_all_lines() {
    let node = Node::embedded().await;
    let post = |lines: &str| {
        let length = EVENT.len();
        format!(
            "POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{lines}\r\n{EVENT}"
        )
    };
    for lines in [
        "",
        "Content-Encoding: identity\r\n",
        "Content-Encoding: IDENTITY\r\n",
        "Content-Encoding:\r\n",
        "Content-Encoding: identity, identity\r\n",
    ] {
        assert_status(&node, &post(lines), 202).await;
    }
    for lines in [
        "Content-Encoding: gzip\r\n",
        "Content-Encoding: identity\r\nContent-Encoding: GZIP\r\n",
        "Content-Encoding: identity, br\r\n",
    ] {
        let text = assert_problem(&node, &post(lines), 415).await;
        assert!(text.contains("\r\naccept-encoding: identity\r\n"), "{text}");
    }
}

#[tokio::test]
async fn bytes_in_a_query_that_are_no_utf_8_are_refused() {
    let node = Node::embedded().await;
    for query in ["channel=%ff", "channel=a%C3", "%ff=1", "token=%80", "x=%fe"] {
        for path in ["/pipelines/p/sse", "/pipelines/p/events", "/pipelines/p"] {
            assert_problem(&node, &format!("GET {path}?{query} HTTP/1.1\r\nHost: x\r\n\r\n"), 400).await;
        }
    }
    for query in ["channel=%C3%A9", "channel=100%", "x=%zz", "a=%2", "last_event_id=%fe"] {
        assert_status(&node, &format!("GET /pipelines/p/events?{query} HTTP/1.1\r\nHost: x\r\n\r\n"), 200).await;
    }
}

#[tokio::test]
async fn more_than_a_hundred_channels_are_refused_in_a_history_too() {
    let node = Node::embedded().await;
    for path in ["/pipelines/p/events", "/pipelines/p/sse"] {
        let query = "channel=a&".repeat(101);
        assert_problem(&node, &format!("GET {path}?{query} HTTP/1.1\r\nHost: x\r\n\r\n"), 400).await;
    }
    let query = "channel=a&".repeat(100);
    assert_status(&node, &format!("GET /pipelines/p/events?{query} HTTP/1.1\r\nHost: x\r\n\r\n"), 200).await;
}

#[tokio::test]
async fn page_is_sent_to_those_who_prefer_it() {
    let node = Node::embedded().await;
    for (accept, is_page) in [
        ("text/html", true),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
        ("TEXT/HTML", true),
        ("text/*", true),
        ("text/html;q=0.5, application/json;q=0.4", true),
        ("*/*", false),
        ("application/json", false),
        ("text/html;q=0", false),
        ("text/html;q=0.000, */*", false),
        ("application/json, text/html", false),
        ("application/json, text/html;q=0.9", false),
        ("text/html;q=0.5, */*;q=0.8", false),
        ("text/html;q=x", false),
        ("application/x;y=text/html", false),
        ("", false),
    ] {
        let text =
            assert_status(&node, &format!("GET /pipelines/p HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n"), 200)
                .await;
        assert_eq!(text.contains("content-type: text/html"), is_page, "{accept}");
        assert!(text.to_lowercase().contains("vary: accept\r\n"), "{text}");
    }
    let lines = "Accept: application/json;q=0.1\r\nAccept: text/html";
    let text = assert_status(&node, &format!("GET /pipelines/p HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n"), 200).await;
    assert!(text.contains("content-type: text/html"), "{text}");
}

#[tokio::test]
async fn wrong_address_is_a_page_only_for_browsers() {
    let node = Node::embedded().await;
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (method, path, accept, status, is_page) in [
        ("GET", "/nowhere", browser, 404, true),
        ("GET", "/pipelines/p/nowhere", browser, 404, true),
        ("GET", "/pipelines/a%20b", browser, 400, true),
        ("GET", "/pipelines/a%20b/sse", browser, 400, true),
        ("GET", "/nowhere", "*/*", 404, false),
        ("GET", "/nowhere", "application/json", 404, false),
        ("GET", "/pipelines/a%20b", "*/*", 400, false),
        ("POST", "/nowhere", browser, 404, false),
        ("DELETE", "/pipelines/a%20b/events", browser, 400, false),
        // The address is right, and something else is wrong.
        ("GET", "/pipelines/p/sse?replay=x", browser, 400, false),
        ("DELETE", "/pipelines/p", browser, 405, false),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nContent-Length: 0\r\n\r\n");
        let text = assert_status(&node, &request, status).await;
        let expected = if is_page { "text/html; charset=utf-8" } else { "application/problem+json" };
        assert!(text.contains(&format!("content-type: {expected}\r\n")), "{method} {path} {accept}: {text}");
        assert_eq!(text.contains("script-src 'none'"), is_page, "{text}");
        assert_eq!(text.contains("<a href=\"/\">Start page</a>"), is_page, "{text}");
        let depends_on_accept = path != "/pipelines/p/sse?replay=x" && path != "/pipelines/p";
        assert_eq!(text.contains("vary: Accept\r\n"), depends_on_accept, "{text}");
    }
    let head = node.http.head(format!("{}/nowhere", node.url)).header("Accept", browser).send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-type"]),
        (404, &"text/html; charset=utf-8".parse().unwrap())
    );
}

#[tokio::test]
async fn every_answer_forbids_a_guess_at_its_type() {
    let [threads, bodies] = both_ways();
    for options in [threads, bodies] {
        let node = options.start().await;
        node.publish("p", "a", json!(1)).await;
        for first in [
            "GET /",
            "GET /pipelines/p",
            "GET /pipelines/p/events",
            "GET /nowhere",
            "PUT /",
            "OPTIONS /",
            "DELETE /pipelines/p/events",
            "GET /pipelines/p/sse",
        ] {
            let text = answer(&node, format!("{first} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            assert_eq!(text.matches("x-content-type-options: nosniff\r\n").count(), 1, "{first}: {text}");
        }
        let mut admin = Raw::connect_to(node.admin_address()).await;
        admin.get("/livez").await;
        admin.read_until("x-content-type-options: nosniff\r\n").await;
    }
}

#[tokio::test]
async fn half_closed_publisher_gets_its_answer() {
    let node = Node::embedded().await;
    let length = EVENT.len();
    let post = format!(
        "POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{EVENT}"
    );
    for n in 0..50 {
        let mut raw = Raw::connect(&node).await;
        raw.send(&post).await;
        raw.finish().await;
        raw.read_to_end().await;
        assert!(raw.text().starts_with("HTTP/1.1 202 "), "{n}: {}", raw.text());
    }
    // One that ends it within its body does not.
    let mut raw = Raw::connect(&node).await;
    raw.send(&post[..post.len() - 3]).await;
    raw.finish().await;
    raw.read_to_end().await;
    assert!(!raw.text().contains(" 202 "), "{}", raw.text());
}

/// The store is slow here, so the client half-closes before the store has answered.
#[tokio::test]
async fn half_closed_connection_ends_with_its_answer() {
    let redis = Redis::start().await;
    let node = Options::default().redis(&redis.url()).start().await;
    let length = EVENT.len();
    let post = format!(
        "POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{EVENT}"
    );
    for request in [&*post, "GET /pipelines/p/events HTTP/1.1\r\nHost: x\r\n\r\n"] {
        for n in 0..3 {
            let mut raw = Raw::connect(&node).await;
            redis.command(&["CLIENT", "PAUSE", "300", "ALL"]);
            raw.send(request).await;
            raw.finish().await;
            let text = raw.read_to_clean_end().await;
            assert!(text.starts_with("HTTP/1.1 20"), "{n}: {text}");
        }
    }
}

/// Publishes more than one page of a history as JSON, and more than sockets hold; the history.
async fn long_history(node: &Node) -> String {
    let large = "x".repeat(20 << 10);
    node.post("p", Value::from_iter((0..50).map(|_| json!({"channel": "a", "payload": large})))).await;
    http().get(format!("{}/pipelines/p/events", node.url)).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn half_closed_client_gets_a_long_history_whole() {
    let node = Node::embedded().await;
    let history = long_history(&node).await;
    for receive_buffer in [4 << 10, 1 << 20] {
        let mut raw = Raw::connect_narrow(&node, receive_buffer);
        raw.get("/pipelines/p/events").await;
        raw.finish().await;
        raw.read_to_clean_end().await;
        assert_eq!(raw.body_text(), history);
    }
}

/// What comes of the next request meanwhile may wait for its rest until the answer is there.
#[tokio::test]
async fn slow_client_gets_a_whole_answer_before_its_next_request() {
    // For the next request it begins when the node has written all. What is left in the network then arrives well within it.
    const TIMEOUT: Duration = Duration::from_secs(4);
    let node = Options::default().set("LIMITS__REQUEST_TIMEOUT", "4s").start().await;
    let history = long_history(&node).await;
    let mut raw = Raw::connect_narrow(&node, 4 << 10);
    raw.get("/pipelines/p/events").await;
    raw.read_until("\r\n\r\n").await;
    let (head, rest) = "GET /pipelines/p HTTP/1.1\r\nHost: x\r\n\r\n".split_at(10);
    raw.send(head).await;
    let began = Instant::now();
    while began.elapsed() < TIMEOUT + Duration::from_secs(1) {
        raw.take_piece();
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    raw.read_until("0\r\n\r\n").await;
    assert_eq!(raw.body_text(), history);
    raw.received.clear();
    raw.send(rest).await;
    raw.read_until("HTTP/1.1 200 ").await;
}

#[tokio::test]
async fn reader_that_ends_its_side_with_its_request_is_gone() {
    for options in both_ways() {
        let node = options.set("STREAM__KEEPALIVE", "50s").start().await;
        let mut raw = Raw::connect(&node).await;
        raw.get("/pipelines/p/sse").await;
        raw.finish().await;
        raw.read_to_end().await;
        eventually("it is gone", || async { node.metric("pipecast_streams").await == 0.0 }).await;
    }
}

#[tokio::test]
async fn preflight_allows_the_headers_that_it_asks_for() {
    let node = Options::default().set("SERVER__CORS_ORIGINS", "*").start().await;
    let preflight = |asked: &str| {
        format!(
            "OPTIONS /pipelines/p/events HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n{asked}\r\n"
        )
    };
    let traced = "traceparent,tracestate,baggage,sentry-trace,x-datadog-trace-id,x-b3-traceid,x-request-id,pragma";
    let text = assert_status(&node, &preflight(&format!("Access-Control-Request-Headers: {traced}\r\n")), 204).await;
    let allowed = text.lines().find_map(|line| line.strip_prefix("access-control-allow-headers: ")).unwrap();
    for name in traced.split(',') {
        assert!(allowed.split(", ").any(|allowed| allowed == name), "{name}: {allowed}");
    }
    assert!(text.contains("vary: Access-Control-Request-Headers\r\n"), "{text}");
    for strange in [
        String::new(),
        "Access-Control-Request-Headers: a b, c;d, \"e\"\r\n".to_owned(),
        format!("Access-Control-Request-Headers: {}\r\n", "x-y,".repeat(2000)),
    ] {
        let text = assert_status(&node, &preflight(&strange), 204).await;
        let allowed = text.lines().find_map(|line| line.strip_prefix("access-control-allow-headers: ")).unwrap();
        assert!(allowed.contains("Idempotency-Key") && allowed.len() < 4096, "{allowed}");
        assert!(!allowed.contains("a b") && !allowed.contains(';') && !allowed.contains('"'), "{allowed}");
    }
}

/// RFC 9110, 5.3: a field that is not a list may not be repeated. Given two, a proxy could use one and the node the other.
#[tokio::test]
async fn header_with_one_value_is_refused_when_it_is_there_twice() {
    let node = Node::embedded().await;
    let length = EVENT.len();
    let post = |lines: &str| {
        format!("POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{lines}\r\n{EVENT}")
    };
    let json = "Content-Type: application/json\r\n";
    for lines in [
        format!("{json}Content-Type: text/plain\r\n"),
        format!("Content-Type: text/plain\r\n{json}"),
        format!("{json}{json}"),
        format!("{json}Origin: http://localhost\r\nOrigin: https://evil.example\r\n"),
        format!("{json}Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n"),
        format!("{json}Idempotency-Key: a\r\nIdempotency-Key: b\r\n"),
        format!("{json}Host: localhost\r\n"),
    ] {
        assert_problem(&node, &post(&lines), 400).await;
    }
    assert_eq!(node.history("p", "").await["events"], json!([]));
    let asked = "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Method: POST\r\n";
    assert_problem(&node, &format!("OPTIONS / HTTP/1.1\r\nHost: x\r\nOrigin: http://localhost\r\n{asked}\r\n"), 400)
        .await;
    // Lists may be.
    let lists = "Accept: a/b\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nAccept-Encoding: br\r\nContent-Encoding: identity\r\nContent-Encoding: identity\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 1.1.1.2\r\nCookie: a=b\r\nCookie: c=d\r\n";
    assert_status(&node, &post(&format!("{json}{lists}")), 202).await;
    let asked = "Access-Control-Request-Headers: traceparent\r\nAccess-Control-Request-Headers: baggage\r\n";
    let text = assert_status(
        &node,
        &format!("OPTIONS / HTTP/1.1\r\nHost: x\r\nOrigin: http://localhost\r\nAccess-Control-Request-Method: GET\r\n{asked}\r\n"),
        204,
    )
    .await;
    assert!(text.contains("traceparent") && text.contains("baggage"), "{text}");
}

/// A browser would stop reconnecting after a 400.
#[tokio::test]
async fn two_resume_points_in_a_header_are_one_that_is_unknown() {
    let node = Node::embedded().await;
    let ids = [node.publish("p", "a", json!(1)).await, node.publish("p", "a", json!(2)).await];
    let mut raw = Raw::connect(&node).await;
    let lines = format!("Last-Event-ID: {}\r\nLast-Event-ID: {}\r\n", ids[1], ids[0]);
    raw.send(format!("GET /pipelines/p/sse HTTP/1.1\r\nHost: x\r\n{lines}\r\n")).await;
    let text = raw.read_until("data: 2\n\n").await;
    assert!(text.contains("event: pipecast.gap\n") && text.contains("\"reason\":\"unknown\""), "{text}");
}

#[tokio::test]
async fn repeated_headers_are_refused_in_http_2_too() {
    let node = Node::embedded().await;
    let client = crate::support::http2();
    let post = |headers: &[(&'static str, &'static str)]| {
        let mut request = client.post(format!("{}/pipelines/p/events", node.url)).body(EVENT);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send()
    };
    let json = ("content-type", "application/json");
    assert_eq!(post(&[json]).await.unwrap().status(), 202);
    assert_eq!(post(&[json, ("content-type", "text/plain")]).await.unwrap().status(), 400);
    assert_eq!(post(&[json, ("origin", "null"), ("origin", "http://localhost")]).await.unwrap().status(), 400);
}
