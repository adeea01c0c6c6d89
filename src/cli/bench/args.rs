//! What is asked of a bench, on the command line.

use std::time::Duration;

use clap::{Args, Subcommand};

use pipecast_bench::MIN_PAYLOAD_BYTES;

use super::target_args::TargetArgs;

/// Load a server of Server-Sent Events and measure it
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    pipecast bench fanout --readers 1000 --rate 40\n  \
    pipecast bench idle --streams 10000 --pid \"$(pidof pipecast)\"\n  \
    pipecast bench saturate --readers 1000 --publishers 16 --json > result.json\n  \
    pipecast bench publish --publishers 32 --url http://10.0.0.1:8080 --url http://10.0.0.2:8080\n  \
    pipecast bench storm --preset nchan --url http://127.0.0.1:8090 --clients 3000\n\n\
    Best on a CPU of its own, which --spin uses up: taskset -c 1 pipecast bench ... --spin\n\
    Pipelines get new names in each run; a server forgets them in its own time.\n\
    Ctrl-C ends a run early and reports what was measured until then.")]
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

/// Hold streams on which nothing is sent: memory and CPU of the server (give --pid)
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  pipecast bench idle --streams 15000 --hold 30s --pid 1234\n\n\
    Start the server anew before: memory that it has kept from earlier streams hides what new ones take.")]
pub(super) struct IdleArgs {
    /// Streams to hold
    #[arg(long, value_name = "N", default_value = "1000", value_parser = at_least(1))]
    pub(super) streams: usize,
    /// Pipelines that they are spread over
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least(1))]
    pub(super) pipelines: usize,
    /// How long to hold them
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(super) hold: Duration,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Publish at a rate to many readers: how late each has every event, and whether any is missing
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  pipecast bench fanout --readers 15000 --pipelines 5000 --rate 1000 --size 256 --pid 1234"
)]
pub(super) struct FanoutArgs {
    /// Readers, spread evenly over the pipelines
    #[arg(long, value_name = "N", default_value = "1000", value_parser = at_least(1))]
    pub(super) readers: usize,
    /// Events a second, over all pipelines; they are sent on time however slowly the server answers
    #[arg(long, value_name = "N", default_value = "40", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) rate: u64,
    /// Connections to publish on, each with one request at a time
    #[arg(long, value_name = "N", default_value = "8", value_parser = at_least(1))]
    pub(super) publishers: usize,
    #[command(flatten)]
    pub(super) load: LoadArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Publish as fast as the server takes it: how many deliveries a second there are
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  pipecast bench saturate --readers 1000 --publishers 16 --pid 1234")]
pub(super) struct SaturateArgs {
    /// Readers, spread evenly over the pipelines
    #[arg(long, value_name = "N", default_value = "1000", value_parser = at_least(1))]
    pub(super) readers: usize,
    /// Connections to publish on, each with one request at a time
    #[arg(long, value_name = "N", default_value = "16", value_parser = at_least(1))]
    pub(super) publishers: usize,
    #[command(flatten)]
    pub(super) load: LoadArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Publish without readers: how many requests a second there are, and how long each takes
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    pipecast bench publish --publishers 32\n  \
    pipecast bench publish --rate 2000 --batch 100 --pipelines 50")]
pub(super) struct PublishArgs {
    /// Connections to publish on, each with one request at a time
    #[arg(long, value_name = "N", default_value = "32", value_parser = at_least(1))]
    pub(super) publishers: usize,
    /// Events a second; as fast as the server takes them if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) rate: Option<u64>,
    /// Readers, spread evenly over the pipelines
    #[arg(long, value_name = "N", default_value = "0")]
    pub(super) readers: usize,
    #[command(flatten)]
    pub(super) load: LoadArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Fill a pipeline, then connect many clients at once: how long until all have caught up
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  pipecast bench storm --clients 3000 --events 100 --size 200")]
pub(super) struct StormArgs {
    /// Clients
    #[arg(long, value_name = "N", default_value = "1000", value_parser = at_least(1))]
    pub(super) clients: usize,
    /// Events that each pipeline is filled with; no more than the server keeps
    #[arg(long, value_name = "N", default_value = "100", value_parser = at_least(1))]
    pub(super) events: usize,
    /// Pipelines that the clients are spread over
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least(1))]
    pub(super) pipelines: usize,
    /// Bytes of an event's payload
    #[arg(long, value_name = "BYTES", default_value = "200", value_parser = at_least(MIN_PAYLOAD_BYTES))]
    pub(super) size: usize,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

#[derive(Args, Debug)]
pub(super) struct LoadArgs {
    /// Pipelines; events go to each in turn
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least(1))]
    pub(super) pipelines: usize,
    /// Bytes of an event's payload
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = at_least(MIN_PAYLOAD_BYTES))]
    pub(super) size: usize,
    /// Events in a request
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least(1))]
    pub(super) batch: usize,
    /// How long to load before measuring
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
    /// A process of the server, to report its memory and CPU time; repeat it for several
    #[arg(long, value_name = "PID")]
    pub(super) pid: Vec<u32>,
    /// Streams that are on their way at once [default: 256; in a storm all]
    #[arg(long, value_name = "N", value_parser = at_least(1))]
    pub(super) at_once: Option<usize>,
    /// How long a connection or an answer may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(super) timeout: Duration,
    /// Never sleep: takes a whole CPU, and spares the server the work of waking the bench
    #[arg(long)]
    pub(super) spin: bool,
    /// One JSON object instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

/// Reads a number that is not too small.
fn at_least(least: usize) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync {
    move |text| match text.parse() {
        Ok(number) if number >= least => Ok(number),
        _ => Err(format!("write a number from {least} up")),
    }
}
