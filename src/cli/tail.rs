//! `pipecast tail`: follows a pipeline, and resumes like a browser.

use std::io::{IsTerminal, Write};
use std::pin::pin;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::Args;
use futures_util::{StreamExt, TryStreamExt};
use reqwest::{Client, Response};
use sse_stream::{Sse, SseByteStream};
use url::Url;

use super::client::{address, client, refusal};
use super::{Failure, NodeArgs, Outcome, complain};

/// What a browser waits before it reconnects, until the stream says otherwise.
const DEFAULT_RETRY: Duration = Duration::from_secs(3);

/// Without as much as a keepalive for so long, the connection is taken for dead.
const SILENCE: Duration = Duration::from_secs(60);

/// Follow a pipeline
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    pipecast tail p_aBcDeF\n  \
    pipecast tail p_aBcDeF --channel names --replay 0\n  \
    pipecast tail p_aBcDeF --raw | tee stream.txt")]
pub(super) struct TailArgs {
    #[command(flatten)]
    node: NodeArgs,
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

struct Tail {
    client: Client,
    url: Url,
    is_raw: bool,
    has_colours: bool,
    last_event_id: Option<String>,
    retry: Duration,
    left: Option<usize>,
}

/// Why a connection is over.
enum Over {
    /// All events that were wanted have come.
    Enough,
    /// It ended or broke; the next one resumes.
    Ended(String),
    /// The node refused; a browser would not try again either.
    Refused(String),
    /// Nobody reads what we print.
    Unread,
}

pub(super) async fn tail(args: TailArgs) -> Outcome {
    let mut url = address(&args.node, "sse");
    {
        let mut query = url.query_pairs_mut();
        args.channel.iter().for_each(|channel| {
            query.append_pair("channel", channel);
        });
        if let Some(replay) = args.replay {
            query.append_pair("replay", &replay.to_string());
        }
    }
    let client = client(&args.node).map_err(|error| {
        complain(error);
        Failure::Failed
    })?;
    let mut tail = Tail {
        client,
        url,
        is_raw: args.raw,
        has_colours: std::io::stdout().is_terminal(),
        last_event_id: args.last_event_id,
        retry: DEFAULT_RETRY,
        left: args.count,
    };
    tokio::select! {
        outcome = tail.run() => outcome,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

impl Tail {
    async fn run(&mut self) -> Outcome {
        loop {
            match self.connect().await {
                Over::Enough | Over::Unread => return Ok(()),
                Over::Refused(problem) => {
                    complain(problem);
                    return Err(Failure::Failed);
                }
                Over::Ended(why) => {
                    let from = self.last_event_id.as_deref().unwrap_or("the start");
                    complain(format!("{why}; reconnecting in {:?} from {from}", self.retry));
                    tokio::time::sleep(self.retry).await;
                }
            }
        }
    }

    async fn connect(&mut self) -> Over {
        let mut request = self.client.get(self.url.clone()).header("Accept", "text/event-stream");
        if let Some(id) = &self.last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        match request.send().await {
            Ok(answer) if answer.status().is_success() => self.follow(answer).await,
            Ok(answer) => Over::Refused(refusal(answer).await),
            Err(error) => {
                Over::Ended(format!("{} cannot be reached: {error}", self.url.origin().ascii_serialization()))
            }
        }
    }

    async fn follow(&mut self, answer: Response) -> Over {
        let is_raw = self.is_raw;
        let bytes = answer.bytes_stream().inspect_ok(|bytes| {
            if is_raw {
                let mut out = std::io::stdout().lock();
                // Noticed by the write of the next event.
                let _ = out.write_all(bytes).and_then(|()| out.flush());
            }
        });
        let mut blocks = pin!(SseByteStream::new(bytes));
        loop {
            let block = match tokio::time::timeout(SILENCE, blocks.next()).await {
                Ok(Some(Ok(block))) => block,
                Ok(Some(Err(error))) => return Over::Ended(format!("the stream broke ({error})")),
                Ok(None) => return Over::Ended("the stream ended".into()),
                Err(_) => return Over::Ended("the stream is silent".into()),
            };
            self.retry = block.retry.map_or(self.retry, Duration::from_millis);
            self.last_event_id = block.id.clone().or(self.last_event_id.take());
            if block.data.is_none() {
                continue;
            }
            if !self.is_raw && self.print(&block).is_err() {
                return Over::Unread;
            }
            if let Some(left) = &mut self.left {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    return Over::Enough;
                }
            }
        }
    }

    fn print(&self, block: &Sse) -> std::io::Result<()> {
        let style = |style: Style| if self.has_colours { style } else { Style::new() };
        let dim = style(Style::new().dimmed());
        let channel = block.event.as_deref().unwrap_or("message");
        let colour = if channel == "pipecast.gap" { AnsiColor::Yellow } else { AnsiColor::Cyan };
        let name = style(Style::new().fg_color(Some(colour.into())));
        let (id, data) = (block.id.as_deref().unwrap_or("-"), block.data.as_deref().unwrap_or_default());
        let mut out = std::io::stdout().lock();
        writeln!(out, "{dim}{id}{dim:#} {name}{channel}{name:#} {data}")?;
        out.flush()
    }
}
