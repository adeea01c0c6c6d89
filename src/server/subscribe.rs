//! `GET /pipelines/{pipeline}/sse`: from a request to a stream.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use url::form_urlencoded;

use super::body::{Body, Opening};
use super::error::RequestError;
use crate::auth::{ReadGrant, Refused};
use crate::block::retry_line;
use crate::drain::{Phase, draw_long_retry};
use crate::event::check_channel;
use crate::event_id::ResumePoint;
use crate::metrics::Refusal;
use crate::node::Node;
use crate::subscription::{Channels, Start, Wanted};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The header's meaning in a query, under the names that clients use: `EventSource` has no way to
/// set a header, and some polyfills have none either.
const LAST_EVENT_ID_QUERY: [&str; 3] = ["last_event_id", "lastEventId", "Last-Event-ID"];

/// Channels that one stream may name.
const MAX_CHANNELS: usize = 100;

/// A filter's and a replay's values in a query, checked.
pub(super) struct Query {
    pub(super) channels: Vec<String>,
    pub(super) replay: Option<usize>,
    pub(super) resume: Option<ResumePoint>,
}

impl Query {
    /// Reads a stream's query. Unknown names are left to whoever put them there, such as a proxy
    /// or a page that wants to pass a cache.
    pub(super) fn parse(query: Option<&str>, most_replay: usize) -> Result<Self, RequestError> {
        let mut channels = Vec::new();
        let (mut replay, mut resume) = (None, None);
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "channel" => channels.push(channel(&value)?),
                "replay" => replay = Some(count("replay", &value, most_replay)?),
                // The last one given: polyfills append theirs to what the page wrote.
                name if LAST_EVENT_ID_QUERY.contains(&name) => resume = ResumePoint::parse(&value).or(resume),
                _ => {}
            }
        }
        if channels.len() > MAX_CHANNELS {
            return Err(RequestError::Query(format!(
                "a stream may name {MAX_CHANNELS} channels; leave channel= out to get all"
            )));
        }
        Ok(Self { channels, replay, resume })
    }
}

/// Reads a channel's name in a query.
pub(super) fn channel(name: &str) -> Result<String, RequestError> {
    check_channel(name).map_err(|problem| RequestError::Query(format!("channel=: {problem}")))?;
    Ok(name.to_owned())
}

/// The channels of a query that a reader may have; all that may be had when none is named.
pub(super) fn readable(grant: &ReadGrant, asked: Vec<String>) -> Result<Channels, Refused> {
    match grant.channels() {
        None => Ok(Channels::only(asked)),
        Some(limit) if asked.is_empty() => Ok(Channels::limited(limit.to_vec())),
        Some(limit) if asked.iter().all(|channel| limit.contains(channel)) => Ok(Channels::limited(asked)),
        Some(_) => Err(Refused::Channel),
    }
}

/// Reads a number of events in a query: 0 to 100, or to `history.limit` where that is more.
pub(super) fn count(name: &str, text: &str, limit: usize) -> Result<usize, RequestError> {
    let most = limit.max(100);
    let count =
        Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).and_then(|text| text.parse().ok());
    count
        .filter(|count| *count <= most)
        .ok_or_else(|| RequestError::Query(format!("{name}= takes a number from 0 to {most}")))
}

/// Opens a stream.
pub(super) fn subscribe(
    node: &Node,
    grant: ReadGrant,
    request: &Request<Incoming>,
) -> Result<Response<Body>, RequestError> {
    let query = Query::parse(request.uri().query(), node.rules.history)?;
    let channels = readable(&grant, query.channels)?;
    // The header wins: a browser repeats the URL when it reconnects, and knows better by then.
    let header =
        request.headers().get(LAST_EVENT_ID).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let resume = header.as_deref().and_then(ResumePoint::parse).or(query.resume);
    if node.drain.phase() > Phase::Serving {
        node.metrics.refused(Refusal::Draining);
        return Ok(polite_refusal());
    }
    if request.method() == Method::HEAD {
        // Of unknown length, as the stream would be.
        return Ok(stream(Body::Short(Bytes::new())));
    }
    let start = match (resume, query.replay) {
        (Some(point), _) => Start::After(point),
        (None, Some(count)) => Start::Newest(count),
        (None, None) => Start::History,
    };
    let wanted = Wanted { start, channels };
    let pipeline = grant.pipeline().clone();
    let admission = node.auth.admit(grant)?;
    Ok(stream(Body::Opening(Box::new(Opening { pipeline, wanted, admission }))))
}

/// Sends a client elsewhere. A status other than 200 would end its `EventSource` for good.
pub(super) fn polite_refusal() -> Response<Body> {
    let mut response = stream(Body::Short(retry_line(draw_long_retry())));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // no-transform keeps proxies from compressing, which would hold events back.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    // nginx holds answers back unless it is told not to.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
