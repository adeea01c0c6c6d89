//! `pipecast publish`: one event from the arguments, or many from standard input.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::client::{Broker, ClientError};
use super::sender::{Request, SendError, Sender};
use super::{Failure, NodeArgs, Outcome, complain, say};
use crate::backoff::Backoff;
use crate::event::{BYTE_ORDER_MARK, EventId, PipelineId};

/// Events and bytes in one request, below the node's defaults for both.
const BATCH_EVENTS: usize = 500;
const BATCH_BYTES: usize = 1 << 20;

/// Tries of one request; the node answers a failing store within seconds.
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
    /// The event's channel; with standard input, the channel of every line
    #[arg(long)]
    channel: Option<String>,
    /// The payload, JSON. Without it, standard input is read: a line an event, or with --channel a line a payload
    #[arg(value_name = "JSON", requires = "channel")]
    payload: Option<String>,
}

/// Why it could not be published.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error("{0}")]
    Send(#[from] SendError),
    #[error("{0}")]
    Client(#[from] ClientError),
    #[error("standard input: {0}")]
    Input(#[from] std::io::Error),
    #[error("line {line}: {problem}; write JSON")]
    Line { line: usize, problem: serde_json::Error },
    #[error("the payload is not JSON: {0}; a string needs its quotes, as in '\"text\"'")]
    Payload(serde_json::Error),
}

pub(super) async fn publish(args: PublishArgs) -> Outcome {
    let result = match &args.payload {
        Some(payload) => publish_one(&args, payload).await,
        None => publish_lines(&args).await,
    };
    result.map_err(|error| {
        complain(&error);
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
    let ids = send(&sender, Request::event(event(channel, payload))).await?;
    for id in ids {
        say(format!("{}\n", serde_json::json!({"id": id.to_string()})));
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
            let ids = send(&sender, Request::lines(std::mem::take(&mut batch), events)).await?;
            last_id = ids.last().copied();
            total += std::mem::take(&mut events);
            progress.set_position(total as u64);
        }
        if is_end {
            progress.finish_and_clear();
            let last = last_id.map_or_else(|| "none".to_owned(), |id| id.to_string());
            say(format!("{}\n", serde_json::json!({"published": total, "last_id": last})));
            return Ok(());
        }
    }
}

/// Shown on a terminal, and only when the input takes long enough to wonder.
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
    // A string always has a JSON form.
    let channel = serde_json::to_string(channel).unwrap_or_default();
    format!("{{\"channel\":{channel},\"payload\":{}}}", payload.get())
}

/// Sends a body until it is acknowledged or refused.
async fn send(sender: &Sender, request: Request) -> Result<Vec<EventId>, SendError> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut tries = 0;
    loop {
        tries += 1;
        match sender.attempt(&request).await {
            Err(SendError::NotNow(_) | SendError::Unreachable { .. }) if tries < TRIES => {
                tokio::time::sleep(backoff.next_delay()).await;
            }
            result => return result,
        }
    }
}
