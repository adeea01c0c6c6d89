//! What counts as an event in a request's body, and what does not.

use reqwest::StatusCode;

use crate::support::node::Node;
use crate::support::raw::Raw;

async fn assert_answer(node: &Node, body: &str, content_type: &str, status: StatusCode) -> String {
    let request = node.http.post(format!("{}/pipelines/p/events", node.url)).header("content-type", content_type);
    let answer = request.body(body.to_owned()).send().await.unwrap();
    assert_eq!(answer.status(), status, "{content_type}: {body:?}");
    answer.text().await.unwrap()
}

#[tokio::test]
async fn array_in_place_of_an_event_is_refused() {
    let node = Node::embedded().await;
    for (body, content_type) in [
        (r#"[["c",1]]"#, "application/json"),
        (r#"[{"channel":"c","payload":1},["c",1]]"#, "application/json"),
        (r#"["c",1]"#, "application/x-ndjson"),
        ("{\"channel\":\"c\",\"payload\":1}\n [\"c\",1]\n", "application/x-ndjson"),
    ] {
        let text = assert_answer(&node, body, content_type, StatusCode::BAD_REQUEST).await;
        assert!(text.contains("\"index\":") && text.contains("an event is an object"), "{text}");
    }
    assert!(node.history("p", "").await["events"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn byte_order_mark_at_the_beginning_is_skipped() {
    let node = Node::embedded().await;
    let event = r#"{"channel":"c","payload":1}"#;
    for (body, content_type) in [
        (format!("\u{feff}{event}"), "application/json"),
        (format!("\u{feff}[{event}]"), "application/json"),
        (format!("\u{feff}{event}\n{event}\n"), "application/x-ndjson"),
    ] {
        assert_answer(&node, &body, content_type, StatusCode::ACCEPTED).await;
    }
    for (body, content_type) in [
        (format!("\u{feff}\u{feff}{event}"), "application/json"),
        (format!("{event}\n\u{feff}{event}\n"), "application/x-ndjson"),
    ] {
        assert_answer(&node, &body, content_type, StatusCode::BAD_REQUEST).await;
    }
}

#[tokio::test]
async fn charsets_that_are_utf_8_are_taken() {
    let node = Node::embedded().await;
    let event = r#"{"channel":"c","payload":1}"#;
    for charset in ["utf-8", "UTF-8", "utf8", "UTF8", "us-ascii", "US-ASCII", "\"utf-8\"", "\"utf8\""] {
        assert_answer(&node, event, &format!("application/json; charset={charset}"), StatusCode::ACCEPTED).await;
    }
    for charset in ["latin1", "iso-8859-1", "utf-16", "utf-7", ""] {
        let content_type = format!("application/json; charset={charset}");
        assert_answer(&node, event, &content_type, StatusCode::UNSUPPORTED_MEDIA_TYPE).await;
    }
}

/// Browsers make other paths of them.
#[tokio::test]
async fn pipelines_that_are_steps_of_a_path_are_refused() {
    let node = Node::embedded().await;
    for name in [".", "..", "%2e", "%2E%2e"] {
        for route in ["sse", "events"] {
            let mut raw = Raw::connect(&node).await;
            raw.get(&format!("/pipelines/{name}/{route}")).await;
            assert!(raw.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 400 "), "{name}: {}", raw.text());
        }
    }
    for name in ["...", ".a", "a..", "~"] {
        assert_eq!(node.post(name, r#"{"channel":"c","payload":1}"#).await.status(), StatusCode::ACCEPTED, "{name}");
    }
}

#[tokio::test]
async fn channels_that_event_source_fires_itself_are_refused() {
    let node = Node::embedded().await;
    for channel in ["error", "open"] {
        let body = format!(r#"{{"channel":"{channel}","payload":1}}"#);
        let text = assert_answer(&node, &body, "application/json", StatusCode::BAD_REQUEST).await;
        assert!(text.contains("EventSource"), "{text}");
        let body = format!("{{\"channel\":\"a\",\"payload\":1}}\n{body}");
        let text = assert_answer(&node, &body, "application/x-ndjson", StatusCode::BAD_REQUEST).await;
        assert!(text.contains("\"index\":1"), "{text}");
    }
    for channel in ["Error", "opened", "errors", "message"] {
        let body = format!(r#"{{"channel":"{channel}","payload":1}}"#);
        assert_answer(&node, &body, "application/json", StatusCode::ACCEPTED).await;
    }
}
