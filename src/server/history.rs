//! History as JSON, what is known of a pipeline, and forgetting.

use std::time::{Duration, Instant};

use hyper::{Response, StatusCode};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use url::form_urlencoded;

use super::body::Body;
use super::error::RequestError;
use super::router::json;
use super::subscribe::{channel, count, readable};
use crate::auth::{PublishGrant, ReadGrant};
use crate::event_id::{EventId, ResumePoint};
use crate::frame::{Frame, History};
use crate::log::{Log, LogLimits, Portion, Read};
use crate::metrics::{ReadCause, StoreOp};
use crate::node::Node;
use crate::pipeline::PipelineId;
use crate::store::StoreError;
use crate::store::memory::clock_ms;

#[derive(Serialize)]
struct Page<'a> {
    events: Vec<Event<'a>>,
    gap: bool,
}

#[derive(Serialize)]
struct Event<'a> {
    id: String,
    channel: &'a str,
    #[serde(serialize_with = "raw")]
    payload: &'a str,
}

/// The payload byte for byte, as the publisher sent it; what is no JSON, because somebody else
/// wrote to the store, as a string.
fn raw<S: Serializer>(payload: &str, serializer: S) -> Result<S::Ok, S::Error> {
    match serde_json::from_str::<&RawValue>(payload) {
        Ok(payload) => payload.serialize(serializer),
        Err(_) => serializer.serialize_str(payload),
    }
}

#[derive(Serialize)]
struct Description<'a> {
    pipeline: &'a str,
    last_id: Option<String>,
    events: usize,
    subscribers: usize,
}

/// `GET /pipelines/{pipeline}/events`.
pub(super) async fn read(node: &Node, grant: &ReadGrant, query: Option<&str>) -> Result<Response<Body>, RequestError> {
    let (mut channels, mut after, mut limit) = (Vec::new(), None, usize::MAX);
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "channel" => channels.push(channel(&value)?),
            "limit" => limit = count("limit", &value, node.rules.history)?,
            "after" => {
                let id: EventId = value.parse().map_err(|error| RequestError::Query(format!("after=: {error}")))?;
                after = Some(ResumePoint::After(id));
            }
            _ => {}
        }
    }
    let channels = readable(grant, channels)?;
    let limits = LogLimits {
        history: node.rules.history,
        history_bytes: usize::MAX,
        backlog_bytes: 0,
        backlog_age: Duration::ZERO,
        compresses: false,
    };
    let mut log = Log::new(limits);
    log.merge(fetch(node, grant.pipeline()).await?, Instant::now());
    // After an id the first events, so that a reader can page on; else the newest.
    let (mut cursor, gap) = match after {
        Some(after) => log.place_after(&after, clock_ms()),
        None => (log.place_newest(limit, |frame| channels.pass(frame)), None),
    };
    let portion = Portion { frames: limit, bytes: usize::MAX };
    let frames = match log.read(&mut cursor, portion, clock_ms(), |frame| channels.pass(frame)) {
        Read::Frames(frames) => frames,
        Read::Nothing | Read::Gap(_) => Vec::new(),
    };
    let page = Page { events: frames.iter().map(event).collect(), gap: gap.is_some() };
    Ok(json(StatusCode::OK, serde_json::to_string(&page).unwrap_or_default()))
}

fn event(frame: &Frame) -> Event<'_> {
    Event { id: frame.id().to_string(), channel: frame.channel(), payload: frame.payload() }
}

/// `GET /pipelines/{pipeline}` for programs.
pub(super) async fn describe(node: &Node, grant: &ReadGrant) -> Result<Response<Body>, RequestError> {
    let pipeline = grant.pipeline();
    let history = fetch(node, pipeline).await?;
    let newest = history.newest();
    let description = Description {
        pipeline: pipeline.as_str(),
        last_id: (newest != EventId::ZERO).then(|| newest.to_string()),
        events: history.frames.len(),
        subscribers: node.hub.clients(pipeline),
    };
    Ok(json(StatusCode::OK, serde_json::to_string(&description).unwrap_or_default()))
}

/// `DELETE /pipelines/{pipeline}/events`.
pub(super) async fn forget(node: &Node, grant: &PublishGrant) -> Result<Response<Body>, RequestError> {
    node.store.forget(grant.pipeline()).await.inspect_err(|error| failed(node, StoreOp::Forget, error))?;
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

async fn fetch(node: &Node, pipeline: &PipelineId) -> Result<History, StoreError> {
    node.metrics.history_read(ReadCause::Request);
    node.store.history(pipeline).await.inspect_err(|error| failed(node, StoreOp::History, error))
}

fn failed(node: &Node, op: StoreOp, error: &StoreError) {
    node.metrics.store_error(op);
    tracing::debug!(%error, ?op, "the store failed");
}
