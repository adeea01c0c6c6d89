//! `pipecast doctor`: whether streams work through whatever stands between a client and the nodes.
//!
//! Load balancers, ingresses and CDNs break streams in few and well-known ways. Each check looks for one of them with real
//! events on a pipeline of its own, and says what to change.

mod checks;
mod findings;
mod listening;

use std::time::Duration;

use clap::Args;

use super::client::Broker;
use super::node_url::NodeUrl;
use super::{Failure, NodeArgs, Outcome, Token, complain, say};
use crate::event::PipelineId;
use checks::Doctor;
use findings::Findings;

/// Check that streams work through the load balancers and proxies before the nodes
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    pipecast doctor https://events.example.com\n  \
    pipecast doctor https://events.example.com --hold 5m --origin https://www.example.com\n\n\
    It publishes to a pipeline of its own and reads it, so with access by tokens it needs one that may do both there.\n\
    Exit codes: 0 nothing failed, 1 something did, 2 wrong usage.")]
pub(super) struct DoctorArgs {
    /// What clients connect to
    #[arg(env = "PIPECAST_URL", hide_env_values = true, default_value = "http://127.0.0.1:8080")]
    url: NodeUrl,
    /// A key or token. Other users of the machine see a command line: better by PIPECAST_TOKEN
    #[arg(long, env = "PIPECAST_TOKEN", hide_env_values = true)]
    token: Option<Token>,
    /// The pipeline, whose history is forgotten in the end; a new one if not given
    #[arg(long)]
    pipeline: Option<PipelineId>,
    /// How long to hold an idle stream. Longer than the longest idle time-out on the way finds that, too
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = humantime::parse_duration)]
    hold: Duration,
    /// An origin whose pages are to read streams, such as https://www.example.com
    #[arg(long)]
    origin: Option<String>,
}

pub(super) async fn doctor(args: DoctorArgs) -> Outcome {
    let pipeline = args.pipeline.map_or_else(|| format!("doctor-{:08x}", rand::random::<u32>()).parse(), Ok);
    // Letters and digits: always a name.
    let pipeline = pipeline.map_err(|error| fail(&error, Failure::Failed))?;
    let node = NodeArgs { url: args.url, token: args.token };
    let broker = Broker::new(&node).map_err(|error| fail(&error, error.failure()))?;
    say(format!("{}, pipeline {pipeline}\n\n", broker.url));
    let doctor = Doctor::new(broker, &pipeline);
    let mut findings = Findings::default();
    let checked = async {
        doctor.examine(args.hold, args.origin.as_deref(), &mut findings).await;
        doctor.clean_up(&mut findings).await;
    };
    tokio::select! {
        () = checked => {}
        _ = tokio::signal::ctrl_c() => return Err(Failure::Failed),
    }
    say(findings.summary());
    if findings.has_failed() { Err(Failure::Failed) } else { Ok(()) }
}

fn fail(error: &dyn std::fmt::Display, failure: Failure) -> Failure {
    complain(error);
    failure
}
