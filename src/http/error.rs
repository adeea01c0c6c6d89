//! The only table from error to status: problem details (RFC 9457) that say what to do.

use bytes::Bytes;
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};

use super::body::Body;
use crate::auth::Refused;
use crate::event::{BatchIndex, InvalidBatch, InvalidPipelineId};
use crate::limits::RateReached;
use crate::metrics::Rejection;
use crate::store::{InvalidIdempotencyKey, StoreError};

/// Why a request was rejected. A rejected request has changed nothing, except possibly after [`StoreError::Unreachable`]: when a
/// call to Redis times out, its result is unknown.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error(transparent)]
    Pipeline(#[from] InvalidPipelineId),
    #[error(transparent)]
    Batch(#[from] InvalidBatch),
    #[error(transparent)]
    Key(#[from] InvalidIdempotencyKey),
    #[error(transparent)]
    Access(#[from] Refused),
    #[error(
        "pages of this origin cannot publish or delete, because this node is open only by default. Set server.cors_origins to the origins that may (* for all), or set auth.publish to token or open"
    )]
    ForeignPage,
    #[error(
        "this host name is not accepted, because this node is open only by default and a web page could point the name here. Use localhost, an IP address or a name outside the public DNS; or set server.cors_origins or auth.publish, or server.trusted_proxies if a proxy forwards the name"
    )]
    ForeignHost,
    #[error("{0}")]
    Query(String),
    #[error(
        "not found; the routes are /pipelines/{{pipeline}}/events, /pipelines/{{pipeline}}/sse, /pipelines/{{pipeline}}, / and /openapi.json, which describes them"
    )]
    NoRoute,
    #[error("method not allowed; this path accepts {0}")]
    Method(&'static str),
    #[error("unsupported Content-Type; send application/json or application/x-ndjson, in UTF-8")]
    MediaType,
    #[error("compressed bodies are not supported; send the body without Content-Encoding")]
    ContentCoding,
    /// Proxies could read it as another request, so the connection is closed.
    #[error("{0}")]
    Malformed(&'static str),
    #[error("the header {0} was sent more than once; send it once")]
    Repeated(HeaderName),
    /// The HTTP library cannot parse it; with its own words.
    #[error("not valid HTTP/1.1: {0}. The connection is closed; check what the client sends")]
    Unreadable(String),
    #[error(
        "this is a TLS handshake, but the listener accepts plain HTTP. Use http://, or set server.tls_cert and server.tls_key"
    )]
    Handshake,
    #[error(
        "the request head is larger than {0} bytes or has more than 100 headers; shorten it. The usual cause is too many cookies"
    )]
    HeadTooLarge(usize),
    #[error("the body is larger than {0} bytes (limits.max_request_size); split the batch or send less")]
    BodyTooLarge(usize),
    #[error("the body did not arrive within {0:?} (limits.request_timeout); send it again")]
    BodyTimeout(std::time::Duration),
    #[error("the body ended early; send it again")]
    BodyBroken,
    #[error(
        "the node has no memory for another request body at the moment (limits.bodies). Nothing was stored; try again"
    )]
    BodiesFull,
    #[error("the node has no memory for another history at the moment (limits.histories); try again")]
    HistoriesFull,
    #[error(transparent)]
    Rate(#[from] RateReached),
    // The store's own message is only for the operator's log.
    #[error("{}", store_detail(.error, *.request))]
    Store {
        request: StoreRequest,
        #[source]
        error: StoreError,
    },
}

/// What a request asked of the store. It decides what the client has to repeat after a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StoreRequest {
    Publish,
    Read,
    Delete,
}

impl StoreRequest {
    /// The error of a request that the store failed.
    pub(super) fn failed(self, error: StoreError) -> RequestError {
        RequestError::Store { request: self, error }
    }
}

/// What a client can do about a failure of the store.
fn store_detail(error: &StoreError, request: StoreRequest) -> &'static str {
    use StoreRequest::{Delete, Publish, Read};
    match (error, request) {
        (StoreError::Unreachable(_), Publish) => {
            "Redis is unreachable; the events may or may not have been stored. Retry with the same Idempotency-Key; without one, events may be stored twice"
        }
        (StoreError::Unreachable(_), Read) => "Redis is unreachable; try again",
        (StoreError::Unreachable(_), Delete) => {
            "Redis is unreachable; the history may or may not have been deleted. Try again"
        }
        (StoreError::Refusing(_), Publish) => {
            "Redis accepts no events at the moment, and its operator has to act; nothing was stored. Retry later"
        }
        (StoreError::Refusing(_), Read) => {
            "Redis rejects requests at the moment, and its operator has to act. Try again later"
        }
        (StoreError::Refusing(_), Delete) => {
            "Redis accepts no changes at the moment, and its operator has to act; nothing was deleted. Try again later"
        }
        (StoreError::Unexpected(_), _) => {
            "the store cannot serve this pipeline, and a retry will not help; see the log of this node for the reason"
        }
        (StoreError::Full, _) => {
            "the node has no memory left for events (store.memory), and all events that it keeps are in use; nothing was stored. Retry later"
        }
        (StoreError::KeyReused, _) => {
            "this Idempotency-Key was used for other events on this pipeline in the last ten minutes; nothing was stored. Use a new key for new events"
        }
    }
}

