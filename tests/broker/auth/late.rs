//! What began while its token was good, and ends after: it is judged once more before it counts.

use std::path::Path;

use serde_json::{Value, json};

use super::issuer::{NamedKey, all, claims, hs256, key_set, now, with};
use super::{ask, guarded, publish, status};
use crate::support::eventually;
use crate::support::node::{Node, Options, both_ways};
use crate::support::raw::Raw;
use crate::support::redis::Redis;

/// A publish whose body stops in the middle.
async fn begin(node: &Node, pipeline: &str, token: &str) -> (Raw, &'static str) {
    let (half, rest) = (r#"{"channel":"a","#, r#""payload":"late"}"#);
    let mut raw = Raw::connect(node).await;
    raw.send(format!(
        "POST /pipelines/{pipeline}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        half.len() + rest.len()
    ))
    .await;
    // The node asks for the body, so the head was judged.
    raw.read_until("100 Continue").await;
    raw.send(half).await;
    (raw, rest)
}

/// Fails unless the rest of the body comes too late, and nothing of it is stored.
async fn assert_too_late(node: &Node, pipeline: &str, (mut raw, rest): (Raw, &str), reader: &str) {
    raw.send(rest).await;
    let text = raw.read_until("\"}\n").await;
    assert!(text.contains("HTTP/1.1 401 "), "{text}");
    let history: Value =
        ask(node, &reqwest::Method::GET, pipeline, "/events", Some(reader)).await.json().await.unwrap();
    assert_eq!(history["events"], json!([]));
}

async fn may_publish(node: &Node, token: &str) -> bool {
    node.post_with("other", r#"{"channel":"a","payload":1}"#, &[("Authorization", &format!("Bearer {token}"))])
        .await
        .status()
        == 202
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    std::fs::write(path, text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn body_that_ends_after_its_right_is_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let static_key =
        |name: &str| format!("[[keys]]\nname = \"{name}\"\nkey = \"{name}-0123456789abcdef\"\npublish = [\"*\"]\n");
    let (old, new) = (NamedKey::new("old"), NamedKey::new("new"));
    write(&path("revoked"), "");
    write(&path("jwks"), key_set(&[&old, &new]));
    write(&path("keys"), static_key("first") + &static_key("second"));
    let setting = |name: &str| path(name).display().to_string();
    let node = guarded(Options::default())
        .set("AUTH__LEEWAY", "0s")
        .set("AUTH__REVOCATION_FILE", &setting("revoked"))
        .set("AUTH__JWKS_FILE", &setting("jwks"))
        .set("AUTH__KEYS_FILE", &setting("keys"))
        .start()
        .await;
    let reader = hs256(&with(claims(all()), "jti", json!("reader")));
    let revoked = hs256(&with(claims(all()), "jti", json!("revoked")));
    let expiring = hs256(&with(claims(all()), "exp", json!(now() + 10)));
    let of_a_removed_key = old.token(&claims(all()));
    let (second, first) = ("second-0123456789abcdef".to_owned(), "first-0123456789abcdef".to_owned());
    let tokens = [("a", &revoked), ("b", &expiring), ("c", &of_a_removed_key), ("d", &first), ("e", &second)];
    let mut begun = Vec::new();
    for (pipeline, token) in tokens {
        begun.push((pipeline, begin(&node, pipeline, token).await));
    }
    let (lasting, lasting_rest) = begin(&node, "f", &new.token(&claims(all()))).await;
    write(&path("revoked"), "revoked\nsecond\n");
    write(&path("jwks"), key_set(&[&new]));
    write(&path("keys"), static_key("second"));
    for (_, token) in tokens {
        eventually("it is good for nothing", || async { !may_publish(&node, token).await }).await;
    }
    for (pipeline, request) in begun {
        assert_too_late(&node, pipeline, request, &reader).await;
    }
    let mut lasting = lasting;
    lasting.send(lasting_rest).await;
    lasting.read_until("HTTP/1.1 202 ").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_under_way_ends_with_its_right() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("revoked");
    write(&file, "");
    let options = guarded(Options::default()).set("AUTH__REVOCATION_FILE", &file.display().to_string());
    let node = options.set("STREAM__SEND_BUFFER", "16KiB").start().await;
    let lasting = hs256(&with(claims(all()), "jti", json!("lasting")));
    // More than the sockets' buffers hold, and many pages.
    for n in 0..100 {
        publish(&node, "p", "a", json!(format!("{n}-{}", "x".repeat(60_000))), &lasting).await;
    }
    let revoked = hs256(&with(claims(all()), "jti", json!("revoked")));
    let expiring = hs256(&with(claims(all()), "exp", json!(now() + 10)));
    let mut begun = Vec::new();
    for token in [&revoked, &expiring, &lasting] {
        let mut raw = Raw::connect_narrow(&node, 4 << 10);
        raw.send(format!("GET /pipelines/p/events?token={token} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
            .await;
        raw.read_until("\"id\"").await;
        begun.push(raw);
    }
    write(&file, "revoked");
    for token in [&revoked, &expiring] {
        eventually("it is good for nothing", || async { status(&node, "/events?limit=1", token).await == 401 }).await;
    }
    let mut whole = begun.pop().unwrap();
    whole.read_until_seen("\"gap\":false}").await;
    for mut raw in begun {
        raw.read_to_end().await;
        let text = raw.text();
        // Cut off, so that no client mistakes it for the whole history.
        assert!(!text.contains("\"gap\"") && !text.contains("99-xxx") && !text.ends_with("0\r\n\r\n"), "it went on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_that_waits_for_the_store_ends_with_its_right() {
    for options in both_ways() {
        let mut redis = Redis::start().await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("revoked");
        write(&file, "");
        let options = guarded(options).set("AUTH__REVOCATION_FILE", &file.display().to_string());
        let node = options.redis(&redis.url()).start().await;
        redis.kill();
        eventually("the store is unreachable", || async { !node.is_ready().await }).await;
        let revoked = hs256(&with(claims(all()), "jti", json!("revoked")));
        let expiring = hs256(&with(claims(all()), "exp", json!(now() + 10)));
        let mut begun = Vec::new();
        for token in [&revoked, &expiring] {
            let mut raw = Raw::connect(&node).await;
            raw.get(&format!("/pipelines/p/sse?token={token}")).await;
            raw.read_until("retry: ").await;
            begun.push(raw);
        }
        write(&file, "revoked");
        for mut raw in begun {
            raw.read_to_end().await;
            assert!(raw.text().ends_with("0\r\n\r\n"), "{}", raw.text());
        }
        assert_eq!(node.metric("pipecast_streams_closed_total{reason=\"revoked\"}").await, 1.0);
        assert_eq!(node.metric("pipecast_streams_closed_total{reason=\"token\"}").await, 1.0);
    }
}
