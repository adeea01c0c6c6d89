//! The only table from error to status: problem details (RFC 9457) that say what to do.

use bytes::Bytes;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};

use super::body::Body;
use crate::auth::Refused;
use crate::event::{InvalidBatch, Place};
use crate::limits::RateReached;
use crate::metrics::Refusal;
use crate::pipeline::InvalidPipelineId;
use crate::store::{InvalidIdempotencyKey, StoreError};

/// Why a request was refused. A refused request has changed nothing, but for [`StoreError::Away`]
/// after a time-out, of which nobody knows.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("{0}")]
    Pipeline(#[from] InvalidPipelineId),
    #[error("{0}")]
    Batch(#[from] InvalidBatch),
    #[error("{0}")]
    Key(#[from] InvalidIdempotencyKey),
    #[error("{0}")]
    Access(#[from] Refused),
    #[error("{0}")]
    Query(String),
    #[error(
        "there is nothing at this path; the routes are /pipelines/{{pipeline}}/events, /pipelines/{{pipeline}}/sse and /pipelines/{{pipeline}}"
    )]
    NoRoute,
    #[error("this path takes {0}")]
    Method(&'static str),
    #[error(
        "the body must be application/json or application/x-ndjson in UTF-8, uncompressed; send the header Content-Type: application/json"
    )]
    MediaType,
    #[error("the body has more than {0} bytes (limits.request); split the batch or send less")]
    BodyTooLarge(usize),
    #[error("the body did not arrive within {0:?} (limits.request_timeout); send it again")]
    BodyTimeout(std::time::Duration),
    #[error("the body broke off; send it again")]
    BodyBroken,
    #[error("{0}")]
    Rate(#[from] RateReached),
    #[error("{0}; nothing was acknowledged: send it again, with an Idempotency-Key to be safe from doubles")]
    Store(#[from] StoreError),
}

impl RequestError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Batch(InvalidBatch::TooLarge { .. } | InvalidBatch::TooMany { .. }) | Self::BodyTooLarge(_) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::Pipeline(_) | Self::Batch(_) | Self::Key(_) | Self::Query(_) | Self::BodyBroken => {
                StatusCode::BAD_REQUEST
            }
            Self::Access(Refused::Forbidden(_) | Refused::Channel) => StatusCode::FORBIDDEN,
            Self::Access(Refused::NoKeys) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Access(_) => StatusCode::UNAUTHORIZED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Rate(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The reason as the metrics count it.
    pub(super) fn refusal(&self) -> Refusal {
        if let Self::Rate(reached) = self {
            return reached.refusal;
        }
        match self.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge,
            StatusCode::REQUEST_TIMEOUT => Refusal::Timeout,
            StatusCode::SERVICE_UNAVAILABLE if matches!(self, Self::Access(_)) => Refusal::NoKeys,
            StatusCode::SERVICE_UNAVAILABLE if matches!(self, Self::Store(StoreError::Full)) => Refusal::StoreFull,
            StatusCode::SERVICE_UNAVAILABLE => Refusal::Store,
            StatusCode::UNAUTHORIZED => Refusal::Unauthorized,
            StatusCode::FORBIDDEN => Refusal::Forbidden,
            _ => Refusal::BadRequest,
        }
    }

    /// The answer.
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
        match self {
            Self::Method(allowed) => {
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            Self::Rate(reached) => {
                headers.insert(RETRY_AFTER, reached.retry_after().into());
            }
            Self::Access(refused) if status != StatusCode::SERVICE_UNAVAILABLE => {
                // RFC 6750, 3: no error where nothing was presented.
                let challenge = match refused {
                    Refused::Missing => "Bearer",
                    Refused::Forbidden(_) | Refused::Channel => "Bearer error=\"insufficient_scope\"",
                    _ => "Bearer error=\"invalid_token\"",
                };
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            Self::Store(_) | Self::Access(_) => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            // What is left of the body is not worth reading.
            Self::BodyTooLarge(_) | Self::BodyTimeout(_) | Self::BodyBroken => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
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
            Place::Index(index) => Some(*index),
            Place::Whole => None,
        }
    }
}
