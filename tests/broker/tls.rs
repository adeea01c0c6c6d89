//! TLS on the public listener: both protocols, certificates that change, and pairs that will not do.

use std::process::Command;
use std::sync::Arc;

use reqwest::{Client, Version};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::support::node::{Node, Options};
use crate::support::raw::narrow_socket;
use crate::support::stream::{Stream, assert_contiguous, number};
use crate::support::tls::Authority;
use crate::support::{PATIENCE, client, eventually};

/// An authority, and a certificate of it as the node has it.
struct Certificates {
    authority: Authority,
    cert: String,
    key: String,
    folder: TempDir,
}

impl Certificates {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path(), "ca");
        let (cert, key) = authority.issue("server");
        Self { authority, cert, key, folder }
    }

    fn options(&self) -> Options {
        Options::default().set("SERVER__TLS_CERT", &self.cert).set("SERVER__TLS_KEY", &self.key)
    }

    /// Clients that trust the authority: one that speaks only HTTP/1.1, and one that accepts what the node prefers.
    fn clients(&self) -> [(Client, Version); 2] {
        let trusting = || client().tls_certs_only([self.authority.certificate()]);
        [(trusting().http1_only().build().unwrap(), Version::HTTP_11), (trusting().build().unwrap(), Version::HTTP_2)]
    }
}

