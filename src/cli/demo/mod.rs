//! `pipecast demo`: publishes sample events and holds streams that subscribe, leave and resume.

mod event_generator;

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use futures_util::future::try_join_all;
use tokio::time::MissedTickBehavior;

use super::client::{Broker, ClientError, address};
use super::follower::{DisconnectReason, Follower};
use super::node_url::NodeUrl;
use super::sender::{Request, SendError, Sender};
use super::{Failure, NodeArgs, Outcome, print_error, print_out};
use crate::app::StopSignals;
use crate::backoff::Backoff;
use crate::event::PipelineId;
use event_generator::EventGenerator;

/// Events per second that one publisher can send while it waits for each response.
const RATES: RangeInclusive<f64> = 0.1..=200.0;

/// Publish sample events and hold streams that receive them
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    pipecast demo\n  \
    pipecast demo --rate 50 --readers 500\n  \
    pipecast demo p_aBcDeF --url https://events.example.com\n\n\
    Runs until you stop it, and keeps retrying while no node responds.")]
pub(super) struct DemoArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The pipeline, as in /pipelines/p_aBcDeF/sse
    #[arg(default_value = "p_demo")]
    pipeline: PipelineId,
    /// Events per second
    #[arg(long, value_name = "N", default_value = "5", value_parser = rate)]
    rate: f64,
    /// Number of open streams
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u16).range(0..=5000))]
    readers: u16,
    /// Average time before a subscriber disconnects and resumes
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    session: Duration,
    /// URL to print, where browsers reach this node or load balancer. Defaults to --url
    #[arg(long, value_name = "URL")]
    public_url: Option<NodeUrl>,
}

/// Why the demo ended before it was stopped.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Rejected(String),
    #[error("cannot handle signals: {0}")]
    Signals(#[from] std::io::Error),
}

/// What the publisher and the subscribers have done so far.
#[derive(Default)]
struct Progress {
    published: AtomicU64,
    delivered: AtomicU64,
    streams: AtomicU64,
    resumed: AtomicU64,
    /// Publishing fails, and the user has been notified.
    is_failing: AtomicBool,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| RATES.contains(rate));
    rate.ok_or_else(|| format!("must be a number from {} to {}", RATES.start(), RATES.end()))
}

pub(super) async fn demo(args: DemoArgs) -> Outcome {
    let progress = Progress::default();
    run(&args, &progress).await.map_err(|error| {
        print_error(&error);
        if let DemoError::Client(error) = error { error.failure() } else { Failure::Failed }
    })?;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    print_out(format!(
        "published {} events; received {} on {} streams, {} of them resumed\n",
        count(&progress.published),
        count(&progress.delivered),
        count(&progress.streams),
        count(&progress.resumed)
    ));
    Ok(())
}

async fn run(args: &DemoArgs, progress: &Progress) -> Result<(), DemoError> {
    let mut stops = StopSignals::new()?;
    let broker = Broker::new(&args.node)?;
    let public_url = args.public_url.as_ref().map(NodeUrl::checked).transpose().map_err(ClientError::Url)?;
    let page = address(public_url.as_ref().unwrap_or(&broker.url), &args.pipeline, None);
    let sender = Sender::new(broker.clone(), &args.pipeline);
    let stream = broker.address(&args.pipeline, Some("sse"));
    let readers =
        (0..args.readers).map(|_| read(Follower::new(broker.client.clone(), stream.clone()), args.session, progress));
    print_out(format!(
        "Publishing {} events per second to {}, with {} subscribers. Watch them at:\n\n  {page}\n\n",
        args.rate, args.pipeline, args.readers
    ));
    tokio::select! {
        result = publish(&sender, args.rate, progress) => result.map(|never| match never {}),
        result = try_join_all(readers), if args.readers > 0 => result.map(|_| ()),
        _ = stops.next() => Ok(()),
    }
}

async fn publish(sender: &Sender, rate: f64, progress: &Progress) -> Result<std::convert::Infallible, DemoError> {
    let mut events = EventGenerator::new();
    let mut beat = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    // Events that could not be published in time are skipped.
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let request = Request::event(events.next().to_string());
        let mut backoff = Backoff::for_store();
        loop {
            match sender.attempt(&request).await {
                Ok(_) => break progress.publish_succeeded(),
                Err(error @ (SendError::Unavailable(_) | SendError::Unreachable { .. })) => {
                    progress.publish_failed(&error)
                }
                Err(error) => return Err(DemoError::Rejected(error.to_string())),
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
        progress.published.fetch_add(1, Ordering::Relaxed);
    }
}

/// One subscriber: it disconnects after a while and resumes, like a browser whose connection was cut.
async fn read(
    mut follower: Follower,
    session: Duration,
    progress: &Progress,
) -> Result<std::convert::Infallible, DemoError> {
    loop {
        progress.streams.fetch_add(1, Ordering::Relaxed);
        if follower.last_event_id.is_some() {
            progress.resumed.fetch_add(1, Ordering::Relaxed);
        }
        let connection = follower.follow(|_| {
            progress.delivered.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Continue(())
        });
        let length = session.mul_f64(rand::random_range(0.5..=1.5));
        // The publisher reports that no node responds, once for all of them.
        if let Ok(DisconnectReason::Rejected(problem)) = tokio::time::timeout(length, connection).await {
            return Err(DemoError::Rejected(problem));
        }
        tokio::time::sleep(follower.retry).await;
    }
}

impl Progress {
    /// Notifies the user once per outage, not once per retry.
    fn publish_failed(&self, problem: &dyn std::fmt::Display) {
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            print_error(format!("{problem}; retrying until it works"));
        }
    }

    fn publish_succeeded(&self) {
        if self.is_failing.swap(false, Ordering::Relaxed) {
            print_error("publishing works again");
        }
    }
}
