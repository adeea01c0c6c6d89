//! `pipecast bench`: a load generator for any server of Server-Sent Events.
//!
//! One thread with one epoll loop holds all streams and publishes too, so that an event's way is
//! measured on one clock. It is its own HTTP client: what it costs must stay far below what the
//! server does, and it says so when it did not.

mod answer;
mod args;
mod clock;
mod engine;
mod idle;
mod latencies;
mod ledger;
mod load;
mod meter;
mod process;
mod progress;
mod publisher;
mod publishing;
mod readers;
mod report;
mod run;
mod scanner;
mod schedule;
mod seen;
mod stamp;
mod storm;
mod stream;
mod target;

use std::time::Duration;

use humantime::format_duration;

pub(super) use args::BenchArgs;
use args::{CommonArgs, FanoutArgs, LoadArgs, Mode, PublishArgs, SaturateArgs};
use engine::{Engine, Layout};
use load::LoadPlan;
use process::{ProcessError, Processes};
use report::Report;
use run::{Run, RunError};
use stamp::{STAMP_BYTES, Stamper};
use storm::StormPlan;
use target::{Target, TargetError};

use super::figures::count;
use super::{Failure, Outcome, complain, say};

/// Files that are open beside connections: standard streams, epoll, timers, the runtime's own.
const OTHER_FILES: u64 = 32;

/// Streams on their way at once: fewer than any server's queue for new connections holds.
const AT_ONCE: usize = 256;

/// Publishers that fill pipelines before a storm.
const FILLERS: usize = 4;

/// Why a bench found nothing out.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("{connections} connections are more than {whose} can hold with its limit of {limit} open files")]
    TooMany { connections: String, whose: String, limit: String },
    #[error("epoll: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("the bench broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

/// What one mode needs of the engine, and what it then does with it.
struct Plan {
    mode: &'static str,
    what: String,
    streams: usize,
    pipelines: usize,
    publishers: usize,
    batch: usize,
    size: usize,
    at_once: usize,
    work: Work,
}

enum Work {
    Idle { hold: Duration },
    Load(LoadPlan),
    Storm(StormPlan),
}

pub(super) async fn bench(args: BenchArgs) -> Outcome {
    let (plan, common) = plan(args.mode);
    let is_json = common.json;
    let report = measure(plan, common).await.map_err(|error| {
        complain(&error);
        match error {
            BenchError::Target(TargetError::Unresolved { .. }) => Failure::Failed,
            BenchError::Target(_) => Failure::Usage,
            _ => Failure::Failed,
        }
    })?;
    say(if is_json { report.json() } else { report.table() });
    Ok(())
}

async fn measure(plan: Plan, common: CommonArgs) -> Result<Report, BenchError> {
    let server = Processes::new(common.pid);
    check_open_files(&plan, server.as_ref())?;
    let number = rand::random();
    let target = Target::new(common.target, number, plan.batch)?;
    let mut report = Report { mode: plan.mode, what: plan.what, preset: target.preset.name(), ..Report::default() };
    report.urls = target.urls.iter().map(|url| url.as_str().trim_end_matches('/').to_owned()).collect();
    let layout = Layout {
        pipelines: plan.pipelines,
        publishers: plan.publishers,
        batch: plan.batch,
        timeout: common.timeout,
        is_spinning: common.spin,
    };
    let (engine, stopper) = Engine::new(target, Stamper::new(number, plan.size), &layout)?;
    let at_once = common.at_once.unwrap_or(plan.at_once);
    let mut run = Run::new(engine, server, common.timeout, at_once, report);
    let mut thread = tokio::task::spawn_blocking(move || {
        let outcome = plan.work.run(plan.streams, &mut run);
        run.engine.progress.clear();
        outcome.map(|()| run.report)
    });
    loop {
        tokio::select! {
            outcome = &mut thread => return Ok(outcome??),
            Ok(()) = tokio::signal::ctrl_c() => stopper.stop()?,
        }
    }
}