impl RequestError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Batch(InvalidBatch::TooLarge { .. } | InvalidBatch::TooMany { .. }) | Self::BodyTooLarge(_) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::Pipeline(_)
            | Self::Batch(_)
            | Self::Key(_)
            | Self::Query(_)
            | Self::Malformed(_)
            | Self::Repeated(_)
            | Self::Unreadable(_)
            | Self::Handshake
            | Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::Access(Refused::Forbidden(_) | Refused::Channel) | Self::ForeignPage | Self::ForeignHost => {
                StatusCode::FORBIDDEN
            }
            Self::Access(Refused::NoKeys) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Access(_) => StatusCode::UNAUTHORIZED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType | Self::ContentCoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::HeadTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Rate(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Store { error: StoreError::Unreachable(_) | StoreError::Refusing(_) | StoreError::Full, .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Store { error: StoreError::Unexpected(_), .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Store { error: StoreError::KeyReused, .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::BodiesFull | Self::HistoriesFull => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The reason under which metrics count it.
    pub(super) fn rejection(&self) -> Rejection {
        if let Self::Rate(reached) = self {
            return reached.rejection;
        }
        match self.status() {
            _ if matches!(self, Self::BodiesFull) => Rejection::BodyMemoryLimit,
            _ if matches!(self, Self::HistoriesFull) => Rejection::HistoryMemoryLimit,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Rejection::TooLarge,
            StatusCode::REQUEST_TIMEOUT => Rejection::RequestTimeout,
            StatusCode::SERVICE_UNAVAILABLE if matches!(self, Self::Access(_)) => Rejection::JwksUnavailable,
            StatusCode::SERVICE_UNAVAILABLE if matches!(self, Self::Store { error: StoreError::Full, .. }) => {
                Rejection::StoreMemoryLimit
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::INTERNAL_SERVER_ERROR => Rejection::StoreUnavailable,
            StatusCode::UNAUTHORIZED => Rejection::Unauthorized,
            StatusCode::FORBIDDEN => Rejection::Forbidden,
            _ => Rejection::BadRequest,
        }
    }

    /// The response: a problem document and the headers that belong to its status.
    pub(super) fn response(&self) -> Response<Body> {
        let status = self.status();
        let mut problem = serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": self.to_string(),
        });
        if let Some(index) = self.index() {
            problem["index"] = index.into();
        }
        let mut text = problem.to_string();
        text.push('\n');
        let mut response = Response::new(Body::Full(Bytes::from(text)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.header());
        response
    }

    /// The header that tells a client what to do next, if one does.
    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let fixed = |name, value| Some((name, HeaderValue::from_static(value)));
        match self {
            Self::Method(allowed) => fixed(ALLOW, allowed),
            Self::ContentCoding => fixed(ACCEPT_ENCODING, "identity"),
            Self::Malformed(_) => fixed(CONNECTION, "close"),
            Self::Rate(reached) => Some((RETRY_AFTER, reached.retry_after().into())),
            Self::Access(Refused::NoKeys) => fixed(RETRY_AFTER, "1"),
            // RFC 6750, 3: no error where nothing was presented.
            Self::Access(Refused::Missing) => fixed(WWW_AUTHENTICATE, "Bearer"),
            Self::Access(Refused::Forbidden(_) | Refused::Channel) => {
                fixed(WWW_AUTHENTICATE, "Bearer error=\"insufficient_scope\"")
            }
            Self::Access(_) => fixed(WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""),
            Self::Store { error: StoreError::Refusing(_) | StoreError::Full, .. } => fixed(RETRY_AFTER, "10"),
            Self::BodiesFull | Self::HistoriesFull | Self::Store { error: StoreError::Unreachable(_), .. } => {
                fixed(RETRY_AFTER, "1")
            }
            _ => None,
        }
    }

    fn index(&self) -> Option<usize> {
        let Self::Batch(
            InvalidBatch::Malformed { at, .. }
            | InvalidBatch::Channel { at, .. }
            | InvalidBatch::TooDeep { at, .. }
            | InvalidBatch::TooLarge { at, .. },
        ) = self
        else {
            return None;
        };
        match at {
            BatchIndex::Index(index) => Some(*index),
            BatchIndex::Whole => None,
        }
    }
}
