//! `pipecast bench`: the command line of the load generator, which is a crate of its own (`bench/`).
//!
//! Here flags become its options and its report becomes text. Nothing is measured here.

mod args;
mod error;
mod measured;
mod progress_line;
mod table;
mod target_args;

use humantime::format_duration;
use pipecast_bench::{Bench, Idle, Load, Options, Storm, Workload};

pub(super) use args::BenchArgs;
use args::{CommonArgs, FanoutArgs, LoadArgs, Mode, PublishArgs, SaturateArgs};
use error::CommandError;
use measured::Measured;
use progress_line::ProgressLine;

use super::number_format::count;
use super::{Outcome, print_error, print_out};
use crate::limits::open_files;
use crate::visible::visible;

pub(super) async fn bench(args: BenchArgs) -> Outcome {
    let (mode, what, workload, common) = workload(args.mode);
    let is_json = common.json;
    let measured = measure(mode, what, workload, common).await.map_err(|error| {
        // A server's own words may be in it, on more than one line.
        print_error(visible(&error.to_string()));
        error.exit()
    })?;
    print_out(if is_json { measured.json() } else { table::table(&measured) });
    Ok(())
}

async fn measure(
    mode: &'static str,
    what: String,
    workload: Workload,
    common: CommonArgs,
) -> Result<Measured, CommandError> {
    let target = common.target.options()?;
    let urls = target.urls.iter().map(|url| url.as_str().trim_end_matches('/').to_owned()).collect();
    let preset = target.preset.name();
    let line = ProgressLine::new();
    let options = Options {
        target,
        workload,
        server_pids: common.pid,
        at_once: common.at_once,
        timeout: common.timeout,
        is_spinning: common.spin,
        open_files: open_files::raise(),
    };
    let (bench, stopper) = Bench::new(options, line.shower())?;
    let mut thread = tokio::task::spawn_blocking(move || bench.run());
    let outcome = loop {
        tokio::select! {
            outcome = &mut thread => break outcome,
            Ok(()) = tokio::signal::ctrl_c() => stopper.stop().map_err(CommandError::Stop)?,
        }
    };
    line.clear();
    Ok(Measured { mode, what, preset, urls, report: outcome?? })
}

/// The mode's name, its load in words, and the load itself.
fn workload(mode: Mode) -> (&'static str, String, Workload, CommonArgs) {
    match mode {
        Mode::Idle(args) => {
            let streams = count(args.streams as u64);
            let what = format!("Idle: {streams} streams{} held for {}", on(args.pipelines), format_duration(args.hold));
            let idle = Idle { streams: args.streams, pipelines: args.pipelines, hold: args.hold };
            ("idle", what, Workload::Idle(idle), args.common)
        }
        Mode::Fanout(FanoutArgs { readers, rate, publishers, load, common }) => {
            let (what, workload) = events("Fan-out", readers, publishers, Some(rate), &load);
            ("fanout", what, workload, common)
        }
        Mode::Saturate(SaturateArgs { readers, publishers, load, common }) => {
            let (what, workload) = events("Saturation", readers, publishers, None, &load);
            ("saturate", what, workload, common)
        }
        Mode::Publish(PublishArgs { publishers, rate, readers, load, common }) => {
            let (what, workload) = events("Publishing", readers, publishers, rate, &load);
            ("publish", what, workload, common)
        }
        Mode::Storm(args) => {
            let (clients, events) = (count(args.clients as u64), args.events);
            let what =
                format!("Storm: {clients} clients{}, {events} events of {} bytes each", on(args.pipelines), args.size);
            let storm = Storm {
                clients: args.clients,
                pipelines: args.pipelines,
                events: args.events as u64,
                payload_bytes: args.size,
            };
            ("storm", what, Workload::Storm(storm), args.common)
        }
    }
}

fn events(title: &str, readers: usize, publishers: usize, rate: Option<u64>, load: &LoadArgs) -> (String, Workload) {
    let pace = rate.map_or("as fast as possible".into(), |rate| format!("{} events/s", count(rate)));
    let from = match publishers {
        1 => "one publisher".into(),
        publishers => format!("{} publishers", count(publishers as u64)),
    };
    let to = format!("{} subscribers{}", count(readers as u64), on(load.pipelines));
    let (size, batch, time) = (load.size, load.batch, format_duration(load.duration));
    let what = format!("{title}: {from} to {to}, {pace}, {size} bytes each, {batch} per request, for {time}");
    let workload = Workload::Load(Load {
        subscribers: readers,
        pipelines: load.pipelines,
        publishers,
        rate,
        batch,
        payload_bytes: size,
        warm_up: load.warm_up,
        duration: load.duration,
    });
    (what, workload)
}

fn on(pipelines: usize) -> String {
    if pipelines == 1 { " on one pipeline".into() } else { format!(" on {} pipelines", count(pipelines as u64)) }
}
