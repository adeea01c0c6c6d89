//! What is particular to HTTP/2; the contract runs over it as a whole in `contract`.

use std::collections::HashSet;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::node::{Node, Options};
use crate::support::{PATIENCE, eventually, http2};

/// One connection.
pub struct Connection(SendRequest<Empty<Bytes>>);

impl Connection {
    pub async fn open(node: &Node) -> Self {
        let socket = TcpStream::connect(node.url.strip_prefix("http://").unwrap()).await.unwrap();
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub async fn get(&mut self, node: &Node, path: &str) -> Response<hyper::body::Incoming> {
        let request = Request::get(format!("{}{path}", node.url)).body(Empty::new()).unwrap();
        timeout(PATIENCE, self.0.send_request(request)).await.expect("an answer").unwrap()
    }
}

/// Reads a body until it holds `text`.
pub async fn read_until(body: &mut hyper::body::Incoming, text: &str) -> String {
    let mut received = String::new();
    while !received.contains(text) {
        let frame = timeout(PATIENCE, body.frame()).await.expect("a frame").expect("not the end").unwrap();
        received.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    received
}

#[tokio::test(flavor = "multi_thread")]
async fn hundred_streams_share_a_connection_without_mixing() {
    let node = Node::embedded().await;
    let mut connection = Connection::open(&node).await;
    let mut bodies = Vec::new();
    for n in 0..100 {
        let answer = connection.get(&node, &format!("/pipelines/p{n}/sse")).await;
        assert_eq!(answer.headers()["content-type"], "text/event-stream; charset=utf-8");
        assert!(!answer.headers().contains_key("connection"), "{:?}", answer.headers());
        bodies.push(answer.into_body());
    }
    assert_eq!(node.metric("pipecast_streams").await, 100.0);
    for n in 0..100 {
        node.publish(&format!("p{n}"), "numbers", json!(n)).await;
    }
    for (n, body) in bodies.iter_mut().enumerate() {
        let text = read_until(body, &format!("data: {n}\n\n")).await;
        assert_eq!(text.matches("data: ").count(), 1, "{text}");
    }
    drop(bodies);
    eventually("all streams have ended", || async { node.metric("pipecast_streams").await == 0.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_beyond_the_limit_of_its_connection_waits_for_a_place() {
    let node = Options::default().set("LIMITS__HTTP2_MAX_CONCURRENT_STREAMS", "3").start().await;
    let mut connection = Connection::open(&node).await;
    let mut bodies = Vec::new();
    for _ in 0..3 {
        bodies.push(connection.get(&node, "/pipelines/p/sse").await.into_body());
    }
    let mut other = Connection(connection.0.clone());
    let mut waiting = tokio::spawn({
        let request = Request::get(format!("{}/pipelines/p/sse", node.url)).body(Empty::new()).unwrap();
        async move { other.0.send_request(request).await.unwrap() }
    });
    // Another connection is served meanwhile, and this one keeps its three.
    let mut beside = Connection::open(&node).await.get(&node, "/pipelines/p/sse").await.into_body();
    node.publish("p", "a", json!(1)).await;
    read_until(&mut beside, "data: 1\n\n").await;
    for body in &mut bodies {
        read_until(body, "data: 1\n\n").await;
    }
    assert!(!waiting.is_finished());
    bodies.pop();
    let mut body = timeout(PATIENCE, &mut waiting).await.expect("its turn").unwrap().into_body();
    read_until(&mut body, "data: 1\n\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_streams_end_spread_over_the_drain_window() {
    let options = Options::default().set("DRAIN__LEAD", "0s").set("DRAIN__WINDOW", "1s");
    let mut node = options.start().await;
    let mut connection = Connection::open(&node).await;
    let mut ends = Vec::new();
    for _ in 0..20 {
        let mut body = connection.get(&node, "/pipelines/p/sse").await.into_body();
        ends.push(tokio::spawn(async move {
            read_until(&mut body, "retry: ").await;
            let rest = timeout(PATIENCE, body.collect()).await.expect("the end").unwrap().to_bytes();
            (tokio::time::Instant::now(), rest)
        }));
    }
    node.signal("TERM");
    let mut moments = HashSet::new();
    for end in ends {
        let (moment, rest) = end.await.unwrap();
        moments.insert(moment);
        assert!(rest.starts_with(b"retry: ") && rest.ends_with(b"\n\n"), "{rest:?}");
    }
    assert_eq!(moments.len(), 20);
    assert_eq!(node.exit().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_share_a_connection_and_nothing_is_lost() {
    let node = Options::default().client(http2()).start().await;
    let mut stream = node.open("p", "").await;
    let answers = (0..200).map(|n| node.publish("p", "numbers", json!(n)));
    let ids: HashSet<_> = futures_util::future::join_all(answers).await.into_iter().collect();
    assert_eq!(ids.len(), 200);
    let events = stream.take(200).await;
    crate::support::stream::assert_contiguous(&events);
    assert_eq!(events.into_iter().map(|event| event.id).collect::<HashSet<_>>(), ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn load_generator_of_others_has_every_request_answered() {
    let node = Node::embedded().await;
    let mut stream = node.open("p", "?replay=0").await;
    let body = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&body, r#"{"channel":"a","payload":{"n":1}}"#).unwrap();
    let url = format!("{}/pipelines/p/events", node.url);
    let output = std::process::Command::new("h2load")
        .args(["-n", "2000", "-c", "10", "-m", "20", "-H", "Content-Type: application/json", "-d"])
        .arg(body.path())
        .arg(&url)
        .output()
        .unwrap_or_else(|error| panic!("h2load cannot be started ({error}): apt-get install nghttp2-client"));
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in ["2000 succeeded, 0 failed, 0 errored, 0 timeout", "status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx"] {
        assert!(report.contains(line), "{report}");
    }
    crate::support::stream::assert_contiguous(&stream.take(2000).await);
}
