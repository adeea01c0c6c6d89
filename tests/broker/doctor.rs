//! `pipecast doctor` on nodes of its own; behind load balancers it is tried in tests/deploy.

use crate::cli::{err, out, pipecast, run};
use crate::support::eventually;
use crate::support::node::{Node, Options};
use crate::support::redis::Redis;

fn keys(rights: &str) -> Options {
    let keys = format!(r#"[{{name = "somebody", key = "correct-horse-battery", {rights}}}]"#);
    Options::default().set("AUTH__PUBLISH", "token").set("AUTH__SUBSCRIBE", "token").set("AUTH__KEYS", &keys)
}

fn examine(node: &Node, token: &str) -> (Option<i32>, String) {
    let mut command = pipecast(&["doctor", &node.url, "--hold", "1s"]);
    let output = run(command.env("PIPECAST_TOKEN", token), "");
    assert_eq!(err(&output), "");
    (output.status.code(), out(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn node_by_itself_is_well() {
    let node = keys(r#"publish = ["*"], subscribe = ["*"]"#).start().await;
    let (code, report) = examine(&node, "correct-horse-battery");
    assert_eq!(code, Some(0), "{report}");
    assert!(report.ends_with("\n6 ok, 0 to look at, 0 failed\n"), "{report}");
    assert!(!report.contains("correct-horse-battery"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn right_that_is_missing_is_said() {
    let node = keys(r#"subscribe = ["*"]"#).start().await;
    let (code, report) = examine(&node, "no-such-key-at-all");
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("FAIL  a stream is refused, 401") && report.contains("PIPECAST_TOKEN"), "{report}");
    let (code, report) = examine(&node, "correct-horse-battery");
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("FAIL  publishing failed, 403") && report.contains("may publish"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn store_that_is_away_is_said() {
    let mut redis = Redis::start().await;
    let node = Options::default().redis(&redis.url()).start().await;
    redis.kill();
    eventually("publishing is refused", async || {
        node.post("p", r#"{"channel":"a","payload":1}"#).await.status() == 503
    })
    .await;
    let (code, report) = examine(&node, "any");
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("FAIL  a stream opens, and waits") && report.contains("without Redis"), "{report}");
}

#[test]
fn stream_that_is_none_is_said() {
    // Something that answers, and is no node.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.read(&mut [0; 4096]).unwrap();
        socket
            .write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
            )
            .unwrap();
    });
    let output = run(&mut pipecast(&["doctor", &url]), "");
    server.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).contains("FAIL  a stream is answered with `text/html`"), "{}", out(&output));
}
