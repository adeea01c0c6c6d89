//! `pipecast doctor` on single nodes. tests/deploy runs it behind load balancers.

use serde_json::json;

use crate::auth::issuer::{SECRET, claims, hs256};
use crate::cli::{err, out, pipecast, run};
use crate::support::eventually;
use crate::support::impostor::Impostor;
use crate::support::node::{Node, Options};
use crate::support::redis::Redis;

const KEY: &str = "correct-horse-battery";

fn guarded() -> Options {
    Options::default().set("AUTH__PUBLISH", "token").set("AUTH__SUBSCRIBE", "token")
}

fn keys(rights: &str) -> Options {
    guarded().set("AUTH__KEYS", &format!(r#"[{{name = "backend", key = "{KEY}", {rights}}}]"#))
}

fn examine(node: &Node, token: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = pipecast(&["doctor", &node.url, "--idle-for", "1s"]);
    let output = run(command.args(arguments).env("PIPECAST_TOKEN", token), "");
    let printed = out(&output) + &err(&output);
    assert!(!printed.contains(token), "{printed}");
    (output.status.code(), printed)
}

/// The pipeline that the doctor chose.
fn pipeline(report: &str) -> &str {
    report.lines().next().unwrap().rsplit(' ').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_nothing_wrong_with_a_single_node() {
    let node = keys(r#"publish = ["*"], subscribe = ["*"]"#).start().await;
    let (code, report) = examine(&node, KEY, &[]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report.lines().filter(|line| line.starts_with("  ok ")).count(), 6, "{report}");
    assert!(report.ends_with("\n6 passed, 0 warnings, 0 failed\n"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_chooses_a_pipeline_that_the_token_allows() {
    let node = guarded().set("AUTH__JWT_SECRET", SECRET).start().await;
    for rights in [
        json!({"publish": ["p_*"], "subscribe": ["*"]}),
        json!({"publish": ["q", "p_*"], "subscribe": ["p_*"], "channels": ["names"]}),
    ] {
        let (code, report) = examine(&node, &hs256(&claims(rights)), &[]);
        assert_eq!(code, Some(0), "{report}");
        assert!(pipeline(&report).starts_with("p_doctor-"), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_keeps_off_existing_pipelines_until_one_is_named() {
    let node = guarded().set("AUTH__JWT_SECRET", SECRET).start().await;
    let token = hs256(&claims(json!({"publish": ["p_own"], "subscribe": ["p_own"]})));
    let (code, report) = examine(&node, &token, &[]);
    assert_eq!(code, Some(2), "{report}");
    assert!(report.contains("p_own") && report.contains("--pipeline"), "{report}");
    assert_eq!(node.metric("pipecast_events_published_total").await, 0.0);
    let (code, report) = examine(&node, &token, &["--pipeline", "p_own"]);
    assert_eq!(code, Some(0), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_which_permission_a_key_lacks() {
    let node = keys(r#"subscribe = ["*"], publish = ["p_*"]"#).start().await;
    let (code, report) = examine(&node, "no-such-key-at-all", &[]);
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("FAIL") && report.contains("401") && report.contains("PIPECAST_TOKEN"), "{report}");
    let (code, report) = examine(&node, KEY, &[]);
    assert_eq!(code, Some(1), "{report}");
    let advice = format!("may not publish to `{}`", pipeline(&report));
    assert!(report.contains("403") && report.contains(&advice) && report.contains("--pipeline"), "{report}");
    let (code, report) = examine(&node, KEY, &["--pipeline", "p_doctor"]);
    assert_eq!(code, Some(0), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_points_to_readiness_when_redis_is_unreachable() {
    let mut redis = Redis::start().await;
    let node = Options::default().redis(&redis.url()).start().await;
    redis.kill();
    eventually("publishing is rejected", async || {
        node.post("p", r#"{"channel":"a","payload":1}"#).await.status() == 503
    })
    .await;
    let (code, report) = examine(&node, KEY, &[]);
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("FAIL") && report.contains("/readyz"), "{report}");
}

#[test]
fn doctor_rejects_a_page_in_place_of_a_stream() {
    let impostor = Impostor::saying("200 OK\r\nContent-Type: text/html", "hi");
    let output = run(&mut pipecast(&["doctor", &impostor.url()]), "");
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).contains("FAIL") && out(&output).contains("`text/html`"), "{}", out(&output));
}
