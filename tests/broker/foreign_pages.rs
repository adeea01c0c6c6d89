//! Foreign web pages opened on this machine, and a node that is open by default: they may read but change nothing.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::http2::{END_HEADERS, END_STREAM, HEADERS, Http2, frame, header};
use crate::support::node::{Node, Options};
use crate::support::raw::Raw;
use crate::support::tls::Authority;
use crate::support::{client, http, http2};

const EVENT: &str = r#"{"channel":"a","payload":1}"#;

/// Pages that are neither the node's own nor of this machine by a name that no other can have.
const FOREIGN: [&str; 14] = [
    "https://evil.example",
    "http://evil.example",
    "null",
    "http://evil.localhost",
    "https://localhost.evil.example",
    "http://127.0.0.1.evil.example",
    "http://127.0.0.2:8080",
    "http://[::2]",
    "http://0.0.0.0:8080",
    "http://localhost@evil.example",
    "http://localhost/",
    "http://127.1",
    "chrome-extension://abcdefgh",
    "",
];

const NEAR: [&str; 6] = [
    "http://localhost",
    "http://localhost:3000",
    "https://localhost:3000",
    "http://127.0.0.1:5173",
    "https://[::1]",
    "http://[::1]:1",
];

const CHANGING: [Method; 4] = [Method::POST, Method::PUT, Method::DELETE, Method::PATCH];

/// Asks for `path` with these headers; the answer's status, its headers, and its body.
async fn ask(
    node: &Node,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, reqwest::header::HeaderMap, String) {
    let mut request = node.http.request(method, format!("{}{path}", node.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.body(EVENT).send().await.unwrap();
    (answer.status(), answer.headers().clone(), answer.text().await.unwrap())
}

async fn assert_nothing_changed(node: &Node, ids: &[String]) {
    let history = node.history("p", "").await;
    let kept: Vec<_> =
        history["events"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(kept, ids);
}

fn assert_refused(status: StatusCode, headers: &reqwest::header::HeaderMap, text: &str, what: &str) {
    assert_eq!(
        (status, &headers["content-type"]),
        (StatusCode::FORBIDDEN, &"application/problem+json".parse().unwrap()),
        "{what}"
    );
    let problem: Value = serde_json::from_str(text).unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("server.cors_origins") && detail.contains("auth.publish"), "{what}: {detail}");
    assert!(!headers.contains_key("access-control-allow-methods"), "{what}");
}

#[tokio::test]
async fn foreign_page_changes_nothing() {
    let node = Node::embedded().await;
    let ids = [node.publish("p", "a", json!(1)).await];
    for origin in FOREIGN {
        for method in CHANGING {
            // A request that needs a preflight, a form's, and one that a page may send without asking.
            for content in
                ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
            {
                for path in ["/pipelines/p/events", "/pipelines/p", "/pipelines/p/close", "/pipelines/p/sse"] {
                    let headers = [("Origin", origin), ("Content-Type", content)];
                    let (status, headers, text) = ask(&node, method.clone(), path, &headers).await;
                    assert_refused(status, &headers, &text, &format!("{method} {path} from {origin:?}"));
                }
            }
            let asked = [("Origin", origin), ("Access-Control-Request-Method", method.as_str())];
            for path in ["/pipelines/p/events", "/pipelines/p", "/"] {
                let (status, headers, text) = ask(&node, Method::OPTIONS, path, &asked).await;
                assert_refused(status, &headers, &text, &format!("a preflight for {method} {path} from {origin:?}"));
            }
        }
    }
    assert!(node.metric("pipecast_rejected_total{reason=\"forbidden\"}").await > 0.0);
    assert_nothing_changed(&node, &ids).await;
}

#[tokio::test]
async fn foreign_page_reads() {
    let node = Node::embedded().await;
    let id = node.publish("p", "a", json!(1)).await;
    for origin in FOREIGN {
        for path in ["/pipelines/p/events", "/pipelines/p", "/"] {
            let (status, headers, _) = ask(&node, Method::GET, path, &[("Origin", origin)]).await;
            assert_eq!((status, &headers["access-control-allow-origin"]), (StatusCode::OK, &"*".parse().unwrap()));
        }
        let asked = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "GET"),
            ("Access-Control-Request-Headers", "last-event-id"),
        ];
        let (status, headers, _) = ask(&node, Method::OPTIONS, "/pipelines/p/events", &asked).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(headers["access-control-allow-methods"], "GET, HEAD, OPTIONS");
        assert!(headers["access-control-allow-headers"].to_str().unwrap().contains("Last-Event-ID"));
        let mut raw = Raw::connect(&node).await;
        raw.send(format!("GET /pipelines/p/sse HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n")).await;
        raw.read_until(&format!("id: {id}\nevent: a\n")).await;
    }
}

