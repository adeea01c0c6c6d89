//! Requests whose end is given in two ways. A proxy in front of the node may read it one way and the
//! node the other; then a part of one client's body is another client's request.

use serde_json::json;

use super::Target;
use crate::support::eventually;
use crate::support::node::{Node, Options, both_ways};
use crate::support::raw::Raw;

/// A whole request, for a server that reads the body as the next request.
fn hidden() -> String {
    let event = r#"{"channel":"a","payload":"smuggled"}"#;
    format!(
        "POST /pipelines/hidden/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{event}",
        event.len()
    )
}

/// A publish request with these lines in its head; the hidden request is in its body.
fn request(lines: &str, body: &str) -> String {
    format!("POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{lines}\r\n\r\n{body}")
}

fn answers(raw: &Raw) -> usize {
    raw.text().matches("HTTP/1.1 ").count()
}

async fn assert_nothing_smuggled(node: &Node, request: &str) {
    assert_eq!(node.history("hidden", "").await["events"], json!([]), "{request:?}");
}

/// Fails unless the request is refused with a 4xx, and nothing more is read from its connection.
async fn assert_refused(node: &Node, request: &str) {
    let mut raw = Raw::connect(node).await;
    raw.try_send(request).await;
    raw.read_to_end().await;
    let text = raw.text();
    assert!(text.starts_with("HTTP/1.1 4"), "{request:?} was answered: {text:?}");
    assert_eq!(answers(&raw), 1, "{request:?} was answered: {text:?}");
    assert_nothing_smuggled(node, request).await;
}

/// Fails unless the request is answered once, whatever the answer.
async fn assert_one(node: &Node, request: &str) {
    let mut raw = Raw::connect(node).await;
    raw.try_send(request).await;
    raw.read_until("HTTP/1.1 ").await;
    raw.finish().await;
    raw.read_to_end().await;
    assert_eq!(answers(&raw), 1, "{request:?} was answered: {:?}", raw.text());
    assert_nothing_smuggled(node, request).await;
}

