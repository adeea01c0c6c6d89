//! `pipecast health`: what a container's health check learns from it.

use std::net::TcpListener;
use std::process::Output;
use std::time::Instant;

use crate::cli::{err, out, pipecast, run};
use crate::support::node::{Node, Options};
use crate::support::{PATIENCE, eventually};

fn health(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = pipecast(&["health"]);
    run(command.args(arguments).envs(environment.iter().copied()), "")
}

#[track_caller]
fn assert_ends(output: &Output, code: i32, problem: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", err(output));
    assert!(err(output).contains(problem), "{}", err(output));
    assert_eq!(out(output), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_is_found_by_its_own_settings_wherever_they_stand() {
    let node = Node::embedded().await;
    let address = node.admin_address().to_string();
    let everywhere = format!("0.0.0.0:{}", node.admin_address().port());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, format!("[server]\nadmin_listen = \"{address}\"\n")).unwrap();
    let file = file.path().display().to_string();
    for arguments in [vec!["--admin-listen", &address], vec!["--admin-listen", &everywhere], vec!["--config", &file]] {
        assert_ends(&health(&arguments, &[]), 0, "");
        assert_ends(&health(&[&arguments[..], &["--live"]].concat(), &[]), 0, "");
    }
    assert_ends(&health(&[], &[("PIPECAST_SERVER__ADMIN_LISTEN", &everywhere)]), 0, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_proxies_and_certificates_are_not_needed() {
    let node = Node::embedded().await;
    let address = node.admin_address().to_string();
    let nowhere = "http://127.0.0.1:1";
    let environment =
        [("HTTP_PROXY", nowhere), ("http_proxy", nowhere), ("ALL_PROXY", nowhere), ("SSL_CERT_FILE", "/nonexistent")];
    assert_ends(&health(&["--admin-listen", &address], &environment), 0, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_without_its_store_is_alive_and_not_ready() {
    let node = Options::default().redis("redis://127.0.0.1:1").start_unready().await;
    let address = node.admin_address().to_string();
    assert_ends(&health(&["--admin-listen", &address], &[]), 1, "503 Service Unavailable");
    assert_ends(&health(&["--admin-listen", &address, "--live"], &[]), 0, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_drains_is_alive_and_not_ready() {
    let node = Node::embedded().await;
    let address = node.admin_address().to_string();
    node.signal("TERM");
    eventually("it is not ready", || async { !node.is_ready().await }).await;
    assert_ends(&health(&["--admin-listen", &address], &[]), 1, "draining");
    assert_ends(&health(&["--admin-listen", &address, "--live"], &[]), 0, "");
}

#[test]
fn node_that_is_not_there_or_does_not_answer_is_not_well() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let began = Instant::now();
    assert_ends(&health(&["--admin-listen", &address, "--live", "--timeout", "100ms"], &[]), 1, "timed out");
    assert!(began.elapsed() < PATIENCE);
    drop(listener);
    let problem = format!("http://{address}/livez: Connection refused");
    assert_ends(&health(&["--admin-listen", &address, "--live"], &[]), 1, &problem);
    // An address of IPv6 that means all is asked on its own loopback.
    assert_ends(&health(&["--admin-listen", "[::]:1"], &[]), 1, "http://[::1]:1/readyz");
}

#[test]
fn exit_codes_separate_bad_usage_from_an_unhealthy_node() {
    assert_ends(&health(&[], &[("PIPECAST_SERVER__ADMIN_LISTEN", "nonsense")]), 2, "`nonsense` is not a valid address");
    assert_ends(&health(&["--timeout", "soon"], &[]), 2, "--timeout");
    assert_ends(&health(&["--listen", "0.0.0.0:8080"], &[]), 2, "auth.publish");
}
