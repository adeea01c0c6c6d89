//! From a request's path and method to what answers it.

use std::net::IpAddr;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::accept::wants_page;
use super::body::Body;
use super::connection::arriving::Arriving;
use super::credential::Credential;
use super::error::RequestError;
use super::handlers::{history, publish, subscribe};
use super::inspector::page;
use super::{cors, foreign_page, target};
use crate::auth::{PublishGrant, ReadGrant, Refused};
use crate::event::{InvalidPipelineId, PipelineId};
use crate::limits::proxies::{ForwardedHeader, Peer};
use crate::metrics::Rejection;
use crate::node::{ChangingPages, Node};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// All methods that any path takes.
const METHODS: &str = "GET, HEAD, POST, DELETE, OPTIONS";

/// Those of them that change nothing.
const READING_METHODS: &str = "GET, HEAD, OPTIONS";

enum Route {
    Landing,
    Pipeline(PipelineId),
    Events(PipelineId),
    Stream(PipelineId),
}

impl Route {
    fn parse(path: &str) -> Result<Self, RequestError> {
        if path == "/" {
            return Ok(Self::Landing);
        }
        let of_pipeline = path.strip_prefix("/pipelines/").ok_or(RequestError::NoRoute)?;
        Ok(match of_pipeline.split_once('/') {
            None => Self::Pipeline(pipeline(of_pipeline)?),
            Some((name, "events")) => Self::Events(pipeline(name)?),
            Some((name, "sse")) => Self::Stream(pipeline(name)?),
            Some(_) => return Err(RequestError::NoRoute),
        })
    }

    fn methods(&self) -> &'static str {
        match self {
            Self::Landing | Self::Pipeline(_) | Self::Stream(_) => READING_METHODS,
            Self::Events(_) => METHODS,
        }
    }
}

fn pipeline(name: &str) -> Result<PipelineId, InvalidPipelineId> {
    percent_encoding::percent_decode_str(name).decode_utf8().map_err(|_| InvalidPipelineId)?.parse()
}

/// Answers a request on the public listener.
pub(super) async fn answer(node: &Node, request: &mut Request<Arriving>, peer: Peer) -> Response<Body> {
    let client = client(node, peer, request.headers());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let checked = target::check(request).and_then(|()| check_page(node, request, peer));
    let answered = match checked {
        Ok(()) => route(node, request, client).await,
        Err(error) => Err(error),
    };
    let mut response = answered.unwrap_or_else(|error| {
        node.metrics.rejected(error.rejection());
        error.response()
    });
    cors::allow(response.headers_mut(), origin.as_ref(), &node.rules.cors_origins);
    response
}

/// The client's address, as far as it can be known.
fn client(node: &Node, peer: Peer, headers: &HeaderMap) -> IpAddr {
    let header = node.rules.forwarded_header;
    let name = match header {
        ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
        ForwardedHeader::Forwarded => header::FORWARDED,
    };
    node.rules.trusted_proxies.client(peer, header, headers.get_all(name).into_iter().map(HeaderValue::as_bytes))
}

/// Refuses what pages may not ask for while nobody has decided which may what.
fn check_page<B>(node: &Node, request: &Request<B>, peer: Peer) -> Result<(), RequestError> {
    let rules = &node.rules;
    let is_passed_on = rules.has_proxy_header || rules.trusted_proxies.contains(peer.address());
    match rules.changing_pages {
        ChangingPages::All => Ok(()),
        ChangingPages::Near => foreign_page::check(request, is_passed_on),
        ChangingPages::Listed => foreign_page::check_listed(request, is_passed_on, &rules.cors_origins),
    }
}

async fn route(node: &Node, request: &mut Request<Arriving>, client: IpAddr) -> Result<Response<Body>, RequestError> {
    let path = request.uri().path();
    let route = if path == "*" { None } else { Some(Route::parse(path)?) };
    if request.method() == Method::OPTIONS {
        let may_change = node.rules.changing_pages != ChangingPages::Near || foreign_page::is_near(request);
        let methods = route.map_or(METHODS, |route| route.methods());
        return Ok(cors::preflight(if may_change { methods } else { READING_METHODS }, request.headers()));
    }
    let Some(route) = route else { return Err(RequestError::NoRoute) };
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    // Whoever answers for a pipeline takes a grant, and only `auth` makes one.
    match route {
        Route::Landing if is_read => Ok(page()),
        Route::Pipeline(_) if is_read && wants_page(request.headers()) => Ok(page()),
        Route::Pipeline(pipeline) if is_read => {
            history::describe(node, &may_read(node, pipeline, request).await?).await
        }
        Route::Events(pipeline) if is_read => {
            let grant = may_read(node, pipeline, request).await?;
            history::read(node, grant, request.method(), request.uri().query()).await
        }
        Route::Events(pipeline) if request.method() == Method::POST => {
            let grant = may_publish(node, pipeline, request).await?;
            publish::publish(node, grant, request, client).await
        }
        Route::Events(pipeline) if request.method() == Method::DELETE => {
            history::forget(node, &may_publish(node, pipeline, request).await?).await
        }
        Route::Stream(pipeline) if is_read => match may_read(node, pipeline, request).await {
            Ok(grant) => subscribe::subscribe(node, grant, request, client),
            // Nobody's fault and soon over: a status other than 200 would end an `EventSource` for good.
            Err(RequestError::Access(Refused::NoKeys)) => {
                node.metrics.rejected(Rejection::JwksUnavailable);
                Ok(subscribe::polite_refusal(node))
            }
            Err(error) => Err(error),
        },
        other => Err(RequestError::Method(other.methods())),
    }
}

/// Judges a wish to publish; also once more, after a wait.
pub(super) async fn may_publish(
    node: &Node,
    pipeline: PipelineId,
    request: &Request<Arriving>,
) -> Result<PublishGrant, RequestError> {
    Ok(node.auth.publish(pipeline, credential(node, request).presented()).await?)
}

async fn may_read(node: &Node, pipeline: PipelineId, request: &Request<Arriving>) -> Result<ReadGrant, RequestError> {
    Ok(node.auth.read(pipeline, credential(node, request).presented()).await?)
}

fn credential<'a>(node: &Node, request: &'a Request<Arriving>) -> Credential<'a> {
    Credential::of(request.method(), request.headers(), request.uri().query(), &node.rules.cors_origins)
}

/// An answer of JSON.
pub(super) fn json(status: StatusCode, mut text: String) -> Response<Body> {
    // For people who look at it with curl.
    text.push('\n');
    json_body(status, Body::Full(text.into()))
}

/// An answer of JSON that is written otherwise.
pub(super) fn json_body(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
