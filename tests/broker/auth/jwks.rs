//! Keys from a URL: an issuer that rotates them, one that is unreachable, and tokens that try to cause a fetch storm.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::issuer::{NamedKey, all, claims, key_set};
use super::{ask, publish, status};
use crate::support::eventually;
use crate::support::node::Options;
use crate::support::raw::Raw;

/// A small web server with one document.
struct Issuer {
    url: String,
    /// None answers with a failure.
    document: Arc<Mutex<Option<String>>>,
    /// The status of a response with a document, and its headers; without a status there is no response.
    head: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start(document: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let (document, asked) = (Arc::new(Mutex::new(document)), Arc::new(AtomicUsize::new(0)));
        let head = Arc::new(Mutex::new("200 OK".to_owned()));
        let (answers, heads, count) = (document.clone(), head.clone(), asked.clone());
        tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                if socket.read(&mut request).await.unwrap_or(0) == 0 {
                    continue;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let (status, body) = match answers.lock().clone() {
                    Some(body) => (heads.lock().clone(), body),
                    None => ("500 Internal Server Error".to_owned(), String::new()),
                };
                if status.is_empty() {
                    silent.push(socket);
                    continue;
                }
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, document, head, asked }
    }

    fn options(&self) -> Options {
        let options = Options::default().set("AUTH__PUBLISH", "token").set("AUTH__SUBSCRIBE", "token");
        options.set("AUTH__JWKS_URL", &self.url)
    }

