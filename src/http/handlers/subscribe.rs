//! `GET /pipelines/{pipeline}/sse`: from a request to a stream.

use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use url::form_urlencoded;

use crate::auth::{ReadGrant, Refused};
use crate::event::{ResumePoint, check_channel};
use crate::http::accept_encoding;
use crate::http::body::{Body, Opening};
use crate::http::connection::arriving::Arriving;
use crate::http::error::RequestError;
use crate::metrics::Rejection;
use crate::node::Node;
use crate::node::drain::Phase;
use crate::sse::control::{draw_long_retry, retry_block};
use crate::stream::content_encoding::ContentEncoding;
use crate::stream::context::StreamContext;
use crate::stream::wanted::{Channels, Start, Wanted};

/// A stream's media type. With the charset, although there is only one (WHATWG HTML 9.2.5): clients that read it as any text
/// would take Latin-1 (RFC 2616 3.7.1).
const MEDIA_TYPE: &str = "text/event-stream; charset=utf-8";

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The header's meaning in a query, under the names that clients use: `EventSource` has no way to
/// set a header, and some polyfills have none either.
pub(in crate::http) const LAST_EVENT_ID_QUERY: [&str; 3] = ["last_event_id", "lastEventId", "Last-Event-ID"];

/// Seconds between two keepalives that a client may ask for.
const MAX_KEEPALIVE: u8 = 60;

/// Channels that one request may name.
const MAX_CHANNELS: usize = 100;

/// A filter's and a replay's values in a query, checked.
pub(in crate::http) struct Query {
    pub(in crate::http) channels: Vec<String>,
    pub(in crate::http) replay: Option<usize>,
    pub(in crate::http) resume: Option<ResumePoint>,
    /// Seconds.
    pub(in crate::http) keepalive: Option<NonZeroU8>,
}

impl Query {
    /// Reads a stream's query. Unknown names are left to whoever put them there, such as a proxy
    /// or a page that wants to pass a cache.
    pub(in crate::http) fn parse(
        query: Option<&str>,
        most_replay: usize,
        least_keepalive: Duration,
    ) -> Result<Self, RequestError> {
        let mut channels = Vec::new();
        let (mut replay, mut resume, mut keepalive) = (None, None, None);
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "channel" => channels.push(channel(&value)?),
                "replay" => replay = Some(count("replay", &value, most_replay)?),
                "keepalive" => keepalive = Some(seconds(&value, least_keepalive)?),
                // The last one given: polyfills append theirs to what the page wrote.
                name if LAST_EVENT_ID_QUERY.contains(&name) => resume = ResumePoint::parse(&value).or(resume),
                _ => {}
            }
        }
        check_count(&channels)?;
        Ok(Self { channels, replay, resume, keepalive })
    }
}

/// Reads a channel's name in a query.
pub(in crate::http) fn channel(name: &str) -> Result<String, RequestError> {
    check_channel(name).map_err(|problem| RequestError::Query(format!("channel=: {problem}")))?;
    Ok(name.to_owned())
}

/// Refuses more channels than one request may name.
pub(in crate::http) fn check_count(channels: &[String]) -> Result<(), RequestError> {
    if channels.len() <= MAX_CHANNELS {
        return Ok(());
    }
    Err(RequestError::Query(format!("a request may name {MAX_CHANNELS} channels; leave channel= out to get all")))
}

/// The channels of a query that a reader may have; all that may be had when none is named.
pub(in crate::http) fn readable(grant: &ReadGrant, asked: Vec<String>) -> Result<Channels, Refused> {
    match grant.channels() {
        None => Ok(Channels::only(asked)),
        Some(limit) if asked.is_empty() => Ok(Channels::limited(limit.to_vec())),
        Some(limit) if asked.iter().all(|channel| limit.contains(channel)) => Ok(Channels::limited(asked)),
        Some(_) => Err(Refused::Channel),
    }
}

/// Reads a number of events in a query: 0 to 100, or to `history.limit` where that is more.
pub(in crate::http) fn count(name: &str, text: &str, limit: usize) -> Result<usize, RequestError> {
    let most = limit.max(100);
    let count =
        Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).and_then(|text| text.parse().ok());
    count
        .filter(|count| *count <= most)
        .ok_or_else(|| RequestError::Query(format!("{name}= takes a number from 0 to {most}")))
}

/// Reads the time between two keepalives in a query: whole seconds, up to 60, with or without an `s`.
fn seconds(text: &str, least: Duration) -> Result<NonZeroU8, RequestError> {
    let number = text.strip_suffix('s').unwrap_or(text);
    let seconds = Some(number).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let seconds: Option<NonZeroU8> = seconds.and_then(|number| number.parse().ok());
    seconds
        .filter(|seconds| seconds.get() <= MAX_KEEPALIVE && Duration::from_secs(seconds.get().into()) >= least)
        .ok_or_else(|| {
            let least = humantime::format_duration(least);
            RequestError::Query(format!("keepalive= takes {least} to {MAX_KEEPALIVE}s, in whole seconds"))
        })
}

/// The resume point in the header. Several make one that is none (RFC 9110, 5.3): nobody knows which is the client's.
fn resume_header(request: &Request<Arriving>) -> Option<String> {
    let mut lines =
        request.headers().get_all(LAST_EVENT_ID).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    let first = lines.next()?.into_owned();
    Some(lines.fold(first, |text, line| text + ", " + &line))
}

