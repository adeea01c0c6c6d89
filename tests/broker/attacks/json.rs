//! Bodies that are hard on parsers.

use serde_json::{Value, json};

use super::Target;
use crate::support::node::Options;

/// An event with this text as its payload.
fn event(payload: &str) -> String {
    format!(r#"{{"channel":"a","payload":{payload}}}"#)
}

fn nested(open: &str, close: &str, levels: usize) -> String {
    format!("{}1{}", open.repeat(levels), close.repeat(levels))
}

/// Fails unless the body is refused with this status, whatever its form.
async fn assert_refused(target: &Target, body: &str, status: u16) {
    for media in ["application/json", "application/x-ndjson"] {
        let answer = target.node.post_with("p", body, &[("Content-Type", media)]).await;
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["status"], status, "{} bytes as {media}: {problem}", body.len());
    }
}

#[tokio::test]
async fn hundred_thousand_nested_arrays_and_objects_are_refused() {
    let target = Target::start(Options::default()).await;
    for body in [
        event(&nested("[", "]", 100_000)),
        event(&nested("{\"a\":", "}", 100_000)),
        event(&"[".repeat(100_000)),
        nested("[", "]", 100_000),
        nested("{\"channel\":", "}", 100_000),
        "[".repeat(1_000_000),
        "{\"a\":".repeat(500_000),
    ] {
        assert_refused(&target, &body, 400).await;
    }
    assert_eq!(target.node.history("p", "").await["events"], json!([]));
    target.assert_unharmed().await;
}

/// No parser on the way may have a stack that the deepest payload allowed could exhaust.
#[tokio::test]
async fn deepest_payload_that_can_be_allowed_goes_the_whole_way() {
    let target =
        Target::start(Options::default().set("LIMITS__MAX_JSON_DEPTH", "100000").set("LIMITS__MAX_EVENT_SIZE", "4MiB"))
            .await;
    for payload in [nested("[", "]", 100_000), nested("{\"a\":", "}", 100_000)] {
        let mut stream = target.node.open("p", "?replay=0").await;
        assert_eq!(target.node.post("p", event(&payload)).await.status(), 202);
        assert_eq!(stream.next().await.data, payload);
        let history =
            target.node.http.get(format!("{}/pipelines/p/events?limit=1", target.node.url)).send().await.unwrap();
        assert!(history.text().await.unwrap().contains(&payload));
    }
    target.node.forget("p").await;
    target.assert_unharmed().await;
}

#[tokio::test]
async fn huge_number_is_rejected_or_keeps_every_digit() {
    let number = "7".repeat(5 << 20);
    let target = Target::start(Options::default()).await;
    assert_refused(&target, &event(&number), 413).await;
    assert_refused(&target, &event(&number[..3 << 20]), 413).await;
    target.assert_unharmed().await;

    let target =
        Target::start(Options::default().set("LIMITS__MAX_REQUEST_SIZE", "8MiB").set("LIMITS__MAX_EVENT_SIZE", "8MiB"))
            .await;
    let mut stream = target.node.open("p", "").await;
    assert_eq!(target.node.post("p", event(&number)).await.status(), 202);
    assert!(stream.next().await.data == number, "some digit is another");
    drop(stream);
    target.node.forget("p").await;
    target.assert_unharmed().await;
}

#[tokio::test]
async fn duplicate_members_are_rejected_only_outside_payloads() {
    let target = Target::start(Options::default()).await;
    for body in [
        r#"{"channel":"a","channel":"b","payload":1}"#,
        r#"{"channel":"a","payload":1,"payload":2}"#,
        r#"{"channel":"a","payload":1,"\u0070ayload":2}"#,
        r#"{"channel":"a","payload":1,"__proto__":{}}"#,
    ] {
        assert_refused(&target, body, 400).await;
    }
    let mut stream = target.node.open("p", "").await;
    for payload in [r#"{"a":1,"a":2}"#, r#"{"__proto__":{"a":1}}"#] {
        assert_eq!(target.node.post("p", event(payload)).await.status(), 202);
        assert_eq!(stream.next().await.data, payload);
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn numbers_beyond_every_type_pass_as_they_are() {
    let target = Target::start(Options::default()).await;
    let mut stream = target.node.open("p", "").await;
    for number in ["1e999999999", "-1E-999999999", "1e99999999999999999999999", "18446744073709551616", "-0", "0.1e+00"]
    {
        assert_eq!(target.node.post("p", event(number)).await.status(), 202, "{number}");
        assert_eq!(stream.next().await.data, number);
    }
    for number in ["NaN", "Infinity", "1e", "1.", ".1", "+1", "0x1", "--1", "1e1.5"] {
        assert_refused(&target, &event(number), 400).await;
    }
    let history = target.node.http.get(format!("{}/pipelines/p/events", target.node.url)).send().await.unwrap();
    assert!(history.text().await.unwrap().contains("\"payload\":1e99999999999999999999999}"));
    target.assert_unharmed().await;
}

#[tokio::test]
async fn lone_surrogates_are_rejected_only_outside_payloads() {
    let target = Target::start(Options::default()).await;
    for channel in [r"\ud800", r"\udc00", r"\ud800\ud800", r"\ud800x", r"\uD83D"] {
        assert_refused(&target, &format!(r#"{{"channel":"{channel}","payload":1}}"#), 400).await;
    }
    let mut stream = target.node.open("p", "").await;
    for payload in [r#""\ud800""#, r#"{"\udc00":"\ud800\ud800"}"#] {
        assert_eq!(target.node.post("p", event(payload)).await.status(), 202);
        assert_eq!(stream.next().await.data, payload);
    }
    target.assert_unharmed().await;
}
