//! Redis behind Sentinel: a node finds the primary, and follows it to another server.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::redis_setup;
use crate::support::node::{Node, Options};
use crate::support::redis::{Redis, free_port};
use crate::support::sentinel::{MASTER, Setup, Stubborn, Watched, url};
use crate::support::stream::Stream;
use crate::support::tls::Authority;
use crate::support::{PATIENCE, eventually};

fn watchful(url: &str) -> Options {
    // Open logs are never compared with the store, which would eventually repair what following the primary left broken.
    Options::default()
        .redis(url)
        .set("REDIS__PROBE_INTERVAL", "500ms")
        .set("REDIS__TIMEOUT", "1s")
        .set("HUB__CHECK_INTERVAL", "1h")
        .set("HISTORY__LIMIT", "10000")
}

async fn assert_works(node: &Node) {
    let mut stream = node.open("works", "").await;
    node.publish("works", "a", json!(1)).await;
    assert_eq!(stream.numbers(1).await, [1]);
    node.forget("works").await;
    assert_eq!(node.history("works", "").await["events"], json!([]));
}

/// Starts a node that ends by itself; its exit code and what it wrote.
fn refused(options: &Options) -> (Option<i32>, String) {
    let (output, errors) = redis_setup::refused(options);
    (output.status.code(), errors)
}

