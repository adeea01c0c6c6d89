//! Streams that were let in by a token or a key: they end with it, and not before.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::json;
use tokio::time::timeout;

use super::issuer::{NamedKey, all, claims, hs256, key_set, now, with};
use super::{guarded, publish, status};
use crate::http2::{Connection, read_until};
use crate::support::node::{Options, both_ways};
use crate::support::raw::Raw;
use crate::support::redis::Redis;
use crate::support::{PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn stream_ends_with_its_token_and_the_reconnect_is_refused() {
    for options in both_ways() {
        let node = guarded(options).start().await;
        // Time enough to open it on a busy machine.
        let (began, exp) = (now(), now() + 8);
        let token = hs256(&with(claims(all()), "exp", json!(exp)));
        let lasting = hs256(&claims(all()));
        let mut other = node.open("p", &format!("?token={lasting}")).await;
        let mut raw = Raw::connect(&node).await;
        raw.get(&format!("/pipelines/p/sse?token={token}")).await;
        publish(&node, "p", "a", json!(1), &lasting).await;
        raw.read_until("data: 1").await;
        timeout(PATIENCE, raw.read_to_end()).await.expect("it ends");
        let ended = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        // At most a tenth of what was left is cut off.
        let earliest = exp as f64 - (exp - began) as f64 * 0.1 - 0.05;
        assert!(ended >= earliest, "{ended} is before {earliest}");
        let body = raw.body_text();
        let last = body.strip_suffix("\n\n").and_then(|body| body.lines().last());
        assert!(last.is_some_and(|last| last.starts_with("retry: ")), "{body:?}");
        assert!(raw.text().ends_with("0\r\n\r\n"), "the end of the body");
        // Before the token is tried again: a stream that it opens just before it expires would be counted too.
        let closed = "pipecast_streams_closed_total{reason=\"token\"}";
        eventually("the end is counted", || async { node.metric(closed).await == 1.0 }).await;
        eventually("its time is over", || async { status(&node, "/sse", &token).await == 401 }).await;
        publish(&node, "p", "a", json!(2), &lasting).await;
        assert_eq!(other.numbers(2).await, [1, 2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_ends_the_streams_on_all_nodes_and_no_others() {
    let redis = Redis::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("revoked");
    std::fs::write(&file, "# nothing yet\n").unwrap();
    let file = file.display().to_string();
    let keys = r#"[{name="first", key="0123456789abcdef", subscribe=["*"]}, {name="second", key="fedcba9876543210", subscribe=["*"]}]"#;
    let mut nodes = Vec::new();
    for options in both_ways() {
        let options = guarded(options).set("AUTH__REVOCATION_FILE", &file).set("AUTH__KEYS", keys).redis(&redis.url());
        nodes.push(options.start().await);
    }
    let token = |jti: &str| hs256(&with(claims(all()), "jti", json!(jti)));
    let (leaving, staying) = (token("leaving"), token("staying"));
    let (mut ending, mut going_on) = (Vec::new(), Vec::new());
    for node in &nodes {
        for token in [&*leaving, "0123456789abcdef"] {
            ending.push(node.open("p", &format!("?token={token}")).await);
        }
        for token in [&*staying, "fedcba9876543210"] {
            going_on.push(node.open("p", &format!("?token={token}")).await);
        }
    }
    std::fs::write(&file, "leaving  # lost on a train\nfirst\n").unwrap();
    for stream in &mut ending {
        assert!(stream.try_next().await.is_none(), "it ends");
    }
    for node in &nodes {
        for token in [&*leaving, "0123456789abcdef"] {
            assert_eq!(status(node, "/sse", token).await, 401);
            assert_eq!(status(node, "/events", token).await, 401);
        }
        assert_eq!(node.metric("pipecast_streams_closed_total{reason=\"revoked\"}").await, 2.0);
    }
    publish(&nodes[0], "p", "a", json!(7), &staying).await;
    for stream in &mut going_on {
        assert_eq!(stream.numbers(1).await, [7]);
    }
    // A file that disappeared keeps its last revocations.
    std::fs::remove_file(&file).unwrap();
    for node in &nodes {
        eventually("it is logged", || async { node.log().contains("the revocations cannot be read again") }).await;
        assert_eq!(status(node, "/events", &leaving).await, 401);
        assert_eq!(node.log().matches("the revocations cannot be read again").count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_stream_gets_nothing_more() {
    for options in both_ways() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("revoked");
        std::fs::write(&file, "").unwrap();
        let options = guarded(options).set("AUTH__REVOCATION_FILE", &file.display().to_string());
        let node = options.start().await;
        let writer = hs256(&with(claims(all()), "jti", json!("writer")));
        let mut raw = Raw::connect(&node).await;
        raw.get(&format!("/pipelines/p/sse?token={}", hs256(&with(claims(all()), "jti", json!("reader"))))).await;
        raw.read_until("retry: ").await;
        std::fs::write(&file, "reader").unwrap();
        timeout(PATIENCE, raw.read_to_end()).await.expect("it ends");
        let body = raw.body_text();
        assert_eq!(body.matches("retry: ").count(), 2, "{body}");
        assert!(raw.text().ends_with("0\r\n\r\n"));
        publish(&node, "p", "a", json!(1), &writer).await;
        eventually("it has left", || async { node.metric("pipecast_streams").await == 0.0 }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_ends_one_of_many_http2_streams() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("revoked");
    std::fs::write(&file, "").unwrap();
    let node = guarded(Options::default()).set("AUTH__REVOCATION_FILE", &file.display().to_string()).start().await;
    let token = |jti: &str| hs256(&with(claims(all()), "jti", json!(jti)));
    let (leaving, staying) = (token("leaving"), token("staying"));
    let mut connection = Connection::open(&node).await;
    let mut open = async |token: &str| {
        let answer = connection.get(&node, &format!("/pipelines/p/sse?token={token}")).await;
        assert_eq!(answer.status().as_u16(), 200);
        answer.into_body()
    };
    let (ending, mut going_on) = (open(&leaving).await, open(&staying).await);
    std::fs::write(&file, "leaving").unwrap();
    let whole = timeout(PATIENCE, ending.collect()).await.expect("it ends").unwrap().to_bytes();
    let whole = std::str::from_utf8(&whole).unwrap();
    assert!(whole.matches("retry: ").count() == 2 && whole.ends_with("\n\n"), "{whole:?}");
    publish(&node, "p", "a", json!(7), &staying).await;
    read_until(&mut going_on, "data: 7\n\n").await;
    assert_eq!(node.metric("pipecast_streams_closed_total{reason=\"revoked\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_reload_ends_only_streams_that_lost_access() {
    for options in both_ways() {
        let folder = tempfile::tempdir().unwrap();
        let (file, secret) = (folder.path().join("keys.toml"), folder.path().join("secret"));
        let table = |name: &str, rest: &str| format!("[[keys]]\nname = \"{name}\"\n{rest}\n");
        let key = |name: &str| format!("key = \"{name}-0123456789abcdef\"");
        let write = |text: String| {
            // As Kubernetes does it: under another name, then in place.
            std::fs::write(folder.path().join("next"), text).unwrap();
            std::fs::rename(folder.path().join("next"), &file).unwrap();
        };
        std::fs::write(&secret, "from-a-file-0123456789\n").unwrap();
        let from_file = format!("key_file = \"{}\"\nsubscribe = [\"*\"]", secret.display());
        let kept = [
            table("kept", &format!("{}\nsubscribe = [\"*\"]\npublish = [\"*\"]", key("kept"))),
            table("file", &from_file),
        ]
        .concat();
        write(
            [
                &*kept,
                &table("gone", &format!("{}\nsubscribe = [\"*\"]", key("gone"))),
                &table("narrower", &format!("{}\nsubscribe = [\"*\"]", key("narrower"))),
                &table("changed", &format!("{}\nsubscribe = [\"*\"]", key("changed"))),
            ]
            .concat(),
        );
        let options = options.set("AUTH__PUBLISH", "token").set("AUTH__SUBSCRIBE", "token");
        let node = options.set("AUTH__KEYS_FILE", &file.display().to_string()).start().await;
        let token = |name: &str| format!("{name}-0123456789abcdef");
        let mut ending = Vec::new();
        for name in ["gone", "narrower", "changed"] {
            ending.push(node.open("p", &format!("?token={}", token(name))).await);
        }
        let mut going_on = node.open("p", &format!("?token={}", token("kept"))).await;
        let mut by_file = node.open("p", "?token=from-a-file-0123456789").await;
        write(
            [
                &*kept,
                &table("narrower", &format!("{}\nsubscribe = [\"q\"]", key("narrower"))),
                &table("changed", &format!("{}\nsubscribe = [\"*\"]", key("new"))),
            ]
            .concat(),
        );
        for stream in &mut ending {
            assert!(stream.try_next().await.is_none(), "it ends");
        }
        assert_eq!(status(&node, "/events", &token("gone")).await, 401);
        assert_eq!(status(&node, "/events", &token("changed")).await, 401);
        assert_eq!(status(&node, "/events", &token("narrower")).await, 403);
        assert_eq!(status(&node, "/events", &token("new")).await, 200);
        publish(&node, "p", "a", json!(1), &token("kept")).await;
        assert_eq!(going_on.numbers(1).await, [1]);
        assert_eq!(by_file.numbers(1).await, [1]);
        // Broken, empty, gone: what is in use stays.
        for (count, broken) in [(1, "[[keys]"), (2, "")] {
            write(broken.to_owned());
            eventually("it is logged", || async {
                node.log().matches("the static keys cannot be read again").count() == count
            })
            .await;
        }
        assert_eq!(status(&node, "/events", &token("kept")).await, 200);
        assert!(!node.log().contains("0123456789"), "{}", node.log());
        // A secret in a file of its own.
        write(kept.clone());
        std::fs::write(&secret, "another-from-a-file-0123456789\n").unwrap();
        assert!(by_file.try_next().await.is_none(), "its secret was changed");
        eventually("the new one counts", || async {
            status(&node, "/events", "another-from-a-file-0123456789").await == 200
        })
        .await;
        publish(&node, "p", "a", json!(2), &token("kept")).await;
        assert_eq!(going_on.numbers(1).await, [2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn key_set_is_read_again_and_cuts_no_stream() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let (old, new) = (NamedKey::new("old"), NamedKey::new("new"));
    std::fs::write(&file, key_set(&[&old])).unwrap();
    let options = guarded(crate::support::node::Options::default()).set("AUTH__JWKS_FILE", &file.display().to_string());
    let node = options.start().await;
    // One token throughout: what is known of it must not outlive its key.
    let token = old.token(&claims(all()));
    let mut stream = node.open("p", &format!("?token={token}")).await;
    assert_eq!(status(&node, "/events", &token).await, 200);
    assert_eq!(status(&node, "/events", &new.token(&claims(all()))).await, 401);
    std::fs::write(&file, key_set(&[&new])).unwrap();
    eventually("the new key counts", || async { status(&node, "/events", &new.token(&claims(all()))).await == 200 })
        .await;
    assert_eq!(status(&node, "/events", &token).await, 401);
    publish(&node, "p", "a", json!(1), &new.token(&claims(all()))).await;
    assert_eq!(stream.numbers(1).await, [1]);
    std::fs::write(&file, "{\"keys\":").unwrap();
    eventually("it is logged", || async { node.log().contains("the keys for tokens cannot be read again") }).await;
    assert_eq!(status(&node, "/events", &new.token(&claims(all()))).await, 200);
    // The key's name revokes all that it has signed; a stream's own time goes on meanwhile.
    timeout(Duration::from_millis(1), stream.try_next()).await.unwrap_err();
}
