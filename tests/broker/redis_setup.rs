//! The ways in which Redis is reached, and Redises that will not do.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::json;

use crate::support::node::{Node, Options};
use crate::support::redis::Redis;

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
fn refused(options: &Options) -> (Output, String) {
    let output = options.clone().argument("--listen").argument("127.0.0.1:0").command().output().unwrap();
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    (output, errors)
}

/// A free port, as far as one can know.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_password_and_a_database_over_tcp() {
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
async fn a_user_with_the_rights_of_the_readme_and_no_others() {
    let readme = include_str!("../../README.md");
    let rights =
        readme.lines().find_map(|line| line.strip_prefix("ACL SETUSER pipecast ")).expect("the rights in the README");
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
    // The regular comparison, of pipelines with readers, has its rights too.
    let _stream = node.open("p", "").await;
    crate::support::eventually("a comparison was made", || async {
        redis.command(&["--user", "pipecast", "--pass", "secret", "--no-auth-warning", "DEL", "pipecast:{p}:events"]);
        node.metric("pipecast_history_reads_total{cause=\"check\"}").await >= 1.0
    })
    .await;
    for op in ["append", "history", "check", "forget"] {
        assert_eq!(node.metric(&format!("pipecast_store_errors_total{{op=\"{op}\"}}")).await, 0.0, "{op}");
    }
    let wrong = url.replace("pass=secret", "pass=no");
    let (output, errors) = refused(&Options::default().redis(&wrong));
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("Redis refused the connection"), "{errors}");
}

/// Certificates of a small authority, as PEM files.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    folder: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        Self { issuer: rcgen::Issuer::new(params, key), folder: folder.to_owned() }
    }

    fn issue(&self, name: &str) -> (String, String) {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |kind: &str| self.folder.join(format!("{name}.{kind}")).display().to_string();
        std::fs::write(path("crt"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        (path("crt"), path("key"))
    }
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
async fn a_redis_older_than_seven_is_named_at_the_start() {
    #[expect(clippy::disallowed_methods, reason = "tests have no settings of their own")]
    let program = PathBuf::from(std::env::var("PIPECAST_OLD_REDIS").unwrap_or_default());
    assert!(
        program.is_file(),
        "PIPECAST_OLD_REDIS must name a redis-server of version 6; `scripts/test rust` installs one and sets it"
    );
    let redis = Redis::start_program(program, tempfile::tempdir().unwrap(), &["--save", ""]).await;
    let (output, errors) = refused(&Options::default().redis(&redis.url()));
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("is too old: Redis 7.0 or newer"), "{errors}");
    assert!(errors.contains("Redis 6."), "{errors}");
}
