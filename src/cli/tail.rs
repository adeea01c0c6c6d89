//! `pipecast tail`: follows a pipeline, and resumes like a browser.

use std::io::{ErrorKind, IsTerminal, Write};
use std::ops::ControlFlow;

use anstyle::{AnsiColor, Style};
use clap::Args;
use sse_stream::Sse;

use super::client::Broker;
use super::follower::{Follower, Over, is_resume_point};
use super::{Failure, NodeArgs, Outcome, complain};
use crate::event::PipelineId;
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
    /// At most so many past events
    #[arg(long, value_name = "N")]
    replay: Option<usize>,
    /// Begin after this event
    #[arg(long, value_name = "ID")]
    last_event_id: Option<String>,
    /// The stream's own bytes instead of a line an event
    #[arg(long)]
    raw: bool,
    /// End after so many events
    #[arg(long, value_name = "N")]
    count: Option<usize>,
}

/// What becomes of events.
struct Printer {
    is_raw: bool,
    has_colours: bool,
    left: Option<usize>,
}

pub(super) async fn tail(args: TailArgs) -> Outcome {
    if args.last_event_id.as_deref().is_some_and(|id| !is_resume_point(id)) {
        complain("--last-event-id is none: write an id as events have them, such as 1700000000000-1");
        return Err(Failure::Usage);
    }
    let broker = Broker::new(&args.node).map_err(|error| {
        complain(&error);
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
    loop {
        match follower.follow(|block| printer.take(block)).await {
            Over::Enough => return Ok(()),
            // As `head` leaves when it has enough.
            Over::Unwritten(problem) if problem.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Over::Unwritten(problem) => {
                complain(format!("standard output: {problem}"));
                return Err(Failure::Failed);
            }
            Over::NotNow(problem) | Over::Refused(problem) => {
                complain(problem);
                return Err(Failure::Failed);
            }
            Over::Ended(why) => {
                let from = follower.last_event_id.as_deref().unwrap_or("the start");
                complain(format!("{why}; reconnecting in {:?} from {from}", follower.retry));
                tokio::time::sleep(follower.retry).await;
            }
        }
    }
}

/// For a terminal, which obeys some bytes. A character that is cut between two reads is shown as none: what is to be kept
/// goes into a file.
fn write_visibly(bytes: &[u8]) -> std::io::Result<()> {
    write(visible_lines(&String::from_utf8_lossy(bytes)).as_bytes())
}

fn write(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

impl Printer {
    /// Breaks off when all that was wanted has come, or when it cannot be printed.
    fn take(&mut self, block: &Sse) -> ControlFlow<Over> {
        if !self.is_raw
            && let Err(problem) = self.print(block)
        {
            return ControlFlow::Break(Over::Unwritten(problem));
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return ControlFlow::Break(Over::Enough);
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
