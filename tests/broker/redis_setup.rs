//! The ways in which Redis is reached, and Redises that will not do.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;

use serde_json::json;

use crate::support::node::{Node, Options};
use crate::support::redis::{Redis, free_port};
use crate::support::tls::Authority;
use crate::support::{PATIENCE, eventually};

async fn assert_works(node: &Node) {
    let mut stream = node.open("p", "").await;
    node.publish("p", "a", json!(1)).await;
    assert_eq!(stream.numbers(1).await, [1]);
    node.forget("p").await;
    let key = [("Idempotency-Key", "k")];
    assert_eq!(node.post_with("p", json!({"channel": "a", "payload": 2}), &key).await.status(), 202);
    assert_eq!(stream.numbers(1).await, [2]);
}

/// Starts a node that ends by itself.
pub fn refused(options: &Options) -> (Output, String) {
    let mut command = options.clone().argument("--listen").argument("127.0.0.1:0").command();
    // A node that starts all the same would never end.
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id().to_string();
    let (ended, has_ended) = std::sync::mpsc::channel::<()>();
    let killer = std::thread::spawn(move || {
        if has_ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            Command::new("kill").args(["-KILL", &pid]).status().unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(ended);
    killer.join().unwrap();
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    (output, errors)
}

#[tokio::test]
async fn password_and_a_database_over_tcp() {
    let port = free_port().to_string();
    let redis = Redis::start_with(&["--port", &port, "--bind", "127.0.0.1", "--save", ""]).await;
    redis.command(&["CONFIG", "SET", "requirepass", "s3cret/@:"]);
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{port}/3");
    let node = Options::default().redis(&url("s3cret%2F%40%3A")).start().await;
    assert_works(&node).await;
    assert!(!node.log().contains("s3cret"));
    let keys = redis.command(&["-a", "s3cret/@:", "-n", "3", "KEYS", "pipecast:{p}:*"]);
    assert_eq!(keys.lines().count(), 2, "{keys}");

    let (output, errors) = refused(&Options::default().redis(&url("wrong")));
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("check the user, the password") && !errors.contains("wrong@"), "{errors}");
}

#[tokio::test]
async fn password_in_a_file_may_be_any() {
    let port = free_port().to_string();
    let redis = Redis::start_with(&["--port", &port, "--bind", "127.0.0.1", "--save", ""]).await;
    let password = "s3cret@:/%40?# \u{e4}+&";
    redis.command(&["ACL", "SETUSER", "pipe@cast", "on", &format!(">{password}"), "~*", "&*", "+@all"]);
    redis.command(&["CONFIG", "SET", "requirepass", password]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let with = |url: &str, content: &str| {
        std::fs::write(file.path(), content).unwrap();
        Options::default().redis(url).set("REDIS__PASSWORD_FILE", file.path().to_str().unwrap())
    };
    let (user, nobody) = (format!("redis://pipe%40cast@127.0.0.1:{port}"), format!("redis://127.0.0.1:{port}"));
    // A byte order mark is an editor's too.
    let files = [(&user, "", ""), (&user, "", "\n"), (&nobody, "", "\r\n"), (&user, "\u{feff}", "\r\n")];
    for (database, (url, beginning, end)) in files.into_iter().enumerate() {
        let node = with(&format!("{url}/{database}"), &format!("{beginning}{password}{end}")).start().await;
        assert_works(&node).await;
        assert!(!node.log().contains("s3cret"));
    }
    // A blank at the end is part of a password, and so makes it another one.
    for (url, content, code, problem) in [
        (&user, format!("{password} \n"), 1, "check the user, the password"),
        (&user, "\n".to_owned(), 1, "it is empty"),
        (&user, "\u{feff}\n".to_owned(), 1, "it is empty"),
        (&format!("redis://:s3cret@127.0.0.1:{port}"), password.to_owned(), 2, "redis.url contains a password too"),
        (
            &format!("redis+unix://{}?pass=s3cret", redis.socket().display()),
            password.to_owned(),
            2,
            "redis.url contains a password too",
        ),
        (
            &String::new(),
            password.to_owned(),
            2,
            "redis.password_file (environment variable PIPECAST_REDIS__PASSWORD_FILE): has no effect without redis.url",
        ),
    ] {
        let (output, errors) = refused(&with(url, &content));
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.contains(problem) && !errors.contains("s3cret"), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_password_file_is_used_without_a_restart() {
    let redis = Redis::start().await;
    redis.command(&["ACL", "SETUSER", "pipecast", "on", ">old", "~*", "&*", "+@all"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "old").unwrap();
    let options = Options::default()
        .redis(&format!("redis+unix://{}?user=pipecast", redis.socket().display()))
        .set("REDIS__PASSWORD_FILE", file.path().to_str().unwrap())
        .set("REDIS__PROBE_INTERVAL", "200ms");
    let node = options.start().await;
    let mut stream = node.open("p", "").await;
    node.publish("p", "a", json!(1)).await;
    assert_eq!(stream.numbers(1).await, [1]);
    redis.command(&["ACL", "SETUSER", "pipecast", ">new", "<old"]);
    redis.command(&["CLIENT", "KILL", "USER", "pipecast"]);
    crate::support::eventually("it is not let in any more", || async { !node.is_ready().await }).await;
    std::fs::write(file.path(), "new\n").unwrap();
    crate::support::eventually("it is let in again", || async { node.is_ready().await }).await;
    node.publish("p", "a", json!(2)).await;
    assert_eq!(stream.numbers(1).await, [2]);
    // Reads by clients have a pool of connections, which was opened with the old password or is opened with the new one.
    let events = async || node.history("p", "").await["events"].as_array().map_or(0, Vec::len);
    assert_eq!(events().await, 2);
    redis.command(&["ACL", "SETUSER", "pipecast", ">newest", "<new"]);
    std::fs::write(file.path(), "newest").unwrap();
    redis.command(&["CLIENT", "KILL", "USER", "pipecast"]);
    assert_eq!(events().await, 2);
}

#[tokio::test]
async fn user_without_unwatch_is_served_with_a_warning() {
    let redis = Redis::start().await;
    redis.command(&["ACL", "SETUSER", "pipecast", "on", ">x", "~pipecast:*", "&pipecast:*", "+@all", "-unwatch"]);
    let node = Options::default().redis(&format!("{}?user=pipecast&pass=x", redis.url())).start().await;
    assert!(node.log().contains("does not allow UNWATCH"), "{}", node.log());
    assert_works(&node).await;
    for _ in 0..20 {
        assert_eq!(node.history("p", "").await["events"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn user_with_the_rights_of_the_readme_and_no_others() {
    let page = include_str!("../../docs/operate/redis.md");
    let rights = page
        .lines()
        .find_map(|line| line.strip_prefix("ACL SETUSER pipecast "))
        .expect("the permissions in docs/operate/redis.md");
    let redis = Redis::start().await;
    let mut command = vec!["ACL", "SETUSER", "pipecast"];
    command.extend(rights.split_whitespace().map(|word| if word == ">PASSWORD" { ">secret" } else { word }));
    redis.command(&command);
    redis.command(&["ACL", "SETUSER", "default", "off"]);
    let url = format!("redis+unix://{}?user=pipecast&pass=secret", redis.socket().display());
    let options =
        Options::default().redis(&url).set("HUB__CHECK_INTERVAL", "100ms").set("REDIS__PROBE_INTERVAL", "100ms");
    let node = options.start().await;
    assert_works(&node).await;
    assert!(!node.log().contains("does not allow"), "{}", node.log());
    // The regular comparison, of pipelines with readers, has its rights too.
    let _stream = node.open("p", "").await;
    crate::support::eventually("a comparison was made", || async {
        redis.command(&["--user", "pipecast", "--pass", "secret", "--no-auth-warning", "DEL", "pipecast:{p}:events"]);
        node.metric("pipecast_history_reads_total{reason=\"check\"}").await >= 1.0
    })
    .await;
    for op in ["append", "history", "check", "delete"] {
        assert_eq!(node.metric(&format!("pipecast_store_errors_total{{op=\"{op}\"}}")).await, 0.0, "{op}");
    }
    let wrong = url.replace("pass=secret", "pass=no");
    let (output, errors) = refused(&Options::default().redis(&wrong));
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("Redis refused the connection"), "{errors}");
}

#[tokio::test]
async fn log_has_the_reason_why_redis_refuses_a_running_node() {
    let redis = Redis::start().await;
    redis.command(&["ACL", "SETUSER", "pipecast", "on", ">secret", "~*", "&*", "+@all"]);
    let url = format!("redis+unix://{}?user=pipecast&pass=secret", redis.socket().display());
    let node = Options::default().redis(&url).set("REDIS__PROBE_INTERVAL", "100ms").start().await;
    redis.command(&["ACL", "SETUSER", "pipecast", "resetpass", ">another"]);
    redis.command(&["CLIENT", "KILL", "USER", "pipecast"]);
    crate::support::eventually("the reason is logged", async || {
        node.log().lines().any(|line| line.contains("cannot connect to Redis again") && line.contains("WRONGPASS"))
    })
    .await;
    redis.command(&["ACL", "SETUSER", "pipecast", ">secret"]);
    crate::support::eventually("it works again", async || node.is_ready().await).await;
}

#[tokio::test]
async fn installations_with_own_prefixes_share_no_event() {
    let redis = Redis::start().await;
    redis.command(&["ACL", "SETUSER", "blue", "on", ">blue", "resetchannels", "~blue:*", "&blue:*", "+@all"]);
    redis.command(&["ACL", "SETUSER", "green", "on", ">green", "resetchannels", "~green:*", "&green:*", "+@all"]);
    let start = async |name: &str| {
        let url = format!("redis+unix://{}?user={name}&pass={name}", redis.socket().display());
        Options::default().redis(&url).set("REDIS__PREFIX", name).start().await
    };
    let (blue, also_blue, green) = (start("blue").await, start("blue").await, start("green").await);
    let mut streams = [also_blue.open("p", "").await, green.open("p", "").await];
    blue.publish("p", "a", json!(1)).await;
    green.publish("p", "a", json!(2)).await;
    blue.publish("p", "a", json!(3)).await;
    assert_eq!(streams[0].numbers(2).await, [1, 3]);
    green.publish("p", "a", json!(4)).await;
    assert_eq!(streams[1].numbers(2).await, [2, 4]);
    blue.forget("p").await;
    assert_eq!(green.history("p", "").await["events"].as_array().unwrap().len(), 2);
    let (output, errors) = refused(&Options::default().redis(&redis.url()).set("REDIS__PREFIX", "a:*"));
    assert_eq!(output.status.code(), Some(2));
    assert!(errors.contains("redis.prefix") && errors.contains("1-64 characters"), "{errors}");
}

#[tokio::test]
async fn tls_with_an_own_authority_and_a_client_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca");
    let stranger = Authority::new(folder.path(), "stranger");
    let (server_cert, server_key) = authority.issue("server");
    let (client_cert, client_key) = authority.issue("client");
    let (other_cert, other_key) = stranger.issue("other");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let port = free_port().to_string();
    let redis = Redis::start_with(&[
        "--tls-port",
        &port,
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--tls-cert-file",
        &server_cert,
        "--tls-key-file",
        &server_key,
        "--tls-ca-cert-file",
        &file("ca.pem"),
        "--tls-auth-clients",
        "yes",
    ])
    .await;
    let options = Options::default().redis(&format!("rediss://localhost:{port}"));
    let with = |ca: &str, cert: &str, key: &str| {
        options.clone().set("REDIS__TLS_CA", ca).set("REDIS__TLS_CERT", cert).set("REDIS__TLS_KEY", key)
    };
    assert_works(&with(&file("ca.pem"), &client_cert, &client_key).start().await).await;
    assert!(!redis.command(&["KEYS", "*"]).is_empty());

    // The same with a password that is read for each connection.
    redis.command(&["ACL", "SETUSER", "pipecast", "on", ">s3cret", "~*", "&*", "+@all"]);
    redis.command(&["CONFIG", "SET", "requirepass", "s3cret"]);
    std::fs::write(file("password"), "s3cret").unwrap();
    let secret = with(&file("ca.pem"), &client_cert, &client_key).set("REDIS__PASSWORD_FILE", &file("password"));
    let secret = secret.set("REDIS__PREFIX", "secret");
    assert_works(&secret.start().await).await;
    redis.command(&["-a", "s3cret", "CONFIG", "SET", "requirepass", ""]);

    // A server that we cannot trust, and a server that cannot trust us: the node waits, unready.
    for wrong in
        [with(&file("stranger.pem"), &client_cert, &client_key), with(&file("ca.pem"), &other_cert, &other_key)]
    {
        let node = wrong.start_unready().await;
        assert_eq!(node.post("p", json!({"channel": "a", "payload": 1})).await.status(), 503);
        assert!(!node.is_ready().await);
        crate::support::eventually("it says why", || async {
            node.log().contains("invalid peer certificate") || node.log().contains("fatal alert")
        })
        .await;
    }
    let (output, errors) = refused(&options.set("REDIS__TLS_CERT", &client_cert));
    assert_eq!(output.status.code(), Some(2));
    assert!(errors.contains("redis.tls_key: is missing"), "{errors}");
}

#[tokio::test]
async fn redis_older_than_seven_is_named_at_the_start() {
    #[expect(clippy::disallowed_methods, reason = "tests have no settings of their own")]
    let program = PathBuf::from(std::env::var("REDIS_6_SERVER").unwrap_or_default());
    assert!(
        program.is_file(),
        "REDIS_6_SERVER must name a redis-server of version 6; `scripts/test rust` installs one and sets it"
    );
    let redis = Redis::start_program(program, tempfile::tempdir().unwrap(), &["--save", ""]).await;
    let (output, errors) = refused(&Options::default().redis(&redis.url()));
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("is too old: Redis 7.0 or newer"), "{errors}");
    assert!(errors.contains("Redis 6."), "{errors}");
}

#[tokio::test]
async fn redis_that_cannot_serve_is_named_at_the_start() {
    let redis = Redis::start().await;
    let port = free_port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let over_tcp = Redis::start_with(&["--port", &port, "--bind", "127.0.0.1", "--save", ""]).await;
    let cluster =
        Redis::start_program("redis-server".into(), folder, &["--cluster-enabled", "yes", "--save", ""]).await;
    for (url, code, problem) in [
        (cluster.url(), 1, "runs in cluster mode"),
        (format!("{}?db=99", redis.url()), 1, "refuses the database of redis.url"),
        (format!("redis://127.0.0.1:{port}/99"), 1, "refuses the database of redis.url"),
        (format!("redis://127.0.0.1:{port}/-1"), 2, "0 or more"),
        (format!("{}?db=-1", redis.url()), 2, "0 or more"),
        (format!("redis://127.0.0.1:{port}?db=3"), 2, "into the path"),
        (format!("redis://127.0.0.1:{port}/3?name=x"), 2, "no meaning here"),
    ] {
        let (output, errors) = refused(&Options::default().redis(&url));
        assert_eq!(output.status.code(), Some(code), "{url}: {errors}");
        assert!(errors.contains(problem), "{url}: {errors}");
    }
    drop(over_tcp);
}

/// The rights are tried with the calls that are made later, each by itself.
#[tokio::test]
async fn right_that_is_missing_is_named_at_the_start() {
    let redis = Redis::start().await;
    for (missing, doing) in [
        ("-set", "a probe"),
        ("-publish", "a probe"),
        ("-rpush", "to store events"),
        ("-pexpire", "to store events"),
        ("-ltrim", "to store events"),
        ("-subscribe", "to listen"),
        ("-lrange", "to read histories"),
        ("-script|load", "to store events"),
    ] {
        redis.command(&[
            "ACL",
            "SETUSER",
            "pipecast",
            "reset",
            "on",
            ">x",
            "~pipecast:*",
            "&pipecast:*",
            "+@all",
            missing,
        ]);
        let (output, errors) = refused(&Options::default().redis(&format!("{}?user=pipecast&pass=x", redis.url())));
        assert_eq!(output.status.code(), Some(1), "{missing}: {errors}");
        assert!(errors.contains(&format!("Redis refused {doing}")), "{missing}: {errors}");
    }
    // The moment since when Redis has lost nothing stays.
    let left = || redis.command(&["KEYS", "*"]);
    eventually("nothing is left of the trials", || async { ["", "pipecast:began"].contains(&&*left()) }).await;
}

#[tokio::test]
async fn renamed_redis_commands_are_reported_at_start() {
    let redis = Redis::start_with(&["--save", "", "--rename-command", "EVALSHA", "other"]).await;
    let (output, errors) = refused(&Options::default().redis(&redis.url()));
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("Redis refused to store events"), "{errors}");
}
