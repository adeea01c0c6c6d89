//! `pipecast health`: asks a node whether it is well. For containers, whose image has nothing else to ask with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use reqwest::StatusCode;
use reqwest::redirect::Policy;

use super::client::{beginning, is_refusal, root_cause, use_ring};
use super::{Environment, Failure, Outcome, SettingsArgs, complain};
use crate::settings::Settings;
use crate::visible::visible;

/// Ask a node whether it is well
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    pipecast health                                 whether the node on this machine should get traffic\n  \
    pipecast health --live --timeout 500ms          whether it answers at all\n  \
    pipecast health --admin-listen 10.0.0.1:8081\n\n\
    It finds the node by the same settings as `pipecast serve` does. Exit codes: 0 it is well, 1 it is not, 2 wrong usage.")]
pub(super) struct HealthArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Ask whether it answers (/livez), not whether it should get traffic (/readyz)
    #[arg(long)]
    live: bool,
    /// How long the answer may take
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// Why a node is not well.
#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error("requests cannot be made: {}", root_cause(.0))]
    Client(reqwest::Error),
    #[error("{url} cannot be reached: {problem}; is the node running, and server.admin_listen the same for it?")]
    Unreachable { url: String, problem: String },
    #[error("{url} says {status}: {reason}")]
    Unwell { url: String, status: StatusCode, reason: String },
    #[error("{url} says {status}, and not what a node does; does something else listen at server.admin_listen?")]
    NoNode { url: String, status: StatusCode },
}

pub(super) async fn health(args: HealthArgs, environment: Environment) -> Outcome {
    let (settings, _) = Settings::load(&args.settings.sources(environment)).map_err(|faults| {
        complain(format!("the settings are not right:\n{faults}"));
        Failure::Usage
    })?;
    // As a node says it, `server/admin.rs`.
    let (path, well) = if args.live { ("livez", "alive") } else { ("readyz", "ready") };
    let url = format!("http://{}/{path}", reachable(settings.server.admin_listen));
    ask(url, well, args.timeout).await.map_err(|error| {
        complain(error);
        Failure::Failed
    })
}

async fn ask(url: String, well: &str, timeout: Duration) -> Result<(), HealthError> {
    use_ring();
    // Never by a proxy of the environment, and without reading certificates that plain HTTP has no use for.
    let builder = reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(timeout).tls_certs_only([]);
    let client = builder.build().map_err(HealthError::Client)?;
    let unreachable =
        |error: &reqwest::Error| HealthError::Unreachable { url: url.clone(), problem: root_cause(error) };
    let answer = client.get(&url).send().await.map_err(|error| unreachable(&error))?;
    let status = answer.status();
    let text = beginning(answer).await;
    match text.trim_end() {
        text if status == StatusCode::OK && text == well => Ok(()),
        text if is_refusal(status) => Err(HealthError::Unwell { url, status, reason: visible(text).into_owned() }),
        _ => Err(HealthError::NoNode { url, status }),
    }
}

/// Where a node that listens on this address is reached from its own machine: one that listens on all is on loopback too.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback =
            if address.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
        address.set_ip(loopback);
    }
    address
}