#[tokio::test]
async fn request_with_two_lengths_is_refused() {
    let target = Target::start(Options::default()).await;
    let hidden = hidden();
    for lines in [
        format!("Content-Length: 0\r\nContent-Length: {}", hidden.len()),
        format!("Content-Length: {}\r\nContent-Length: 0", hidden.len()),
        format!("Content-Length: {}\r\nX: y\r\ncontent-length: 3", hidden.len()),
        format!("Content-Length: 0, {}", hidden.len()),
        format!("Content-Length: {0}, {0}", hidden.len()),
    ] {
        assert_refused(&target.node, &request(&lines, &hidden)).await;
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn length_that_is_no_number_is_refused() {
    let target = Target::start(Options::default()).await;
    let hidden = hidden();
    for length in ["-1", "+0", "0x0", "1e1", " ", "0 0", "18446744073709551616", "٠", "1_0", "\"0\""] {
        assert_refused(&target.node, &request(&format!("Content-Length: {length}"), &hidden)).await;
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn content_length_with_chunks_closes_the_connection() {
    let target = Target::start(Options::default()).await;
    let body = format!("0\r\n\r\n{}", hidden());
    for lines in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked", body.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}", body.len()),
        "Content-Length: 4\r\nTransfer-Encoding: chunked".to_owned(),
        "Content-Length: 4\r\nTransfer-Encoding: identity, chunked".to_owned(),
    ] {
        // RFC 9112, 6.1: the connection must not be used again. The body is empty, so no event.
        assert_refused(&target.node, &request(&lines, &body)).await;
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn transfer_coding_that_hides_its_chunks_is_refused() {
    let target = Target::start(Options::default()).await;
    let body = format!("0\r\n\r\n{}", hidden());
    for coding in ["xchunked", "chunked, identity", "identity", "chunked; q=1", "chunk", "\"chunked\"", "chunked,"] {
        for length in [String::new(), format!("\r\nContent-Length: {}", body.len())] {
            assert_refused(&target.node, &request(&format!("Transfer-Encoding: {coding}{length}"), &body)).await;
        }
    }
    assert_refused(&target.node, &request("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", &body)).await;
    let of_1_0 = request("Transfer-Encoding: chunked", &body).replacen("HTTP/1.1", "HTTP/1.0", 1);
    let mut raw = Raw::connect(&target.node).await;
    raw.try_send(&of_1_0).await;
    raw.read_to_end().await;
    assert!(raw.text().contains(" 400 Bad Request") && !raw.text().contains(" 202 "), "{}", raw.text());
    assert_nothing_smuggled(&target.node, &of_1_0).await;
    target.assert_unharmed().await;
}

#[tokio::test]
async fn header_that_goes_on_in_the_next_line_is_refused() {
    let target = Target::start(Options::default()).await;
    let hidden = hidden();
    for lines in [
        "X: y\r\n Content-Length: 0".to_owned(),
        format!("Content-Length:\r\n {}", hidden.len()),
        "Transfer-Encoding:\r\n\tchunked".to_owned(),
        format!("Content-Length: {}\r\n\t\r\nX: y", hidden.len()),
    ] {
        assert_refused(&target.node, &request(&lines, &hidden)).await;
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn header_with_a_space_before_its_colon_is_refused() {
    let target = Target::start(Options::default()).await;
    let hidden = hidden();
    for lines in [
        format!("Content-Length : {}", hidden.len()),
        "Transfer-Encoding : chunked".to_owned(),
        "Transfer-Encoding\t: chunked".to_owned(),
        format!(" Content-Length: {}", hidden.len()),
        "Content-Length".to_owned(),
        ": 0".to_owned(),
    ] {
        assert_refused(&target.node, &request(&lines, &hidden)).await;
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn control_characters_in_a_head_are_refused() {
    let target = Target::start(Options::default()).await;
    let hidden = hidden();
    for lines in [
        "X: a\0b",
        "X\0: a",
        "\0",
        "X: a\rb",
        "X: a\r\rTransfer-Encoding: chunked",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: chunked\0",
        "X: \x7f",
        "X(y): z",
    ] {
        assert_refused(&target.node, &request(lines, &hidden)).await;
    }
    for first in [
        "GET /\0 HTTP/1.1",
        "GET / HTTP/1.1\0",
        "GET  / HTTP/1.1",
        "GET / x HTTP/1.1",
        "G\0T / HTTP/1.1",
        "GET /\r HTTP/1.1",
    ] {
        assert_refused(&target.node, &format!("{first}\r\nHost: x\r\n\r\n{hidden}")).await;
    }
    target.assert_unharmed().await;
}

/// RFC 9112, 2.2 allows a lone line feed as the end of a line; it must then be one everywhere.
#[tokio::test]
async fn bare_line_feeds_have_one_meaning() {
    let target = Target::start(Options::default()).await;
    let hidden = hidden();
    // The same lengths that are refused with CRLF.
    assert_refused(
        &target.node,
        &request(&format!("X: y\nContent-Length: 0\r\nContent-Length: {}", hidden.len()), &hidden),
    )
    .await;
    assert_refused(&target.node, &request("X: y\n Transfer-Encoding: chunked", &hidden)).await;
    // The whole body belongs to the one request.
    let whole = request(&format!("Content-Length: {}", hidden.len()), "").replace("\r\n", "\n");
    assert_one(&target.node, &format!("{whole}{hidden}")).await;
    // Inside chunks it is not a request.
    for chunk in ["0\n\n", "0\n\r\n", "1;x\n0\r\n", "5\n\r\n0\r\n\r\n"] {
        assert_refused(&target.node, &request("Transfer-Encoding: chunked", &format!("{chunk}{hidden}"))).await;
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn chunk_sizes_that_are_no_numbers_are_refused() {
    let target = Target::start(Options::default().set("LIMITS__REQUEST_TIMEOUT", "1s")).await;
    let hidden = hidden();
    for size in ["FFFFFFFFFFFFFFFFF", "10000000000000000", "-1", "+1", "0x1", "g", "", " ", "1 1", ";", "1\0"] {
        assert_refused(&target.node, &request("Transfer-Encoding: chunked", &format!("{size}\r\n{hidden}"))).await;
    }
    // The largest number there is, and a chunk that is longer than it says.
    for chunk in ["FFFFFFFFFFFFFFFF\r\n", "1\r\nxx\r\n0\r\n\r\n", "0\r\nX: \0\r\n\r\n"] {
        assert_one(&target.node, &request("Transfer-Encoding: chunked", &format!("{chunk}{hidden}"))).await;
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn body_where_none_is_read_is_not_a_request() {
    let target = Target::start(Options::default()).await;
    let hidden = hidden();
    for first in
        ["GET /pipelines/p", "DELETE /pipelines/p/events", "OPTIONS /pipelines/p/events", "GET /nowhere", "PUT /"]
    {
        let head = format!("{first} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", hidden.len());
        assert_one(&target.node, &format!("{head}{hidden}")).await;
        let chunked = format!(
            "{first} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n",
            hidden.len()
        );
        assert_one(&target.node, &chunked).await;
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn requests_after_a_subscription_never_run() {
    for way in both_ways() {
        // When the stream ends by itself, the rest is not a request either.
        let target = Target::start(way.set("STREAM__MAX_AGE", "1s")).await;
        let mut raw = Raw::connect(&target.node).await;
        raw.send(format!("GET /pipelines/p/sse HTTP/1.1\r\nHost: x\r\n\r\n{}", hidden().repeat(3))).await;
        raw.read_until("retry: ").await;
        raw.try_send(hidden()).await;
        eventually("the stream has ended", || async {
            target.node.metric("pipecast_streams_closed_total{reason=\"max_age\"}").await >= 1.0
        })
        .await;
        raw.try_send(hidden()).await;
        raw.read_to_end().await;
        assert_eq!(answers(&raw), 1, "{}", raw.text());
        assert_nothing_smuggled(&target.node, "after a subscription").await;
        target.assert_unharmed().await;
    }
}
