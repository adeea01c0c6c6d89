//! A Redis that answers and will not do: demoted, full, without the rights, or another installation's.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::node::{Node, Options};
use crate::support::proxy::Proxy;
use crate::support::redis::{Redis, free_port};
use crate::support::stream::assert_contiguous;

/// Never compares open logs with the store, which would in the end hide what else is broken.
fn node_on(url: &str) -> Options {
    Options::default().redis(url).set("REDIS__PROBE_INTERVAL", "200ms").set("HUB__CHECK_INTERVAL", "1h")
}

async fn publish_with_key(node: &Node, key: &str, number: u64) -> StatusCode {
    node.post_with("p", json!({"channel": "numbers", "payload": number}), &[("Idempotency-Key", key)]).await.status()
}

async fn until_published(node: &Node, number: u64) {
    eventually("publishing works", || async {
        publish_with_key(node, &format!("n{number}"), number).await == StatusCode::ACCEPTED
    })
    .await;
}

/// A primary and its replica, in step.
async fn pair() -> (Redis, Redis, [String; 2]) {
    let ports = [free_port().to_string(), free_port().to_string()];
    let primary = Redis::start_with(&["--port", &ports[0], "--bind", "127.0.0.1", "--save", ""]).await;
    let replica = Redis::start_with(&["--port", &ports[1], "--bind", "127.0.0.1", "--save", ""]).await;
    replica.command(&["REPLICAOF", "127.0.0.1", &ports[0]]);
    eventually("the replica has its primary", || async {
        replica.command(&["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;
    (primary, replica, ports)
}

#[tokio::test(flavor = "multi_thread")]
async fn primary_that_was_demoted_is_left_by_every_connection() {
    let (old, new, ports) = pair().await;
    let proxy = Proxy::before(&old);
    let nodes = [node_on(&proxy.url()).start().await, node_on(&proxy.url()).start().await];
    let mut streams = [nodes[0].open("p", "").await, nodes[1].open("p", "").await];
    until_published(&nodes[0], 1).await;
    eventually("the replica has it", || async { new.command(&["LLEN", "pipecast:{p}:events"]) == "1" }).await;
    // The connections that are open stay open: a replica answers PING, PUBLISH and SUBSCRIBE as ever.
    proxy.lead_to(&new);
    new.command(&["REPLICAOF", "NO", "ONE"]);
    old.command(&["REPLICAOF", "127.0.0.1", &ports[1]]);
    for number in 2..=5 {
        until_published(&nodes[usize::try_from(number % 2).unwrap()], number).await;
    }
    for stream in &mut streams {
        let events = stream.take(5).await;
        assert_contiguous(&events);
    }
    for node in &nodes {
        eventually("the node is ready", || async { node.is_ready().await }).await;
        eventually("the log names it", || async { node.log().contains("no longer serves as the primary") }).await;
    }
    eventually("the old primary has no connection of a node", || async {
        let clients = old.command(&["CLIENT", "LIST"]);
        clients.lines().filter(|line| !line.contains("cmd=client") && !line.contains("flags=M")).count() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_whose_redis_stays_a_replica_is_not_ready() {
    let (primary, replica, _ports) = pair().await;
    let node = node_on(&replica.url()).start_unready().await;
    let before = node.metric("pipecast_store_errors_total{op=\"append\"}").await;
    assert_eq!(publish_with_key(&node, "k", 1).await, StatusCode::SERVICE_UNAVAILABLE);
    assert!(node.metric("pipecast_store_errors_total{op=\"append\"}").await > before);
    assert!(!node.is_ready().await);
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    until_published(&node, 1).await;
    eventually("the node is ready", || async { node.is_ready().await }).await;
    drop(primary);
}

/// Redis says no to every write, and serves everything else.
#[tokio::test(flavor = "multi_thread")]
async fn read_only_redis_makes_a_node_unready_and_is_logged_once() {
    for (code, refuse, allow) in [
        ("OOM", ["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]),
        (
            "NOREPLICAS",
            ["CONFIG", "SET", "min-replicas-to-write", "1"],
            ["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
    ] {
        let redis = Redis::start().await;
        let node = node_on(&redis.url()).start().await;
        let mut stream = node.open("p", "").await;
        until_published(&node, 1).await;
        redis.command(&refuse);
        for number in 0..5 {
            let answer = node.post("p", json!({"channel": "a", "payload": number})).await;
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(answer.headers().contains_key("Retry-After"));
            let detail = answer.json::<Value>().await.unwrap()["detail"].to_string();
            assert!(!detail.contains(code) && !detail.contains("user_script"), "{detail}");
        }
        eventually("the node is not ready", || async { !node.is_ready().await }).await;
        let refusals = || node.log().lines().filter(|line| line.contains(&format!("code=\"{code}\""))).count();
        assert_eq!(refusals(), 1, "{}", node.log());
        redis.command(&allow);
        until_published(&node, 2).await;
        eventually("the node is ready", || async { node.is_ready().await }).await;
        eventually("the log says that it is over", || async { refusals() == 2 }).await;
        assert!(node.log().contains("no longer refuses"), "{}", node.log());
        let events = stream.take(2).await;
        assert_contiguous(&events);
        // Nothing of it was the listening connection's fault.
        assert_eq!(node.metric("pipecast_store_reconnects_total").await, 0.0);
    }
}

/// A revoked Redis permission leaves nothing behind, however often a publisher tries.
#[tokio::test(flavor = "multi_thread")]
async fn event_that_is_refused_for_a_missing_right_is_not_stored() {
    for missing in [&["-set"][..], &["resetchannels", "&pipecast:probe:*"], &["-rpush"], &["-pexpire"], &["-ltrim"]] {
        let redis = Redis::start().await;
        redis.command(&["ACL", "SETUSER", "pipecast", "on", ">x", "~pipecast:*", "&pipecast:*", "+@all"]);
        let url = format!("{}?user=pipecast&pass=x", redis.url());
        let node = node_on(&url).start().await;
        until_published(&node, 1).await;
        redis.command(&[&["ACL", "SETUSER", "pipecast"], missing].concat());
        for _ in 0..5 {
            let status = publish_with_key(&node, "again", 2).await;
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{missing:?}");
        }
        assert_eq!(redis.command(&["LLEN", "pipecast:{p}:events"]), "1", "{missing:?}");
        assert!(node.log().contains("code=\"NOPERM\""), "{}", node.log());
        redis.command(&["ACL", "SETUSER", "pipecast", "&pipecast:*", "+@all"]);
        eventually("the right is back", || async { publish_with_key(&node, "again", 2).await == StatusCode::ACCEPTED })
            .await;
        assert_eq!(publish_with_key(&node, "again", 2).await, StatusCode::ACCEPTED);
        assert_eq!(redis.command(&["LLEN", "pipecast:{p}:events"]), "2", "{missing:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_of_one_redis_hear_nothing_of_each_other() {
    let redis = Redis::start().await;
    let on = |database: &str| node_on(&format!("{}{database}", redis.url()));
    let nodes = [on("").start().await, on("?db=3").start().await, on("?db=13").start().await];
    let mut streams = Vec::new();
    for node in &nodes {
        streams.push(node.open("p", "").await);
    }
    for (number, node) in (1..).zip(&nodes) {
        node.publish("p", "numbers", json!(number)).await;
    }
    for (number, stream) in (1..).zip(&mut streams) {
        assert_eq!(stream.numbers(1).await, [number]);
    }
    for (number, node) in (11..).zip(&nodes) {
        node.publish("p", "numbers", json!(number)).await;
    }
    for (number, stream) in (11..).zip(&mut streams) {
        assert_eq!(stream.numbers(1).await, [number]);
        assert!(stream.arrived().is_empty());
    }
    for node in &nodes {
        assert_eq!(node.metric("pipecast_history_reads_total{reason=\"missed_notification\"}").await, 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotency_key_with_other_events_changes_nothing() {
    let redis = Redis::start().await;
    for node in [Node::embedded().await, node_on(&redis.url()).start().await] {
        let one = json!({"channel": "numbers", "payload": 1});
        let post = async |body: &Value| {
            let answer = node.post_with("p", body.clone(), &[("Idempotency-Key", "k")]).await;
            (
                answer.status(),
                answer.headers().contains_key("Idempotency-Replayed"),
                answer.json::<Value>().await.unwrap(),
            )
        };
        let (status, _, first) = post(&one).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        for other in [
            json!({"channel": "numbers", "payload": 2}),
            json!({"channel": "names", "payload": 1}),
            json!([{"channel": "numbers", "payload": 1}]),
            json!([{"channel": "numbers", "payload": 1}, {"channel": "numbers", "payload": 1}]),
        ] {
            let (status, _, problem) = post(&other).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{other}");
            assert!(problem["detail"].as_str().unwrap().contains("Idempotency-Key"), "{problem}");
        }
        assert_eq!(post(&one).await, (StatusCode::ACCEPTED, true, first));
        let history = node.history("p", "").await;
        assert_eq!(history["events"].as_array().unwrap().len(), 1);
    }
}

/// Routers and balancers silently forget idle connections.
#[tokio::test(flavor = "multi_thread")]
async fn long_silence_behind_nat_loses_no_publish_and_no_event() {
    let redis = Redis::start().await;
    // Probes come three times as often, so that a busy machine may be late with two.
    let proxy = Proxy::forgetful(&redis, Duration::from_secs(3));
    let node = node_on(&proxy.url()).set("REDIS__PROBE_INTERVAL", "1s").start().await;
    let mut stream = node.open("p", "").await;
    let mut published = 0;
    for _ in 0..2 {
        // On every connection that publishes.
        let posts = (published..published + 8).map(async |n| publish_with_key(&node, &format!("k{n}"), n).await);
        for status in futures_util::future::join_all(posts).await {
            assert_eq!(status, StatusCode::ACCEPTED);
        }
        published += 8;
        assert!(stream.take(8).await.iter().all(|event| event.event == "numbers"));
        node.history("p", "").await;
        // What is tested is the silence itself.
        tokio::time::sleep(Duration::from_secs(7)).await;
    }
    assert_eq!(publish_with_key(&node, "last", 99).await, StatusCode::ACCEPTED);
    assert_eq!(stream.take(1).await.len(), 1);
    assert_eq!(node.metric("pipecast_store_reconnects_total").await, 0.0);
    assert_eq!(node.history("p", "").await["events"].as_array().unwrap().len(), 17);
}

/// As at `maxclients`, or before a proxy that has lost its servers: what is open works, and nothing can be opened.
#[tokio::test(flavor = "multi_thread")]
async fn node_stays_ready_when_redis_refuses_more_connections() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis);
    let node = node_on(&proxy.url()).start().await;
    let mut stream = node.open("p", "").await;
    for number in 1..=10 {
        // Over each of the connections that publish.
        until_published(&node, number).await;
    }
    stream.take(10).await;
    proxy.lead_nowhere();
    eventually("a connection could not be made", || async {
        let asking = (0..20).map(|_| node.http.get(format!("{}/pipelines/p/events", node.url)).send());
        let answers = futures_util::future::join_all(asking).await;
        answers.into_iter().any(|answer| answer.unwrap().status() == StatusCode::SERVICE_UNAVAILABLE)
    })
    .await;
    // Longer than a server may be unreachable before a node says so, which is what is tested.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(node.is_ready().await);
    until_published(&node, 11).await;
    stream.take(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_connection_is_not_tried_more_often_because_others_work() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis);
    let node = node_on(&proxy.url()).start().await;
    for number in 1..=10 {
        // Over each of the connections that publish.
        until_published(&node, number).await;
    }
    proxy.lead_nowhere();
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let (before, began) = (proxy.accepted(), std::time::Instant::now());
    for number in 0..1000 {
        node.publish("p", "numbers", json!(number)).await;
    }
    // Half of the shortest pause of the back-off each, and none of what it comes to.
    let most = 5 + began.elapsed().as_millis() / 50;
    let tries = u128::from(proxy.accepted() - before);
    assert!(tries <= most, "{tries} tries while {most} were the most");
    proxy.lead_to(&redis);
    let mut stream = node.open("q", "").await;
    node.publish("q", "numbers", json!(1)).await;
    assert_eq!(stream.numbers(1).await, [1]);
}

/// A large Redis needs minutes to load its data while clients keep asking.
#[tokio::test(flavor = "multi_thread")]
async fn loading_redis_is_logged_once_under_load() {
    let mut redis = Redis::start_with(&["--appendonly", "no"]).await;
    redis.command(&["EVAL", "for i = 1, 20000 do redis.call('SET', 'other' .. i, 'x') end", "0"]);
    let node = node_on(&redis.url()).start().await;
    let mut stream = node.open("p", "").await;
    until_published(&node, 1).await;
    redis.command(&["SAVE"]);
    redis.kill();
    redis.restart_loading(200).await;
    let (mut asked, is_loading) = (0, || redis.command(&["INFO", "persistence"]).contains("loading:1"));
    while is_loading() {
        let asking = (0..20).map(|_| node.http.get(format!("{}/pipelines/p/events", node.url)).send());
        asked += futures_util::future::join_all(asking).await.len();
        if asked > 100 {
            assert!(!node.is_ready().await || !is_loading());
        }
    }
    assert!(asked > 100, "{asked}");
    until_published(&node, 2).await;
    assert_contiguous(&stream.take(2).await);
    let lines = node.log().lines().filter(|line| line.contains("no longer serves as the primary")).count();
    assert!(lines <= 3, "{lines} lines: {}", node.log());
}
