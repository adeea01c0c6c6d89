//! Text from publishers, servers and tokens has no effect on the terminal of the user who prints it.

use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::cli::{err, out, pipecast, run};
use crate::support::impostor::Impostor;
use crate::support::node::Node;

/// Sets a title, writes to the clipboard, clears the screen, rings, reverses text, and starts a line that looks like ours.
const HOSTILE: &str = "\u{1b}]0;title\u{7}\u{1b}]52;c;cm0=\u{7}\u{9b}2J\u{7f}\u{8}\r\n{\"id\":\"1-1\"} \u{202e}\u{2066}\u{2069}\u{200f}\u{85}\u{2028}\u{feff}";

fn is_hostile(character: char) -> bool {
    character != '\n' && (character.is_control() || HOSTILE.contains(character) && !character.is_ascii())
}

#[track_caller]
fn assert_harmless(output: &Output) {
    for text in [out(output), err(output)] {
        assert!(!text.contains(is_hostile), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("{\"id\"")), "{text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_escapes_control_characters_and_keeps_the_json() {
    let node = Node::embedded().await;
    let payload = json!({HOSTILE: [HOSTILE]});
    node.publish("p", "turned \u{202e}around\u{2028}", payload.clone()).await;
    let output = run(&mut pipecast(&["tail", "p", "--url", &node.url, "--count", "1"]), "");
    assert_harmless(&output);
    let text = out(&output);
    let (_, data) = text.split_once(" turned \\u202earound\\u2028 ").unwrap_or_else(|| panic!("{text:?}"));
    assert_eq!(serde_json::from_str::<Value>(data).unwrap(), payload);
    assert_eq!(text.lines().count(), 1, "{text:?}");
}

#[test]
fn tail_escapes_control_characters_from_other_servers() {
    let stream = "id: 1-1\u{1b}[2J\nevent: a\u{1b}]0;title\u{7}\u{9b}\ndata: \"\u{1b}[2J\u{202e}\"\n\n";
    let impostor = Impostor::saying("200 OK\r\nContent-Type: text/event-stream", stream);
    let output = run(&mut pipecast(&["tail", "p", "--url", &impostor.url(), "--count", "1"]), "");
    assert_harmless(&output);
    assert_eq!(out(&output), "1-1\\u001b[2J a\\u001b]0;title\\u0007\\u009b \"\\u001b[2J\\u202e\"\n");
    // --raw writes the bytes unchanged, except to a terminal.
    let tail = ["tail", "p", "--url", &impostor.url(), "--count", "1", "--raw"];
    assert_eq!(out(&run(&mut pipecast(&tail), "")), stream);
    let line = format!("exec {} {}", env!("CARGO_BIN_EXE_pipecast"), tail.join(" "));
    // util-linux provides the terminal.
    let output = run(Command::new("script").args(["-qec", &line, "/dev/null"]), "");
    let text = out(&output).replace('\r', "");
    assert!(text.contains("event: a\\u001b]0;title\\u0007\\u009b\n"), "{text:?}");
    assert!(!text.contains(is_hostile), "{text:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_escape_the_text_of_rejections() {
    let problem = json!({"detail": HOSTILE}).to_string();
    for status in ["400 Bad Request", "403 Forbidden"] {
        for body in [problem.as_str(), HOSTILE] {
            let impostor = Impostor::saying(&format!("{status}\r\nContent-Type: application/problem+json"), body);
            let url = impostor.url();
            for arguments in [
                &["publish", "p", "--url", &url, "--channel", "a", "1"][..],
                &["publish", "p", "--url", &url],
                &["tail", "p", "--url", &url],
                &["demo", "p", "--url", &url],
                &["doctor", &url],
                &["bench", "idle", "--streams", "1", "--url", &url],
                &["bench", "publish", "--publishers", "1", "--duration", "100ms", "--warm-up", "0s", "--url", &url],
                &["health", "--admin-listen", &impostor.address().to_string()],
            ] {
                let output = run(&mut pipecast(arguments), "{\"channel\":\"a\",\"payload\":1}\n");
                assert_eq!(output.status.code(), Some(1), "{arguments:?} {}", err(&output));
                assert_harmless(&output);
                let said = out(&output) + &err(&output);
                assert!(said.contains("\\u001b]0;title\\u0007"), "{arguments:?}: {said}");
            }
        }
    }
}

#[test]
fn token_inspect_escapes_control_characters() {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"pipecast": {"subscribe": ["p"], "channels": [HOSTILE]}, "jti": HOSTILE, HOSTILE: HOSTILE});
    let token = format!("{}.{}.c2lnbmF0dXJl", part(json!({"alg": "HS256", "kid": HOSTILE})), part(claims));
    let mut command = pipecast(&["token", "inspect"]);
    let output = run(command.env("PIPECAST_AUTH__JWT_SECRET", "0123456789abcdef0123456789abcdef"), &token);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert_harmless(&output);
    assert!(out(&output).contains("\\u001b]0;title"), "{}", out(&output));
    for line in out(&output).lines() {
        assert!(line.starts_with(['h', 'c', 'e', 'p', 's', ' ']), "{line:?}");
    }
    // A valid token, whose channels are printed too.
    let key = "0123456789abcdef0123456789abcdef";
    let arguments = ["token", "--pipeline", "p", "--subscribe", "--channel", HOSTILE];
    let minted = run(pipecast(&arguments).env("PIPECAST_AUTH__JWT_SECRET", key), "");
    assert_eq!(minted.status.code(), Some(0), "{}", err(&minted));
    let output = run(pipecast(&["token", "inspect"]).env("PIPECAST_AUTH__JWT_SECRET", key), &out(&minted));
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).contains("only the channels \\u001b]0;title"), "{}", out(&output));
    assert_harmless(&output);
}

#[test]
fn usage_errors_escape_the_arguments() {
    let hostile = HOSTILE.replace('\n', "");
    for arguments in [
        &["tail", &hostile][..],
        &[&hostile],
        &["publish", "p", "--channel", "a", &hostile],
        &["tail", "p", "--replay", &hostile],
        &["serve", "--listen", &hostile],
    ] {
        let output = run(&mut pipecast(arguments), "");
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        assert_harmless(&output);
    }
}