    fn publishes(&self, keys: Value) {
        *self.document.lock() = Some(json!({"keys": keys}).to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_key_is_fetched_when_a_token_names_it() {
    let (old, new) = (NamedKey::new("old"), NamedKey::new("new"));
    let issuer = Issuer::start(Some(key_set(&[&old]))).await;
    let node = issuer.options().start().await;
    let (old_token, new_token) = (old.token(&claims(all())), new.token(&claims(all())));
    assert_eq!(status(&node, "/events", &old_token).await, 200);
    let mut stream = node.open("p", &format!("?token={old_token}")).await;
    *issuer.document.lock() = Some(key_set(&[&new]));
    eventually("the new key counts", || async { status(&node, "/events", &new_token).await == 200 }).await;
    assert_eq!(status(&node, "/events", &old_token).await, 401);
    publish(&node, "p", "a", json!(1), &new_token).await;
    assert_eq!(stream.numbers(1).await, [1]);
    // An invalid set changes nothing.
    *issuer.document.lock() = Some("<html>".to_owned());
    assert_eq!(status(&node, "/events", &new_token).await, 200);
}

/// Keys that no token can be verified with here, each odd in its own way, with a word of what is said of it.
fn odd_keys() -> Vec<(Value, &'static str)> {
    let mut off_the_curve = NamedKey::new("short").entry();
    off_the_curve["x"] = json!("AA");
    let mut unnamed = NamedKey::new("x").entry();
    unnamed["kid"] = json!(null);
    let mut named_by_a_number = NamedKey::new("x").entry();
    named_by_a_number["kid"] = json!(7);
    let mut for_another_algorithm = NamedKey::new("es384").entry();
    for_another_algorithm["alg"] = json!("ES384");
    let padded = [vec![0], vec![0xff; 256]].concat();
    let modulus = |bytes: usize| super::issuer::base64url(&vec![0xff; bytes]);
    vec![
        (json!({"kty": "RSA", "kid": "small", "n": modulus(128), "e": "AQAB"}), "small"),
        (json!({"kty": "RSA", "kid": "no-modulus", "e": "AQAB"}), "no-modulus"),
        (json!({"kty": "RSA", "kid": "no-base64", "n": "!!!", "e": "AQAB"}), "no-base64"),
        (json!({"kty": "AKP", "kid": "later", "alg": "ML-DSA-44", "pub": "AA"}), "later"),
        (json!({"kty": "EC", "kid": "other-curve", "crv": "secp256k1", "x": "AA", "y": "AA"}), "other-curve"),
        (json!({"kty": "OKP", "kid": "ed448", "crv": "Ed448", "x": "AA"}), "ed448"),
        (json!({"kty": "oct", "kid": "secret", "k": modulus(32)}), "secret"),
        (off_the_curve, "short"),
        (named_by_a_number, "key 8"),
        (for_another_algorithm, "es384"),
        (unnamed, "key 10"),
        (json!("a key"), "key 11"),
        (json!([]), "key 12"),
        (json!({}), "key 13"),
        (Value::Null, "key 14"),
        (json!({"kty": "RSA", "kid": "large", "n": modulus(2048), "e": "AQAB"}), "large"),
        (json!({"kty": "RSA", "kid": "padded", "n": super::issuer::base64url(&padded), "e": "AQAB"}), "padded"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_key_is_left_out_and_the_others_count() {
    let (stolen, new) = (NamedKey::new("stolen"), NamedKey::new("new"));
    let issuer = Issuer::start(Some(key_set(&[&stolen]))).await;
    let node = issuer.options().start().await;
    let (stolen_token, new_token) = (stolen.token(&claims(all())), new.token(&claims(all())));
    assert_eq!(status(&node, "/events", &stolen_token).await, 200);
    assert_eq!(node.metric("pipecast_auth_keys_left_out").await, 0.0);
    let odd = odd_keys();
    let mut keys: Vec<Value> = odd.iter().map(|(key, _)| key.clone()).collect();
    // A key for another use, which is valid; and two with one name, as during a rotation.
    let mut for_encryption = NamedKey::new("enc").entry();
    for_encryption["use"] = json!("enc");
    let namesake = NamedKey::new("new");
    keys.extend([for_encryption, new.entry(), namesake.entry()]);
    issuer.publishes(json!(keys));
    eventually("the new key counts", || async { status(&node, "/events", &new_token).await == 200 }).await;
    assert_eq!(status(&node, "/events", &namesake.token(&claims(all()))).await, 200);
    assert_eq!(status(&node, "/events", &stolen_token).await, 401);
    assert_eq!(node.metric("pipecast_auth_keys_left_out").await, odd.len() as f64);
    assert_eq!(node.metric("pipecast_auth_stale{source=\"jwks_url\"}").await, 0.0);
    for (_, word) in &odd {
        let is_told = || node.log().lines().any(|line| line.contains("left out") && line.contains(word));
        eventually(word, || async { is_told() }).await;
    }
    assert!(!node.log().contains("`enc`"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_without_a_name_cost_no_named_one_its_tokens() {
    let nameless = |n: usize| {
        let mut keys: Vec<_> = (0..n).map(|_| NamedKey::new("x").entry()).collect();
        keys.iter_mut().for_each(|key| drop(key.as_object_mut().unwrap().remove("kid")));
        keys
    };
    let (named, ours) = (NamedKey::new("named"), NamedKey::new("ours"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), key_set(&[&ours])).unwrap();
    let issuer = Issuer::start(None).await;
    issuer.publishes(json!([nameless(9), vec![named.entry()]].concat()));
    let node = issuer.options().set("AUTH__JWKS_FILE", file.path().to_str().unwrap()).start().await;
    for key in [&named, &ours] {
        assert_eq!(status(&node, "/events", &key.token(&claims(all()))).await, 200);
    }
    // The token does not say which of them it was: none is used, and the log says why.
    assert_eq!(status(&node, "/events", &named.nameless_token(&claims(all()))).await, 401);
    eventually("it is logged", || async { node.log().contains("9 keys without a `kid` for ES256") }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn set_of_odd_keys_alone_does_not_fill_the_log() {
    let key = NamedKey::new("key");
    let odd = |n: usize| {
        let mut keys = vec![json!({}); n];
        keys.push(key.entry());
        json!(keys)
    };
    let issuer = Issuer::start(None).await;
    issuer.publishes(odd(100_000));
    let node = issuer.options().set("AUTH__JWKS_MAX_AGE", "10s").start().await;
    let left_out = "pipecast_auth_keys_left_out";
    eventually("they are left out", || async { node.metric(left_out).await == 100_000.0 }).await;
    assert_eq!(status(&node, "/events", &key.token(&claims(all()))).await, 200);
    // Each of them has another place.
    let mut moved = odd(100_001);
    moved.as_array_mut().unwrap().swap(0, 100_001);
    issuer.publishes(moved);
    eventually("and again", || async { node.metric(left_out).await == 100_001.0 }).await;
    assert!(node.log().len() < 20_000, "{}", node.log().len());
    assert!(node.log().contains("99980 more keys"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn set_without_a_usable_key_takes_the_stolen_one_away() {
    let (stolen, new) = (NamedKey::new("stolen"), NamedKey::new("new"));
    let small = json!({"kty": "RSA", "kid": "small", "n": super::issuer::base64url(&[0xff; 128]), "e": "AQAB"});
    for keys in [json!([]), json!([small])] {
        let issuer = Issuer::start(Some(key_set(&[&stolen]))).await;
        let node = issuer.options().set("AUTH__JWKS_MAX_AGE", "10s").start().await;
        let token = stolen.token(&claims(all()));
        assert_eq!(status(&node, "/events", &token).await, 200);
        issuer.publishes(keys);
        // As before the first fetch: no client is rejected for good.
        eventually("it is not trusted", || async { status(&node, "/events", &token).await == 503 }).await;
        *issuer.document.lock() = Some(key_set(&[&new]));
        eventually("the new key counts", || async {
            status(&node, "/events", &new.token(&claims(all()))).await == 200
        })
        .await;
        assert_eq!(status(&node, "/events", &token).await, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_fetched_again_are_trusted_for_a_while() {
    let key = NamedKey::new("key");
    let issuer = Issuer::start(Some(key_set(&[&key]))).await;
    let node = issuer.options().set("AUTH__JWKS_MAX_AGE", "10s").start().await;
    let token = key.token(&claims(all()));
    assert_eq!(status(&node, "/events", &token).await, 200);
    let mut stream = node.open("p", &format!("?token={token}")).await;
    let stale = "pipecast_auth_stale{source=\"jwks_url\"}";
    let failures = "pipecast_auth_read_failures_total{source=\"jwks_url\"}";
    assert_eq!(node.metric(stale).await, 0.0);
    assert!((0.0..10.0).contains(&node.metric("pipecast_auth_keys_age_seconds").await));
    *issuer.document.lock() = None;
    eventually("the failure is counted", || async { node.metric(failures).await >= 1.0 }).await;
    assert_eq!(node.metric(stale).await, 1.0);
    // In use meanwhile, and then no more; streams that are open end with their tokens.
    eventually("they are too old", || async { status(&node, "/events", &token).await == 503 }).await;
    eventually("it is logged", || async { node.log().contains("older than auth.jwks_max_age") }).await;
    assert!(node.metric("pipecast_auth_keys_age_seconds").await >= 10.0);
    assert_eq!(ask(&node, &Method::POST, "p", "/events", Some(&token)).await.status(), 503);
    *issuer.document.lock() = Some(key_set(&[&key]));
    eventually("the issuer is back", || async { status(&node, "/events", &token).await == 200 }).await;
    assert_eq!(node.metric(stale).await, 0.0);
    publish(&node, "p", "a", json!(1), &token).await;
    assert_eq!(stream.numbers(1).await, [1]);
}

/// How an issuer can fail: the head of its answer, none for silence, and the body.
fn failures(elsewhere: &Issuer, key: &NamedKey) -> Vec<(String, String)> {
    let (ok, whole) = ("200 OK".to_owned(), key_set(&[key]));
    vec![
        (ok.clone(), "<html>".to_owned()),
        (ok.clone(), String::new()),
        (ok.clone(), "[]".to_owned()),
        (ok.clone(), "{}".to_owned()),
        (ok.clone(), "{\"keys\":null}".to_owned()),
        (ok.clone(), format!("[{}]", json!([key.entry()]))),
        (ok, format!("{whole}{}", " ".repeat(2 << 20))),
        (String::new(), whole.clone()),
        (format!("302 Found\r\nLocation: {}", elsewhere.url), whole.clone()),
        (format!("301 Moved Permanently\r\nLocation: {}", elsewhere.url), whole.clone()),
        ("503 Service Unavailable".to_owned(), whole),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_that_is_no_key_set_changes_nothing_and_is_counted() {
    let (key, other) = (NamedKey::new("key"), NamedKey::new("other"));
    let elsewhere = Issuer::start(Some(key_set(&[&other]))).await;
    let check = async |(head, body): (String, String)| {
        let issuer = Issuer::start(Some(key_set(&[&key]))).await;
        let node = issuer.options().start().await;
        let token = key.token(&claims(all()));
        assert_eq!(status(&node, "/events", &token).await, 200);
        (*issuer.head.lock(), *issuer.document.lock()) = (head.clone(), Some(body));
        let failures = "pipecast_auth_read_failures_total{source=\"jwks_url\"}";
        eventually("the failure is counted", || async {
            // A name that is not known makes the node ask again.
            assert_eq!(status(&node, "/events", &other.token(&claims(all()))).await, 401, "{head}");
            node.metric(failures).await >= 1.0
        })
        .await;
        assert_eq!(status(&node, "/events", &token).await, 200, "{head}");
    };
    futures_util::future::join_all(failures(&elsewhere, &other).into_iter().map(check)).await;
    assert_eq!(elsewhere.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_kids_cause_no_fetch_storm_at_the_issuer() {
    let key = NamedKey::new("key");
    let issuer = Issuer::start(Some(key_set(&[&key]))).await;
    let node = issuer.options().start().await;
    assert_eq!(status(&node, "/events", &key.token(&claims(all()))).await, 200);
    let began = Instant::now();
    for round in 0..20 {
        let strangers: Vec<_> = (0..10).map(|n| NamedKey::new(&format!("{round}-{n}")).token(&claims(all()))).collect();
        let asks = strangers.iter().map(|token| status(&node, "/events", token));
        assert!(futures_util::future::join_all(asks).await.iter().all(|status| *status == 401));
    }
    let asked = issuer.asked.load(Ordering::SeqCst) as u64;
    assert!(asked <= 2 + began.elapsed().as_secs() / 10, "{asked} in {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_there_are_no_keys_nobody_is_refused_for_good() {
    let key = NamedKey::new("key");
    let issuer = Issuer::start(None).await;
    let node = issuer.options().start().await;
    let token = key.token(&claims(all()));
    let answer = ask(&node, &Method::POST, "p", "/events", Some(&token)).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("Retry-After"));
    // Any other status would end an EventSource for good.
    let mut raw = Raw::connect(&node).await;
    raw.get(&format!("/pipelines/p/sse?token={token}")).await;
    raw.read_to_end().await;
    assert!(raw.text().starts_with("HTTP/1.1 200 "), "{}", raw.text());
    let body = raw.body_text();
    assert!(body.starts_with("retry: ") && body.ends_with("\n\n"), "{body:?}");
    assert_eq!(ask(&node, &Method::GET, "p", "/events", None).await.status(), 401);
    *issuer.document.lock() = Some(key_set(&[&key]));
    eventually("the issuer is back", || async { status(&node, "/events", &token).await == 200 }).await;
    assert!(node.log().contains("auth.jwks_url cannot be fetched"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn key_set_that_anyone_may_read_holds_no_secrets() {
    let secret = super::issuer::base64url(super::issuer::SECRET.as_bytes());
    let key = NamedKey::new("key");
    let mut set: serde_json::Value = serde_json::from_str(&key_set(&[&key])).unwrap();
    set["keys"].as_array_mut().unwrap().push(json!({"kty": "oct", "kid": "shared", "k": secret}));
    let issuer = Issuer::start(Some(set.to_string())).await;
    let node = issuer.options().start().await;
    assert_eq!(status(&node, "/events", &key.token(&claims(all()))).await, 200);
    super::assert_good_for_nothing(&node, &super::issuer::hs256(&claims(all()))).await;
}