impl Work {
    fn run(&self, streams: usize, run: &mut Run) -> Result<(), RunError> {
        match self {
            Self::Idle { hold } => idle::idle(run, streams, *hold),
            Self::Load(plan) => load::load(run, streams, plan),
            Self::Storm(plan) => storm::storm(run, streams, plan),
        }
    }
}

/// Sees to it that a run does not fail half-way for want of file descriptors, the server's or ours.
fn check_open_files(plan: &Plan, server: Option<&Processes>) -> Result<(), BenchError> {
    let connections = (plan.streams + plan.publishers) as u64;
    let check = |whose: &str, limit: u64| {
        if connections + OTHER_FILES <= limit {
            return Ok(());
        }
        Err(BenchError::TooMany { connections: count(connections), whose: whose.into(), limit: count(limit) })
    };
    check("this process", crate::limits::open_files::raise())?;
    server.map_or(Ok(()), |server| check("the server", server.open_files()?))
}

fn plan(mode: Mode) -> (Plan, CommonArgs) {
    match mode {
        Mode::Idle(args) => {
            let streams = count(args.streams as u64);
            let plan = Plan {
                mode: "idle",
                what: format!("Idle: {streams} streams{} held for {}", on(args.pipelines), format_duration(args.hold)),
                streams: args.streams,
                pipelines: args.pipelines,
                publishers: 0,
                batch: 1,
                size: STAMP_BYTES,
                at_once: AT_ONCE,
                work: Work::Idle { hold: args.hold },
            };
            (plan, args.common)
        }
        Mode::Fanout(FanoutArgs { readers, rate, publishers, load, common }) => {
            (load_plan("fanout", "Fan-out", readers, publishers, Some(rate), &load), common)
        }
        Mode::Saturate(SaturateArgs { readers, publishers, load, common }) => {
            (load_plan("saturate", "Saturation", readers, publishers, None, &load), common)
        }
        Mode::Publish(PublishArgs { publishers, rate, readers, load, common }) => {
            (load_plan("publish", "Publishing", readers, publishers, rate, &load), common)
        }
        Mode::Storm(args) => {
            let (clients, events) = (count(args.clients as u64), args.events);
            let plan = Plan {
                mode: "storm",
                what: format!(
                    "Storm: {clients} clients{}, {events} events of {} bytes each",
                    on(args.pipelines),
                    args.size
                ),
                streams: args.clients,
                pipelines: args.pipelines,
                publishers: FILLERS,
                batch: 1,
                size: args.size,
                at_once: args.clients,
                work: Work::Storm(StormPlan { events: args.events as u64 }),
            };
            (plan, args.common)
        }
    }
}

fn load_plan(
    mode: &'static str,
    title: &str,
    readers: usize,
    publishers: usize,
    rate: Option<u64>,
    load: &LoadArgs,
) -> Plan {
    let pace = rate.map_or("as many as possible".into(), |rate| format!("{} events/s", count(rate)));
    let from = match publishers {
        1 => "one publisher".into(),
        publishers => format!("{} publishers", count(publishers as u64)),
    };
    let to = format!("{} readers{}", count(readers as u64), on(load.pipelines));
    let (size, batch, time) = (load.size, load.batch, format_duration(load.duration));
    Plan {
        mode,
        what: format!("{title}: {from} to {to}, {pace}, {size} bytes each, {batch} a request, for {time}"),
        streams: readers,
        pipelines: load.pipelines,
        publishers,
        batch,
        size,
        at_once: AT_ONCE,
        work: Work::Load(LoadPlan { rate, batch, warm_up: load.warm_up, duration: load.duration }),
    }
}

fn on(pipelines: usize) -> String {
    if pipelines == 1 { " on one pipeline".into() } else { format!(" on {} pipelines", count(pipelines as u64)) }
}
