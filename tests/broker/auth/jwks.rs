//! Keys from a URL: an issuer that changes them, one that is away, and tokens that try to make us ask too often.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use reqwest::Method;
use serde_json::json;
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
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start(document: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let (document, asked) = (Arc::new(Mutex::new(document)), Arc::new(AtomicUsize::new(0)));
        let (answers, count) = (document.clone(), asked.clone());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                if socket.read(&mut request).await.unwrap_or(0) == 0 {
                    continue;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let (status, body) = match answers.lock().clone() {
                    Some(body) => ("200 OK", body),
                    None => ("500 Internal Server Error", String::new()),
                };
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, document, asked }
    }

    fn options(&self) -> Options {
        let options = Options::default().set("AUTH__PUBLISH", "token").set("AUTH__SUBSCRIBE", "token");
        options.set("AUTH__JWKS_URL", &self.url)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_fetched_when_a_token_names_it() {
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
    // A set that is none changes nothing.
    *issuer.document.lock() = Some("<html>".to_owned());
    assert_eq!(status(&node, "/events", &new_token).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_with_made_up_names_do_not_turn_a_node_against_the_issuer() {
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
async fn a_key_set_that_anyone_may_read_holds_no_secrets() {
    let secret = super::issuer::base64url(super::issuer::SECRET.as_bytes());
    let key = NamedKey::new("key");
    let mut set: serde_json::Value = serde_json::from_str(&key_set(&[&key])).unwrap();
    set["keys"].as_array_mut().unwrap().push(json!({"kty": "oct", "kid": "shared", "k": secret}));
    let issuer = Issuer::start(Some(set.to_string())).await;
    let node = issuer.options().start().await;
    assert_eq!(status(&node, "/events", &key.token(&claims(all()))).await, 200);
    super::assert_good_for_nothing(&node, &super::issuer::hs256(&claims(all()))).await;
}
