//! `pipecast publish`: one event from the arguments, or many events from standard input.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::client::{Broker, ClientError};
use super::sender::{Request, SendError, Sender};
use super::{Failure, NodeArgs, Outcome, print_error, print_out};
use crate::backoff::Backoff;
use crate::event::{BYTE_ORDER_MARK, EventId, PipelineId};

/// Maximum events and bytes per request, below the node's default limits.
const BATCH_EVENTS: usize = 500;
const BATCH_BYTES: usize = 1 << 20;

/// Attempts per request. A node whose store fails responds within seconds.
const TRIES: usize = 8;

/// Publish events
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    pipecast publish p_aBcDeF --channel names '{\"name\":\"Luke\"}'\n  \
    echo '{\"channel\":\"names\",\"payload\":{\"name\":\"Leia\"}}' | pipecast publish p_aBcDeF\n  \
    pipecast publish p_aBcDeF --channel readings < payloads.ndjson")]
pub(super) struct PublishArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The pipeline, as in /pipelines/p_aBcDeF/sse
    pipeline: PipelineId,
    /// The event's channel. With standard input, the channel of every line
    #[arg(long)]
    channel: Option<String>,
    /// The payload as JSON. Without it, reads standard input: one event per line, or one payload per line with --channel
    #[arg(value_name = "JSON", requires = "channel")]
    payload: Option<String>,
}

/// Why events could not be published.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("standard input: {0}")]
    Input(#[from] std::io::Error),
    #[error("line {line} is not valid JSON: {problem}")]
    Line { line: usize, problem: serde_json::Error },
    #[error("the payload is not valid JSON: {0}; a string needs quotes, as in '\"text\"'")]
    Payload(serde_json::Error),
}

pub(super) async fn publish(args: PublishArgs) -> Outcome {
    let result = match &args.payload {
        Some(payload) => publish_one(&args, payload).await,
        None => publish_lines(&args).await,
    };
    result.map_err(|error| {
        print_error(&error);
        match error {
            PublishError::Payload(_) => Failure::Usage,
            PublishError::Client(error) => error.failure(),
            _ => Failure::Failed,
        }
    })
}

async fn publish_one(args: &PublishArgs, payload: &str) -> Result<(), PublishError> {
    let payload = serde_json::from_str::<&RawValue>(payload).map_err(PublishError::Payload)?;
    let channel = args.channel.as_deref().unwrap_or_default();
    let sender = Sender::new(Broker::new(&args.node)?, &args.pipeline);
    let ids = send(&sender, Request::event(event(channel, payload)), print_error).await?;
    for id in ids {
        print_out(format!("{}\n", serde_json::json!({"id": id.to_string()})));
    }
    Ok(())
}

async fn publish_lines(args: &PublishArgs) -> Result<(), PublishError> {
    let sender = Sender::new(Broker::new(&args.node)?, &args.pipeline);
    let progress = progress();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let (mut batch, mut events, mut total, mut number) = (String::new(), 0, 0, 0);
    let (mut last_id, mut is_first) = (None, true);
    loop {
        let line = lines.next_line().await?;
        let is_end = line.is_none();
        let line = line.map(|line| match is_first {
            true => line.strip_prefix(BYTE_ORDER_MARK).map(str::to_owned).unwrap_or(line),
            false => line,
        });
        is_first = false;
        if let Some(line) = line.filter(|line| !line.trim().is_empty()) {
            number += 1;
            let json = serde_json::from_str::<&RawValue>(&line)
                .map_err(|problem| PublishError::Line { line: number, problem })?;
            match &args.channel {
                Some(channel) => batch.push_str(&event(channel, json)),
                None => batch.push_str(json.get()),
            }
            batch.push('\n');
            events += 1;
        }
        if events > 0 && (is_end || events == BATCH_EVENTS || batch.len() >= BATCH_BYTES) {
            let request = Request::lines(std::mem::take(&mut batch), events);
            let ids = send(&sender, request, |problem| progress.suspend(|| print_error(problem))).await?;
            last_id = ids.last().copied();
            total += std::mem::take(&mut events);
            progress.set_position(total as u64);
        }
        if is_end {
            progress.finish_and_clear();
            let last = last_id.map_or_else(|| "none".to_owned(), |id| id.to_string());
            print_out(format!("{}\n", serde_json::json!({"published": total, "last_id": last})));
            return Ok(());
        }
    }
}

/// Shown only on a terminal.
fn progress() -> ProgressBar {
    let progress = ProgressBar::no_length();
    if !std::io::stderr().is_terminal() {
        progress.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} events published ({per_sec})") {
        progress.set_style(style);
    }
    progress
}

fn event(channel: &str, payload: &RawValue) -> String {
    // Any string can be written as JSON.
    let channel = serde_json::to_string(channel).unwrap_or_default();
    format!("{{\"channel\":{channel},\"payload\":{}}}", payload.get())
}

/// Sends a request until it is acknowledged or rejected. `notify` prints, once, that it is being retried.
async fn send(sender: &Sender, request: Request, notify: impl Fn(String)) -> Result<Vec<EventId>, SendError> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut tries = 0;
    loop {
        tries += 1;
        match sender.attempt(&request).await {
            Err(error @ (SendError::Unavailable(_) | SendError::Unreachable { .. })) if tries < TRIES => {
                if tries == 1 {
                    notify(format!("{error}; retrying"));
                }
                tokio::time::sleep(backoff.next_delay()).await;
            }
            result => return result,
        }
    }
}
