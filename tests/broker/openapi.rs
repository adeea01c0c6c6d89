//! The description of the API at `/openapi.json`, compared with what a node does.

use std::collections::BTreeSet;

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use crate::support::node::{Node, Options};

const TEXT: &str = include_str!("../../src/http/openapi.json");

/// Methods that nodes accept, and others that clients might try.
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "PURGE"];

fn description() -> Value {
    serde_json::from_str(TEXT).unwrap()
}

/// The operations of a path, by method.
fn operations(item: &Value) -> Vec<(String, &Value)> {
    let members = item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters");
    members.map(|(method, operation)| (method.to_uppercase(), operation)).collect()
}

async fn ask(node: &Node, method: &str, path: &str) -> Response {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    node.http.request(method, format!("{}{path}", node.url)).send().await.unwrap()
}

fn allowed(response: &Response) -> BTreeSet<String> {
    response.headers()["allow"].to_str().unwrap().split(", ").map(str::to_owned).collect()
}

#[tokio::test]
async fn description_is_served_to_pages_of_any_origin() {
    // It needs no token.
    let node = Options::default().set("AUTH__PUBLISH", "token").set("AUTH__SUBSCRIBE", "token");
    let node = node.set("AUTH__KEYS", r#"[{name="k", key="0123456789abcdef", publish=["*"]}]"#).start().await;
    for method in ["GET", "HEAD"] {
        let response = ask(&node, method, "/openapi.json").await;
        assert_eq!(response.status(), StatusCode::OK);
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("cache-control"), "max-age=300");
        assert_eq!(header("access-control-allow-origin"), "*");
        assert_eq!(header("content-length"), TEXT.len().to_string());
        assert_eq!(response.text().await.unwrap(), if method == "GET" { TEXT } else { "" });
    }
    assert_eq!(description()["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn node_accepts_the_methods_that_are_described() {
    let node = Node::embedded().await;
    for (template, item) in description()["paths"].as_object().unwrap() {
        let path = template.replace("{pipeline}", "p");
        let operations = operations(item);
        let described: BTreeSet<String> = operations.iter().map(|(method, _)| method.clone()).collect();
        assert_eq!(allowed(&ask(&node, "OPTIONS", &path).await), described, "{template}");
        for method in METHODS {
            let response = ask(&node, method, &path).await;
            let operation = operations.iter().find(|(known, _)| known == method).map(|(_, operation)| *operation);
            let Some(operation) = operation else {
                assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {template}");
                assert_eq!(allowed(&response), described, "{method} {template}");
                continue;
            };
            assert_ne!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {template}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key(response.status().as_str()), "{method} {template}: {}", response.status());
        }
    }
}

#[tokio::test]
async fn not_found_lists_the_paths_that_are_described() {
    let response = ask(&Node::embedded().await, "GET", "/nowhere").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let problem: Value = response.json().await.unwrap();
    let words = problem["detail"].as_str().unwrap().split([' ', ',']);
    let listed: BTreeSet<&str> = words.filter(|word| word.starts_with('/')).collect();
    let description = description();
    assert_eq!(listed, description["paths"].as_object().unwrap().keys().map(String::as_str).collect());
}

#[test]
fn statuses_of_errors_are_described() {
    let source = include_str!("../../src/http/error.rs");
    let (_, table) = source.split_once("fn status(&self)").unwrap();
    let (table, _) = table.split_once("\n    }\n").unwrap();
    let name =
        |status: &StatusCode| status.canonical_reason().map(|reason| reason.to_uppercase().replace([' ', '-'], "_"));
    let known: Vec<_> = (400..600).filter_map(|status| StatusCode::from_u16(status).ok()).collect();
    let statuses = table.split("StatusCode::").skip(1).map(|rest| {
        let word: String = rest.chars().take_while(|letter| letter.is_ascii_uppercase() || *letter == '_').collect();
        let status = known.iter().find(|status| name(status).as_ref() == Some(&word));
        status.unwrap_or_else(|| panic!("{word} is no status")).as_str().to_owned()
    });
    let mut described = BTreeSet::new();
    let description = description();
    for (template, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations(item) {
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("400"), "{method} {template}");
            described.extend(responses.keys().filter(|status| status.as_str() >= "400").cloned());
        }
    }
    assert_eq!(statuses.collect::<BTreeSet<_>>(), described);
}

#[test]
fn headers_of_errors_are_described() {
    let description = description();
    let responses = &description["components"]["responses"];
    let described: BTreeSet<String> = responses
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, response)| response["content"].get("application/problem+json").is_some())
        .filter_map(|(_, response)| response["headers"].as_object())
        // The router's, where browsers get a page.
        .flat_map(|headers| headers.keys().filter(|name| *name != "Vary"))
        .map(|name| name.to_uppercase().replace('-', "_"))
        .collect();
    let source = include_str!("../../src/http/error.rs");
    let (_, table) = source.split_once("fn header(&self)").unwrap();
    let (table, _) = table.split_once("\n    }\n").unwrap();
    let words = table.split(|letter: char| !letter.is_ascii_uppercase() && letter != '_').filter(|word| word.len() > 3);
    // `Connection` is the transport's.
    let sent: BTreeSet<String> = words.filter(|word| *word != "CONNECTION").map(str::to_owned).collect();
    assert_eq!(sent, described);
}
