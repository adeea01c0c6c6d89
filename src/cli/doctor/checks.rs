//! The checks, in an order in which each needs those before it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, HeaderMap, ORIGIN,
};
use reqwest::{Client, Response, StatusCode};
use serde_json::json;
use url::Url;

use super::findings::Findings;
use super::listening::{Heard, Listening, field};
use crate::cli::client::{Broker, is_stream, media_type, refusal, root_cause};
use crate::cli::sender::{Request, SendError, Sender};
use crate::event::{EventId, PipelineId};

/// How long anything may take that should be there at once.
const SOON: Duration = Duration::from_secs(5);
/// Events that are published one after the other.
const PIECES: usize = 5;
/// Later than that, something on the way waits for more to send.
const PROMPT: Duration = Duration::from_millis(150);
/// A request of more than one MiB, which is what some proxies take at most.
const LARGE_EVENTS: usize = 600;
const LARGE_PAYLOAD: usize = 2048;
/// Events that are waited for until the last of those has come: others may publish to a pipeline that was given.
const MOST_EVENTS: usize = 10 * LARGE_EVENTS;
/// Events while nobody reads.
const MISSED: usize = 3;
/// `stream.keepalive` by default, and a little.
const KEEPALIVE: Duration = Duration::from_secs(17);

const ENDLESS: &str = "Something else than Pipecast answers, which sends no event as long as that: look at the path and at the \
    rules by which requests are passed on.";

const STRANGERS: &str = "Others publish to this pipeline: leave --pipeline out. Or what answers is not Pipecast.";

const BUFFERED: &str = "Something on the way collects the answer before it passes it on. Switch response buffering off for \
    /pipelines/*/sse (nginx: `proxy_buffering off`), and its compression, too; nodes can compress (stream.compression).";

/// Who asks, and what.
pub(super) struct Doctor {
    client: Client,
    sender: Sender,
    stream: Url,
    events: Url,
    /// Something is there to be forgotten.
    has_published: AtomicBool,
}

/// The check has said what was found; what follows makes no sense any more.
struct Hopeless;

type Checked<T> = Result<T, Hopeless>;

impl Doctor {
    pub(super) fn new(broker: Broker, pipeline: &PipelineId) -> Self {
        Self {
            client: broker.client.clone(),
            stream: broker.address(pipeline, Some("sse")),
            events: broker.address(pipeline, Some("events")),
            sender: Sender::new(broker, pipeline),
            has_published: AtomicBool::new(false),
        }
    }

    /// Makes all checks, or those up to one that leaves no hope for the rest.
    pub(super) async fn examine(&self, hold: Duration, origin: Option<&str>, findings: &mut Findings) {
        // What is to be said was said.
        let _ = self.check_all(hold, origin, findings).await;
    }

    async fn check_all(&self, hold: Duration, origin: Option<&str>, findings: &mut Findings) -> Checked<()> {
        let mut stream = self.check_opening(findings).await?;
        self.check_pieces(&mut stream, findings).await?;
        let last = self.check_large_request(&mut stream, findings).await?;
        drop(stream);
        self.check_resuming(last, findings).await?;
        if let Some(origin) = origin {
            self.check_origin(origin, findings).await?;
        }
        self.check_holding(hold, findings).await
    }

    /// Forgets what was published.
    pub(super) async fn clean_up(&self, findings: &mut Findings) {
        if !self.has_published.load(Ordering::Relaxed) {
            return;
        }
        let answer = self.client.delete(self.events.clone()).timeout(SOON).send().await;
        let is_forgotten = answer.is_ok_and(|answer| answer.status() == StatusCode::NO_CONTENT);
        if !is_forgotten {
            findings.doubt("the history of the pipeline could not be forgotten", "It is gone after history.ttl.");
        }
    }

