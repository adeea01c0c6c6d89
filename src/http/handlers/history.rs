//! Reads and deletes a pipeline's history, and describes the pipeline.

use hyper::header::{self, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde::Serialize;
use url::form_urlencoded;

use super::history_pages::{PagePermit, Reading, Room, Wanted, pages};
use crate::auth::{PublishGrant, ReadGrant};
use crate::event::EventId;
use crate::http::body::Body;
use crate::http::error::{RequestError, StoreRequest};
use crate::http::json::{json, json_body};
use crate::http::query::{channel, check_count, count, readable};
use crate::metrics::{ReadReason, StoreOp};
use crate::node::Node;
use crate::store::StoreError;
use crate::store::page::About;

#[derive(Serialize)]
struct Description<'a> {
    pipeline: &'a str,
    last_id: Option<String>,
    /// Like every number here, null for clients that may read only some channels: it would reveal activity in the others.
    events: Option<usize>,
    subscribers: Option<usize>,
}

/// `GET /pipelines/{pipeline}/events`, or `HEAD`, which reads nothing.
pub(in crate::http) async fn read(
    node: &Node,
    grant: ReadGrant,
    method: &Method,
    query: Option<&str>,
) -> Result<Response<Body>, RequestError> {
    let wanted = parse(node, &grant, query)?;
    if method == Method::HEAD {
        return Ok(json_body(StatusCode::OK, Body::Short(bytes::Bytes::new())));
    }
    let pipeline = grant.pipeline().clone();
    // From here on the client may be slow: the right is checked again with each page.
    let permit = PagePermit(node.auth.admit(grant)?);
    let room = Room::take(node).await?;
    node.metrics.history_read(ReadReason::Request);
    let (text, rest) = Reading::begin(node, &pipeline, wanted, permit.clone())
        .await
        .map_err(|error| StoreRequest::Read.failed(error))?;
    permit.check()?;
    Ok(json_body(StatusCode::OK, Body::Pages(Box::new(pages(text, rest, room)))))
}

fn parse(node: &Node, grant: &ReadGrant, query: Option<&str>) -> Result<Wanted, RequestError> {
    let (mut channels, mut after, mut limit) = (Vec::new(), None, usize::MAX);
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "channel" => channels.push(channel(&value)?),
            "limit" => limit = count("limit", &value, node.rules.history)?,
            "after" => {
                let id: EventId = value.parse().map_err(|error| RequestError::Query(format!("after=: {error}")))?;
                after = Some(id);
            }
            _ => {}
        }
    }
    check_count(&channels)?;
    Ok(Wanted { channels: readable(grant, channels)?, after, limit })
}

/// `GET /pipelines/{pipeline}` for programs.
pub(in crate::http) async fn describe(node: &Node, grant: &ReadGrant) -> Result<Response<Body>, RequestError> {
    let pipeline = grant.pipeline();
    let about = node.store.about(pipeline).await;
    let About { newest, events } = about.map_err(|error| failed(node, StoreOp::History, StoreRequest::Read, error))?;
    let may_count = grant.channels().is_none();
    let description = Description {
        pipeline: pipeline.as_str(),
        last_id: (newest != EventId::ZERO).then(|| newest.to_string()),
        events: may_count.then_some(events),
        subscribers: may_count.then(|| node.hub.clients(pipeline)),
    };
    let mut response = json(StatusCode::OK, serde_json::to_string(&description).unwrap_or_default());
    // The same address has a page for browsers.
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

/// `DELETE /pipelines/{pipeline}/events`.
pub(in crate::http) async fn delete(node: &Node, grant: &PublishGrant) -> Result<Response<Body>, RequestError> {
    let deleted = node.store.delete_history(grant.pipeline()).await;
    deleted.map_err(|error| failed(node, StoreOp::Delete, StoreRequest::Delete, error))?;
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

fn failed(node: &Node, op: StoreOp, request: StoreRequest, error: StoreError) -> RequestError {
    node.metrics.store_error(op);
    tracing::debug!(%error, ?op, "the store failed");
    request.failed(error)
}
