//! `GET /pipelines/{pipeline}/sse`: from a request to a stream.

use std::net::IpAddr;

use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};

use crate::auth::ReadGrant;
use crate::event::ResumePoint;
use crate::http::accept_encoding;
use crate::http::body::Body;
use crate::http::connection::request_body::RequestBody;
use crate::http::error::RequestError;
use crate::http::opening::Opening;
use crate::http::query::{Query, readable};
use crate::metrics::Rejection;
use crate::node::Node;
use crate::node::drain::NodePhase;
use crate::sse::control::{draw_long_retry, retry_block};
use crate::stream::content_encoding::ContentEncoding;
use crate::stream::context::StreamContext;
use crate::stream::wanted::{Start, Wanted};

/// A stream's media type. With a charset, although only UTF-8 is allowed (WHATWG HTML 9.2.5): clients that treat the stream as
/// plain text would assume Latin-1 (RFC 2616, 3.7.1).
const MEDIA_TYPE: &str = "text/event-stream; charset=utf-8";

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The resume point in the header. Several are joined (RFC 9110, 5.3) into one that is unknown: any of them could be the
/// client's.
fn resume_header(request: &Request<RequestBody>) -> Option<String> {
    let mut lines =
        request.headers().get_all(LAST_EVENT_ID).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    let first = lines.next()?.into_owned();
    Some(lines.fold(first, |text, line| text + ", " + &line))
}

/// Opens a stream.
pub(in crate::http) fn subscribe(
    node: &Node,
    grant: ReadGrant,
    request: &Request<RequestBody>,
    client: IpAddr,
) -> Result<Response<Body>, RequestError> {
    let query = Query::parse(request.uri().query(), node.rules.history, node.rules.stream.keepalive_min)?;
    let channels = readable(&grant, query.channels)?;
    // The header wins: a reconnecting browser repeats the URL, but sends its newest id in the header.
    let resume = resume_header(request).as_deref().and_then(ResumePoint::parse).or(query.resume);
    if node.drain.phase() > NodePhase::Serving {
        node.metrics.rejected(Rejection::Draining);
        return Ok(soft_rejection(node));
    }
    let encoding = match node.rules.stream.compresses {
        true => accept_encoding::choose(request.headers()),
        false => ContentEncoding::Identity,
    };
    if request.method() == Method::HEAD {
        // Of unknown length, like the stream.
        return Ok(stream(Body::Short(Bytes::new()), encoding, node));
    }
    if !node.hub.has_room(grant.pipeline()) {
        node.metrics.rejected(Rejection::EventBufferLimit);
        return Ok(soft_rejection(node));
    }
    let place = match node.limits.open_stream(client, grant.pipeline()) {
        Ok(place) => Some(place),
        Err(rejection) => {
            node.metrics.rejected(rejection);
            return Ok(soft_rejection(node));
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

/// Asks a client to reconnect later. A status other than 200 would end its `EventSource` for good.
pub(in crate::http) fn soft_rejection(node: &Node) -> Response<Body> {
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
    // no-transform keeps proxies from compressing, which would delay events. It does not restrict the node itself.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    // nginx buffers responses by default.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
