//! `pipecast doctor`: whether streams work through the load balancers and proxies between clients and nodes.
//!
//! Load balancers, ingresses and CDNs break streams in a few well-known ways. Each check looks for one of them, with real
//! events on a pipeline of its own, and suggests a fix.

mod checks;
mod pipeline_choice;
mod report;
mod requests;
mod stream_reader;

use std::time::Duration;

use clap::Args;

use super::client::Broker;
use super::node_url::NodeUrl;
use super::{Failure, NodeArgs, Outcome, Token, print_error, print_out};
use crate::event::PipelineId;
use report::Report;
use requests::Doctor;

/// Check that streams work through the load balancers and proxies in front of the nodes
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    pipecast doctor https://events.example.com\n  \
    pipecast doctor https://events.example.com --idle-for 5m --origin https://www.example.com\n\n\
    It publishes to a new pipeline and subscribes to it. If the nodes require a token, yours needs both permissions there.\n\
    Exit codes: 0 nothing failed, 1 a check failed, 2 usage error.")]
pub(super) struct DoctorArgs {
    /// The URL that clients connect to
    #[arg(env = "PIPECAST_URL", hide_env_values = true, default_value = "http://127.0.0.1:8080")]
    url: NodeUrl,
    /// Key or token. Prefer PIPECAST_TOKEN: command lines are visible to other users
    #[arg(long, env = "PIPECAST_TOKEN", hide_env_values = true)]
    token: Option<Token>,
    /// The pipeline to use; its history is deleted at the end. Defaults to a new one that the token allows
    #[arg(long)]
    pipeline: Option<PipelineId>,
    /// How long to keep a stream idle. Set it above every idle timeout between client and node to test those too
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = humantime::parse_duration)]
    idle_for: Duration,
    /// An origin whose pages must be able to subscribe, for example https://www.example.com
    #[arg(long)]
    origin: Option<String>,
}

pub(super) async fn doctor(args: DoctorArgs) -> Outcome {
    let choice = pipeline_choice::choose(args.pipeline, args.token.as_ref().map(Token::expose));
    let has_token = args.token.is_some();
    let node = NodeArgs { url: args.url, token: args.token };
    let broker = Broker::new(&node).map_err(|error| fail(&error, error.failure()))?;
    let choice = choice.map_err(|error| fail(&error, Failure::Usage))?;
    print_out(format!("{}, pipeline {}\n\n", broker.url, choice.pipeline));
    let doctor = Doctor::new(broker, choice, has_token);
    let mut report = Report::default();
    let checked = async {
        doctor.examine(args.idle_for, args.origin.as_deref(), &mut report).await;
        doctor.clean_up(&mut report).await;
    };
    tokio::select! {
        () = checked => {}
        _ = tokio::signal::ctrl_c() => return Err(Failure::Failed),
    }
    print_out(report.summary());
    if report.has_failed() { Err(Failure::Failed) } else { Ok(()) }
}

fn fail(error: &dyn std::fmt::Display, failure: Failure) -> Failure {
    print_error(error);
    failure
}