#[tokio::test]
async fn pages_of_this_machine_and_the_nodes_own_publish_and_forget() {
    let node = Node::embedded().await;
    let own = [
        (format!("127.0.0.1:{}", node.port()), node.url.clone()),
        // Under the address and the port that a forward or a proxy gives it.
        ("192.0.2.7:81".to_owned(), "http://192.0.2.7:81".to_owned()),
        ("192.0.2.7".to_owned(), "https://192.0.2.7".to_owned()),
        ("[2001:db8::1]".to_owned(), "http://[2001:db8::1]".to_owned()),
        ("node1:8080".to_owned(), "http://node1:8080".to_owned()),
    ];
    let near = NEAR.map(|origin| ("localhost:8080".to_owned(), origin.to_owned()));
    for (host, origin) in own.into_iter().chain(near) {
        let headers = [("Host", host.as_str()), ("Origin", &origin), ("Content-Type", "application/json")];
        let (status, ..) = ask(&node, Method::POST, "/pipelines/p/events", &headers).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{origin}");
        let (status, ..) = ask(&node, Method::DELETE, "/pipelines/p/events", &headers).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{origin}");
        let asked = [("Host", host.as_str()), ("Origin", &origin), ("Access-Control-Request-Method", "POST")];
        let (status, headers, _) = ask(&node, Method::OPTIONS, "/pipelines/p/events", &asked).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{origin}");
        assert!(headers["access-control-allow-methods"].to_str().unwrap().contains("POST"));
    }
    // Another port, another name of an address that is the node's own.
    for (host, origin) in
        [("192.0.2.7:81", "http://192.0.2.7:82"), ("192.0.2.7", "http://192.0.2.8"), ("node1", "http://node2")]
    {
        let headers = [("Host", host), ("Origin", origin), ("Content-Type", "application/json")];
        let (status, headers, text) = ask(&node, Method::POST, "/pipelines/p/events", &headers).await;
        assert_refused(status, &headers, &text, origin);
    }
}

#[tokio::test]
async fn browser_that_sends_no_origin_is_known_by_what_else_it_says() {
    let node = Node::embedded().await;
    for (site, status) in [("cross-site", 403), ("same-site", 403), ("x", 403), ("same-origin", 202), ("none", 202)] {
        let headers = [("Sec-Fetch-Site", site), ("Content-Type", "application/json")];
        assert_eq!(ask(&node, Method::POST, "/pipelines/p/events", &headers).await.0, status, "{site}");
    }
    // `Origin` is more precise: a page of 127.0.0.1 is not a page of localhost.
    let headers =
        [("Sec-Fetch-Site", "cross-site"), ("Origin", "http://localhost:3000"), ("Content-Type", "application/json")];
    assert_eq!(ask(&node, Method::POST, "/pipelines/p/events", &headers).await.0, 202);
}

