//! Secrets in a URL never appear in output.

use crate::cli::{err, out, pipecast, run};
use crate::support::eventually;
use crate::support::impostor::Impostor;
use crate::support::node::Options;

const SECRET: &str = "hunter2";

/// URLs with a secret, and what is said of them.
const URLS: [(&str, &str); 8] = [
    ("http://me:hunter2@127.0.0.1:9", "PIPECAST_TOKEN"),
    ("http://hunter2@127.0.0.1:9", "PIPECAST_TOKEN"),
    ("http://:hunter2@127.0.0.1:9", "PIPECAST_TOKEN"),
    ("http://127.0.0.1:9/?token=hunter2", "PIPECAST_TOKEN"),
    ("http://127.0.0.1:9/#hunter2", "PIPECAST_TOKEN"),
    ("http://me:hunter2@127.0.0.1:99999", "is not valid"),
    ("me:hunter2@127.0.0.1", "http:// or https://"),
    ("ftp://me:hunter2@127.0.0.1", "http:// or https://"),
];

/// Each command that asks a node, without the URL.
const COMMANDS: [&[&str]; 6] = [
    &["publish", "p", "--channel", "a", "1"],
    &["tail", "p"],
    &["demo"],
    &["doctor"],
    &["bench", "idle", "--streams", "1"],
    &["bench", "publish", "--publishers", "1"],
];

#[test]
fn url_that_may_hold_a_secret_is_refused_and_not_repeated() {
    for (url, problem) in URLS {
        for command in COMMANDS {
            let flag = if command[0] == "doctor" { vec![url] } else { vec!["--url", url] };
            for output in [run(pipecast(command).args(flag), ""), run(pipecast(command).env("PIPECAST_URL", url), "")] {
                let said = out(&output) + &err(&output);
                assert_eq!(output.status.code(), Some(2), "{command:?} {url}: {said}");
                assert!(said.contains(problem), "{command:?} {url}: {said}");
                assert!(!said.contains(SECRET), "{command:?} {url}: {said}");
            }
        }
        let output = run(&mut pipecast(&["demo", "--url", "http://127.0.0.1:9", "--public-url", url]), "");
        assert_eq!(output.status.code(), Some(2), "{url}");
        assert!(!(out(&output) + &err(&output)).contains(SECRET), "{url}");
    }
    // Addresses of other servers have queries, which are not repeated either.
    for template in ["nonsense?key=hunter2", "http://me:hunter2@127.0.0.1:9/", "https://127.0.0.1/?key=hunter2"] {
        for flag in ["--stream-url", "--publish-url"] {
            let output = run(&mut pipecast(&["bench", "idle", flag, template]), "");
            let said = out(&output) + &err(&output);
            assert_eq!(output.status.code(), Some(2), "{template}: {said}");
            assert!(!said.contains(SECRET), "{template}: {said}");
        }
    }
}

#[test]
fn help_shows_no_value_of_the_environment() {
    let commands = ["publish", "tail", "demo", "doctor", "health", "token", "serve", "config", "bench"];
    let modes = ["idle", "fanout", "saturate", "publish", "storm"].map(|mode| vec!["bench", mode]);
    for command in commands.iter().map(|command| vec![*command]).chain(modes) {
        for flag in ["--help", "-h"] {
            let mut help = pipecast(&command);
            help.env("PIPECAST_URL", "http://me:hunter2@127.0.0.1:9").env("PIPECAST_TOKEN", SECRET);
            let output = run(help.arg(flag), "");
            let said = out(&output) + &err(&output);
            assert_eq!(output.status.code(), Some(0), "{said}");
            assert!(!said.contains(SECRET), "{command:?}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jwks_url_is_shown_without_user_and_query() {
    let url = "https://hunter2@issuer.example/tenant/keys?code=hunter2#hunter2";
    let output = run(pipecast(&["config"]).env("PIPECAST_AUTH__JWKS_URL", url), "");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).contains("jwks_url = \"https://***@issuer.example/tenant/keys?***#***\""), "{}", out(&output));
    assert!(!out(&output).contains(SECRET), "{}", out(&output));
    // A node that cannot fetch them says where from.
    let impostor = Impostor::saying("404 Not Found", "");
    let url = format!("http://hunter2@{}/keys?code=hunter2", impostor.address());
    let node = Options::default().set("AUTH__SUBSCRIBE", "token").set("AUTH__JWKS_URL", &url).start().await;
    eventually("it says so", || async { node.log().contains("auth.jwks_url cannot be fetched") }).await;
    assert!(node.log().contains(&format!("http://{}/keys", impostor.address())), "{}", node.log());
    assert!(!node.log().contains(SECRET), "{}", node.log());
    assert!(impostor.requests().iter().any(|request| request.contains("code=hunter2")), "it was asked");
}