/// Opens a stream.
pub(in crate::http) fn subscribe(
    node: &Node,
    grant: ReadGrant,
    request: &Request<Arriving>,
    client: IpAddr,
) -> Result<Response<Body>, RequestError> {
    let query = Query::parse(request.uri().query(), node.rules.history, node.rules.stream.keepalive_min)?;
    let channels = readable(&grant, query.channels)?;
    // The header wins: a browser repeats the URL when it reconnects, and knows better by then.
    let resume = resume_header(request).as_deref().and_then(ResumePoint::parse).or(query.resume);
    if node.drain.phase() > Phase::Serving {
        node.metrics.rejected(Rejection::Draining);
        return Ok(polite_refusal(node));
    }
    let encoding = match node.rules.stream.compresses {
        true => accept_encoding::choose(request.headers()),
        false => ContentEncoding::Identity,
    };
    if request.method() == Method::HEAD {
        // Of unknown length, as the stream would be.
        return Ok(stream(Body::Short(Bytes::new()), encoding, node));
    }
    if !node.hub.has_room(grant.pipeline()) {
        node.metrics.rejected(Rejection::EventBufferLimit);
        return Ok(polite_refusal(node));
    }
    let place = match node.limits.open_stream(client, grant.pipeline()) {
        Ok(place) => Some(place),
        Err(rejection) => {
            node.metrics.rejected(rejection);
            return Ok(polite_refusal(node));
        }
    };
    let start = match (resume, query.replay) {
        (Some(point), _) => Start::After(point),
        (None, Some(count)) => Start::Newest(count),
        (None, None) => Start::History,
    };
    let wanted = Wanted { start, channels };
    let pipeline = grant.pipeline().clone();
    let context = StreamContext { place, permit: node.auth.admit(grant)? };
    let opening = Opening { pipeline, wanted, encoding, keepalive: query.keepalive, context };
    Ok(stream(Body::Opening(Box::new(opening)), encoding, node))
}

/// Sends a client elsewhere. A status other than 200 would end its `EventSource` for good.
pub(in crate::http) fn polite_refusal(node: &Node) -> Response<Body> {
    let mut response = stream(Body::Short(retry_block(draw_long_retry())), ContentEncoding::Identity, node);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn stream(body: Body, encoding: ContentEncoding, node: &Node) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    if node.rules.stream.compresses {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    if let ContentEncoding::Gzip(_) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    // no-transform keeps proxies from compressing, which would hold events back; it does not bind us.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    // nginx holds answers back unless it is told not to.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;
    use crate::sse::frame::Frame;
    use proptest::prelude::*;

    const MOST: usize = 500;
    const LEAST: Duration = Duration::from_secs(5);

    fn passes(query: &Query, channel: &str) -> bool {
        let body = format!("event: {channel}\ndata: 1\n\n");
        Channels::only(query.channels.clone()).pass(&Frame::new(EventId { ms: 1, seq: 1 }, body.as_bytes()).unwrap())
    }

    fn encoded(pairs: &[(&str, &str)]) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }

    fn parameter() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            6 => prop::sample::select(vec!["channel", "replay", "keepalive", "last_event_id", "lastEventId", "Last-Event-ID", "x"])
                .prop_map(str::to_owned),
            1 => "[a-z%&=+]{0,6}",
        ];
        let value =
            prop_oneof!["[0-9-]{0,20}", "[a-z%0-9A-F+;&=]{0,20}", "pipecast\\.[a-z]", "%0[aAdD0]", any::<String>()];
        (name, value).prop_map(|(name, value)| format!("{name}={value}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(4000), ..ProptestConfig::default() })]

        #[test]
        fn a_query_of_any_text_is_refused_or_within_bounds(parameters in prop::collection::vec(parameter(), 0..8)) {
            if let Ok(query) = Query::parse(Some(&parameters.join("&")), MOST, LEAST) {
                prop_assert!(query.replay.is_none_or(|count| count <= MOST));
                prop_assert!(query.keepalive.is_none_or(|seconds| (5..=60).contains(&seconds.get())));
                if let Some(ResumePoint::Malformed(text)) = query.resume {
                    prop_assert!(text.len() <= ResumePoint::MAX_BYTES);
                }
            }
        }

        #[test]
        fn what_is_asked_for_in_any_channel_is_what_passes(channels in prop::collection::vec("[^\r\n\0]{1,20}", 0..4), other in "[^\r\n\0]{1,20}") {
            prop_assume!(channels.iter().chain([&other]).all(|channel| check_channel(channel).is_ok()));
            let pairs: Vec<_> = channels.iter().map(|channel| ("channel", channel.as_str())).collect();
            let query = Query::parse(Some(&encoded(&pairs)), MOST, LEAST).ok().unwrap();
            prop_assert!(channels.iter().all(|channel| passes(&query, channel)));
            prop_assert_eq!(passes(&query, &other), channels.is_empty() || channels.contains(&other));
        }

        #[test]
        fn the_last_resume_point_of_a_query_counts(points in prop::collection::vec("[0-9]{1,3}-[0-9]{1,3}|[a-z\r\n]{0,9}", 0..4)) {
            let pairs: Vec<_> = points.iter().zip(LAST_EVENT_ID_QUERY.iter().cycle()).map(|(point, name)| (*name, point.as_str())).collect();
            let query = Query::parse(Some(&encoded(&pairs)), MOST, LEAST).ok().unwrap();
            prop_assert_eq!(query.resume, points.iter().rev().find_map(|point| ResumePoint::parse(point)));
        }
    }
}
