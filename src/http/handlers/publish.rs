//! `POST /pipelines/{pipeline}/events`: from the request body to the store's acknowledgement.

use std::net::IpAddr;
use std::time::Instant;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde::Serialize;

use super::receive::receive;
use crate::auth::PublishGrant;
use crate::event::{Batch, Shape};
use crate::http::body::Body;
use crate::http::connection::request_body::RequestBody;
use crate::http::error::{RequestError, StoreRequest};
use crate::http::json::json;
use crate::http::permission::may_publish;
use crate::limits::Publisher;
use crate::metrics::StoreOp;
use crate::node::Node;
use crate::store::{IdempotencyKey, InvalidIdempotencyKey, Origin, Receipt};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Stores the events in a request.
pub(in crate::http) async fn publish(
    node: &Node,
    grant: PublishGrant,
    request: &mut Request<RequestBody>,
    client: IpAddr,
) -> Result<Response<Body>, RequestError> {
    let format = Format::of(request.headers())?;
    let key = idempotency_key(request.headers())?;
    // The events take as much memory as the body. Its reservation stays with them wherever they wait, even if the publisher
    // has left.
    let (body, room) = receive(node, request).await?;
    let batch = match format {
        Format::Json => Batch::from_json(&body, &node.rules.events)?,
        Format::Ndjson => Batch::from_ndjson(&body, &node.rules.events)?,
    };
    drop(body);
    // While the body arrived, the token may have expired or been revoked.
    let grant = may_publish(node, grant.pipeline().clone(), request).await?;
    let pipeline = grant.pipeline();
    node.limits.publish(publisher(&grant, client), pipeline, batch.events.len())?;
    let began = Instant::now();
    let stored = node.store.append(pipeline, batch, key.as_ref(), room).await;
    let events = match &stored {
        Ok(Receipt { origin: Origin::Stored, count, .. }) => *count,
        Ok(_) => 0,
        Err(error) => {
            node.metrics.store_error(StoreOp::Append);
            tracing::debug!(%pipeline, %error, "events could not be stored");
            0
        }
    };
    node.metrics.published(events, began.elapsed());
    let receipt = stored.map_err(|error| StoreRequest::Publish.failed(error))?;
    if node.hub.keep_pace(pipeline).await {
        node.metrics.publish_delayed();
    }
    Ok(accepted(&receipt))
}

/// Whose rate the events count against.
fn publisher(grant: &PublishGrant, client: IpAddr) -> Publisher<'_> {
    match (grant.key_name(), grant.patterns()) {
        (Some(name), _) => Publisher::Key(name),
        (None, Some(patterns)) => Publisher::Token(client, patterns),
        (None, None) => Publisher::Address(client),
    }
}

/// Charsets that are UTF-8 or a subset of it.
const UTF_8: [&str; 3] = ["utf-8", "utf8", "us-ascii"];

/// How events are written in a body.
#[derive(Clone, Copy)]
enum Format {
    Json,
    Ndjson,
}

impl Format {
    /// Parsed by hand, because the `mime` crate (0.3) rejects what RFC 9110, 5.6.6 allows: a space before `;`, and empty
    /// parameters.
    fn of(headers: &HeaderMap) -> Result<Self, RequestError> {
        let mut parts = header_text(headers, &header::CONTENT_TYPE)?.unwrap_or_default().split(';').map(str::trim);
        let format = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "application/json" => Self::Json,
            "application/x-ndjson" | "application/ndjson" => Self::Ndjson,
            _ => return Err(RequestError::MediaType),
        };
        let is_utf8 = parts.filter_map(|part| part.split_once('=')).all(|(name, value)| {
            let value = value.trim_matches('"');
            !name.eq_ignore_ascii_case("charset") || UTF_8.iter().any(|charset| value.eq_ignore_ascii_case(charset))
        });
        if !is_utf8 {
            return Err(RequestError::MediaType);
        }
        if is_coded(headers) { Err(RequestError::ContentCoding) } else { Ok(format) }
    }
}

/// Whether a body is compressed.
fn is_coded(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
    let mut codings = lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}

fn header_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, RequestError> {
    headers.get(name).map(|value| value.to_str().map_err(|_| RequestError::MediaType)).transpose()
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, RequestError> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let key = keys.next().map(|key| key.to_str().map_err(|_| InvalidIdempotencyKey)?.parse());
    if keys.next().is_some() {
        return Err(InvalidIdempotencyKey.into());
    }
    Ok(key.transpose()?)
}

#[derive(Serialize)]
#[serde(untagged)]
enum Accepted {
    One { id: String },
    Many { ids: Vec<String> },
}

fn accepted(receipt: &Receipt) -> Response<Body> {
    let answer = match receipt.shape {
        Shape::Single => Accepted::One { id: receipt.first.to_string() },
        Shape::List => Accepted::Many { ids: receipt.ids().map(|id| id.to_string()).collect() },
    };
    // Strings in memory: nothing to fail.
    let mut response = json(StatusCode::ACCEPTED, serde_json::to_string(&answer).unwrap_or_default());
    if receipt.origin == Origin::Repeated {
        response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
