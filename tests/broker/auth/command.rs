//! `pipecast token`, and the commands that send one.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use reqwest::Method;
use serde_json::json;

use super::issuer::{SECRET, all, claims, hs256, key_path, key_text, now, with};
use super::{ask, guarded, status};
use crate::support::node::Options;

fn run(arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pipecast"));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that reads none need not.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

const WITH_SECRET: [(&str, &str); 1] = [("PIPECAST_AUTH__JWT_SECRET", SECRET)];

#[tokio::test(flavor = "multi_thread")]
async fn minted_token_opens_what_it_says_and_is_sent_by_the_commands() {
    let node = guarded(Options::default()).set("AUTH__ISSUER", "us").set("AUTH__AUDIENCE", "broker").start().await;
    let environment = [WITH_SECRET[0], ("PIPECAST_AUTH__ISSUER", "us"), ("PIPECAST_AUTH__AUDIENCE", "broker")];
    let mint = |arguments: &[&str]| text(&run(&[&["token"], arguments].concat(), &environment, "")).trim().to_owned();
    let writer = mint(&["--pipeline", "p", "--publish", "--ttl", "1m"]);
    let reader = mint(&["--pipeline", "p", "--subscribe", "--channel", "names"]);
    let url = ("PIPECAST_URL", &*node.url);
    let publish = ["publish", "p", "--channel", "names", "1"];
    text(&run(&publish, &[url, ("PIPECAST_TOKEN", &writer)], ""));
    text(&run(&["publish", "p", "--channel", "other", "2", "--token", &writer], &[url], ""));
    let tail = ["tail", "p", "--count", "1"];
    assert!(text(&run(&tail, &[url, ("PIPECAST_TOKEN", &reader)], "")).ends_with(" names 1\n"));
    assert_eq!(ask(&node, &Method::GET, "p", "/sse?channel=other", Some(&reader)).await.status(), 403);
    for (arguments, token, problem) in [
        (&publish[..], &reader, "403 Forbidden"),
        (&tail[..], &writer, "403 Forbidden"),
        (&publish[..], &"nonsense".to_owned(), "401 Unauthorized"),
        (&publish[..], &"a b".to_owned(), "visible ASCII"),
    ] {
        let output = run(arguments, &[url, ("PIPECAST_TOKEN", token)], "");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() != Some(0) && errors.contains(problem), "{errors}");
        assert!(!errors.contains(&**token), "{errors}");
    }
    let help = text(&run(&["publish", "--help"], &[("PIPECAST_TOKEN", "nonsense")], ""));
    assert!(help.contains("PIPECAST_TOKEN") && !help.contains("nonsense"), "{help}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn bench_sends_a_token() {
    let node = guarded(Options::default()).start().await;
    let token = hs256(&claims(all()));
    let bench = ["bench", "fanout", "--readers", "2", "--rate", "20", "--duration", "1s", "--warm-up", "0s", "--json"];
    let output = run(&bench, &[("PIPECAST_URL", &node.url), ("PIPECAST_TOKEN", &token)], "");
    assert!(!text(&output).contains(&token));
    assert!(node.metric("pipecast_events_delivered_total").await > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_private_key_signs_what_nodes_take() {
    let paths = ["rsa.pub.pem", "ec.pub.pem", "ed.pub.pem"].map(key_path).join(",");
    let node = Options::default().set("AUTH__SUBSCRIBE", "token").set("AUTH__JWT_KEYS", &paths).start().await;
    for (key, algorithm) in [
        ("rsa.pem", None),
        ("rsa.pem", Some("RS256")),
        ("rsa.pem", Some("PS256")),
        ("ec.pem", None),
        ("ed.pem", Some("EdDSA")),
    ] {
        let path = key_path(key);
        let mut arguments = vec!["token", "--pipeline", "p*", "--subscribe", "--key-file", &path];
        arguments.extend(algorithm.iter().flat_map(|name| ["--alg", name]));
        let token = text(&run(&arguments, &[], "")).trim().to_owned();
        assert_eq!(status(&node, "/events", &token).await, 200, "{key} {algorithm:?}");
    }
    let path = key_path("ec.pem");
    let folder = tempfile::tempdir().unwrap();
    let both = folder.path().join("both.pem").display().to_string();
    std::fs::write(&both, ["ec.pem", "ed.pem"].map(key_text).concat()).unwrap();
    for (arguments, problem) in [
        (&["--key-file", &*path, "--alg", "RS256"][..], "use ES256"),
        (&["--key-file", &*path, "--alg", "none"][..], "use ES256"),
        (&["--key-file", &*both][..], "2 private keys"),
        (&[][..], "--secret-file"),
        (&["--secret-file", &*key_path("nothing")][..], "No such file"),
    ] {
        let output = run(&[&["token", "--pipeline", "p", "--subscribe"], arguments].concat(), &[], "");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() != Some(0) && errors.contains(problem), "{errors}");
    }
    let output = run(&["token", "--pipeline", "p"], &WITH_SECRET, "");
    assert!(String::from_utf8(output.stderr).unwrap().contains("--subscribe or --publish"));
}

#[test]
fn name_that_no_line_of_auth_revoked_could_hold_is_not_given() {
    let mint =
        |arguments: &[&str]| run(&[&["token", "--pipeline", "p", "--subscribe"], arguments].concat(), &WITH_SECRET, "");
    for name in ["", " ", "a #b", "#c", " d", "d\t", "e\nf", "\"g\"", "\u{feff}h", "i\u{0}"] {
        for option in ["--jti", "--kid"] {
            // The kernel passes no NUL.
            let Ok(argument) = std::ffi::CString::new(name) else { continue };
            let output = mint(&[option, argument.to_str().unwrap()]);
            let errors = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{option} {name:?}: {errors}");
            assert!(errors.contains(option) && errors.contains("auth.revocation_file"), "{errors}");
        }
    }
    for name in ["u42-7", "d#e", "two words", "\u{e4}"] {
        text(&mint(&["--jti", name, "--kid", name]));
    }
    let output = mint(&["--ttl", "10000years"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && errors.contains("--ttl"), "{errors}");
}

#[test]
fn token_is_explained_with_why_it_would_be_refused() {
    let keys = ("PIPECAST_AUTH__KEYS", r#"[{name="backend", key="0123456789abcdef", publish=["p_*"]}]"#);
    let check = |token: &str, environment: &[(&str, &str)], code: i32, words: &[&str]| {
        let by_argument = run(&["token", "inspect", token], environment, "");
        let by_input = run(&["token", "inspect"], environment, &format!("{token}\n"));
        // But for the time that goes by.
        let lasting = |output: &Output| {
            let text = String::from_utf8(output.stdout.clone()).unwrap();
            text.lines().filter(|line| !line.starts_with("expires")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(lasting(&by_argument), lasting(&by_input));
        let text = String::from_utf8(by_argument.stdout).unwrap();
        assert_eq!(by_argument.status.code(), Some(code), "{text}");
        for word in words {
            assert!(text.contains(word), "{word} in {text}");
        }
    };
    let token = hs256(&claims(json!({"subscribe": ["p_*"], "channels": ["names"]})));
    check(
        &token,
        &WITH_SECRET,
        0,
        &[
            "\"alg\": \"HS256\"",
            "\"jti\": \"jti-of-the-test\"",
            "in 59m",
            "accepted: p_*, only the channels names",
            "publish    rejected",
        ],
    );
    check(&token, &[], 1, &["\"p_*\"", "this node has no key"]);
    check(&token, &[WITH_SECRET[0], ("PIPECAST_AUTH__ISSUER", "us")], 1, &["issuer (`iss`)"]);
    check(&token, &[WITH_SECRET[0], ("PIPECAST_AUTH__AUDIENCE", "us")], 1, &["audience (`aud`)"]);
    check(&hs256(&with(claims(all()), "exp", json!(now() - 120))), &WITH_SECRET, 1, &["expired (`exp`)", "2m", "ago"]);
    check(&hs256(&with(claims(all()), "nbf", json!(now() + 120))), &WITH_SECRET, 1, &["not valid yet"]);
    check(&hs256(&with(claims(all()), "exp", json!(null))), &WITH_SECRET, 0, &["never", "no expiry", "accepted: *"]);
    check("0123456789abcdef", &[keys], 0, &["static key `backend`, p_*", "open here"]);
    check("nonsense", &[keys], 1, &["not a known key"]);
}