    async fn open(&self, resume_from: Option<&str>, findings: &mut Findings) -> Checked<Listening> {
        let began = Instant::now();
        let mut url = self.stream.clone();
        if resume_from.is_none() {
            url.query_pairs_mut().append_pair("replay", "0");
        }
        // As browsers ask: who compresses streams without care does it for them.
        let request = self.client.get(url).header("Accept", "text/event-stream");
        let mut request = request.header(ACCEPT_ENCODING, "gzip");
        if let Some(id) = resume_from {
            request = request.header("Last-Event-ID", id);
        }
        let answer = match tokio::time::timeout(SOON, request.send()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let advice = "Look whether the address is right, and whether something listens there.";
                findings.fail(format!("no stream: {}", root_cause(&error)), advice);
                return Err(Hopeless);
            }
            Err(_) => {
                findings.fail(format!("a stream has no answer after {SOON:?}"), BUFFERED);
                return Err(Hopeless);
            }
        };
        self.check_answer(answer, began, findings).await
    }

    async fn check_answer(&self, answer: Response, began: Instant, findings: &mut Findings) -> Checked<Listening> {
        if answer.status() != StatusCode::OK {
            let status = answer.status();
            let advice = advice_on(status, "subscribe");
            findings.fail(format!("a stream is refused, {}", refusal(answer).await), advice);
            return Err(Hopeless);
        }
        if !is_stream(&answer) {
            findings.fail(
                format!("a stream is answered with `{}`", media_type(&answer)),
                "Something else than Pipecast answers: look at the path and at the rules by which requests are passed on.",
            );
            return Err(Hopeless);
        }
        Ok(Listening::new(answer, began))
    }

    /// A stream opens, as it left the node, and says something at once.
    async fn check_opening(&self, findings: &mut Findings) -> Checked<Listening> {
        let mut stream = self.open(None, findings).await?;
        match stream.next(SOON).await {
            Heard::Block(_) => findings.good(format!("a stream opens, and begins after {}", millis(stream.age()))),
            Heard::Silence if stream.has_begun() => {
                let advice = "So does a node that is without Redis: look at /readyz of the nodes.";
                findings.fail("a stream opens, and waits for a beginning", advice);
                return Err(Hopeless);
            }
            Heard::Silence => {
                findings.fail(format!("a stream says nothing in its first {SOON:?}"), BUFFERED);
                return Err(Hopeless);
            }
            Heard::Endless => {
                findings.fail("a stream begins with an event without an end", ENDLESS);
                return Err(Hopeless);
            }
            Heard::End(_) => {
                let advice = "The node is full or stops, or something on the way closes what it takes for done.";
                findings.fail("a stream ends at once", advice);
                return Err(Hopeless);
            }
        }
        check_headers(stream.headers(), findings);
        Ok(stream)
    }

    /// Gives the id of the last event.
    async fn publish(&self, request: &Request, findings: &mut Findings) -> Checked<EventId> {
        match self.sender.attempt(request).await {
            Ok(ids) => {
                self.has_published.store(true, Ordering::Relaxed);
                ids.last().copied().ok_or(Hopeless)
            }
            Err(error) => {
                let advice = match &error {
                    SendError::Refused(_) => {
                        "With access by tokens it needs one that may publish: --token or PIPECAST_TOKEN."
                    }
                    SendError::Unacknowledged(_) => {
                        "Streams can be opened, but something else than Pipecast answers POST requests: look at the rules by which requests are passed on."
                    }
                    SendError::NotNow(_) => "Redis is away or a rate is reached; look at /readyz of the nodes.",
                    SendError::Unreachable { .. } => "Streams can be opened: are POST requests passed on, too?",
                };
                findings.fail(format!("publishing failed, {error}"), advice);
                Err(Hopeless)
            }
        }
    }

    /// Events arrive one by one, each when it is published.
    async fn check_pieces(&self, stream: &mut Listening, findings: &mut Findings) -> Checked<()> {
        let mut slowest = Duration::ZERO;
        for number in 0..PIECES {
            let began = Instant::now();
            self.publish(&Request::event(event("piece", &json!(number))), findings).await?;
            match stream.next_event(SOON).await {
                Ok((_, data)) if data == number.to_string() => slowest = slowest.max(began.elapsed()),
                Ok((id, data)) => {
                    let advice = "Events are lost, doubled or reordered: that is never right, so please tell us.";
                    findings.fail(format!("event {id} brought {data}, not {number}"), advice);
                    return Err(Hopeless);
                }
                Err(_) => {
                    findings
                        .fail(format!("event {number} has not arrived {SOON:?} after it was acknowledged"), BUFFERED);
                    return Err(Hopeless);
                }
            }
        }
        if slowest > PROMPT {
            findings.doubt(
                format!("of {PIECES} events the slowest took {} from publisher to reader", millis(slowest)),
                "Far away, or something waits for more before it sends on (HAProxy: `option http-no-delay`).",
            );
        } else {
            findings.good(format!("{PIECES} events arrive one by one, the slowest after {}", millis(slowest)));
        }
        Ok(())
    }

    /// A request of more than a MiB passes, and all of it arrives. Gives the id of its last event.
    async fn check_large_request(&self, stream: &mut Listening, findings: &mut Findings) -> Checked<EventId> {
        let filler = "x".repeat(LARGE_PAYLOAD);
        let lines = (0..LARGE_EVENTS).map(|number| event("large", &json!([number, filler])) + "\n");
        let request = Request::lines(lines.collect(), LARGE_EVENTS);
        let stored = self.sender.attempt(&request).await.map(|ids| ids.last().copied());
        let last = match stored {
            Ok(last) => last.ok_or(Hopeless)?,
            Err(error) => {
                findings.doubt(
                    format!("a request of {} KiB is refused, {error}", LARGE_EVENTS * LARGE_PAYLOAD / 1024),
                    "Publishers of batches may need more (nginx: `client_max_body_size 4m`; the node: limits.max_request_size, limits.publish_rate_per_publisher).",
                );
                // The rest needs one event.
                self.publish(&Request::event(event("piece", &json!("last"))), findings).await?
            }
        };
        let mut count = 0;
        loop {
            match stream.next_event(SOON).await {
                Ok((id, _)) => {
                    count += 1;
                    if id == last.to_string() {
                        break;
                    }
                    if count == MOST_EVENTS {
                        findings
                            .fail(format!("the end of a batch is not among the {count} events after it"), STRANGERS);
                        return Err(Hopeless);
                    }
                }
                Err(_) => {
                    findings.fail(format!("of a batch {count} events arrived, and then no more"), BUFFERED);
                    return Err(Hopeless);
                }
            }
        }
        match count {
            LARGE_EVENTS => findings.good(format!("a batch of {LARGE_EVENTS} events arrives whole")),
            1 => {}
            count => findings.fail(
                format!("of a batch of {LARGE_EVENTS} events {count} arrived"),
                "This connection is too slow to keep up with the batch, and was told of a gap; try it from nearby.",
            ),
        }
        Ok(last)
    }

    /// Who was away gets what he missed, once, on whichever node he comes to.
    async fn check_resuming(&self, last: EventId, findings: &mut Findings) -> Checked<()> {
        for number in 0..MISSED {
            self.publish(&Request::event(event("missed", &json!(missed(number)))), findings).await?;
        }
        let mut stream = self.open(Some(&last.to_string()), findings).await?;
        for number in 0..MISSED {
            match stream.next_event(SOON).await {
                Ok((_, data)) if data == format!("\"{}\"", missed(number)) => {}
                heard => {
                    let what = heard.map_or_else(|_| "nothing".to_owned(), |(_, data)| data);
                    findings.fail(
                        format!("resumed, a stream brought {what} where missed event {number} should be"),
                        "Is the header Last-Event-ID passed on? Do all nodes have the same Redis?",
                    );
                    return Err(Hopeless);
                }
            }
        }
        findings.good(format!("a stream that was cut resumes, with the {MISSED} events that it missed"));
        Ok(())
    }

    /// Pages of the origin may read streams.
    async fn check_origin(&self, origin: &str, findings: &mut Findings) -> Checked<()> {
        let request = self.client.get(self.events.clone()).header(ORIGIN, origin).timeout(SOON);
        let allowed = match request.send().await {
            Ok(answer) => header(answer.headers(), ACCESS_CONTROL_ALLOW_ORIGIN.as_str()).to_owned(),
            Err(error) => {
                findings
                    .fail(format!("no answer: {}", root_cause(&error)), "It worked a moment ago: are nodes ending?");
                return Err(Hopeless);
            }
        };
        if allowed == "*" || allowed == origin {
            findings.good(format!("pages of {origin} may read"));
        } else {
            findings.fail(
                format!("pages of {origin} may not read: the answer allows `{allowed}`"),
                "Put the origin into server.cors_origins, and let nothing on the way take the header away.",
            );
        }
        Ok(())
    }

    /// An idle stream stays open, by its keepalives.
    async fn check_holding(&self, hold: Duration, findings: &mut Findings) -> Checked<()> {
        let mut stream = self.open(None, findings).await?;
        let mut keepalives = 0;
        while stream.age() < hold {
            match stream.next(hold.saturating_sub(stream.age())).await {
                Heard::Block(block) => keepalives += usize::from(block.contains(":keepalive")),
                Heard::Silence => break,
                Heard::Endless => {
                    findings.fail("an idle stream brings an event without an end", ENDLESS);
                    return Ok(());
                }
                // What a node writes when it ends a stream by itself.
                Heard::End(text) if field(&text, "retry").is_some() => {
                    let advice = "It stops, or stream.max_age was reached; hold a shorter time.";
                    findings.doubt(
                        format!("the node ended an idle stream after {:.1} s", stream.age().as_secs_f64()),
                        advice,
                    );
                    return Ok(());
                }
                Heard::End(_) => {
                    findings.fail(
                        format!("an idle stream was cut after {:.1} s", stream.age().as_secs_f64()),
                        "Something on the way has a shorter time-out than stream.keepalive (15s), or a limit on how long an answer may take.",
                    );
                    return Ok(());
                }
            }
        }
        let held = format!("an idle stream stays open for {}", humantime::format_duration(hold));
        if keepalives > 0 {
            let plural = if keepalives == 1 { "" } else { "s" };
            findings.good(format!("{held}, with {keepalives} keepalive{plural}"));
        } else if hold >= KEEPALIVE {
            findings.doubt(
                format!("{held}, but no keepalive came"),
                "stream.keepalive of the nodes is longer than that, or something on the way collects small pieces.",
            );
        } else {
            findings.good(format!("{held}; keepalives need a --hold of 20s"));
        }
        Ok(())
    }
}

