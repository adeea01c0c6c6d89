//! Tokens and secrets appear nowhere: not in logs, metrics or answers.

use std::process::Command;

use reqwest::Method;

use super::issuer::{SECRET, all, claims, hs256, now, with};
use super::{REQUESTS, guarded};
use crate::support::eventually;
use crate::support::node::{Options, both_ways};
use crate::support::raw::Raw;

const KEY: &str = "static-0123456789abcdef";
const ORIGIN: &str = "https://app.example";

#[tokio::test(flavor = "multi_thread")]
async fn tokens_never_appear_in_output() {
    for options in both_ways() {
        let keys = format!(r#"[{{name="reader", key="{KEY}", subscribe=["*"]}}]"#);
        let options = guarded(options).set("AUTH__KEYS", &keys).set("SERVER__CORS_ORIGINS", ORIGIN);
        let node = options.set("LOG__FILTER", "trace").start().await;
        let tokens = [
            hs256(&claims(all())),
            hs256(&with(claims(all()), "exp", now().saturating_sub(3600).into())),
            hs256(&claims(serde_json::json!({"subscribe": ["elsewhere"]}))),
            format!("{}x", hs256(&claims(all()))),
            "eyJub3RoaW5n.c2VjcmV0LW5vbnNlbnNl.c2lnbmF0dXJlLW5vbnNlbnNl".to_owned(),
            "nonsense-nonsense-nonsense".to_owned(),
            KEY.to_owned(),
        ];
        let mut answers = String::new();
        for token in &tokens {
            for (method, path) in &REQUESTS {
                for way in ["header", "query", "cookie"] {
                    let mut url = format!("{}/pipelines/p{path}", node.url);
                    if way == "query" {
                        url = format!("{url}?token={token}");
                    }
                    let mut request = node.http.request(method.clone(), url).header("Origin", ORIGIN);
                    if way == "header" {
                        request = request.header("Authorization", format!("Bearer {token}"));
                    }
                    if way == "cookie" {
                        request = request.header("Cookie", format!("pipecast_token={token}"));
                    }
                    if *method == Method::POST {
                        request = request
                            .header("Content-Type", "application/json")
                            .body("{\"channel\":\"a\",\"payload\":1}");
                    }
                    let mut answer = request.send().await.unwrap();
                    answers.push_str(&format!("{} {:?}", answer.status(), answer.headers()));
                    // Of a stream that opened, the beginning.
                    if let Some(bytes) = answer.chunk().await.unwrap() {
                        answers.push_str(&String::from_utf8_lossy(&bytes));
                    }
                }
            }
            // Rubbish around it, and HTTP/2.
            let mut raw = Raw::connect(&node).await;
            raw.send(format!("GET /pipelines/p/sse?token={token} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nA b: c\r\n\r\n")).await;
            raw.read_to_end().await;
            answers.push_str(&raw.text());
            for arguments in
                [["--header", &format!("Authorization: Bearer {token}")], ["--url-query", &format!("token={token}")]]
            {
                let url = match arguments[0] {
                    "--header" => format!("{}/pipelines/p/events", node.url),
                    _ => format!("{}/pipelines/p/events?{}", node.url, arguments[1]),
                };
                let mut curl = Command::new("curl");
                curl.args(["--silent", "--include", "--http2-prior-knowledge", &url]);
                if arguments[0] == "--header" {
                    curl.args(arguments);
                }
                let output = curl.output().expect("curl is installed: apt-get install curl");
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(text.starts_with("HTTP/2 "), "{text}");
                answers.push_str(&text);
            }
        }
        node.signal("TERM");
        let metrics = node.metrics().await;
        eventually("it says that it stops", || async { node.log().contains("stopping") }).await;
        let log = node.log();
        assert!(log.len() > 1000 && answers.contains("401 ") && answers.contains("403 ") && answers.contains("200 "));
        for (name, text) in [("log", &log), ("metrics", &metrics), ("answers", &answers)] {
            assert!(!text.contains(SECRET), "the secret in the {name}");
            for token in &tokens {
                // Each part: a part of a token is a token's too.
                for part in token.split('.').filter(|part| part.len() >= 12) {
                    // The usual header is public knowledge.
                    if part != token.split('.').next().unwrap()
                        || !part.starts_with("eyJ0") && !part.starts_with("eyJh")
                    {
                        assert!(!text.contains(part), "{part} in the {name}: {}", around(text, part));
                    }
                }
            }
        }
    }
}

fn around(text: &str, part: &str) -> String {
    let at = text.find(part).unwrap();
    text.chars().skip(text[..at].chars().count().saturating_sub(300)).take(600).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_keys_may_be_logged_and_their_secrets_never() {
    let keys = format!(r#"[{{name="reader", key="{KEY}", subscribe=["*"]}}]"#);
    let node = guarded(Options::default()).set("AUTH__KEYS", &keys).set("LOG__FILTER", "trace").start().await;
    drop(node.open("p", &format!("?token={KEY}")).await);
    eventually("it has left", || async { node.metric("pipecast_streams").await == 0.0 }).await;
    assert!(!node.log().contains(KEY));
}
