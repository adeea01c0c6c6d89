//! Bytes on the wire: heads, openings, errors, and requests that no library would send.

use std::collections::HashSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::node::{Node, Options, both_ways};
use crate::support::raw::Raw;

#[tokio::test]
async fn stream_opens_at_once_with_the_promised_head() {
    for way in both_ways() {
        a_stream_opens_at_once_with_the_promised_head_on(&way.start().await).await;
    }
}

async fn a_stream_opens_at_once_with_the_promised_head_on(node: &Node) {
    let mut raw = Raw::connect(node).await;
    raw.get("/pipelines/p/sse").await;
    raw.read_until("retry: ").await;
    let text = raw.read_until("\n\r\n").await;
    let head = text.split("\r\n\r\n").next().unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    for line in [
        "content-type: text/event-stream; charset=utf-8",
        "cache-control: no-cache, no-transform",
        "x-accel-buffering: no",
        "access-control-allow-origin: *",
        "transfer-encoding: chunked",
    ] {
        assert!(head.lines().any(|header| header == line), "{line} in {head}");
    }
    assert!(!head.contains("content-length"), "{head}");
    // No blank line: it belongs to the first block, or widely used clients dispatch an empty message.
    let body = raw.body_text();
    assert!(body.starts_with("retry: ") && body.ends_with('\n') && !body.contains("\n\n"), "{body:?}");
}

#[tokio::test]
async fn retry_is_drawn_anew_for_each_stream() {
    for way in both_ways() {
        retry_is_drawn_anew_for_each_stream_on(&way.start().await).await;
    }
}

async fn retry_is_drawn_anew_for_each_stream_on(node: &Node) {
    let mut drawn = HashSet::new();
    for _ in 0..20 {
        let mut raw = Raw::connect(node).await;
        raw.get("/pipelines/p/sse").await;
        raw.read_until("retry: ").await;
        raw.read_until("\n\r\n").await;
        let body = raw.body_text();
        let retry: u64 = body.trim_end().strip_prefix("retry: ").unwrap().parse().unwrap();
        assert!((1000..=3000).contains(&retry), "{retry}");
        drawn.insert(retry);
    }
    assert!(drawn.len() > 10, "{drawn:?}");
}

#[tokio::test]
async fn frame_is_exactly_three_lines_and_a_blank_one() {
    for way in both_ways() {
        a_frame_is_exactly_three_lines_and_a_blank_one_on(&way.start().await).await;
    }
}

async fn a_frame_is_exactly_three_lines_and_a_blank_one_on(node: &Node) {
    let id = node.publish("p", "names", json!({"name": "Obi Wan"})).await;
    let mut raw = Raw::connect(node).await;
    raw.get("/pipelines/p/sse").await;
    raw.read_until("\n\n").await;
    let body = raw.body_text();
    let (retry, frame) = body.split_once('\n').unwrap();
    assert!(retry.starts_with("retry: "));
    assert_eq!(frame, format!("id: {id}\nevent: names\ndata: {{\"name\":\"Obi Wan\"}}\n\n"));
}

#[tokio::test]
async fn position_is_told_only_where_it_belongs() {
    for way in both_ways() {
        the_position_is_told_only_where_it_belongs_on(&way.start().await).await;
    }
}

async fn the_position_is_told_only_where_it_belongs_on(node: &Node) {
    let id = node.publish("p", "a", json!(1)).await;
    let opening = async |query: &str, header: &str| {
        let mut raw = Raw::connect(node).await;
        raw.send(format!("GET /pipelines/p/sse{query} HTTP/1.1\r\nHost: x\r\n{header}\r\n")).await;
        raw.read_until("\n\n\r\n").await;
        let body = raw.body_text();
        body.split_once('\n').unwrap().1.to_owned()
    };
    let frame = format!("id: {id}\nevent: a\ndata: 1\n\n");
    assert_eq!(opening("?replay=0", "").await, format!("event: pipecast.position\nid: {id}\ndata: {{}}\n\n"));
    assert!(opening("", "").await.starts_with(&frame));
    // With a resume point the client has a position.
    assert!(opening("?replay=0", "Last-Event-ID: 0-0\r\n").await.starts_with(&frame));
    assert!(opening("?replay=5&last_event_id=0-0", "").await.starts_with(&frame));
}