/// Nothing on the way has changed what a browser needs.
fn check_headers(headers: &HeaderMap, findings: &mut Findings) {
    let coding = header(headers, CONTENT_ENCODING.as_str());
    let caching = header(headers, CACHE_CONTROL.as_str());
    if !matches!(coding, "" | "gzip") {
        findings.fail(
            format!("a stream comes as `{coding}` to a client that asked for gzip at most"),
            "Something on the way codes it anew. Switch that off for text/event-stream.",
        );
    } else if !caching.contains("no-transform") || !caching.contains("no-cache") {
        findings.doubt(
            format!("a stream's Cache-Control is `{caching}`"),
            "The node sends `no-cache, no-transform`: something on the way has replaced it, and caches may keep streams.",
        );
    } else {
        let coded = if coding.is_empty() { "" } else { ", and it is compressed" };
        findings.good(format!("its headers are as the node sent them{coded}"));
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn advice_on(status: StatusCode, right: &str) -> String {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            format!("With access by tokens it needs one that may {right}: --token or PIPECAST_TOKEN.")
        }
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            "The load balancer has no node to ask. An EventSource takes that for final: let it ask nodes that are not ready, too."
                .to_owned()
        }
        status if status.is_redirection() => {
            "Give the doctor, and publishers, the address that it points to: a browser follows, but a redirected POST arrives as something else."
                .to_owned()
        }
        _ => "Look whether the address is that of Pipecast, and whether a path is put before or taken away on the way.".to_owned(),
    }
}

fn event(channel: &str, payload: &serde_json::Value) -> String {
    json!({"channel": channel, "payload": payload}).to_string()
}

/// The payload of an event that nobody reads at first: none that another check has.
fn missed(number: usize) -> String {
    format!("missed {number}")
}

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
