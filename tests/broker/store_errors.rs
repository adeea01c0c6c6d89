//! What a client reads when Redis is unreachable: only a publisher is told to send something again.

use reqwest::Method;
use serde_json::Value;

use crate::support::eventually;
use crate::support::node::{Node, Options};
use crate::support::redis::Redis;

async fn detail(node: &Node, method: Method, path: &str) -> String {
    let mut request = node.http.request(method.clone(), format!("{}/pipelines/p{path}", node.url));
    if method == Method::POST {
        request = request.header("Content-Type", "application/json").body(r#"{"channel":"a","payload":1}"#);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 503, "{method} {path}");
    assert!(answer.headers().contains_key("Retry-After"), "{method} {path}");
    answer.json::<Value>().await.unwrap()["detail"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn advice_fits_the_request_when_redis_is_unreachable() {
    let mut redis = Redis::start().await;
    let node = Options::default().redis(&redis.url()).set("REDIS__TIMEOUT", "500ms").start().await;
    redis.kill();
    eventually("the node is not ready", || async { !node.is_ready().await }).await;
    let published = detail(&node, Method::POST, "/events").await;
    assert!(published.contains("stored") && published.contains("Idempotency-Key"), "{published}");
    let deleted = detail(&node, Method::DELETE, "/events").await;
    assert!(deleted.contains("deleted"), "{deleted}");
    for (path, name) in [("/events", "history"), ("", "description")] {
        let read = detail(&node, Method::GET, path).await;
        assert!(read.contains("try again"), "{name}: {read}");
        assert!(!read.contains("Idempotency-Key") && !read.contains("stored"), "{name}: {read}");
    }
}
