//! `pipecast demo`: invented events and readers that come and go, to see lines move.

mod invented;

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use futures_util::future::try_join_all;
use tokio::time::MissedTickBehavior;

use super::client::{Broker, ClientError, address};
use super::follower::{Follower, Over};
use super::node_url::NodeUrl;
use super::sender::{Request, SendError, Sender};
use super::{Failure, NodeArgs, Outcome, complain, say};
use crate::app::StopSignals;
use crate::backoff::Backoff;
use crate::event::PipelineId;
use invented::Inventor;

/// Events a second that one publisher, who waits for each answer, can be asked for.
const RATES: RangeInclusive<f64> = 0.1..=200.0;

/// Publish invented events, and hold streams that read them
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    pipecast demo\n  \
    pipecast demo --rate 50 --readers 500\n  \
    pipecast demo p_aBcDeF --url https://events.example.com\n\n\
    It goes on until it is stopped, also while no node answers.")]
pub(super) struct DemoArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The pipeline, as in /pipelines/p_aBcDeF/sse
    #[arg(default_value = "p_demo")]
    pipeline: PipelineId,
    /// Events a second
    #[arg(long, value_name = "N", default_value = "5", value_parser = rate)]
    rate: f64,
    /// Streams that are open at the same time
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u16).range(0..=5000))]
    readers: u16,
    /// How long a reader stays, on average, before it leaves and comes back to resume
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    stay: Duration,
    /// Where browsers reach the same node or balancer, to be printed; --url if not given
    #[arg(long, value_name = "URL")]
    browse: Option<NodeUrl>,
}

/// Why the demo ended by itself.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("{0}")]
    Client(#[from] ClientError),
    #[error("{0}")]
    Refused(String),
    #[error("signals cannot be had: {0}")]
    Signals(#[from] std::io::Error),
}

/// What the publisher and the readers did so far.
#[derive(Default)]
struct Done {
    published: AtomicU64,
    delivered: AtomicU64,
    streams: AtomicU64,
    resumed: AtomicU64,
    /// It was said that nobody answers.
    is_away: AtomicBool,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| RATES.contains(rate));
    rate.ok_or_else(|| format!("write a number from {} to {}", RATES.start(), RATES.end()))
}

pub(super) async fn demo(args: DemoArgs) -> Outcome {
    let done = Done::default();
    run(&args, &done).await.map_err(|error| {
        complain(&error);
        if let DemoError::Client(error) = error { error.failure() } else { Failure::Failed }
    })?;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    say(format!(
        "published {} events; read {} on {} streams, of which {} resumed\n",
        count(&done.published),
        count(&done.delivered),
        count(&done.streams),
        count(&done.resumed)
    ));
    Ok(())
}

async fn run(args: &DemoArgs, done: &Done) -> Result<(), DemoError> {
    let mut stops = StopSignals::new()?;
    let broker = Broker::new(&args.node)?;
    let browsed = args.browse.as_ref().map(NodeUrl::checked).transpose().map_err(ClientError::Url)?;
    let page = address(browsed.as_ref().unwrap_or(&broker.url), &args.pipeline, None);
    let sender = Sender::new(broker.clone(), &args.pipeline);
    let stream = broker.address(&args.pipeline, Some("sse"));
    let readers =
        (0..args.readers).map(|_| read(Follower::new(broker.client.clone(), stream.clone()), args.stay, done));
    say(format!(
        "{} events a second to {}, read by {} streams. Look at them:\n\n  {page}\n\n",
        args.rate, args.pipeline, args.readers
    ));
    tokio::select! {
        result = publish(&sender, args.rate, done) => result.map(|never| match never {}),
        result = try_join_all(readers), if args.readers > 0 => result.map(|_| ()),
        _ = stops.next() => Ok(()),
    }
}

async fn publish(sender: &Sender, rate: f64, done: &Done) -> Result<std::convert::Infallible, DemoError> {
    let mut inventor = Inventor::new();
    let mut beat = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    // What could not be published in time is not made up for.
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let request = Request::event(inventor.next().to_string());
        let mut backoff = Backoff::for_store();
        loop {
            match sender.attempt(&request).await {
                Ok(_) => break done.answered(),
                Err(error @ (SendError::NotNow(_) | SendError::Unreachable { .. })) => done.away(&error),
                Err(error) => return Err(DemoError::Refused(error.to_string())),
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
        done.published.fetch_add(1, Ordering::Relaxed);
    }
}

/// One reader: it stays for a while, leaves, and comes back as a browser would whose connection was cut.
async fn read(mut follower: Follower, stay: Duration, done: &Done) -> Result<std::convert::Infallible, DemoError> {
    loop {
        done.streams.fetch_add(1, Ordering::Relaxed);
        if follower.last_event_id.is_some() {
            done.resumed.fetch_add(1, Ordering::Relaxed);
        }
        let connection = follower.follow(|_| {
            done.delivered.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Continue(())
        });
        let stays = stay.mul_f64(rand::random_range(0.5..=1.5));
        // That nobody answers is told by the publisher, once for all.
        if let Ok(Over::Refused(problem)) = tokio::time::timeout(stays, connection).await {
            return Err(DemoError::Refused(problem));
        }
        tokio::time::sleep(follower.retry).await;
    }
}

impl Done {
    fn away(&self, problem: &dyn std::fmt::Display) {
        if !self.is_away.swap(true, Ordering::Relaxed) {
            complain(format!("{problem}; trying again until it works"));
        }
    }

    fn answered(&self) {
        if self.is_away.swap(false, Ordering::Relaxed) {
            complain("events are taken again");
        }
    }
}
