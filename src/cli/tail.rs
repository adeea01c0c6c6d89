//! `pipecast tail`: follows a pipeline and resumes like a browser.

use std::io::{ErrorKind, IsTerminal, Write};
use std::ops::ControlFlow;

use anstyle::{AnsiColor, Style};
use clap::Args;
use sse_stream::Sse;

use super::client::Broker;
use super::follower::{DisconnectReason, Follower, is_resume_point};
use super::{Failure, NodeArgs, Outcome, print_error};
use crate::event::{PipelineId, RESERVED_PREFIX};
use crate::visible::{visible, visible_lines};

/// Follow a pipeline
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    pipecast tail p_aBcDeF\n  \
    pipecast tail p_aBcDeF --channel names --replay 0\n  \
    pipecast tail p_aBcDeF --raw | tee stream.txt")]
pub(super) struct TailArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The pipeline, as in /pipelines/p_aBcDeF/sse
    pipeline: PipelineId,
    /// Only these channels
    #[arg(long)]
    channel: Vec<String>,
    /// Maximum number of past events
    #[arg(long, value_name = "N")]
    replay: Option<usize>,
    /// Start after the event with this id
    #[arg(long, value_name = "ID")]
    last_event_id: Option<String>,
    /// Print the raw bytes of the stream instead of one line per event
    #[arg(long)]
    raw: bool,
    /// Exit after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Prints what a stream brings, up to a number of events.
struct Printer {
    is_raw: bool,
    has_colours: bool,
    /// Events still wanted; `None` without a limit.
    left: Option<u64>,
}

pub(super) async fn tail(args: TailArgs) -> Outcome {
    if args.last_event_id.as_deref().is_some_and(|id| !is_resume_point(id)) {
        print_error("--last-event-id is not a valid id; use one such as 1700000000000-1");
        return Err(Failure::Usage);
    }
    let broker = Broker::new(&args.node).map_err(|error| {
        print_error(&error);
        error.failure()
    })?;
    let mut url = broker.address(&args.pipeline, Some("sse"));
    {
        let mut query = url.query_pairs_mut();
        args.channel.iter().for_each(|channel| {
            query.append_pair("channel", channel);
        });
        if let Some(replay) = args.replay {
            query.append_pair("replay", &replay.to_string());
        }
    }
    let mut follower = Follower::new(broker.client, url);
    follower.last_event_id = args.last_event_id;
    let is_terminal = std::io::stdout().is_terminal();
    if args.raw {
        follower.on_bytes = if is_terminal { write_visibly } else { write };
    }
    let printer = Printer { is_raw: args.raw, has_colours: is_terminal, left: args.count };
    tokio::select! {
        outcome = run(follower, printer) => outcome,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn run(mut follower: Follower, mut printer: Printer) -> Outcome {
    let mut is_retrying = false;
    loop {
        let reason = match follower.connect().await {
            Ok(response) => {
                if std::mem::take(&mut is_retrying) {
                    print_error("connected");
                }
                follower.read(response, |block| printer.take(block)).await
            }
            Err(reason) => reason,
        };
        match reason {
            DisconnectReason::Done => return Ok(()),
            // The reader of the pipe has closed it, as `head` does.
            DisconnectReason::OutputFailed(problem) if problem.kind() == ErrorKind::BrokenPipe => return Ok(()),
            DisconnectReason::OutputFailed(problem) => {
                print_error(format!("standard output: {problem}"));
                return Err(Failure::Failed);
            }
            DisconnectReason::Unavailable(problem) | DisconnectReason::Rejected(problem) => {
                print_error(problem);
                return Err(Failure::Failed);
            }
            // Once per outage, not once per retry.
            DisconnectReason::Unreachable(problem) if !is_retrying => {
                is_retrying = true;
                print_error(format!("{problem}; retrying until it works"));
            }
            DisconnectReason::Unreachable(_) => {}
            DisconnectReason::Ended(problem) => {
                let from = follower.last_event_id.as_deref().unwrap_or("the start");
                print_error(format!("{problem}; reconnecting in {:?} from {from}", follower.retry));
            }
        }
        tokio::time::sleep(follower.retry).await;
    }
}

/// For a terminal, which would obey control characters. A character that is split between two reads is shown as invalid:
/// redirect the output to a file to keep every byte.
fn write_visibly(bytes: &[u8]) -> std::io::Result<()> {
    write(visible_lines(&String::from_utf8_lossy(bytes)).as_bytes())
}

fn write(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

impl Printer {
    /// Prints a block. Breaks when the last event has been printed, or when it cannot be.
    fn take(&mut self, block: &Sse) -> ControlFlow<DisconnectReason> {
        if !self.is_raw
            && let Err(problem) = self.print(block)
        {
            return ControlFlow::Break(DisconnectReason::OutputFailed(problem));
        }
        if let Some(left) = &mut self.left
            && is_published(block)
        {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return ControlFlow::Break(DisconnectReason::Done);
            }
        }
        ControlFlow::Continue(())
    }

    fn print(&self, block: &Sse) -> std::io::Result<()> {
        let style = |style: Style| if self.has_colours { style } else { Style::new() };
        let dim = style(Style::new().dimmed());
        let channel = block.event.as_deref().unwrap_or("message");
        let colour = if channel == "pipecast.gap" { AnsiColor::Yellow } else { AnsiColor::Cyan };
        let name = style(Style::new().fg_color(Some(colour.into())));
        let (id, data) = (block.id.as_deref().unwrap_or("-"), block.data.as_deref().unwrap_or_default());
        let (id, channel, data) = (visible(id), visible(channel), visible(data));
        let mut out = std::io::stdout().lock();
        writeln!(out, "{dim}{id}{dim:#} {name}{channel}{name:#} {data}")?;
        out.flush()
    }
}

/// Whether a publisher sent the event. Gaps, positions and ends come from the broker, which reserves their prefix.
fn is_published(block: &Sse) -> bool {
    !block.event.as_deref().is_some_and(|channel| channel.starts_with(RESERVED_PREFIX))
}