#[tokio::test]
async fn http_1_0_gets_the_same_frames_unchunked() {
    for way in both_ways() {
        http_1_0_gets_the_same_frames_unchunked_on(&way.start().await).await;
    }
}

async fn http_1_0_gets_the_same_frames_unchunked_on(node: &Node) {
    let id = node.publish("p", "a", json!(1)).await;
    let mut raw = Raw::connect(node).await;
    raw.send("GET /pipelines/p/sse HTTP/1.0\r\n\r\n").await;
    let text = raw.read_until("data: 1\n\n").await;
    assert!(!text.to_lowercase().contains("transfer-encoding"), "{text}");
    assert!(text.ends_with(&format!("id: {id}\nevent: a\ndata: 1\n\n")));
    node.publish("p", "a", json!(2)).await;
    assert!(raw.read_until("data: 2\n\n").await.ends_with("\nevent: a\ndata: 2\n\n"));
}

#[tokio::test]
async fn rejected_requests_say_why_and_change_nothing() {
    let node = Node::embedded().await;
    let event = json!({"channel": "a", "payload": 1}).to_string();
    let check = async |method: Method, path: &str, media: Option<&str>, body: &str, status: u16, detail: &str| {
        let mut request = node.http.request(method.clone(), format!("{}{path}", node.url)).body(body.to_owned());
        if let Some(media) = media {
            request = request.header("Content-Type", media);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{method} {path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        let allow = answer.headers().get("allow").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(allow.is_some(), status == 405);
        let problem: Value = answer.json().await.unwrap();
        assert_eq!((&problem["status"], &problem["type"]), (&json!(status), &json!("about:blank")));
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
        allow
    };
    let json_type = Some("application/json");
    let events = "/pipelines/p/events";
    check(Method::POST, events, None, &event, 415, "application/json").await;
    check(Method::POST, events, Some("text/plain"), &event, 415, "application/json").await;
    check(Method::POST, events, Some("application/json; charset=latin1"), &event, 415, "UTF-8").await;
    check(Method::POST, events, json_type, "{", 400, "EOF").await;
    check(Method::POST, events, json_type, "", 400, "EOF").await;
    check(Method::POST, "/pipelines/a%20b/events", json_type, &event, 400, "pipeline id").await;
    check(Method::POST, &format!("/pipelines/{}/events", "x".repeat(129)), json_type, &event, 400, "1-128").await;
    check(Method::GET, "/pipelines//sse", None, "", 400, "pipeline id").await;
    check(Method::GET, "/pipelines/%ff/sse", None, "", 400, "pipeline id").await;
    for lost in ["/pipelines", "/pipelines/p/sse/", "/pipelines/p/x", "/x", "/pipelines/p/sse/more"] {
        check(Method::GET, lost, None, "", 404, "/pipelines/{pipeline}/sse").await;
    }
    let allow = check(Method::PUT, events, json_type, &event, 405, "POST").await;
    assert_eq!(allow.as_deref(), Some("GET, HEAD, POST, DELETE, OPTIONS"));
    let allow = check(Method::POST, "/pipelines/p/sse", json_type, &event, 405, "GET").await;
    assert_eq!(allow.as_deref(), Some("GET, HEAD, OPTIONS"));
    check(Method::POST, "/", json_type, "", 405, "GET").await;
    check(Method::POST, events, json_type, &"x".repeat((4 << 20) + 1), 413, "4194304 bytes").await;
    assert_eq!(node.history("p", "").await["events"], json!([]));
    // Content types with parameters, and an escape of what needs none, are fine.
    let fine = [("Content-Type", "Application/JSON; charset=\"UTF-8\"")];
    assert_eq!(node.post_with("%70", &event, &fine).await.status(), StatusCode::ACCEPTED);
    assert_eq!(node.history("p", "").await["events"].as_array().unwrap().len(), 1);
    assert!(node.metric("pipecast_rejected_total{reason=\"bad_request\"}").await >= 10.0);
    assert_eq!(node.metric("pipecast_rejected_total{reason=\"too_large\"}").await, 1.0);
}

#[tokio::test]
async fn compressed_body_is_refused_and_not_stored() {
    let node = Node::embedded().await;
    let answer = node.post_with("p", "{}", &[("Content-Encoding", "gzip")]).await;
    assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn body_announced_as_huge_is_refused_before_it_is_sent() {
    let node = Node::embedded().await;
    let mut raw = Raw::connect(&node).await;
    raw.send("POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n").await;
    let text = raw.read_until("\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    let mut asking = Raw::connect(&node).await;
    asking.send("POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 5000000\r\n\r\n").await;
    let text = asking.read_until("\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
}

#[tokio::test]
async fn head_and_options_say_what_get_would() {
    let node = Options::default().set("SERVER__CORS_ORIGINS", "*").start().await;
    let url = format!("{}/pipelines/p/sse", node.url);
    let head = node.http.head(&url).send().await.unwrap();
    assert_eq!(
        (head.status(), &head.headers()["content-type"]),
        (StatusCode::OK, &"text/event-stream; charset=utf-8".parse().unwrap())
    );
    assert!(!head.headers().contains_key("content-length"));
    assert_eq!(node.metric("pipecast_streams").await, 0.0);
    let page = node.http.head(format!("{}/", node.url)).send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert!(page.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));

    let preflight = node.http.request(Method::OPTIONS, format!("{}/pipelines/p/events", node.url));
    let preflight = preflight
        .header("Origin", "https://app.example")
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "content-type, idempotency-key");
    let answer = preflight.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_lowercase();
    assert_eq!(header("access-control-allow-origin"), "*");
    assert!(header("access-control-allow-methods").contains("post"));
    for name in ["content-type", "idempotency-key", "last-event-id", "authorization", "cache-control"] {
        assert!(header("access-control-allow-headers").contains(name), "{name}");
    }
    assert!(!answer.headers().contains_key("access-control-allow-credentials"));
}

#[tokio::test]
async fn list_of_origins_is_echoed_with_credentials_and_no_other_is() {
    let origins = "https://a.example,http://localhost:3000";
    let node = Options::default().set("SERVER__CORS_ORIGINS", origins).start().await;
    let ask = async |origin: Option<&str>| {
        let mut request = node.http.get(format!("{}/pipelines/p/events", node.url));
        if let Some(origin) = origin {
            request = request.header("Origin", origin);
        }
        let headers = request.send().await.unwrap().headers().clone();
        assert_eq!(headers["vary"], "Origin");
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        (text("access-control-allow-origin"), text("access-control-allow-credentials"))
    };
    for origin in origins.split(',') {
        assert_eq!(ask(Some(origin)).await, (Some(origin.to_owned()), Some("true".to_owned())));
    }
    assert_eq!(ask(Some("https://b.example")).await, (None, None));
    assert_eq!(ask(Some("null")).await, (None, None));
    assert_eq!(ask(None).await, (None, None));
}

#[tokio::test]
async fn half_sent_requests_are_let_go_while_others_are_served() {
    let node = Options::default().set("LIMITS__REQUEST_TIMEOUT", "500ms").start().await;
    let mut heads = Vec::new();
    for _ in 0..200 {
        let mut raw = Raw::connect(&node).await;
        raw.send("GET /pipelines/p/sse HTTP/1.1\r\nHost:").await;
        heads.push(raw);
    }
    let mut body = Raw::connect(&node).await;
    body.send(
        "POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
    )
    .await;
    let mut stream = node.open("p", "").await;
    node.publish("p", "a", json!(1)).await;
    assert_eq!(stream.numbers(1).await, [1]);
    let refused = body.read_until("}\n").await;
    assert!(refused.starts_with("HTTP/1.1 408 ") && refused.contains("limits.request_timeout"), "{refused}");
    for raw in &mut heads {
        raw.read_to_end().await;
        assert!(!raw.text().contains("200 OK"));
    }
    // The stream is not among them: it outlives the timeout.
    node.publish("p", "a", json!(2)).await;
    assert_eq!(stream.numbers(1).await, [2]);
}

#[tokio::test]
async fn idle_connection_outlives_the_time_for_a_request() {
    let node = Options::default().set("LIMITS__REQUEST_TIMEOUT", "200ms").start().await;
    let (mut idle, mut half) = (Raw::connect(&node).await, Raw::connect(&node).await);
    for raw in [&mut idle, &mut half] {
        raw.get("/pipelines/p").await;
        raw.read_until("}\n").await;
        raw.received.clear();
    }
    // A second request that is never whole shows that the time for one has passed.
    half.send("GET /pipelines/p HTTP/1.1\r\nHo").await;
    assert_eq!(half.read_to_end().await, 0);
    idle.get("/pipelines/p").await;
    assert!(idle.read_until("}\n").await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn connection_without_requests_is_closed_in_the_end() {
    let node = Options::default().set("LIMITS__IDLE_TIMEOUT", "300ms").start().await;
    let mut idle = Raw::connect(&node).await;
    idle.get("/pipelines/p").await;
    idle.read_until("}\n").await;
    idle.received.clear();
    assert_eq!(idle.read_to_end().await, 0);
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    for way in both_ways() {
        requests_follow_each_other_on_one_connection_on(&way.start().await).await;
    }
}

async fn requests_follow_each_other_on_one_connection_on(node: &Node) {
    let mut raw = Raw::connect(node).await;
    let body = json!({"channel": "a", "payload": 1}).to_string();
    let request = format!(
        "POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    raw.send(request.repeat(3)).await;
    while raw.text().matches("202 Accepted").count() < 3 {
        assert!(raw.read_some().await > 0);
    }
    raw.get("/pipelines/p/sse").await;
    raw.read_until("-3\nevent: a\ndata: 1\n\n").await;
}

#[tokio::test]
async fn client_that_leaves_is_noticed() {
    for way in both_ways() {
        a_client_that_leaves_is_noticed_on(&way.start().await).await;
    }
}

async fn a_client_that_leaves_is_noticed_on(node: &Node) {
    let mut raw = Raw::connect(node).await;
    raw.get("/pipelines/p/sse").await;
    raw.read_until("retry: ").await;
    assert_eq!(node.metric("pipecast_streams").await, 1.0);
    // A half-closed client is gone: nothing sent to it would be read.
    raw.finish().await;
    eventually("the stream is over", || async { node.metric("pipecast_streams").await == 0.0 }).await;
    assert_eq!(node.metric("pipecast_streams_closed_total{reason=\"client\"}").await, 1.0);
}

#[tokio::test]
async fn admin_listener_has_its_three_paths() {
    let node = Node::embedded().await;
    for (path, status) in [("/livez", 200), ("/readyz", 200), ("/metrics", 200), ("/", 404), ("/pipelines/p", 404)] {
        assert_eq!(node.admin_status(path).await.unwrap().as_u16(), status, "{path}");
    }
    let posted = node.http.post(format!("{}/livez", node.admin)).send().await.unwrap();
    assert_eq!((posted.status().as_u16(), &posted.headers()["allow"]), (405, &"GET, HEAD".parse().unwrap()));
    let public = node.http.get(format!("{}/metrics", node.url)).send().await.unwrap();
    assert_eq!(public.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn readiness_exclude_accepts_only_the_store() {
    let node = Node::embedded().await;
    for query in ["", "?", "?exclude=store", "?exclude=store&exclude=store"] {
        assert_eq!(node.admin_status(&format!("/readyz{query}")).await, Some(StatusCode::OK), "{query}");
    }
    for query in
        ["?exclude=redis", "?exclude=", "?exclude", "?exclude=store&exclude=etcd", "?verbose", "?exclude=store&a=b"]
    {
        let answer = node.http.get(format!("{}/readyz{query}", node.admin)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{query}");
        let text = answer.text().await.unwrap();
        assert!(text.contains("exclude=store"), "it says what to write: {text}");
    }
}