#[tokio::test]
async fn list_of_pages_lets_in_no_other() {
    let listed = "https://app.example";
    let node = Options::default().set("SERVER__CORS_ORIGINS", &format!("{listed},https://b.example")).start().await;
    let ids = [node.publish("p", "a", json!(1)).await];
    let change = async |method: &Method, headers: &[(&str, &str)]| {
        let headers = [headers, &[("Content-Type", "application/json")]].concat();
        ask(&node, method.clone(), "/pipelines/p/events", &headers).await
    };
    // Its own name, which it lets point to this machine, and without a name for itself.
    let port = node.port();
    let host = format!("evil.example:{port}");
    let own = format!("http://{host}");
    let pages = [
        vec![("Host", &*host), ("Origin", &own)],
        vec![("Host", &host), ("Origin", &own), ("Sec-Fetch-Site", "same-origin")],
        vec![("Host", &host), ("Sec-Fetch-Site", "same-origin")],
        vec![("Sec-Fetch-Site", "cross-site")],
        vec![("Sec-Fetch-Site", "same-site")],
    ];
    let foreign = FOREIGN.iter().map(|origin| vec![("Origin", *origin)]);
    for headers in pages.iter().cloned().chain(foreign) {
        for method in [Method::POST, Method::DELETE] {
            let (status, answer, text) = change(&method, &headers).await;
            assert_refused(status, &answer, &text, &format!("{method} {headers:?}"));
        }
    }
    assert_nothing_changed(&node, &ids).await;
    let local = format!("http://127.0.0.1:{port}");
    for headers in [
        vec![("Origin", listed)],
        vec![("Origin", listed), ("Host", "broker.example")],
        vec![("Origin", &*local)],
        vec![("Host", "broker.example")],
        vec![("Host", "broker.example"), ("Sec-Fetch-Site", "none")],
    ] {
        let (status, _, text) = change(&Method::POST, &headers).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{headers:?}: {text}");
    }
    // A proxy that is trusted has chosen the host, or checked it.
    let options = Options::default().set("SERVER__CORS_ORIGINS", listed).set("SERVER__TRUSTED_PROXIES", "127.0.0.1");
    let node = options.start().await;
    let headers =
        [("Host", "broker.example"), ("Origin", "https://broker.example"), ("Content-Type", "application/json")];
    assert_eq!(ask(&node, Method::POST, "/pipelines/p/events", &headers).await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn explicit_origins_and_access_are_followed() {
    for (name, value) in [
        ("AUTH__PUBLISH", "open"),
        ("SERVER__CORS_ORIGINS", "*"),
        ("SERVER__CORS_ORIGINS", "https://app.example,https://b.example"),
    ] {
        let node = Options::default().set(name, value).start().await;
        let headers =
            [("Origin", "https://app.example"), ("Host", "broker.example"), ("Content-Type", "application/json")];
        let (status, ..) = ask(&node, Method::POST, "/pipelines/p/events", &headers).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{name}={value}");
        let asked =
            [("Origin", "https://app.example"), ("Host", "broker.example"), ("Access-Control-Request-Method", "POST")];
        let (status, headers, _) = ask(&node, Method::OPTIONS, "/pipelines/p/events", &asked).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{name}={value}");
        assert!(headers["access-control-allow-methods"].to_str().unwrap().contains("POST"));
    }
    // Keys decide nothing by themselves, and reading is not publishing.
    for (name, value) in
        [("AUTH__SUBSCRIBE", "open"), ("AUTH__KEYS", r#"[{name="k", key="0123456789abcdef", publish=["*"]}]"#)]
    {
        let node = Options::default().set(name, value).start().await;
        let headers = [("Origin", "https://app.example"), ("Content-Type", "application/json")];
        assert_eq!(ask(&node, Method::POST, "/pipelines/p/events", &headers).await.0, StatusCode::FORBIDDEN, "{name}");
    }
}

/// A page of evil.example whose name points to this machine is of the same origin as what it asks for.
#[tokio::test]
async fn foreign_host_header_is_rejected_on_every_route() {
    let node = Node::embedded().await;
    let ids = [node.publish("p", "a", json!(1)).await];
    for host in [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost.example:80",
        "evil.localhost.example",
        "127.0.0.1.",
        "evil.example.",
        "xlocalhost.internal.example",
    ] {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::DELETE, Method::OPTIONS] {
            for path in ["/", "/openapi.json", "/pipelines/p", "/pipelines/p/events", "/pipelines/p/sse", "/nowhere"] {
                let origin = format!("http://{host}");
                for headers in [&[("Host", host)][..], &[("Host", host), ("Origin", &origin)]] {
                    let (status, answered, text) = ask(&node, method.clone(), path, headers).await;
                    assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path} {headers:?}");
                    if method != Method::HEAD {
                        assert_refused(status, &answered, &text, host);
                    }
                }
            }
        }
        // The whole target is the host too, and counts before the header (RFC 9112, 3.2.2).
        for target in [format!("http://{host}/pipelines/p"), format!("http://x@{host}/pipelines/p")] {
            let mut raw = Raw::connect(&node).await;
            raw.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
            assert!(raw.read_until("\r\n").await.starts_with("HTTP/1.1 403 "), "{target}");
        }
    }
    assert_nothing_changed(&node, &ids).await;
    // The other listener has nothing to change and nothing to read, and is asked under all names.
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = http().get(format!("{}{path}", node.admin)).header("Host", "evil.example").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn authority_of_http_2_is_a_host() {
    let node = Node::embedded().await;
    let request = |authority: &str, more: &[u8]| {
        let block = [&[0x82, 0x86][..], &header(0, ":authority", authority), &header(0, ":path", "/pipelines/p"), more];
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &block.concat())
    };
    for (authority, more, status) in [
        ("evil.example", vec![], "403"),
        ("localhost@evil.example", vec![], "403"),
        ("localhost", header(0, "host", "evil.example"), "403"),
        ("localhost", vec![], "200"),
        ("127.0.0.1:8080", vec![], "200"),
    ] {
        let mut http2 = Http2::connect(&node, &[]).await;
        http2.send(request(authority, &more)).await;
        let answer = http2.until(|frame| frame.stream == 1).await;
        // 200 is in the table of HPACK; the others of ours are written out.
        let is_ok = answer.kind == HEADERS && answer.payload.first() == Some(&0x88);
        assert_eq!(is_ok, status == "200", "{authority}: {answer:?}");
    }
    let client = http2();
    let publish = |origin: &str| {
        let request = client.post(format!("{}/pipelines/p/events", node.url)).header("Origin", origin);
        request.header("Content-Type", "application/json").body(EVENT).send()
    };
    assert_eq!(publish("https://evil.example").await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(publish(&node.url).await.unwrap().status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn hosts_that_nobody_can_register_are_known() {
    let node = Node::embedded().await;
    for host in [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1",
        "127.0.0.2:8080",
        "[::1]",
        "[::1]:8080",
        "192.0.2.1",
        "[2001:db8::1]:80",
        // As nginx sends it, and as containers reach their machine.
        "pipecast_nodes",
        "node1:8080",
        "app.localhost",
        "host.docker.internal:8080",
        "laptop.local",
        "broker.test",
        "",
    ] {
        let (status, ..) = ask(&node, Method::GET, "/pipelines/p", &[("Host", host)]).await;
        assert_eq!(status, StatusCode::OK, "{host}");
        let headers = [("Host", host), ("Content-Type", "application/json")];
        assert_eq!(ask(&node, Method::POST, "/pipelines/p/events", &headers).await.0, StatusCode::ACCEPTED, "{host}");
    }
    let mut raw = Raw::connect(&node).await;
    raw.send("GET /pipelines/p HTTP/1.0\r\n\r\n").await;
    assert!(raw.read_until("\r\n").await.starts_with("HTTP/1.0 200 "));
}

#[tokio::test]
async fn trusted_proxy_may_pass_on_any_host_and_its_page_publishes() {
    let node = Options::default().set("SERVER__TRUSTED_PROXIES", "127.0.0.1").start().await;
    for (origin, status) in [("https://events.example.com", 202), ("https://evil.example", 403)] {
        let headers = [("Host", "events.example.com"), ("Origin", origin), ("Content-Type", "application/json")];
        assert_eq!(ask(&node, Method::POST, "/pipelines/p/events", &headers).await.0, status, "{origin}");
    }
    // From elsewhere it is a host as any.
    let mut raw = Raw::connect_from(&node, "127.0.0.2").await;
    raw.send("GET /pipelines/p HTTP/1.1\r\nHost: events.example.com\r\n\r\n").await;
    assert!(raw.read_until("\r\n").await.starts_with("HTTP/1.1 403 "));
}

#[tokio::test]
async fn it_is_the_same_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca");
    let (cert, key) = authority.issue("server");
    let client = client().tls_certs_only([authority.certificate()]).build().unwrap();
    let options = Options::default().set("SERVER__TLS_CERT", &cert).set("SERVER__TLS_KEY", &key).client(client);
    let node = options.start().await;
    for (origin, status) in [("https://evil.example", 403), (&*node.url, 202), ("http://localhost:3000", 202)] {
        let headers = [("Origin", origin), ("Content-Type", "application/json")];
        assert_eq!(ask(&node, Method::POST, "/pipelines/p/events", &headers).await.0, status, "{origin}");
    }
}
