//! The flags of each kind of load, and those that all kinds share.

use std::time::Duration;

use clap::{Args, Subcommand};
use pipecast_bench::MIN_PAYLOAD_BYTES;

use super::target_args::TargetArgs;

/// Put load on a Server-Sent Events server and measure it
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    pipecast bench fanout --readers 1000 --rate 40\n  \
    pipecast bench idle --streams 10000 --pid \"$(pidof pipecast)\"\n  \
    pipecast bench saturate --readers 1000 --publishers 16 --json > result.json\n  \
    pipecast bench publish --publishers 32 --url http://10.0.0.1:8080 --url http://10.0.0.2:8080\n  \
    pipecast bench storm --preset nchan --url http://127.0.0.1:8090 --clients 3000\n\n\
    For stable results, pin the bench to its own CPU and use --spin: taskset -c 1 pipecast bench ... --spin\n\
    Each run uses new pipelines. They stay on the server until it expires them.\n\
    Ctrl-C ends a run early and reports the results until then.")]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(super) mode: Mode,
}

#[derive(Subcommand, Debug)]
pub(super) enum Mode {
    Idle(IdleArgs),
    Fanout(FanoutArgs),
    Saturate(SaturateArgs),
    Publish(PublishArgs),
    Storm(StormArgs),
}

/// Hold streams without events, and measure the server's memory and CPU per stream (needs --pid)
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  pipecast bench idle --streams 15000 --hold 30s --pid 1234\n\n\
    Restart the server first: memory that it kept from earlier streams hides the cost of new ones.")]
pub(super) struct IdleArgs {
    /// Streams to hold
    #[arg(long, value_name = "N", default_value = "1000", value_parser = at_least(1))]
    pub(super) streams: usize,
    /// Pipelines to spread the streams over
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least(1))]
    pub(super) pipelines: usize,
    /// How long to hold the streams
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(super) hold: Duration,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Publish at a fixed rate to many subscribers, and measure latency and lost events
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  pipecast bench fanout --readers 15000 --pipelines 5000 --rate 1000 --size 256 --pid 1234"
)]
pub(super) struct FanoutArgs {
    /// Subscribers, spread evenly over the pipelines
    #[arg(long, value_name = "N", default_value = "1000", value_parser = at_least(1))]
    pub(super) readers: usize,
    /// Events per second, over all pipelines; sent on time even if the server answers slowly
    #[arg(long, value_name = "N", default_value = "40", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) rate: u64,
    /// Connections that publish, each with one request at a time
    #[arg(long, value_name = "N", default_value = "8", value_parser = at_least(1))]
    pub(super) publishers: usize,
    #[command(flatten)]
    pub(super) load: LoadArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Publish as fast as the server accepts events, and measure deliveries per second
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  pipecast bench saturate --readers 1000 --publishers 16 --pid 1234")]
pub(super) struct SaturateArgs {
    /// Subscribers, spread evenly over the pipelines
    #[arg(long, value_name = "N", default_value = "1000", value_parser = at_least(1))]
    pub(super) readers: usize,
    /// Connections that publish, each with one request at a time
    #[arg(long, value_name = "N", default_value = "16", value_parser = at_least(1))]
    pub(super) publishers: usize,
    #[command(flatten)]
    pub(super) load: LoadArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Publish without subscribers, and measure requests per second and their latency
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    pipecast bench publish --publishers 32\n  \
    pipecast bench publish --rate 2000 --batch 100 --pipelines 50")]
pub(super) struct PublishArgs {
    /// Connections that publish, each with one request at a time
    #[arg(long, value_name = "N", default_value = "32", value_parser = at_least(1))]
    pub(super) publishers: usize,
    /// Events per second; by default as fast as the server accepts them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) rate: Option<u64>,
    /// Subscribers, spread evenly over the pipelines
    #[arg(long, value_name = "N", default_value = "0")]
    pub(super) readers: usize,
    #[command(flatten)]
    pub(super) load: LoadArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Fill pipelines, then connect many clients at once, and measure the time until all have caught up
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  pipecast bench storm --clients 3000 --events 100 --size 200")]
pub(super) struct StormArgs {
    /// Clients that connect
    #[arg(long, value_name = "N", default_value = "1000", value_parser = at_least(1))]
    pub(super) clients: usize,
    /// Events to fill each pipeline with; no more than the server keeps
    #[arg(long, value_name = "N", default_value = "100", value_parser = at_least(1))]
    pub(super) events: usize,
    /// Pipelines to spread the clients over
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least(1))]
    pub(super) pipelines: usize,
    /// Payload size of an event, in bytes
    #[arg(long, value_name = "BYTES", default_value = "200", value_parser = at_least(MIN_PAYLOAD_BYTES))]
    pub(super) size: usize,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

#[derive(Args, Debug)]
pub(super) struct LoadArgs {
    /// Pipelines to publish to in turn
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least(1))]
    pub(super) pipelines: usize,
    /// Payload size of an event, in bytes
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = at_least(MIN_PAYLOAD_BYTES))]
    pub(super) size: usize,
    /// Events per request
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least(1))]
    pub(super) batch: usize,
    /// How long to run the load before measuring
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    pub(super) warm_up: Duration,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(super) duration: Duration,
}

#[derive(Args, Debug)]
pub(super) struct CommonArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// Process of the server, to report its memory and CPU time; repeat it for several
    #[arg(long, value_name = "PID")]
    pub(super) pid: Vec<u32>,
    /// Maximum streams that connect at the same time [default: 256; in a storm all]
    #[arg(long, value_name = "N", value_parser = at_least(1))]
    pub(super) at_once: Option<usize>,
    /// Timeout for connections and answers
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(super) timeout: Duration,
    /// Never sleep: uses a whole CPU, so that the server does no work to wake the bench
    #[arg(long)]
    pub(super) spin: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

/// Parses a number that must not be smaller.
fn at_least(least: usize) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync {
    move |text| match text.parse() {
        Ok(number) if number >= least => Ok(number),
        _ => Err(format!("must be a number of at least {least}")),
    }
}
