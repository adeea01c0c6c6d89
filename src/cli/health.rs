//! `pipecast health`: whether the node on this machine is healthy. For containers, whose image has no other HTTP client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use reqwest::StatusCode;
use reqwest::redirect::Policy;

use super::client::{beginning, is_error, root_cause, use_ring};
use super::{Environment, Failure, Outcome, SettingsArgs, load_settings, print_error};
use crate::visible::visible;

/// Check whether the node on this machine is healthy
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    pipecast health                                 ready: may receive traffic\n  \
    pipecast health --live --timeout 500ms          live: responds at all\n  \
    pipecast health --admin-listen 10.0.0.1:8081\n\n\
    It finds the node with the same settings as `pipecast serve`. Exit codes: 0 healthy, 1 not healthy, 2 usage error.")]
pub(super) struct HealthArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Check that it responds (/livez) instead of that it is ready for traffic (/readyz)
    #[arg(long)]
    live: bool,
    /// How long to wait for the response
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// Why a node is not healthy.
#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error("cannot make requests: {}", root_cause(.0))]
    Client(reqwest::Error),
    #[error("cannot reach {url}: {problem}; check that the node is running, with the same server.admin_listen")]
    Unreachable { url: String, problem: String },
    #[error("{url} responds {status}: {reason}")]
    Unhealthy { url: String, status: StatusCode, reason: String },
    #[error("{url} responds {status}, which is not a Pipecast response; check what listens on server.admin_listen")]
    NotPipecast { url: String, status: StatusCode },
}

pub(super) async fn health(args: HealthArgs, environment: Environment) -> Outcome {
    let (settings, _) = load_settings(&args.settings.sources(environment))?;
    // The responses of the admin listener.
    let (path, healthy) = if args.live { ("livez", "alive") } else { ("readyz", "ready") };
    let url = format!("http://{}/{path}", reachable(settings.server.admin_listen));
    ask(url, healthy, args.timeout).await.map_err(|error| {
        print_error(error);
        Failure::Failed
    })
}

async fn ask(url: String, healthy: &str, timeout: Duration) -> Result<(), HealthError> {
    use_ring();
    // Without a proxy from the environment, and without loading certificates, which plain HTTP does not need.
    let builder = reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(timeout).tls_certs_only([]);
    let client = builder.build().map_err(HealthError::Client)?;
    let unreachable =
        |error: &reqwest::Error| HealthError::Unreachable { url: url.clone(), problem: root_cause(error) };
    let response = client.get(&url).send().await.map_err(|error| unreachable(&error))?;
    let status = response.status();
    let text = beginning(response).await;
    match text.trim_end() {
        text if status == StatusCode::OK && text == healthy => Ok(()),
        text if is_error(status) => Err(HealthError::Unhealthy { url, status, reason: visible(text).into_owned() }),
        _ => Err(HealthError::NotPipecast { url, status }),
    }
}

/// The address at which this machine reaches a node: loopback for one that listens on all addresses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback =
            if address.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
        address.set_ip(loopback);
    }
    address
}
