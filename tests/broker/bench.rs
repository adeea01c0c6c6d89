//! The load generator: its counts are exact, and it reports every fault of a server.

use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

use crate::support::eventually;
use crate::support::node::{Node, Options};
use crate::support::redis::Redis;

/// A quarter of a second without warm-up: as many events as the rate says, all of them measured.
const SHORT: [&str; 4] = ["--warm-up", "0s", "--duration", "250ms"];

fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pipecast"));
    command.env_clear().arg("bench").args(arguments).args(["--url", url]);
    command
}

async fn run(url: &str, arguments: &[&str]) -> Output {
    let mut command = command(url, arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// The report of a run that succeeds.
async fn report(url: &str, arguments: &[&str]) -> Value {
    let output = run(url, &[arguments, &["--json"]].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whole numbers in a report, by JSON pointer.
fn numbers<const N: usize>(report: &Value, places: [&str; N]) -> [u64; N] {
    places.map(|place| report.pointer(place).and_then(Value::as_u64).unwrap_or_else(|| panic!("{place}: {report:#}")))
}

const FAULTS: [&str; 3] = ["/delivered/lost", "/delivered/doubled", "/delivered/reordered"];

#[tokio::test(flavor = "multi_thread")]
async fn fanout_counts_what_the_node_counts() {
    let node = Node::embedded().await;
    let report = report(&node.url, &[&["fanout", "--readers", "50", "--rate", "400"][..], &SHORT].concat()).await;
    assert_eq!(numbers(&report, FAULTS), [0, 0, 0]);
    let counts = ["/streams/opened", "/published/events", "/published/requests", "/delivered/deliveries"];
    assert_eq!(numbers(&report, counts), [50, 100, 100, 5000]);
    let times = ["/delivered/latency/count", "/delivered/last_reader/count", "/published/latency/count"];
    assert_eq!(numbers(&report, times), [5000, 100, 100]);
    assert_eq!(numbers(&report, ["/streams/failed", "/published/errors", "/published/unsent"]), [0, 0, 0]);
    assert_eq!(node.metric("pipecast_events_delivered_total").await, 5000.0);
    assert_eq!(node.metric("pipecast_events_published_total").await, 100.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fanout_spreads_over_nodes_and_pipelines_and_batches() {
    let redis = Redis::start().await;
    let node = Options::default().redis(&redis.url()).start().await;
    let other = Options::default().redis(&redis.url()).start().await;
    let arguments = ["fanout", "--readers", "30", "--pipelines", "10", "--rate", "2000", "--batch", "5"];
    let report = report(&node.url, &[&arguments[..], &SHORT, &["--url", &other.url]].concat()).await;
    assert_eq!(numbers(&report, FAULTS), [0, 0, 0]);
    let counts = ["/published/events", "/published/requests", "/delivered/deliveries", "/delivered/others"];
    assert_eq!(numbers(&report, counts), [500, 100, 1500, 0]);
    for node in [node, other] {
        assert_eq!(node.metric("pipecast_events_delivered_total").await, 750.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn saturation_and_publishing_count_every_event() {
    let node = Node::embedded().await;
    let saturate = [&["saturate", "--readers", "10", "--publishers", "4"][..], &SHORT].concat();
    let saturated = report(&node.url, &saturate).await;
    let [events, deliveries] = numbers(&saturated, ["/published/events", "/delivered/deliveries"]);
    // The node slows publishers down to the speed of the subscribers.
    assert!(events > 0 && deliveries == 10 * events, "{saturated:#}");
    assert_eq!(numbers(&saturated, FAULTS), [0, 0, 0]);

    let publish = [&["publish", "--publishers", "3", "--rate", "400", "--pipelines", "4"][..], &SHORT].concat();
    let published = report(&node.url, &publish).await;
    assert_eq!(numbers(&published, ["/published/events", "/published/errors"]), [100, 0]);
    assert!(published["delivered"].is_null() && published["streams"].is_null());
    assert_eq!(node.metric("pipecast_events_published_total").await, (events + 100) as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_streams_are_held_and_weighed() {
    let node = Node::embedded().await;
    let pid = std::process::id().to_string();
    let report =
        report(&node.url, &["idle", "--streams", "40", "--pipelines", "7", "--hold", "100ms", "--pid", &pid]).await;
    assert_eq!(numbers(&report, ["/streams/opened", "/streams/failed", "/streams/ended"]), [40, 0, 0]);
    let [pss, sockets] = numbers(&report, ["/memory/server/pss_bytes", "/memory/kernel/tcp_sockets"]);
    assert!(pss > 100_000 && sockets >= 80, "{report:#}");
    assert_eq!(node.metric("pipecast_history_reads_total{reason=\"open\"}").await, 7.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn storm_is_over_when_every_client_has_everything() {
    let node = Node::embedded().await;
    let storm = report(&node.url, &["storm", "--clients", "60", "--events", "50", "--pipelines", "2"]).await;
    let counts = ["/replay/served", "/replay/events_per_client", "/delivered/deliveries", "/streams/failed"];
    assert_eq!(numbers(&storm, counts), [60, 50, 3000, 0]);
    assert_eq!(numbers(&storm, FAULTS), [0, 0, 0]);
    let [bytes] = numbers(&storm, ["/replay/bytes"]);
    assert!(bytes > 3000 * 200, "{bytes}");

    // More than the node keeps: no client ever has all of it.
    let arguments = ["storm", "--clients", "3", "--events", "101", "--timeout", "1s"];
    let storm = report(&node.url, &arguments).await;
    assert_eq!(numbers(&storm, ["/replay/served", "/delivered/lost"]), [0, 3]);
}

/// A server that treats the n-th event as `fate` says. Its streams have no chunks.
async fn flawed_server(fate: fn(usize) -> Fate) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, count) = (broadcast::Sender::new(1000), Arc::new(AtomicUsize::new(0)));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve_flawed(socket, sender.clone(), count.clone(), fate));
        }
    });
    url
}

#[derive(Clone, Copy)]
enum Fate {
    Send,
    Drop,
    Double,
    /// Send it after the next one.
    Delay,
    /// Report a gap instead.
    Gap,
    /// End the streams instead.
    End,
}

async fn serve_flawed(
    socket: TcpStream,
    sender: broadcast::Sender<Option<String>>,
    count: Arc<AtomicUsize>,
    fate: fn(usize) -> Fate,
) -> Option<()> {
    let mut socket = BufReader::new(socket);
    let mut delayed = None;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            (socket.read_line(&mut head).await.ok()? > 0).then_some(())?;
        }
        if head.starts_with("GET") {
            let mut events = sender.subscribe();
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await.ok()?;
            while let Some(event) = events.recv().await.ok()? {
                socket.write_all(format!("data: {event}\n\n").as_bytes()).await.ok()?;
            }
            return None;
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?.parse().ok()?;
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await.ok()?;
        let body = Some(String::from_utf8(body).ok()?);
        match fate(count.fetch_add(1, Ordering::SeqCst)) {
            Fate::Send => drop(sender.send(body)),
            Fate::Drop => {}
            Fate::Double => [body.clone(), body].into_iter().for_each(|event| drop(sender.send(event))),
            Fate::Delay => delayed = Some(body),
            Fate::Gap => drop(sender.send(Some("{}\nevent: pipecast.gap".into()))),
            Fate::End => drop(sender.send(None)),
        }
        if let Some(body) = delayed.take_if(|_| matches!(fate(count.load(Ordering::SeqCst) - 1), Fate::Send)) {
            let _ = sender.send(body);
        }
        socket.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok").await.ok()?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_faults_are_reported() {
    let arguments = [
        &["fanout", "--preset", "nchan", "--readers", "4", "--rate", "80", "--publishers", "1", "--timeout", "1s"][..],
        &SHORT,
    ];
    let faults = [
        "/published/events",
        "/delivered/deliveries",
        FAULTS[0],
        FAULTS[1],
        FAULTS[2],
        "/streams/ended",
        "/delivered/gaps",
    ];
    let check = async |fate, expected: [u64; 7]| {
        let report = report(&flawed_server(fate).await, &arguments.concat()).await;
        assert_eq!(numbers(&report, faults), expected, "{report:#}");
    };
    check(|_| Fate::Send, [20, 80, 0, 0, 0, 0, 0]).await;
    check(|number| if number % 10 == 3 { Fate::Drop } else { Fate::Send }, [20, 72, 8, 0, 0, 0, 0]).await;
    check(|number| if number == 19 { Fate::Drop } else { Fate::Send }, [20, 76, 4, 0, 0, 0, 0]).await;
    check(|number| if number == 0 { Fate::Double } else { Fate::Send }, [20, 80, 0, 4, 0, 0, 0]).await;
    check(|number| if number == 7 { Fate::Delay } else { Fate::Send }, [20, 80, 0, 0, 4, 0, 0]).await;
    check(|number| if number == 15 { Fate::End } else { Fate::Send }, [20, 60, 20, 0, 0, 4, 0]).await;
    check(|number| if number == 2 { Fate::Gap } else { Fate::Send }, [20, 76, 4, 0, 0, 0, 4]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unmeasurable_targets_say_why_and_set_the_exit_code() {
    let node = Node::embedded().await;
    let check = async |url: &str, arguments: &[&str], code: i32, problem: &str| {
        let output = run(url, arguments).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(problem), "{arguments:?}: {errors}");
        assert!(output.stdout.is_empty());
    };
    let nowhere = "http://127.0.0.1:9";
    check(nowhere, &["idle", "--streams", "3"], 1, "no stream could be opened: Connection refused").await;
    check(nowhere, &["publish"], 1, "no publisher could connect: Connection refused").await;
    check(&node.url, &["idle", "--stream-url", "{url}/nowhere"], 1, "no stream could be opened: 404").await;
    let refused = [&["publish", "--publish-url", "{url}/nowhere"][..], &SHORT].concat();
    check(&node.url, &refused, 1, "nothing could be published: 404").await;
    check(&node.url, &["storm", "--publish-url", "{url}/nowhere"], 1, "could not be filled: 404").await;
    check(&node.url, &["idle", "--streams", "100000000"], 1, "100000000 connections are more than this process").await;
    check(&node.url, &["idle", "--pid", "4194305"], 1, "/proc/4194305/limits: No such file").await;
    check("https://127.0.0.1:1", &["idle"], 2, "plain http:// only").await;
    check(&node.url, &["fanout", "--preset", "nchan", "--batch", "2"], 2, "one event per request").await;
    check(&node.url, &["fanout", "--size", "3"], 2, "at least 38").await;
    check(&node.url, &["nonsense"], 2, "unrecognized subcommand").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_run_reports_what_it_has() {
    let node = Node::embedded().await;
    let arguments = ["fanout", "--readers", "5", "--rate", "200", "--warm-up", "0s", "--duration", "1h", "--json"];
    let child = command(&node.url, &arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it delivers", || async { node.metric("pipecast_events_delivered_total").await > 50.0 }).await;
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["interrupted"], true);
    assert_eq!(numbers(&report, FAULTS), [0, 0, 0]);
    let [events, deliveries] = numbers(&report, ["/published/events", "/delivered/deliveries"]);
    assert!(events > 10 && deliveries == 5 * events, "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_a_table_and_examples() {
    let node = Node::embedded().await;
    let arguments = [&["fanout", "--readers", "50", "--rate", "400", "--spin"][..], &SHORT].concat();
    let output = run(&node.url, &arguments).await;
    let table = String::from_utf8(output.stdout).unwrap();
    for text in [
        "Fan-out: 8 publishers to 50 subscribers",
        "5,000, ",
        "0 lost, 0 duplicated, 0 reordered",
        "to last subscriber",
    ] {
        assert!(table.contains(text), "{text} in\n{table}");
    }
    for mode in ["idle", "fanout", "saturate", "publish", "storm"] {
        let help = String::from_utf8(run(&node.url, &[mode, "--help"]).await.stdout).unwrap();
        assert!(help.contains(&format!("  pipecast bench {mode} ")), "{help}");
    }
}
