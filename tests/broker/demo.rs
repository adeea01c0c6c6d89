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
    fn complaint(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while line.last() != Some(&b'\n') && self.0.stderr.as_mut().unwrap().read(&mut byte).unwrap() == 1 {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    /// What it prints up to its end, on both outputs. It must end well.
    fn end(mut self, signal: &str) -> (String, String) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
        let (mut printed, mut complained) = (String::new(), String::new());
        self.0.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut complained).unwrap();
        assert_eq!(self.0.wait().unwrap().code(), Some(0), "{complained}");
        (printed, complained)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn is_read(node: &Node) -> bool {
    node.metric("pipecast_events_published_total").await > 5.0
        && node.metric("pipecast_events_delivered_total").await > 5.0
}

/// The first number after these words.
fn number_after(text: &str, words: &str) -> u64 {
    let rest = text.split_once(words).unwrap_or_else(|| panic!("{words:?} in {text}")).1;
    rest.split(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_publishes_on_several_channels_and_its_readers_come_back_and_resume() {
    let node = Node::embedded().await;
    // So slow that a reader who was away for its `retry:` of up to 3 s finds all that it missed.
    let demo = Demo::start(&["--url", &node.url, "--rate", "20", "--readers", "5", "--stay", "200ms"]);
    eventually("readers have resumed", || async {
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
    let (text, complaints) = demo.end("TERM");
    assert!(text.contains(&format!("\n  {}/pipelines/p_demo\n", node.url)), "{text}");
    assert!(number_after(&text, "published ") > 20 && number_after(&text, "; read ") > 100, "{text}");
    assert!(number_after(&text, "of which ") > 3, "{text}");
    assert_eq!(complaints, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_after_a_restart_of_the_node_and_says_so_once() {
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
        "--browse",
        "http://x.example",
    ]);
    eventually("it runs", || is_read(&node)).await;
    let address = node.address().to_string();
    node.kill();
    let complaint = demo.complaint();
    assert!(
        complaint.contains("cannot be reached") && complaint.ends_with("trying again until it works\n"),
        "{complaint}"
    );
    let node = Options::default().redis(&redis.url()).argument("--listen").argument(&address).start().await;
    eventually("it runs again", || is_read(&node)).await;
    let (text, complaints) = demo.end("INT");
    assert!(text.contains("\n  http://x.example/pipelines/p_other\n"), "{text}");
    assert_eq!(complaints, "pipecast: events are taken again\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_good_ends_it() {
    let options = Options::default().set("AUTH__PUBLISH", "token").set("AUTH__SUBSCRIBE", "token");
    let node = options.set("AUTH__JWT_SECRET", "0123456789abcdef0123456789abcdef").start().await;
    let output = run(&mut pipecast(&["demo", "--url", &node.url]), "");
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("401 Unauthorized"), "{}", err(&output));
    for arguments in [["--rate", "0"], ["--rate", "1000"], ["--rate", "x"], ["--readers", "5001"], ["--stay", "x"]] {
        let output = run(&mut pipecast(&[&["demo"], &arguments[..]].concat()), "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(err(&output).contains(arguments[0]), "{}", err(&output));
    }
}
