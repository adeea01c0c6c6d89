//! Line breaks and broken text wherever a client may put some: no stream carries a line of the attacker's.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Target;
use crate::support::node::{Node, Options, both_ways};
use crate::support::raw::Raw;

/// What each attack tries to get into a stream as a line of its own.
const INJECTED: &str = "data: injected";

const BREAKS: [&str; 7] = ["\n", "\r", "\r\n", "\0", "\n\n", "\u{2028}", "\u{85}"];

/// Percent-encoded, every byte of it.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Fails unless the stream has nothing but lines of the broker's own making.
fn assert_clean(raw: &Raw) {
    let body = raw.body_text();
    assert!(!body.contains(['\r', '\0']), "{body:?}");
    let is_known = |line: &str| {
        line.is_empty()
            || ["retry: ", "id: ", "event: ", "data: ", ":keepalive"].iter().any(|known| line.starts_with(known))
    };
    for line in body.lines() {
        assert!(is_known(line) && !line.starts_with(INJECTED), "{line:?} in {body:?}");
    }
}

/// The stream that this request opens, until an event that is published then has come.
async fn stream(node: &Node, request: impl AsRef<[u8]>) -> Raw {
    let mut raw = Raw::connect(node).await;
    raw.send(request).await;
    raw.read_until("retry: ").await;
    node.publish("p", "last", json!("last")).await;
    raw.read_until("data: \"last\"\n\n").await;
    raw
}

