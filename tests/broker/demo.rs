//! `pipecast demo` on real nodes.

use std::collections::BTreeSet;
use std::io::Read;
use std::process::{Child, Command, Stdio};

use crate::cli::{err, pipecast, run};
use crate::support::eventually;
use crate::support::node::{Node, Options};
use crate::support::redis::Redis;

/// A running demo; killed when dropped.
struct Demo(Child);

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let mut command = pipecast(&["demo"]);
        Self(command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// The next line on standard error.
    fn error_line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while line.last() != Some(&b'\n') && self.0.stderr.as_mut().unwrap().read(&mut byte).unwrap() == 1 {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    /// Stops it with this signal. Returns the rest of both outputs; the exit code must be 0.
    fn stop(mut self, signal: &str) -> (String, String) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
        let (mut printed, mut errors) = (String::new(), String::new());
        self.0.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!(self.0.wait().unwrap().code(), Some(0), "{errors}");
        (printed, errors)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn is_running(node: &Node) -> bool {
    node.metric("pipecast_events_published_total").await > 5.0
        && node.metric("pipecast_events_delivered_total").await > 5.0
}

/// The first number after these words.
fn number_after(text: &str, words: &str) -> u64 {
    let rest = text.split_once(words).unwrap_or_else(|| panic!("{words:?} in {text}")).1;
    rest.split(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_publishes_on_several_channels_and_subscribers_resume() {
    let node = Node::embedded().await;
    // Slow enough that a subscriber finds all it missed in the history after its `retry:` of up to 3 s.
    let demo = Demo::start(&["--url", &node.url, "--rate", "20", "--readers", "5", "--session", "200ms"]);
    eventually("subscribers have resumed", || async {
        node.metric("pipecast_streams_opened_total{start=\"resumed\"}").await > 3.0
            && node.metric("pipecast_events_delivered_total").await > 100.0
    })
    .await;
    let history = node.history("p_demo", "").await;
    let events = history["events"].as_array().unwrap();
    let channels: BTreeSet<_> = events.iter().map(|event| event["channel"].as_str().unwrap()).collect();
    assert_eq!(channels, BTreeSet::from(["chat", "deploys", "prices"]));
    assert!(events.iter().all(|event| event["payload"].as_object().is_some_and(|payload| payload.len() > 2)));
    assert_eq!(node.metric("pipecast_gaps_total{reason=\"unknown\"}").await, 0.0);
    let (text, errors) = demo.stop("TERM");
    assert!(text.contains(&format!("\n  {}/pipelines/p_demo\n", node.url)), "{text}");
    assert!(number_after(&text, "published ") > 20 && number_after(&text, "received ") > 100, "{text}");
    assert!(number_after(&text, "streams, ") > 3, "{text}");
    assert_eq!(errors, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_survives_a_restart_and_reports_the_outage_once() {
    let redis = Redis::start().await;
    let mut node = Options::default().redis(&redis.url()).start().await;
    let mut demo = Demo::start(&[
        "p_other",
        "--url",
        &node.url,
        "--rate",
        "100",
        "--readers",
        "3",
        "--public-url",
        "http://x.example",
    ]);
    eventually("the demo runs", || is_running(&node)).await;
    let address = node.address().to_string();
    node.kill();
    let line = demo.error_line();
    assert!(line.contains(&address) && line.contains("retrying"), "{line}");
    let node = Options::default().redis(&redis.url()).argument("--listen").argument(&address).start().await;
    eventually("the demo runs again", || is_running(&node)).await;
    let (text, errors) = demo.stop("INT");
    assert!(text.contains("\n  http://x.example/pipelines/p_other\n"), "{text}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_exits_when_it_is_rejected_for_good() {
    let options = Options::default().set("AUTH__PUBLISH", "token").set("AUTH__SUBSCRIBE", "token");
    let node = options.set("AUTH__JWT_SECRET", "0123456789abcdef0123456789abcdef").start().await;
    let output = run(&mut pipecast(&["demo", "--url", &node.url]), "");
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("401 Unauthorized"), "{}", err(&output));
    for arguments in [["--rate", "0"], ["--rate", "1000"], ["--rate", "x"], ["--readers", "5001"], ["--session", "x"]] {
        let output = run(&mut pipecast(&[&["demo"], &arguments[..]].concat()), "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(err(&output).contains(arguments[0]), "{}", err(&output));
    }
}