async fn open(client: &Client, node: &Node, query: &str) -> Stream {
    Stream::open_by(client, &format!("{}/pipelines/p/sse{query}", node.url), None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn byte_order_mark_hides_no_certificate_and_no_key() {
    let certificates = Certificates::new();
    for path in [&certificates.cert, &certificates.key] {
        let text = std::fs::read_to_string(path).unwrap();
        std::fs::write(path, format!("\u{feff}{text}")).unwrap();
    }
    let (client, _) = &certificates.clients()[0];
    let node = certificates.options().client(client.clone()).start().await;
    node.publish("p", "a", json!(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_and_live_events_arrive_over_tls_in_both_protocols() {
    let certificates = Certificates::new();
    let clients = certificates.clients();
    let node = certificates.options().client(clients[0].0.clone()).start().await;
    assert!(node.url.starts_with("https://"), "{}", node.url);
    node.publish_numbers("p", 1..=100).await;
    let mut streams = Vec::new();
    for (client, version) in &clients {
        let answer = client.get(format!("{}/pipelines/p", node.url)).send().await.unwrap();
        assert_eq!((answer.version(), answer.status().as_u16()), (*version, 200));
        streams.push(open(client, &node, "").await);
    }
    for n in (101..1000).step_by(100) {
        node.publish_numbers("p", n..=n + 99).await;
    }
    for stream in &mut streams {
        let events = stream.take(1000).await;
        assert_contiguous(&events);
        assert_eq!(events.iter().map(number).collect::<Vec<_>>(), (1..=1000).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_that_comes_back_over_tls_resumes_where_it_stopped() {
    let certificates = Certificates::new();
    for (client, _) in certificates.clients() {
        let node = certificates.options().client(client).set("STREAM__MAX_AGE", "1s").start().await;
        let mut last = node.publish("p", "numbers", json!(0)).await;
        let mut seen = Vec::new();
        for n in 1..=3 {
            let mut stream = node.open_with("p", "", Some(&last)).await;
            node.publish_numbers("p", n * 10..=n * 10 + 9).await;
            while let Some(event) = stream.try_next().await {
                last.clone_from(&event.id);
                seen.push(number(&event));
            }
        }
        assert_eq!(seen, (10..40).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_that_changes_is_read_again_and_open_streams_stay() {
    let certificates = Certificates::new();
    let [(old, _), _] = certificates.clients();
    let node = certificates.options().client(old.clone()).start().await;
    let mut stream = node.open("p", "").await;

    // One file at a time, as a person would copy them; half a pair is not usable.
    let stranger = Authority::new(certificates.folder.path(), "stranger");
    let (cert, key) = stranger.issue("renewed");
    std::fs::write(&certificates.cert, "not a certificate").unwrap();
    eventually("it says that the old one stays", || async { node.log().contains("keeping the one in use") }).await;
    assert_eq!(node.publish("p", "a", json!(1)).await.split('-').count(), 2);
    std::fs::copy(&cert, &certificates.cert).unwrap();
    std::fs::copy(&key, &certificates.key).unwrap();

    let new = client().tls_certs_only([stranger.certificate()]).build().unwrap();
    let page = format!("{}/", node.url);
    eventually("the new one is shown", || async { new.get(&page).send().await.is_ok() }).await;
    // Not the client from before: it would resume its session without looking at the certificate.
    let [(old, _), _] = certificates.clients();
    assert!(old.get(&page).send().await.is_err(), "the old certificate is still shown");
    let publish = new.post(format!("{}/pipelines/p/events", node.url)).header("Content-Type", "application/json");
    assert_eq!(publish.body(r#"{"channel":"a","payload":2}"#).send().await.unwrap().status(), 202);
    assert_eq!(stream.numbers(2).await, [1, 2]);
}

#[test]
fn pair_that_will_not_do_is_named_at_the_start() {
    let certificates = Certificates::new();
    let (_, other_key) = certificates.authority.issue("other");
    let missing = certificates.folder.path().join("missing").display().to_string();
    let (cert, key) = (certificates.cert.as_str(), certificates.key.as_str());
    let both = certificates.folder.path().join("both").display().to_string();
    let keys = [key, &other_key].map(|path| std::fs::read_to_string(path).unwrap());
    std::fs::write(&both, keys.concat()).unwrap();
    for (cert, key, code, problem) in [
        (cert, "", 2, "server.tls_key: is missing"),
        ("", key, 2, "server.tls_cert: is missing"),
        (cert, &other_key, 1, "server.tls_cert and server.tls_key"),
        (key, key, 1, "no certificate"),
        (cert, cert, 1, "no private key"),
        (cert, &both, 1, "2 private keys"),
        (&missing, key, 2, "does not exist"),
    ] {
        let options = [("SERVER__TLS_CERT", cert), ("SERVER__TLS_KEY", key)].into_iter();
        let options = options.filter(|(_, file)| !file.is_empty()).fold(Options::default(), |o, (k, v)| o.set(k, v));
        let output = options.argument("--listen").argument("127.0.0.1:0").command().output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.contains(problem), "{problem:?} is not in {errors:?}");
        assert!(errors.matches("server.tls_cert").count() <= 1, "one fault is reported once: {errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_closed_tls_client_gets_its_whole_answer() {
    let certificates = Certificates::new();
    let [(client, _), _] = certificates.clients();
    let node = certificates.options().client(client).start().await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificates.authority.file).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    // Where the end of the answer falls in the buffers depends on its length.
    for n in 0..8 {
        let (pipeline, payload) = (format!("p{n}"), "x".repeat(1200 + 1000 * n));
        node.post(&pipeline, Value::from_iter((0..100).map(|_| json!({"channel": "a", "payload": payload})))).await;
        let socket = narrow_socket(node.address(), 4 << 10);
        let mut stream = connector.connect("localhost".try_into().unwrap(), socket).await.unwrap();
        let request = format!("GET /pipelines/{pipeline}/events HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!((answer.matches("\"channel\"").count(), answer.matches("HTTP/1.1 ").count()), (100, 1), "{n}");
    }
    assert_eq!(node.metric("pipecast_rejected_total{reason=\"bad_request\"}").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line_publishes_and_follows_over_tls() {
    let certificates = Certificates::new();
    let [(client, _), _] = certificates.clients();
    let node = certificates.options().client(client).start().await;
    let command = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pipecast"));
        let url = node.url.replace("127.0.0.1", "localhost");
        command.args(words).args(["p", "--url", &url]).env_clear().env("SSL_CERT_FILE", &certificates.authority.file);
        command
    };
    let output = command(&["publish", "--channel", "a"]).arg("1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = command(&["tail", "--count", "1"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.ends_with(" a 1\n"), "{text}");
}
