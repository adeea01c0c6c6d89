//! The requests that the checks make. One that fails is reported with advice, and ends the examination.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, HeaderMap, ORIGIN};
use reqwest::{Client, Response, StatusCode};
use serde_json::json;
use url::Url;

use super::pipeline_choice::Choice;
use super::report::Report;
use super::stream_reader::StreamReader;
use crate::cli::client::{Broker, is_stream, media_type, rejection, root_cause};
use crate::cli::sender::{Request, SendError, Sender};
use crate::event::{EventId, PipelineId};

/// How long anything may take that should happen at once.
pub(super) const SOON: Duration = Duration::from_secs(5);

pub(super) const BUFFERED: &str = "Something between client and node buffers the response. Turn response buffering off for \
    /pipelines/*/sse (nginx: `proxy_buffering off`), and compression too. Nodes can compress streams themselves (stream.compression).";

const NOT_PIPECAST: &str =
    "Something other than Pipecast responds. Check the path and the routing rules of your proxies.";

/// A client of the deployment under test, with the pipeline that it may use.
pub(super) struct Doctor {
    client: Client,
    sender: Sender,
    pipeline: PipelineId,
    channel: Option<String>,
    has_token: bool,
    stream: Url,
    events: Url,
    /// There is a history to delete.
    has_published: AtomicBool,
}

/// A failure was reported that makes the remaining checks meaningless.
pub(super) struct Hopeless;

pub(super) type Checked<T> = Result<T, Hopeless>;

impl Doctor {
    pub(super) fn new(broker: Broker, Choice { pipeline, channel }: Choice, has_token: bool) -> Self {
        Self {
            client: broker.client.clone(),
            stream: broker.address(&pipeline, Some("sse")),
            events: broker.address(&pipeline, Some("events")),
            sender: Sender::new(broker, &pipeline),
            pipeline,
            channel,
            has_token,
            has_published: AtomicBool::new(false),
        }
    }

    /// An event as JSON, in a channel that the token may read.
    pub(super) fn event(&self, channel: &str, payload: &serde_json::Value) -> String {
        json!({"channel": self.channel.as_deref().unwrap_or(channel), "payload": payload}).to_string()
    }

    /// Opens a stream: after `resume_from`, or without any past events.
    pub(super) async fn open(&self, resume_from: Option<EventId>, report: &mut Report) -> Checked<StreamReader> {
        let began = Instant::now();
        let mut url = self.stream.clone();
        if resume_from.is_none() {
            url.query_pairs_mut().append_pair("replay", "0");
        }
        // As browsers do: a proxy that compresses streams without care does it only for clients that accept gzip.
        let request = self.client.get(url).header("Accept", "text/event-stream");
        let mut request = request.header(ACCEPT_ENCODING, "gzip");
        if let Some(id) = resume_from {
            request = request.header("Last-Event-ID", id.to_string());
        }
        let response = match tokio::time::timeout(SOON, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let advice = "Check the URL, and that something listens there.";
                report.fail(format!("cannot open a stream: {}", root_cause(&error)), advice);
                return Err(Hopeless);
            }
            Err(_) => {
                report.fail(format!("no response to a stream request within {SOON:?}"), BUFFERED);
                return Err(Hopeless);
            }
        };
        self.check_response(response, began, report).await
    }

    async fn check_response(&self, response: Response, began: Instant, report: &mut Report) -> Checked<StreamReader> {
        if response.status() != StatusCode::OK {
            let advice = self.advice_on(response.status(), "subscribe to");
            report.fail(format!("a stream is rejected, {}", rejection(response).await), advice);
            return Err(Hopeless);
        }
        if !is_stream(&response) {
            report.fail(format!("a stream has the content type `{}`", media_type(&response)), NOT_PIPECAST);
            return Err(Hopeless);
        }
        Ok(StreamReader::new(response, began))
    }

    /// Publishes once, and reports nothing. Returns the id of the last event.
    pub(super) async fn try_publish(&self, request: &Request) -> Result<EventId, SendError> {
        let ids = self.sender.attempt(request).await?;
        self.has_published.store(true, Ordering::Relaxed);
        Ok(*ids.last().expect("the sender returns an id for each event, and requests have at least one"))
    }

    /// Publishes once. Returns the id of the last event.
    pub(super) async fn publish(&self, request: &Request, report: &mut Report) -> Checked<EventId> {
        let error = match self.try_publish(request).await {
            Ok(id) => return Ok(id),
            Err(error) => error,
        };
        let advice = match &error {
            SendError::Rejected { status, .. } => self.advice_on(*status, "publish to"),
            SendError::Unacknowledged(_) => {
                "Streams open, but something other than Pipecast handles POST requests. Check the routing rules of your proxies."
                    .to_owned()
            }
            SendError::Unavailable(_) => {
                "Redis is unreachable, or a rate limit is reached. Look at /readyz of the nodes.".to_owned()
            }
            SendError::Unreachable { .. } => {
                "Streams open, but POST requests get no response. Check that your proxies forward them.".to_owned()
            }
        };
        report.fail(format!("publishing failed, {error}"), advice);
        Err(Hopeless)
    }

    /// Which origin a response to a page of `origin` allows; empty for none.
    pub(super) async fn allowed_origin(&self, origin: &str, report: &mut Report) -> Checked<String> {
        let request = self.client.get(self.events.clone()).header(ORIGIN, origin).timeout(SOON);
        match request.send().await {
            Ok(response) => Ok(header(response.headers(), ACCESS_CONTROL_ALLOW_ORIGIN.as_str()).to_owned()),
            Err(error) => {
                let advice = "Earlier requests succeeded. Are nodes being stopped?";
                report.fail(format!("no response: {}", root_cause(&error)), advice);
                Err(Hopeless)
            }
        }
    }

    /// Deletes what was published.
    pub(super) async fn clean_up(&self, report: &mut Report) {
        if !self.has_published.load(Ordering::Relaxed) {
            return;
        }
        let response = self.client.delete(self.events.clone()).timeout(SOON).send().await;
        if !response.is_ok_and(|response| response.status() == StatusCode::NO_CONTENT) {
            report.warn("the history of the pipeline could not be deleted", "It expires after history.ttl.");
        }
    }

    /// What to do about a rejection of a request to `verb` the pipeline.
    fn advice_on(&self, status: StatusCode, verb: &str) -> String {
        match status {
            StatusCode::FORBIDDEN if self.has_token => format!(
                "Your key may not {verb} `{}`. Use --pipeline with a name your key allows; the doctor deletes its history.",
                self.pipeline
            ),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
                "If the nodes require a token, pass one that may {verb} `{}`: --token or PIPECAST_TOKEN.",
                self.pipeline
            ),
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                "The load balancer has no node to forward to. `EventSource` treats this as permanent: forward streams to nodes that are not ready too."
                    .to_owned()
            }
            status if status.is_redirection() => {
                "Use the target of the redirect, here and in publishers: browsers follow redirects, but a redirected POST may arrive as a GET."
                    .to_owned()
            }
            _ => "Check that the URL is that of Pipecast, and that no proxy adds to the path or removes from it.".to_owned(),
        }
    }
}

/// The value of a header; empty if it is missing or not text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