#[tokio::test]
async fn line_breaks_in_a_channel_are_refused_however_written() {
    let target = Target::start(Options::default()).await;
    for line_break in &BREAKS[..5] {
        let channel = format!("a{line_break}{INJECTED}{line_break}");
        let answer = target.node.post("p", json!({"channel": channel, "payload": 1})).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{channel:?}");
        // Unescaped in the JSON, where control characters are not allowed.
        let bare = format!(r#"{{"channel":"{channel}","payload":1}}"#);
        assert_eq!(target.node.post("p", bare).await.status(), StatusCode::BAD_REQUEST, "{channel:?}");
        let query = format!("{}/pipelines/p/sse?channel={}", target.node.url, escaped(&channel));
        assert_eq!(target.node.http.get(query).send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    }
    assert_eq!(target.node.history("p", "").await["events"], json!([]));
    target.assert_unharmed().await;
}

#[tokio::test]
async fn control_characters_in_a_channel_are_refused_however_written() {
    let target = Target::start(Options::default()).await;
    let controls = (0..=0x9f).filter_map(char::from_u32).filter(|character| character.is_control());
    for control in controls {
        let channel = format!("a{control}[2J");
        let escaped = format!(r#"{{"channel":"a\u{:04x}[2J","payload":1}}"#, u32::from(control));
        // Bare, as JSON allows it for those of C1 and DEL.
        for body in [json!({"channel": channel, "payload": 1}).to_string(), escaped] {
            for (kind, body) in
                [("json", body.clone()), ("x-ndjson", format!("{{\"channel\":\"a\",\"payload\":1}}\n{body}"))]
            {
                let kind = format!("application/{kind}");
                let answer = target.node.post_with("p", body, &[("Content-Type", kind.as_str())]).await;
                assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{channel:?}");
                let problem: Value = answer.json().await.unwrap();
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains("control character") || detail.contains("line break or NUL"), "{detail}");
                assert!(!detail.contains(char::is_control), "{detail:?}");
            }
        }
    }
    assert_eq!(target.node.history("p", "").await["events"], json!([]));
    // A history can hold some from before they were refused, so readers may ask for them.
    let query = format!("{}/pipelines/p/events?channel={}", target.node.url, escaped("a\u{1b}[2J"));
    assert_eq!(target.node.http.get(query).send().await.unwrap().status(), StatusCode::OK);
    target.assert_unharmed().await;
}

#[tokio::test]
async fn line_breaks_in_payloads_and_odd_channels_make_no_line() {
    for way in both_ways() {
        let target = Target::start(way).await;
        for line_break in BREAKS {
            let text = format!("{line_break}{INJECTED}{line_break}");
            for payload in [json!(text), json!({&text: [text]})] {
                target.node.publish("p", "a", payload.clone()).await;
                let pretty = format!(
                    "{{\"channel\":\"a\",\r\n\"payload\":{}}}",
                    serde_json::to_string_pretty(&payload).unwrap()
                );
                assert_eq!(target.node.post("p", pretty).await.status(), 202);
            }
        }
        // No line breaks to a parser of streams, whatever an editor thinks.
        for channel in
            ["a\u{2028}data: injected", "a\u{202e}b", "id: 7", "data: injected", ":keepalive", " a", "\u{feff}"]
        {
            target.node.publish("p", channel, json!(1)).await;
        }
        let raw = stream(&target.node, "GET /pipelines/p/sse HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_clean(&raw);
        assert_eq!(raw.body_text().matches("\n\n").count(), BREAKS.len() * 4 + 7 + 1);
        target.assert_unharmed().await;
    }
}

#[tokio::test]
async fn broken_utf8_is_refused_at_the_door() {
    let target = Target::start(Options::default()).await;
    for bytes in [&b"\xff"[..], b"\xc0\x8a", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xc0\x80"] {
        for (before, after) in [(r#"{"channel":"a"#, r#"","payload":1}"#), (r#"{"channel":"a","payload":""#, r#""}"#)] {
            let body = [before.as_bytes(), bytes, after.as_bytes()].concat();
            let head = format!(
                "POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let mut raw = Raw::connect(&target.node).await;
            raw.send([head.as_bytes(), &body].concat()).await;
            raw.read_to_end().await;
            assert!(raw.text().starts_with("HTTP/1.1 400 "), "{bytes:?}: {}", raw.text());
        }
    }
    assert_eq!(target.node.history("p", "").await["events"], json!([]));
    target.assert_unharmed().await;
}

#[tokio::test]
async fn line_breaks_in_a_pipeline_or_a_path_are_refused() {
    let target = Target::start(Options::default()).await;
    for name in
        ["p%0a", "p%0d%0aSet-Cookie:%20a=b", "p%00", "%0a", "p%2fq", "p%7d", "..%2f..", "%c0%af", "p%E2%80%A8", "p%"]
    {
        for route in ["sse", "events", ""] {
            let mut raw = Raw::connect(&target.node).await;
            raw.send(format!("GET /pipelines/{name}/{route} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
            raw.read_to_end().await;
            let text = raw.text();
            assert!(text.starts_with("HTTP/1.1 4"), "{name}: {text}");
            assert!(!text.to_lowercase().contains("set-cookie"), "{name}: {text}");
        }
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn resume_points_that_are_none_make_one_gap_and_no_line() {
    for way in both_ways() {
        let target = Target::start(way).await;
        target.node.publish_numbers("p", 1..=3).await;
        let injected = escaped(&format!("1-1\n\n{INJECTED}\n\n"));
        let many = "9".repeat(20_000);
        for value in [
            &*injected,
            "%0a",
            "%0d%0a%0d%0a",
            "%00",
            "%ff%fe",
            "18446744073709551616-1",
            "1-18446744073709551616",
            "9007199254740992-9007199254740992",
            "-1--1",
            "1-1-1",
            "%221-1%22",
            "%7b%7d",
            "*",
            &many,
        ] {
            let raw =
                stream(&target.node, format!("GET /pipelines/p/sse?last_event_id={value} HTTP/1.1\r\nHost: x\r\n\r\n"))
                    .await;
            assert_clean(&raw);
            assert_eq!(raw.body_text().matches("pipecast.gap").count(), 1, "{value}: {}", raw.body_text());
            let gap = raw
                .body_text()
                .lines()
                .find_map(|line| line.strip_prefix("data: {").map(|rest| format!("{{{rest}")))
                .unwrap();
            let gap: Value = serde_json::from_str(&gap).unwrap();
            assert_eq!(gap["reason"], "unknown");
            assert!(gap["after"].as_str().unwrap().len() <= 64 * "\u{fffd}".len(), "{gap}");
        }
        target.assert_unharmed().await;
    }
}

#[tokio::test]
async fn resume_header_of_any_bytes_makes_no_line() {
    for way in both_ways() {
        let target = Target::start(way).await;
        target.node.publish_numbers("p", 1..=3).await;
        let long = vec![b'1'; 8000];
        for value in [
            &b"\xff\xfe\x80"[..],
            b"1-1\tdata: injected",
            b"\xc2\x85\xe2\x80\xa8",
            b"\"\\\"",
            &long,
            &[b'\xe2'; 65],
            b"1-1 ,1-2",
        ] {
            let request = [b"GET /pipelines/p/sse HTTP/1.1\r\nHost: x\r\nLast-Event-ID: ", value, b"\r\n\r\n"].concat();
            let raw = stream(&target.node, request).await;
            assert_clean(&raw);
            assert_eq!(raw.body_text().matches("\"reason\":\"unknown\"").count(), 1, "{value:?}");
        }
        target.assert_unharmed().await;
    }
}

/// An id that was never issued costs one read of the history, not one per client.
#[tokio::test]
async fn forged_future_ids_get_a_gap_and_then_follow() {
    for way in both_ways() {
        let target = Target::start(way).await;
        let newest = target.node.publish_numbers("p", 1..=3).await.pop().unwrap();
        for id in
            ["9007199254740991-9007199254740991", "9007199254740991-1", "9007199254740991-4", "9007199254740991-0"]
        {
            let mut stream = target.node.open_with("p", "", Some(id)).await;
            let (gap, resume) = stream.gap().await;
            assert_eq!(gap["after"], id);
            assert!(resume <= newest, "{resume}");
        }
        target.assert_unharmed().await;
    }
}

#[tokio::test]
async fn idempotency_key_that_is_no_visible_ascii_is_refused() {
    let target = Target::start(Options::default()).await;
    let body = r#"{"channel":"a","payload":1}"#;
    let long = "k".repeat(256);
    for key in [&b"\xff"[..], b"a b", b"a\tb", b"", b"\xc3\xa4", long.as_bytes(), b"a\r\nIdempotency-Key: b"] {
        let head = [
            b"POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 27\r\nIdempotency-Key: ",
            key,
            b"\r\n\r\n",
            body.as_bytes(),
        ]
        .concat();
        let mut raw = Raw::connect(&target.node).await;
        raw.send(head).await;
        raw.read_to_end().await;
        assert!(raw.text().starts_with("HTTP/1.1 400 "), "{key:?}: {}", raw.text());
    }
    assert_eq!(target.node.history("p", "").await["events"], json!([]));
    target.assert_unharmed().await;
}
