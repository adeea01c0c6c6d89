//! The checks, in an order in which each builds on those before it.

use std::time::{Duration, Instant};

use reqwest::header::{CACHE_CONTROL, CONTENT_ENCODING, HeaderMap};
use serde_json::json;

use super::report::Report;
use super::requests::{BUFFERED, Checked, Doctor, Hopeless, SOON, header};
use super::stream_reader::{StreamOutput, StreamReader, field};
use crate::cli::sender::Request;
use crate::event::EventId;

/// Events that are published one by one.
const SINGLE_EVENTS: usize = 5;
/// An event that arrives later than this was held back on its way.
const PROMPT: Duration = Duration::from_millis(150);
/// A request of more than 1 MiB, the default limit of some proxies.
const BATCH_EVENTS: usize = 600;
const BATCH_PAYLOAD: usize = 2048;
/// Events to read before giving up on the last one of the batch: others may publish to a pipeline that the user named.
const MAX_EVENTS: usize = 10 * BATCH_EVENTS;
/// Events that are published while no stream is open.
const MISSED: usize = 3;
/// The default `stream.keepalive`, and some slack.
const KEEPALIVE: Duration = Duration::from_secs(17);

const ENDLESS: &str = "Something other than Pipecast responds: nodes send no event that long. Check the path and the routing rules of your proxies.";

const OTHER_PUBLISHERS: &str =
    "Other publishers use this pipeline, so leave out --pipeline. Or something other than Pipecast responds.";

impl Doctor {
    /// Runs all checks, or those up to one whose failure makes the rest meaningless.
    pub(super) async fn examine(&self, idle_for: Duration, origin: Option<&str>, report: &mut Report) {
        // The failure has been reported.
        let _ = self.check_all(idle_for, origin, report).await;
    }

    async fn check_all(&self, idle_for: Duration, origin: Option<&str>, report: &mut Report) -> Checked<()> {
        let mut stream = self.check_opening(report).await?;
        self.check_single_events(&mut stream, report).await?;
        let last = self.check_batch(&mut stream, report).await?;
        drop(stream);
        self.check_resuming(last, report).await?;
        if let Some(origin) = origin {
            self.check_origin(origin, report).await?;
        }
        self.check_idle_stream(idle_for, report).await
    }

    /// A stream opens with the headers that the node sent, and its first bytes arrive at once.
    async fn check_opening(&self, report: &mut Report) -> Checked<StreamReader> {
        let mut stream = self.open(None, report).await?;
        match stream.next(SOON).await {
            StreamOutput::Block(_) => {
                report.pass(format!("a stream opens, with the first bytes after {}", millis(stream.age())));
                check_headers(stream.headers(), report);
                return Ok(stream);
            }
            StreamOutput::Silence if stream.has_begun() => {
                let advice = "A node without Redis does that. Look at /readyz of the nodes.";
                report.fail("a stream opens, but does not start", advice);
            }
            StreamOutput::Silence => report.fail(format!("a stream sends nothing in its first {SOON:?}"), BUFFERED),
            StreamOutput::Endless => report.fail("a stream starts with an event that never ends", ENDLESS),
            StreamOutput::End(_) => {
                let advice = "The node is full or stopping, or a proxy closes responses that it believes complete.";
                report.fail("a stream ends at once", advice);
            }
        }
        Err(Hopeless)
    }

    /// Single events arrive one by one, each as soon as it is published.
    async fn check_single_events(&self, stream: &mut StreamReader, report: &mut Report) -> Checked<()> {
        let mut slowest = Duration::ZERO;
        for number in 0..SINGLE_EVENTS {
            let began = Instant::now();
            self.publish(&Request::event(self.event("single", &json!(number))), report).await?;
            match stream.next_event(SOON).await {
                Ok((_, data)) if data == number.to_string() => slowest = slowest.max(began.elapsed()),
                Ok((id, data)) => {
                    let advice = "Events were lost, duplicated or reordered. This is always a bug: please report it.";
                    report.fail(format!("event {id} is {data} instead of {number}"), advice);
                    return Err(Hopeless);
                }
                Err(_) => {
                    report.fail(
                        format!("event {number} did not arrive within {SOON:?} of its acknowledgement"),
                        BUFFERED,
                    );
                    return Err(Hopeless);
                }
            }
        }
        if slowest > PROMPT {
            report.warn(
                format!("the slowest of {SINGLE_EVENTS} events took {} from publisher to subscriber", millis(slowest)),
                "The nodes are far away, or a proxy waits for more data before it sends (HAProxy: `option http-no-delay`).",
            );
        } else {
            report.pass(format!("{SINGLE_EVENTS} events arrive one by one, the slowest after {}", millis(slowest)));
        }
        Ok(())
    }

    /// A request of more than 1 MiB gets through, and all of its events arrive. Returns the id of the last event.
    async fn check_batch(&self, stream: &mut StreamReader, report: &mut Report) -> Checked<EventId> {
        let filler = "x".repeat(BATCH_PAYLOAD);
        let lines = (0..BATCH_EVENTS).map(|number| self.event("batch", &json!([number, filler])) + "\n");
        let request = Request::lines(lines.collect(), BATCH_EVENTS);
        let last = match self.try_publish(&request).await {
            Ok(last) => last,
            Err(error) => {
                report.warn(
                    format!("a request of {} KiB is rejected, {error}", BATCH_EVENTS * BATCH_PAYLOAD / 1024),
                    "Publishers of batches may need more (nginx: `client_max_body_size 4m`; nodes: limits.max_request_size, limits.publish_rate_per_publisher).",
                );
                // The next check resumes after an event.
                self.publish(&Request::event(self.event("single", &json!("last"))), report).await?
            }
        };
        match read_up_to(last, stream, report).await? {
            BATCH_EVENTS => report.pass(format!("a batch of {BATCH_EVENTS} events arrives complete")),
            // The event in place of a rejected batch.
            1 => {}
            count => report.fail(
                format!("{count} events of a batch of {BATCH_EVENTS} arrived"),
                "This connection is too slow for the batch and received a gap. Run the doctor closer to the nodes.",
            ),
        }
        Ok(last)
    }

