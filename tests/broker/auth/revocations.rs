//! The file of revocations, as people, scripts and editors write it.

use std::path::Path;

use ring::hmac;
use serde_json::json;

use super::issuer::{SECRET, all, claims, hmac_token, hs256, with};
use super::{guarded, status};
use crate::support::eventually;
use crate::support::node::{Node, Options};

fn token(jti: &str) -> String {
    hs256(&with(claims(all()), "jti", json!(jti)))
}

async fn node_with(file: &Path) -> Node {
    guarded(Options::default()).set("AUTH__REVOCATION_FILE", &file.display().to_string()).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_editor_writes_around_a_name_it_is_revoked() {
    let folder = tempfile::tempdir().unwrap();
    for (n, (text, names)) in [
        // A byte order mark, as editors on Windows write it.
        ("\u{feff}first\nsecond\n", &["first", "second"][..]),
        ("\u{feff}# comment\r\nfirst\r\nsecond", &["first", "second"]),
        ("first\r\nsecond\r\n", &["first", "second"]),
        ("  first \t\n\tsecond\t# left in June\n", &["first", "second"]),
        ("first\nfirst\nsecond\n", &["first", "second"]),
        // Names that a line could not hold otherwise.
        ("\"a #b\"\n\"#c\" # a comment\n\" d \"\n", &["a #b", "#c", " d "]),
        ("\"say \\\"hi\\\"\"\n\"line\\nbreak\"\n\"\\u00e4\"\n\"\"\n", &["say \"hi\"", "line\nbreak", "\u{e4}", ""]),
        ("d#e\n", &["d#e"]),
    ]
    .into_iter()
    .enumerate()
    {
        let file = folder.path().join(n.to_string());
        std::fs::write(&file, text).unwrap();
        let node = node_with(&file).await;
        for name in names {
            assert_eq!(status(&node, "/events", &token(name)).await, 401, "{name:?} in {text:?}");
        }
        assert_eq!(status(&node, "/events", &token("third")).await, 200, "{text:?}");
        assert_eq!(node.metric("pipecast_auth_revocations").await, names.len() as f64, "{text:?}");
        let count = format!("revocations={}", names.len());
        eventually("it is in the log", || async { node.log().contains(&count) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn file_that_cannot_be_read_again_is_told_and_lifts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("revoked");
    std::fs::write(&file, "first\nsecond\n").unwrap();
    let node = node_with(&file).await;
    let stale = "pipecast_auth_stale{source=\"revocation_file\"}";
    let failures = "pipecast_auth_read_failures_total{source=\"revocation_file\"}";
    assert_eq!((node.metric(stale).await, node.metric(failures).await), (0.0, 0.0));
    let utf16: Vec<u8> = "\u{feff}third\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (n, (bytes, problem)) in [
        (utf16, "UTF-16"),
        ("third\n".encode_utf16().flat_map(u16::to_be_bytes).collect(), "line 1"),
        (b"third\n\xff\n".to_vec(), "UTF-8"),
        (b"third\n\"no end\n".to_vec(), "line 2"),
        (b"\"third\" fourth\n".to_vec(), "line 1"),
        // What comes along where a name is copied from a page: it would be another name.
        ("fourth\n\u{200b}third\n".into(), "invisible character"),
        ("third\u{2060}\n".into(), "invisible character"),
        ("\u{200d}third # left in June\n".into(), "invisible character"),
        ("thi\u{e0072}rd\n".into(), "invisible character"),
    ]
    .into_iter()
    .enumerate()
    {
        std::fs::write(&file, &bytes).unwrap();
        eventually("the failure is counted", || async { node.metric(failures).await == (n + 1) as f64 }).await;
        eventually(problem, || async { node.log().contains(problem) }).await;
        assert_eq!(node.metric(stale).await, 1.0);
        assert_eq!(node.metric("pipecast_auth_revocations").await, 2.0);
        assert_eq!(status(&node, "/events", &token("first")).await, 401, "{problem}");
    }
    std::fs::remove_file(&file).unwrap();
    eventually("that it is gone is counted", || async { node.metric(failures).await == 10.0 }).await;
    assert_eq!(status(&node, "/events", &token("first")).await, 401);
    // An empty file is valid: nothing is revoked, and the log says how many entries that lifts.
    std::fs::write(&file, "").unwrap();
    eventually("it is read", || async { status(&node, "/events", &token("first")).await == 200 }).await;
    eventually("it is logged", || async { node.log().contains("revocations=0 lifted=2") }).await;
    assert_eq!((node.metric(stale).await, node.metric("pipecast_auth_revocations").await), (0.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_kid_applies_to_known_and_unknown_keys() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("revoked");
    std::fs::write(&file, "").unwrap();
    let node = node_with(&file).await;
    // Neither a secret nor a key in PEM has a name of its own.
    let token = |kid: &str| {
        let header = json!({"alg": "HS256", "kid": kid});
        hmac_token(hmac::HMAC_SHA256, SECRET.as_bytes(), &header, &with(claims(all()), "jti", json!(null)))
    };
    let mut stream = node.open("p", &format!("?token={}", token("2026-1"))).await;
    std::fs::write(&file, "2026-1\n").unwrap();
    while stream.try_next().await.is_some() {}
    assert_eq!(status(&node, "/events", &token("2026-1")).await, 401);
    assert_eq!(status(&node, "/events", &token("2026-2")).await, 200);
}
