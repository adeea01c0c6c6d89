//! The command line: what commands print, what they send, and their exit codes.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::node::{Node, Options};
use crate::support::seq;

pub(crate) fn pipecast(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pipecast"));
    command.args(arguments).env_clear();
    command
}

pub(crate) fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        // A command may exit before it has read everything.
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_sends_one_event_and_prints_its_id() {
    let node = Node::embedded().await;
    let arguments = ["publish", "p", "--url", &node.url, "--channel", "names", "{\"name\": 1.10}"];
    let output = run(&mut pipecast(&arguments), "");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let answer: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(seq(answer["id"].as_str().unwrap()), 1);
    let url = format!("{}/pipelines/p/events", node.url);
    assert!(node.http.get(url).send().await.unwrap().text().await.unwrap().contains("{\"name\":1.10}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_sends_lines_in_order_and_in_batches() {
    let node = Node::embedded().await;
    let mut stream = node.open("p", "").await;
    let lines: String = (1..=1234).map(|n| format!("{n}\n")).collect();
    let mut command = pipecast(&["publish", "p", "--channel", "numbers"]);
    let output = run(command.env("PIPECAST_URL", &node.url), &lines);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let answer: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!((&answer["published"], seq(answer["last_id"].as_str().unwrap())), (&json!(1234), 1234));
    assert_eq!(stream.numbers(1234).await, (1..=1234).collect::<Vec<_>>());
    assert_eq!(node.metric("pipecast_publish_duration_seconds_count").await, 3.0);

    let events = "{\"channel\":\"a\",\"payload\":1}\n\n{\"channel\":\"b\",\"payload\":2}";
    let output = run(&mut pipecast(&["publish", "p", "--url", &node.url]), events);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(stream.take(2).await[1].event, "b");

    // Some editors save files with a byte order mark.
    let output = run(&mut pipecast(&["publish", "p", "--url", &node.url]), &format!("\u{feff}{events}"));
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(stream.take(2).await[1].event, "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_name_the_problem_and_set_the_exit_code() {
    let node = Node::embedded().await;
    let check = |arguments: &[&str], input: &str, code: i32, problem: &str| {
        let mut command = pipecast(arguments);
        let output = run(command.env("PIPECAST_URL", &node.url), input);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains(problem), "{arguments:?}: {}", err(&output));
        assert_eq!(out(&output), "");
    };
    check(&["publish", "p", "--channel", "a", "text"], "", 2, "quotes");
    check(&["publish", "p", "{}"], "", 2, "--channel");
    check(&["publish", "a b", "--channel", "a", "1"], "", 2, "1-128");
    check(&["publish", "p", "--channel", "pipecast.x", "1"], "", 1, "400 Bad Request");
    check(&["publish", "..", "--channel", "a", "1"], "", 2, "`..`");
    check(&["publish", "p", "--channel", "error", "1"], "", 1, "EventSource");
    check(&["publish", "p"], "1\nx\n", 1, "line 2");
    check(&["publish", "p"], "{\"channel\":\"a\"}\n", 1, "index 0: missing field `payload`");
    check(&["tail", "p", "--replay", "1000"], "", 1, "0 to 100");
    check(&["tail", "p", "--count", "0"], "", 2, "--count");
    check(&["nonsense"], "", 2, "nonsense");
    check(&["serve", "--listen", "nonsense"], "", 2, "server.listen (flag): `nonsense`");
    let port = node.port();
    check(
        &["serve", "--listen", &format!("127.0.0.1:{port}")],
        "",
        1,
        &format!("server.listen 127.0.0.1:{port}: Address"),
    );
    assert_eq!(node.history("p", "").await["events"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_fails_when_its_output_cannot_be_written() {
    let node = Node::embedded().await;
    node.publish_numbers("p", 1..=3).await;
    for flags in [&[][..], &["--raw"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = pipecast(&["tail", "p", "--url", &node.url]);
        let output = command.args(flags).stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{flags:?}");
        assert!(err(&output).contains("No space left"), "{flags:?}: {}", err(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_resumes_after_a_restart_of_the_node() {
    let redis = crate::support::redis::Redis::start().await;
    let mut node = Options::default().redis(&redis.url()).start().await;
    let other = Options::default().redis(&redis.url()).start().await;
    other.publish_numbers("p", 1..=3).await;
    let tail = pipecast(&["tail", "p", "--url", &node.url, "--count", "9"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("tail receives", || async { node.metric("pipecast_events_delivered_total").await == 3.0 }).await;
    let port = node.port();
    node.kill();
    other.publish_numbers("p", 4..=6).await;
    let address = format!("127.0.0.1:{port}");
    let node = Options::default().redis(&redis.url()).argument("--listen").argument(&address).start().await;
    eventually("tail receives again", || async { node.metric("pipecast_events_delivered_total").await == 3.0 }).await;
    other.publish_numbers("p", 7..=9).await;
    let output = tail.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = out(&output);
    let lines: Vec<Vec<_>> = text.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(lines.iter().map(|line| line[2].parse().unwrap()).collect::<Vec<u64>>(), (1..=9).collect::<Vec<_>>());
    assert!(lines.iter().all(|line| line[1] == "numbers" && seq(line[0]).to_string() == line[2]), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_prints_raw_bytes_and_filters_channels() {
    let node = Node::embedded().await;
    let id = node.publish("p", "a", json!(1)).await;
    node.publish("p", "b", json!(2)).await;
    let output = run(&mut pipecast(&["tail", "p", "--url", &node.url, "--raw", "--count", "1", "--channel", "a"]), "");
    let text = out(&output);
    assert!(text.starts_with("retry: ") && text.ends_with(&format!("\nid: {id}\nevent: a\ndata: 1\n\n")), "{text}");
    // A position is neither printed nor counted.
    let output = run(&mut pipecast(&["tail", "p", "--url", &node.url, "--replay", "1", "--count", "1"]), "");
    assert!(out(&output).lines().count() == 1 && out(&output).ends_with(" b 2\n"), "{}", out(&output));
    let output = run(&mut pipecast(&["tail", "p", "--url", &node.url, "--last-event-id", &id, "--count", "1"]), "");
    assert!(out(&output).ends_with(" b 2\n"), "{}", out(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_counts_events_but_not_gaps() {
    let node = Node::embedded().await;
    node.publish_numbers("p", 1..=3).await;
    for flags in [&[][..], &["--raw"]] {
        let mut command = pipecast(&["tail", "p", "--url", &node.url, "--last-event-id", "x", "--count", "2"]);
        let output = run(command.args(flags), "");
        let text = out(&output);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        assert!(text.contains("pipecast.gap") && text.contains("\"unknown\""), "{text}");
        let events = text.lines().filter(|line| line.contains("numbers")).count();
        assert!(events == 2 || events == 3 && flags == ["--raw"], "{text}");
    }
}

#[test]
fn client_commands_reject_schemes_they_cannot_speak() {
    for scheme in ["ftp", "ws", "wss", "redis", "file"] {
        let url = format!("{scheme}://127.0.0.1:9");
        for command in [&["publish", "p", "--channel", "a", "1"][..], &["publish", "p"], &["tail", "p"], &["demo"]] {
            let output = run(pipecast(command).args(["--url", &url]), "");
            assert_eq!(output.status.code(), Some(2), "{command:?} {url}: {}", err(&output));
            assert!(err(&output).contains("https://"), "{}", err(&output));
        }
        let output = run(&mut pipecast(&["doctor", &url]), "");
        assert_eq!(output.status.code(), Some(2), "{url}: {}", err(&output));
    }
}

#[test]
fn config_prints_effective_values_and_hides_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipecast.toml");
    let text = "[stream]\nkeepalive = \"10s\"\n[server]\ncors_origins = [\"https://a.example\", \"https://b.example\"]\n[history]\nlimit = 50\n";
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let mut command = pipecast(&["config", "--config", &file, "--listen", "127.0.0.1:9999"]);
    command
        .env("PIPECAST_HISTORY__LIMIT", "70")
        .env("PIPECAST_REDIS__URL", "redis://me:hunter2@127.0.0.1/1")
        .env("PIPECAST_PORT", "tcp://10.0.0.1:8080")
        .env("PIPECAST_SERVICE_HOST", "10.0.0.1");
    let output = run(&mut command, "");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let text = out(&output);
    for line in [
        "listen = \"127.0.0.1:9999\"  # flag".to_owned(),
        format!("keepalive = \"10s\"  # {file}"),
        format!("cors_origins = \"https://a.example,https://b.example\"  # {file}"),
        "limit = \"70\"  # environment variable PIPECAST_HISTORY__LIMIT".to_owned(),
        "url = \"redis://me:***@127.0.0.1/1\"  # environment variable PIPECAST_REDIS__URL".to_owned(),
        "ttl = \"24h\"  # default".to_owned(),
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
    }
    assert!(!text.contains("hunter2"));
    // The output is a valid settings file.
    let again = folder.path().join("again.toml");
    std::fs::write(&again, text.replace("redis://me:***@127.0.0.1/1", "")).unwrap();
    let output = run(&mut pipecast(&["config", "--config", &again.display().to_string()]), "");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}

#[test]
fn invalid_settings_are_reported_together() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    std::fs::write(&file, "[stream]\nkeepalive = 15\nkeepalives = \"15s\"\n[nonsense]\nx = 1\n").unwrap();
    let mut command = pipecast(&["serve", "--config", &file.display().to_string(), "--redis", "http://:hunter2@x"]);
    command
        .env("PIPECAST_HISTORY__LIMIT", "0")
        .env("PIPECAST_SERVER__CORS_ORIGINS", "*,https://a.example")
        .env("PIPECAST_LIMITS__MAX_EVENT_SIZE", "lots")
        .env("PIPECAST_LOG__FORMAT", "xml")
        .env("PIPECAST_DRAIN__LEED", "5s");
    let output = run(&mut command, "");
    assert_eq!(output.status.code(), Some(2));
    let errors = err(&output);
    for problem in [
        "stream.keepalive (",
        "stream.keepalives (",
        "did you mean stream.keepalive?",
        "nonsense.x (",
        "history.limit (environment variable PIPECAST_HISTORY__LIMIT): invalid value `0`",
        "server.cors_origins (",
        "`lots`",
        "`xml`",
        "did you mean drain.lead?",
        "redis.url (",
    ] {
        assert!(errors.contains(problem), "{problem} in\n{errors}");
    }
    assert!(!errors.contains("hunter2"));
    let output = run(&mut pipecast(&["config", "--config", "/nonexistent.toml"]), "");
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("--config (/nonexistent.toml)"), "{}", err(&output));
}

#[test]
fn unknown_variables_are_rejected_with_the_nearest_name() {
    for name in ["serve", "config", "health"] {
        let mut command = pipecast(&[name]);
        command
            .env("PIPECAST_STREAM_KEEPALIVE", "5s")
            .env("PIPECAST_LIMITS__STREAM", "10")
            .env("PIPECAST_SEVER__LISTEN", "127.0.0.1:0")
            .env("PIPECAST_TOKENS", "x")
            .env("PIPECAST_PORT", "8080");
        let output = run(&mut command, "");
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        for problem in [
            "PIPECAST_STREAM_KEEPALIVE: unknown environment variable; did you mean PIPECAST_STREAM__KEEPALIVE?",
            "limits.stream (environment variable PIPECAST_LIMITS__STREAM): unknown setting; did you mean limits.streams?",
            "sever.listen (environment variable PIPECAST_SEVER__LISTEN): unknown setting; did you mean server.listen?",
            "PIPECAST_TOKENS: unknown environment variable; did you mean PIPECAST_TOKEN?",
            "PIPECAST_PORT: unknown environment variable; `pipecast config` lists all settings",
        ] {
            assert!(err(&output).contains(problem), "{problem} in\n{}", err(&output));
        }
    }
}

#[test]
fn variables_of_clients_and_of_kubernetes_are_no_settings() {
    let mut command = pipecast(&["config"]);
    command.env("PIPECAST_URL", "http://broker.example").env("PIPECAST_TOKEN", "a-token");
    // What a Service named pipecast, and one named pipecast-redis, add to each container of their namespace.
    for (service, port) in [("PIPECAST", "80"), ("PIPECAST_REDIS", "6379")] {
        let url = format!("tcp://10.96.0.7:{port}");
        command
            .env(format!("{service}_SERVICE_HOST"), "10.96.0.7")
            .env(format!("{service}_SERVICE_PORT"), port)
            .env(format!("{service}_SERVICE_PORT_MAIN"), port)
            .env(format!("{service}_PORT"), &url)
            .env(format!("{service}_PORT_{port}_TCP"), &url)
            .env(format!("{service}_PORT_{port}_TCP_PROTO"), "tcp")
            .env(format!("{service}_PORT_{port}_TCP_PORT"), port)
            .env(format!("{service}_PORT_{port}_TCP_ADDR"), "10.96.0.7");
    }
    let output = run(&mut command, "");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}

#[test]
fn help_has_examples() {
    for name in ["", "serve", "publish", "tail", "demo", "health", "token", "config"] {
        let command: Vec<_> = [name, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
        let output = run(&mut pipecast(&command), "");
        assert_eq!(output.status.code(), Some(0));
        assert!(out(&output).contains("Examples:\n  "), "{command:?}");
    }
    assert_eq!(out(&run(&mut pipecast(&["--version"]), "")), format!("pipecast {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn json_logs_contain_no_query_and_no_payload() {
    let node = Options::default().set("LOG__FORMAT", "json").set("LOG__FILTER", "trace").start().await;
    node.publish("p", "a", json!("payload-secret")).await;
    drop(node.open("p", "?token=token-secret").await);
    node.signal("TERM");
    eventually("the log says that it stops", || async { node.log().contains("\"message\":\"stopping") }).await;
    let log = node.log();
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{log}");
    assert!(!log.contains("token-secret") && !log.contains("payload-secret"), "{log}");
}