    /// A client that reconnects receives the events that it missed, once, from any node.
    async fn check_resuming(&self, last: EventId, report: &mut Report) -> Checked<()> {
        for number in 0..MISSED {
            self.publish(&Request::event(self.event("missed", &json!(missed(number)))), report).await?;
        }
        let mut stream = self.open(Some(last), report).await?;
        for number in 0..MISSED {
            match stream.next_event(SOON).await {
                Ok((_, data)) if data == format!("\"{}\"", missed(number)) => {}
                output => {
                    let what = output.map_or_else(|_| "nothing".to_owned(), |(_, data)| data);
                    report.fail(
                        format!("a resumed stream sent {what} instead of missed event {number}"),
                        "Check that your proxies forward the header Last-Event-ID, and that all nodes use the same Redis.",
                    );
                    return Err(Hopeless);
                }
            }
        }
        report.pass(format!("a stream resumes after a disconnect, with the {MISSED} events that it missed"));
        Ok(())
    }

    /// Pages of the origin may subscribe.
    async fn check_origin(&self, origin: &str, report: &mut Report) -> Checked<()> {
        let allowed = self.allowed_origin(origin, report).await?;
        if allowed == "*" || allowed == origin {
            report.pass(format!("pages of {origin} may subscribe"));
        } else {
            report.fail(
                format!("pages of {origin} may not subscribe: the response allows `{allowed}`"),
                "Add the origin to server.cors_origins, and check that no proxy removes the header.",
            );
        }
        Ok(())
    }

    /// Keepalives keep an idle stream open.
    async fn check_idle_stream(&self, idle_for: Duration, report: &mut Report) -> Checked<()> {
        let mut stream = self.open(None, report).await?;
        let mut keepalives = 0;
        while stream.age() < idle_for {
            match stream.next(idle_for.saturating_sub(stream.age())).await {
                StreamOutput::Block(block) => keepalives += usize::from(block.contains(":keepalive")),
                StreamOutput::Silence => break,
                StreamOutput::Endless => {
                    report.fail("an idle stream sends an event that never ends", ENDLESS);
                    return Ok(());
                }
                StreamOutput::End(text) => {
                    let age = stream.age().as_secs_f64();
                    // A node that ends a stream itself sends a `retry:` first.
                    if field(&text, "retry").is_some() {
                        let advice = "The node is stopping, or stream.max_age was reached. Use a shorter --idle-for.";
                        report.warn(format!("the node ended an idle stream after {age:.1} s"), advice);
                    } else {
                        let advice = "A proxy has an idle timeout below stream.keepalive (15s), or limits how long a response may take.";
                        report.fail(format!("an idle stream was cut after {age:.1} s"), advice);
                    }
                    return Ok(());
                }
            }
        }
        report_open_stream(keepalives, idle_for, report);
        Ok(())
    }
}

/// Reads events up to the one with the id `last`. Returns how many.
async fn read_up_to(last: EventId, stream: &mut StreamReader, report: &mut Report) -> Checked<usize> {
    for count in 1..=MAX_EVENTS {
        match stream.next_event(SOON).await {
            Ok((id, _)) if id == last.to_string() => return Ok(count),
            Ok(_) => {}
            Err(_) => {
                report.fail(format!("only {} events of a batch arrived", count - 1), BUFFERED);
                return Err(Hopeless);
            }
        }
    }
    report.fail(format!("the last event of a batch is not among the {MAX_EVENTS} that followed"), OTHER_PUBLISHERS);
    Err(Hopeless)
}

fn report_open_stream(keepalives: usize, idle_for: Duration, report: &mut Report) {
    let what = format!("an idle stream stays open for {}", humantime::format_duration(idle_for));
    match keepalives {
        0 if idle_for >= KEEPALIVE => report.warn(
            format!("{what}, but without a keepalive"),
            "stream.keepalive of the nodes is longer than that, or a proxy buffers small writes.",
        ),
        0 => report.pass(format!("{what}; testing keepalives needs --idle-for 20s")),
        1 => report.pass(format!("{what}, with 1 keepalive")),
        count => report.pass(format!("{what}, with {count} keepalives")),
    }
}

/// No proxy has changed the headers that a browser needs.
fn check_headers(headers: &HeaderMap, report: &mut Report) {
    let coding = header(headers, CONTENT_ENCODING.as_str());
    let caching = header(headers, CACHE_CONTROL.as_str());
    if !matches!(coding, "" | "gzip") {
        report.fail(
            format!("a stream is encoded as `{coding}` although the client accepts only gzip"),
            "A proxy encodes it. Turn that off for text/event-stream.",
        );
    } else if !caching.contains("no-transform") || !caching.contains("no-cache") {
        report.warn(
            format!("the Cache-Control of a stream is `{caching}`"),
            "Nodes send `no-cache, no-transform`. A proxy has replaced it, so caches may store streams.",
        );
    } else {
        let compressed = if coding.is_empty() { "" } else { ", and it is compressed" };
        report.pass(format!("its headers are as the node sent them{compressed}"));
    }
}

/// The payload of an event that a disconnected client misses. No other check publishes the same.
fn missed(number: usize) -> String {
    format!("missed {number}")
}

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
