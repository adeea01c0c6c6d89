//! What a page of another origin can do with a visitor's cookie.

use reqwest::{Method, Response};
use serde_json::json;

use super::issuer::{all, claims, hs256};
use super::{guarded, publish};
use crate::support::node::{Node, Options};

const OURS: &str = "https://app.example";

async fn ask(node: &Node, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let cookie = format!("theme=dark; pipecast_token={}", hs256(&claims(all())));
    let mut request =
        node.http.request(method.clone(), format!("{}/pipelines/p{path}", node.url)).header("Cookie", cookie);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if method == Method::POST {
        request = request.header("Content-Type", "application/json").body("{\"channel\":\"a\",\"payload\":1}");
    }
    request.send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn cookie_counts_for_listed_origins_and_our_own_page_alone() {
    let node = guarded(Options::default()).set("SERVER__CORS_ORIGINS", OURS).start().await;
    publish(&node, "p", "a", json!(1), &hs256(&claims(all()))).await;
    let check = async |method: Method, headers: &[(&str, &str)], expected: u16| {
        let answer = ask(&node, method.clone(), "/events", headers).await;
        assert_eq!(answer.status(), expected, "{method} {headers:?}");
    };
    let (listed, foreign) = (("Origin", OURS), ("Origin", "https://evil.example"));
    check(Method::GET, &[listed], 200).await;
    check(Method::POST, &[listed], 202).await;
    check(Method::DELETE, &[listed], 204).await;
    for method in [Method::GET, Method::POST, Method::DELETE] {
        check(method.clone(), &[foreign], 401).await;
        check(method.clone(), &[("Origin", "null")], 401).await;
        // Neither did a browser that says nothing of the page.
        check(method, &[], 401).await;
    }
    check(Method::GET, &[("Sec-Fetch-Site", "same-origin")], 200).await;
    check(Method::GET, &[("Sec-Fetch-Site", "cross-site")], 401).await;
    check(Method::POST, &[("Sec-Fetch-Site", "same-origin")], 401).await;
    let answer = ask(&node, Method::GET, "/events", &[listed]).await;
    assert_eq!(answer.headers()["Access-Control-Allow-Credentials"], "true");
    assert_eq!(answer.headers()["Access-Control-Allow-Origin"], OURS);
    let stream = ask(&node, Method::GET, "/sse", &[listed]).await;
    assert_eq!((stream.status(), stream.headers()["Vary"].to_str().unwrap()), (reqwest::StatusCode::OK, "Origin"));
    // A refusal can be read by the page that it is for, and by no other.
    let answer = ask(&node, Method::GET, "/events", &[foreign]).await;
    assert!(!answer.headers().contains_key("Access-Control-Allow-Origin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_every_origin_may_ask_no_cookie_counts() {
    let node = guarded(Options::default()).start().await;
    for origin in [OURS, "*", "null"] {
        let answer = ask(&node, Method::GET, "/events", &[("Origin", origin)]).await;
        assert_eq!(answer.status(), 401, "{origin}");
        assert_eq!(answer.headers()["Access-Control-Allow-Origin"], "*");
        assert!(!answer.headers().contains_key("Access-Control-Allow-Credentials"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn page_may_send_the_header_and_preflights_need_no_token() {
    let node = guarded(Options::default()).set("SERVER__CORS_ORIGINS", OURS).start().await;
    let url = format!("{}/pipelines/p/events", node.url);
    let request = node.http.request(Method::OPTIONS, url).header("Origin", OURS);
    let request = request.header("Access-Control-Request-Method", "POST");
    let answer = request.header("Access-Control-Request-Headers", "authorization").send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert!(answer.headers()["Access-Control-Allow-Headers"].to_str().unwrap().contains("Authorization"));
    assert_eq!(answer.headers()["Access-Control-Allow-Credentials"], "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn query_wins_over_the_cookie() {
    let node = guarded(Options::default()).set("SERVER__CORS_ORIGINS", OURS).start().await;
    assert_eq!(ask(&node, Method::GET, "/events?token=x.y.z", &[("Origin", OURS)]).await.status(), 401);
    let header = ("Authorization", "Bearer x.y.z");
    assert_eq!(ask(&node, Method::GET, "/events", &[("Origin", OURS), header]).await.status(), 401);
}