/// Publishes a number until it is acknowledged; its id.
async fn until_acknowledged(node: &Node, number: usize) -> String {
    let (event, key) = (json!({"channel": "numbers", "payload": number}), number.to_string());
    let began = Instant::now();
    loop {
        let answer = node.post_with("p", &event, &[("Idempotency-Key", &key)]).await;
        if answer.status() == StatusCode::ACCEPTED {
            return answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
        }
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(began.elapsed() < PATIENCE, "event {number} is not acknowledged");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Publishes numbers until one is acknowledged after `is_over`, and then some more. Returns how many, and the ids of those
/// that were acknowledged.
async fn publish_until(nodes: &[Node; 2], is_over: &AtomicBool) -> Vec<String> {
    const MORE: usize = 50;
    let (mut ids, mut left) = (Vec::new(), MORE);
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    while left > 0 {
        ticks.tick().await;
        let number = ids.len() + 1;
        let began = Instant::now();
        ids.push(until_acknowledged(&nodes[number % 2], number).await);
        if began.elapsed() > Duration::from_millis(500) {
            eprintln!("event {number} was acknowledged after {:?}", began.elapsed());
        }
        if is_over.load(Ordering::SeqCst) {
            left -= 1;
        }
    }
    ids
}

/// What survived arrives once and in order; what was lost after it had been delivered is one gap.
async fn assert_delivered(stream: &mut Stream, survivors: &[(String, u64)]) {
    let last = &survivors.last().unwrap().0;
    let (mut delivered, mut gaps, mut lost) = (Vec::new(), 0, 0);
    while delivered.last() != Some(last) {
        let event = stream.next().await;
        match &*event.event {
            "pipecast.gap" => gaps += 1,
            _ if survivors.iter().any(|(id, _)| *id == event.id) => delivered.push(event.id),
            _ => {
                assert_eq!(gaps, 0, "{event:?} is of the lost history");
                lost += 1;
            }
        }
    }
    let expected: Vec<_> = survivors.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(delivered, expected);
    assert!(gaps <= 1 && (lost == 0 || gaps == 1), "{gaps} gaps, {lost} lost events");
    assert!(stream.arrived().is_empty());
}

/// Nodes publish and deliver while the primary is replaced. Returns them, and how many acknowledged events were lost.
async fn failover(watched: &mut Watched, replace: impl FnOnce(&mut Watched)) -> ([Node; 2], usize) {
    // Rarely enough that only what the sentinels announce is in time.
    let options = watchful(&watched.url()).set("REDIS__PROBE_INTERVAL", "60s");
    let nodes = [options.clone().start().await, options.start().await];
    let mut streams = [nodes[0].open("p", "").await, nodes[1].open("p", "").await];
    let is_over = AtomicBool::new(false);
    let replacing = async {
        eventually("some events are published", || async {
            nodes[1].metric("pipecast_events_published_total").await >= 20.0
        })
        .await;
        let old = watched.primary();
        let began = Instant::now();
        replace(watched);
        watched.until_moved_from(old).await;
        eprintln!("all sentinels name another primary after {:?}", began.elapsed());
        is_over.store(true, Ordering::SeqCst);
    };
    let (ids, ()) = tokio::join!(publish_until(&nodes, &is_over), replacing);
    let history = nodes[0].history("p", "").await;
    let survivors = history["events"].as_array().unwrap().iter();
    let survivors: Vec<_> =
        survivors.map(|event| (event["id"].as_str().unwrap().to_owned(), event["payload"].as_u64().unwrap())).collect();
    assert!(survivors.windows(2).all(|pair| pair[0].1 < pair[1].1), "none is stored twice: {survivors:?}");
    let is_lost = |id: &&String| survivors.iter().all(|(survivor, _)| survivor != *id);
    let lost = ids.iter().filter(is_lost).count();
    eprintln!("of {} acknowledged events {lost} were lost", ids.len());
    assert!(ids.iter().rev().take(50).all(|id| !is_lost(&id)), "the new primary keeps what it acknowledged");
    for stream in &mut streams {
        assert_delivered(stream, &survivors).await;
    }
    for node in &nodes {
        eventually("the node is ready", || async { node.is_ready().await }).await;
    }
    (nodes, lost)
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_follow_when_the_primary_is_killed() {
    let mut watched = Watched::start().await;
    failover(&mut watched, |watched| watched.servers[0].redis.kill()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_follow_a_failover_and_outlive_the_sentinels() {
    let mut watched = Watched::start().await;
    let ([node, _], _) = failover(&mut watched, |watched| {
        assert_eq!(watched.sentinels[0].command(&["SENTINEL", "FAILOVER", MASTER]), "OK");
    })
    .await;
    let primary = watched.primary();
    let lied_to = watchful(&url([Stubborn::start(watched.servers[0].port).port, watched.sentinels[1].port]));
    let lied_to = lied_to.start().await;
    assert_works(&lied_to).await;
    for sentinel in &mut watched.sentinels {
        sentinel.kill();
    }
    let reconnects = node.metric("pipecast_store_reconnects_total").await;
    let redis = &watched.servers[primary].redis;
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    eventually("it listens again", || async { node.metric("pipecast_store_reconnects_total").await > reconnects })
        .await;
    eventually("it publishes again", || async {
        node.post("q", json!({"channel": "a", "payload": 1})).await.status() == StatusCode::ACCEPTED
    })
    .await;
    assert_works(&node).await;
    eventually("the node is ready", || async { node.is_ready().await }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn planned_failover_with_paused_writes_loses_nothing() {
    let mut watched = Watched::start().await;
    let (_, lost) = failover(&mut watched, |watched| {
        watched.servers[0].redis.command(&["CLIENT", "PAUSE", "10000", "WRITE"]);
        assert_eq!(watched.sentinels[0].command(&["SENTINEL", "FAILOVER", MASTER]), "OK");
    })
    .await;
    assert_eq!(lost, 0);
}

/// It names a server that says it is a primary, and is the only one that answers.
#[tokio::test(flavor = "multi_thread")]
async fn sentinel_that_names_an_old_primary_is_not_believed() {
    let mut watched = Watched::start().await;
    let liar = Stubborn::start(watched.servers[0].port);
    let node = watchful(&url([liar.port, watched.sentinels[0].port, watched.sentinels[1].port])).start().await;
    let mut stream = node.open("p", "").await;
    node.publish("p", "a", json!(0)).await;
    // A stream without any event would get a gap, since a promoted server may have lost some.
    assert_eq!(stream.numbers(1).await, [0]);
    for replica in &watched.servers[1..] {
        let kept = || replica.redis.command(&["LLEN", "pipecast:{p}:events"]);
        eventually("the replica has the event", || async { kept() == "1" }).await;
    }
    watched.servers[0].redis.kill();
    let primary = watched.until_moved_from(0).await;
    eventually("publishing works", || async {
        node.post_with("p", json!({"channel": "a", "payload": 1}), &[("Idempotency-Key", "1")]).await.status() == 202
    })
    .await;
    // Else they would make a replica of it at once.
    for sentinel in &watched.sentinels {
        sentinel.signal("STOP");
    }
    watched.servers[0].redis.restart().await;
    let redis = &watched.servers[primary].redis;
    redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let asked = liar.asked();
    eventually("the node has heard the lie several times", || async { liar.asked() >= asked + 10 }).await;
    eventually("publishing works", || async {
        node.post_with("p", json!({"channel": "a", "payload": 2}), &[("Idempotency-Key", "2")]).await.status() == 202
    })
    .await;
    assert_eq!(stream.numbers(2).await, [1, 2]);
    assert_works(&node).await;
    assert_eq!(redis.command(&["LLEN", "pipecast:{p}:events"]), "3");
    assert_eq!(watched.servers[0].redis.command(&["DBSIZE"]), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_servers_have_credentials_of_their_own() {
    let page = include_str!("../../docs/operate/redis.md");
    let user = page.lines().find(|line| line.starts_with("user watcher "));
    let user = user.expect("the permissions in docs/operate/redis.md").replace("PASSWORD", "s3cret");
    let setup = Setup {
        sentinels: 1,
        server: &["--user", "pipecast", "on", ">primary", "~*", "&*", "+@all"],
        sentinel: &[&user],
        ..Setup::default()
    };
    let watched = setup.start().await;
    // Without a password until here, for the starter.
    watched.sentinels[0].command(&["ACL", "SETUSER", "default", "resetpass", ">other"]);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (servers, sentinels) = (file("servers", "primary\n"), file("sentinels", "s3cret\n"));
    let at = format!("127.0.0.1:{}/{MASTER}", watched.sentinels[0].port);
    let plain = Options::default().redis(&format!("redis-sentinel://pipecast@{at}/3"));
    let options = plain.clone().set("REDIS__PASSWORD_FILE", &servers);
    let with = |user: &str, file: &str| {
        options.clone().set("REDIS__SENTINEL_USER", user).set("REDIS__SENTINEL_PASSWORD_FILE", file)
    };
    let node = with("watcher", &sentinels).start().await;
    assert_works(&node).await;
    assert!(!node.log().contains("does not answer") && !node.log().contains("s3cret"), "{}", node.log());
    let keys = watched.servers[0].redis.command(&["-n", "3", "KEYS", "*"]);
    assert!(keys.contains("pipecast:"), "{keys}");
    let wrong = file("wrong", "wrong");
    for (options, problem) in [
        (options.clone(), "redis.sentinel_password_file"),
        (with("watcher", &wrong), "redis.sentinel_password_file"),
        (with("watcher", &sentinels).set("REDIS__PASSWORD_FILE", &wrong), "check the user, the password"),
    ] {
        let (code, errors) = refused(&options);
        assert!(code == Some(1) && errors.contains(problem) && !errors.contains("s3cret"), "{errors}");
    }
    for (options, problem) in [
        (plain.clone().set("REDIS__SENTINEL_USER", "watcher"), "has no effect without redis.sentinel_password_file"),
        (Options::default().set("REDIS__SENTINEL_USER", "watcher"), "has no effect unless redis.url"),
        (
            Options::default().redis(&format!("redis-sentinel://:s3cret@{at}")).set("REDIS__PASSWORD_FILE", &servers),
            "redis.url contains a password too",
        ),
    ] {
        let (code, errors) = refused(&options);
        assert!(code == Some(2) && errors.contains(problem) && !errors.contains("s3cret"), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_sentinels_and_servers() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca");
    let (cert, key) = authority.issue("server");
    let ca = authority.file.display().to_string();
    let server =
        ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca, "--tls-replication", "yes"];
    let lines = [
        format!("tls-cert-file {cert}\ntls-key-file {key}\ntls-ca-cert-file {ca}"),
        // Sentinels connect to servers as replicas do.
        "tls-replication yes".to_owned(),
    ];
    let lines = lines.each_ref().map(String::as_str);
    let setup = Setup { sentinels: 1, server: &server, sentinel: &lines, tls: true, ..Setup::default() };
    let watched = setup.start().await;
    let url = format!("rediss-sentinel://localhost:{}/{MASTER}", watched.sentinels[0].port);
    let with = |cert: &str, key: &str| {
        let options = Options::default().redis(&url).set("REDIS__TLS_CA", &ca);
        options.set("REDIS__TLS_CERT", cert).set("REDIS__TLS_KEY", key)
    };
    assert_works(&with(&cert, &key).start().await).await;
    let stranger = Authority::new(folder.path(), "stranger");
    let node = Options::default().redis(&url).set("REDIS__TLS_CA", &stranger.file.display().to_string());
    let node = node.start_unready().await;
    eventually("it says why", || async { node.log().contains("invalid peer certificate") }).await;
    assert!(!node.is_ready().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_that_cannot_help_are_named_at_the_start() {
    let watched = Setup { sentinels: 1, ..Setup::default() }.start().await;
    let (sentinel, server) = (watched.sentinels[0].port, watched.servers[0].port);
    for (url, problem) in [
        (format!("redis-sentinel://127.0.0.1:{sentinel}/other"), "no sentinel knows a primary named `other`"),
        (format!("redis-sentinel://127.0.0.1:{server}/{MASTER}"), "is not a sentinel"),
        (format!("redis://127.0.0.1:{sentinel}"), "set redis.url to redis-sentinel://"),
    ] {
        let (code, errors) = refused(&Options::default().redis(&url));
        assert!(code == Some(1) && errors.contains(problem), "{url}: {errors}");
    }
    for (url, problem) in [
        (format!("redis-sentinel://127.0.0.1:{sentinel}"), "the name of the primary"),
        (format!("redis-sentinel://127.0.0.1:{sentinel}/{MASTER}?db=3"), "remove its query"),
        (format!("redis-sentinel://127.0.0.1:{sentinel}/{MASTER}/-1"), "0 or more"),
    ] {
        let (code, errors) = refused(&Options::default().redis(&url));
        assert!(code == Some(2) && errors.contains(problem), "{url}: {errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_starts_before_its_sentinels_waits_for_them() {
    let port = free_port();
    let options = watchful(&format!("redis-sentinel://user:s3cret@127.0.0.1:{port}/{MASTER}"));
    let node = options.start_unready().await;
    assert_eq!(node.admin_status("/readyz").await, Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(node.post("p", json!({"channel": "a", "payload": 1})).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(node.log().contains("the sentinel does not answer"), "{}", node.log());
    let server = free_port();
    let redis = Redis::start_with(&["--port", &server.to_string(), "--bind", "127.0.0.1", "--save", ""]).await;
    redis.command(&["ACL", "SETUSER", "user", "on", ">s3cret", "~*", "&*", "+@all"]);
    let _sentinel = Stubborn::start_on(port, server);
    eventually("the node is ready", || async { node.is_ready().await }).await;
    assert_works(&node).await;
    assert!(!node.log().contains("s3cret"));
}

#[test]
fn settings_are_shown_without_the_password() {
    let url = "redis-sentinel://pipecast:s3cret@a:1,b:2/mymaster/3";
    let mut command = Command::new(env!("CARGO_BIN_EXE_pipecast"));
    command.arg("config").env_clear().env("PIPECAST_REDIS__URL", url);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("redis-sentinel://pipecast:***@a:1,b:2/mymaster/3") && !text.contains("s3cret"), "{text}");
}
