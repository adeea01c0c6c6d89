//! Access: who may do what with which token, and how each attack ends.

mod browser;
mod claims;
mod command;
pub mod issuer;
mod jwks;
mod late;
mod revocations;
mod secrecy;
mod settings;
mod static_keys;
mod streams;
mod tokens;

use reqwest::{Method, Response};
use serde_json::Value;

use crate::support::node::{Node, Options};
use issuer::SECRET;

/// A node on which both rights need a token by the usual secret.
fn guarded(options: Options) -> Options {
    options.set("AUTH__PUBLISH", "token").set("AUTH__SUBSCRIBE", "token").set("AUTH__JWT_SECRET", SECRET)
}

/// Everything that can be asked for a pipeline.
const REQUESTS: [(Method, &str); 6] = [
    (Method::GET, "/sse"),
    (Method::HEAD, "/sse"),
    (Method::GET, "/events"),
    (Method::GET, ""),
    (Method::POST, "/events"),
    (Method::DELETE, "/events"),
];

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

async fn ask(node: &Node, method: &Method, pipeline: &str, path: &str, token: Option<&str>) -> Response {
    let url = format!("{}/pipelines/{pipeline}{path}", node.url);
    let mut request = node.http.request(method.clone(), url);
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    if *method == Method::POST {
        request = request.header("Content-Type", "application/json").body("{\"channel\":\"a\",\"payload\":1}");
    }
    request.send().await.unwrap()
}

async fn status(node: &Node, path: &str, token: &str) -> u16 {
    ask(node, &Method::GET, "p", path, Some(token)).await.status().as_u16()
}

async fn publish(node: &Node, pipeline: &str, channel: &str, payload: Value, token: &str) {
    let body = serde_json::json!({"channel": channel, "payload": payload});
    let answer = node.post_with(pipeline, body, &[("Authorization", &format!("Bearer {token}"))]).await;
    assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
}

/// Fails unless the token is refused with 401 by whatever is asked, and not repeated.
async fn assert_good_for_nothing(node: &Node, token: &str) {
    for (method, path) in &REQUESTS {
        let answer = ask(node, method, "p", path, Some(token)).await;
        assert_eq!(answer.status(), 401, "{method} {path}");
        let challenge = answer.headers()["WWW-Authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Bearer"), "{challenge}");
        assert_eq!(answer.headers()["Content-Type"], "application/problem+json");
        let headers = format!("{:?}", answer.headers());
        let text = headers + &answer.text().await.unwrap();
        for part in token.split('.').filter(|part| part.len() > 8) {
            assert!(!text.contains(part), "{text}");
        }
    }
}
