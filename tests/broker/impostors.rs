//! Commands do not mistake the responses of other servers for those of a node: redirects, pages, anything else.

use serde_json::json;

use crate::cli::{err, out, pipecast, run};
use crate::support::impostor::Impostor;
use crate::support::node::Node;

const PAGE: &str = "<html><h1>Back soon</h1></html>";

/// Responses to a POST that acknowledge nothing.
fn non_acknowledgements() -> Vec<(&'static str, &'static str)> {
    vec![
        ("200 OK\r\nContent-Type: text/html", PAGE),
        ("200 OK\r\nContent-Type: application/json", r#"{"id":"1700000000000-1"}"#),
        ("200 OK\r\nContent-Type: application/json", r#"{"events":[],"gap":false}"#),
        ("201 Created\r\nContent-Type: application/json", r#"{"ids":["1700000000000-1","1700000000000-2"]}"#),
        ("202 Accepted\r\nContent-Type: text/html", PAGE),
        ("202 Accepted\r\nContent-Type: application/json", "{}"),
        ("202 Accepted\r\nContent-Type: application/json", r#"{"id":"queued"}"#),
        ("202 Accepted\r\nContent-Type: application/json", r#"{"ids":[]}"#),
        ("202 Accepted\r\nContent-Type: application/json", r#"{"ids":["1700000000000-1","queued"]}"#),
        ("202 Accepted\r\nContent-Type: application/json", r#"{"ids":["1-1","1-2","1-3"]}"#),
        ("204 No Content", ""),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_fails_unless_the_response_has_ids() {
    for (head, body) in non_acknowledgements() {
        let impostor = Impostor::saying(head, body);
        let status = head.lines().next().unwrap();
        let one = &["publish", "p", "--channel", "a", "1"][..];
        let two = &["publish", "p", "--channel", "a"][..];
        let demo = &["demo", "--readers", "0"][..];
        for (arguments, input) in [(one, ""), (two, "1\n2\n"), (demo, "")] {
            let mut command = pipecast(arguments);
            let output = run(command.args(["--url", &impostor.url()]), input);
            let case = format!("{arguments:?} {head} {body}: {} {}", out(&output), err(&output));
            assert_eq!(output.status.code(), Some(1), "{case}");
            assert!(err(&output).contains(status) && err(&output).contains("not a Pipecast response"), "{case}");
            assert!(!out(&output).contains("last_id") && !out(&output).contains("\"id\""), "{case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_reported_but_not_followed() {
    // A node that would accept the events, or respond with its history.
    let node = Node::embedded().await;
    node.publish("p", "a", json!("stored before")).await;
    let port = node.port();
    for status in
        ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        for route in ["events", "sse"] {
            let target = format!("http://me:hunter2@127.0.0.1:{port}/base/pipelines/p/{route}?token=hunter2");
            let impostor = Impostor::saying(&format!("{status}\r\nLocation: {target}"), "");
            let url = impostor.url();
            let commands = [
                &["publish", "p", "--url", &url, "--channel", "a", "1"][..],
                &["publish", "p", "--url", &url, "--channel", "a"],
                &["tail", "p", "--url", &url],
                &["demo", "p", "--url", &url, "--readers", "0"],
                &["demo", "p", "--url", &url, "--readers", "3"],
                &["doctor", &url, "--pipeline", "p"],
            ];
            for arguments in commands {
                let output = run(pipecast(arguments).env("PIPECAST_TOKEN", "a-token"), "1\n2\n");
                let said = out(&output) + &err(&output);
                assert_eq!(output.status.code(), Some(1), "{status} {arguments:?}: {said}");
                let expected = format!("http://127.0.0.1:{port}/base");
                assert!(said.contains(status) && said.contains(&expected), "{status} {arguments:?}: {said}");
                assert!(!said.contains("hunter2"), "{said}");
            }
            assert!(impostor.requests().iter().all(|request| !request.to_lowercase().contains("\r\nreferer:")));
        }
    }
    assert_eq!(node.history("p", "").await["events"].as_array().unwrap().len(), 1);
    assert_eq!(node.metric("pipecast_events_published_total").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_rejects_responses_that_are_not_event_streams() {
    for (head, body) in [
        ("200 OK\r\nContent-Type: text/html", PAGE),
        ("200 OK", "id: 1-1\ndata: 1\n\n"),
        ("206 Partial Content\r\nContent-Type: text/event-stream", "id: 1-1\ndata: 1\n\n"),
        ("204 No Content", ""),
    ] {
        let impostor = Impostor::saying(head, body);
        let output = run(&mut pipecast(&["tail", "p", "--url", &impostor.url()]), "");
        assert_eq!(output.status.code(), Some(1), "{head}: {}", err(&output));
        assert!(err(&output).contains(head.lines().next().unwrap()), "{head}: {}", err(&output));
        assert!(err(&output).contains("not a Pipecast response"), "{head}: {}", err(&output));
        assert_eq!(out(&output), "", "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_counts_only_acknowledged_events() {
    let publish = ["publish", "--duration", "300ms", "--warm-up", "0s", "--publishers", "1", "--timeout", "2s"];
    for head in ["200 OK\r\nContent-Type: text/html", "301 Moved Permanently\r\nLocation: http://127.0.0.1:1/"] {
        let impostor = Impostor::saying(head, PAGE);
        let output = run(pipecast(&["bench"]).args(publish).args(["--url", &impostor.url()]), "");
        assert_eq!(output.status.code(), Some(1), "{head}: {}", out(&output));
        assert!(err(&output).contains(&head[..3]), "{head}: {}", err(&output));
    }
    let impostor = Impostor::saying("200 OK\r\nContent-Type: text/html", PAGE);
    let output = run(&mut pipecast(&["bench", "idle", "--streams", "2", "--url", &impostor.url()]), "");
    assert_eq!(output.status.code(), Some(1), "{}", out(&output));
}

#[test]
fn health_accepts_only_the_response_of_a_node() {
    for (head, body, problem) in [
        ("200 OK\r\nContent-Type: text/html", PAGE, "200 OK"),
        ("200 OK", "", "200 OK"),
        ("204 No Content", "", "204 No Content"),
        ("301 Moved Permanently\r\nLocation: /", "", "301 Moved Permanently"),
        ("503 Service Unavailable", "draining\n", "draining"),
    ] {
        let impostor = Impostor::saying(head, body);
        for flag in [&[][..], &["--live"]] {
            let output = run(pipecast(&["health", "--admin-listen", &impostor.address().to_string()]).args(flag), "");
            assert_eq!(output.status.code(), Some(1), "{head} {flag:?}");
            assert!(err(&output).contains(problem), "{head}: {}", err(&output));
        }
    }
}
