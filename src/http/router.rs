//! Routes: from a request's path and method to its handler.

use std::net::IpAddr;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};

use super::accept::wants_page;
use super::body::Body;
use super::connection::request_body::RequestBody;
use super::error::RequestError;
use super::handlers::{history, publish, subscribe};
use super::permission::{may_publish, may_read};
use super::web::WrongAddress;
use super::{cors, description, foreign_page, target, web};
use crate::auth::Refused;
use crate::event::{InvalidPipelineId, PipelineId};
use crate::limits::proxies::{ForwardedHeader, Peer};
use crate::metrics::Rejection;
use crate::node::{ChangingPages, Node};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The methods that some path accepts.
const METHODS: &str = "GET, HEAD, POST, DELETE, OPTIONS";

/// Those of them that change nothing.
const READING_METHODS: &str = "GET, HEAD, OPTIONS";

#[derive(Debug)]
enum Route {
    Landing,
    Description,
    Pipeline(PipelineId),
    Events(PipelineId),
    Stream(PipelineId),
}

/// The routes of the node, with their paths.
const OF_NODE: [(&str, Route); 2] = [("/", Route::Landing), ("/openapi.json", Route::Description)];

/// Makes the route of a pipeline.
type PipelineRoute = fn(PipelineId) -> Route;

/// The routes of a pipeline, with what follows its id in the path.
const OF_PIPELINE: [(&str, PipelineRoute); 3] =
    [("", Route::Pipeline), ("/events", Route::Events), ("/sse", Route::Stream)];

impl Route {
    fn parse(path: &str) -> Result<Self, RequestError> {
        if let Some((_, route)) = OF_NODE.into_iter().find(|(known, _)| *known == path) {
            return Ok(route);
        }
        let of_pipeline = path.strip_prefix("/pipelines/").ok_or(RequestError::NoRoute)?;
        let (name, rest) = of_pipeline.split_at(of_pipeline.find('/').unwrap_or(of_pipeline.len()));
        let (_, route) = OF_PIPELINE.into_iter().find(|(known, _)| *known == rest).ok_or(RequestError::NoRoute)?;
        Ok(route(pipeline(name)?))
    }

    fn methods(&self) -> &'static str {
        match self {
            Self::Landing | Self::Description | Self::Pipeline(_) | Self::Stream(_) => READING_METHODS,
            Self::Events(_) => METHODS,
        }
    }
}

fn pipeline(name: &str) -> Result<PipelineId, InvalidPipelineId> {
    percent_encoding::percent_decode_str(name).decode_utf8().map_err(|_| InvalidPipelineId)?.parse()
}

/// Answers a request on the public listener.
pub(super) async fn answer(node: &Node, request: &mut Request<RequestBody>, peer: Peer) -> Response<Body> {
    let client = client(node, peer, request.headers());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let checked = target::check(request).and_then(|()| check_page(node, request, peer));
    let answered = match checked {
        Ok(()) => route(node, request, client).await,
        Err(error) => Err(error),
    };
    let mut response = answered.unwrap_or_else(|error| {
        node.metrics.rejected(error.rejection());
        rejection(&error, request)
    });
    cors::allow(response.headers_mut(), origin.as_ref(), &node.rules.cors_origins);
    response
}

/// A problem document. A browser that asks for a page at a wrong address gets a page.
fn rejection<B>(error: &RequestError, request: &Request<B>) -> Response<Body> {
    let mut response = error.response();
    let wrong = match error {
        RequestError::NoRoute => WrongAddress::NoRoute,
        RequestError::Pipeline(_) => WrongAddress::InvalidName,
        _ => return response,
    };
    if is_read(request) && wants_page(request.headers()) {
        web::explain(&mut response, wrong);
    }
    // A cache must not give the one to those who want the other.
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn is_read<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// The client's address, as far as it is known.
fn client(node: &Node, peer: Peer, headers: &HeaderMap) -> IpAddr {
    let header = node.rules.forwarded_header;
    let name = match header {
        ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
        ForwardedHeader::Forwarded => header::FORWARDED,
    };
    node.rules.trusted_proxies.client(peer, header, headers.get_all(name).into_iter().map(HeaderValue::as_bytes))
}

/// Rejects requests that a web page may not make on this node.
fn check_page<B>(node: &Node, request: &Request<B>, peer: Peer) -> Result<(), RequestError> {
    let rules = &node.rules;
    let is_passed_on = rules.has_proxy_header || rules.trusted_proxies.contains(peer.address());
    match rules.changing_pages {
        ChangingPages::All => Ok(()),
        ChangingPages::Near => foreign_page::check(request, is_passed_on),
        ChangingPages::Listed => foreign_page::check_listed(request, is_passed_on, &rules.cors_origins),
    }
}

async fn route(
    node: &Node,
    request: &mut Request<RequestBody>,
    client: IpAddr,
) -> Result<Response<Body>, RequestError> {
    let path = request.uri().path();
    let route = if path == "*" { None } else { Some(Route::parse(path)?) };
    if request.method() == Method::OPTIONS {
        let may_change = node.rules.changing_pages != ChangingPages::Near || foreign_page::is_near(request);
        let methods = route.map_or(METHODS, |route| route.methods());
        return Ok(cors::preflight(if may_change { methods } else { READING_METHODS }, request.headers()));
    }
    let Some(route) = route else { return Err(RequestError::NoRoute) };
    let is_read = is_read(request);
    // Each handler of a pipeline needs a grant, and only `auth` makes one.
    match route {
        Route::Landing if is_read => Ok(web::landing(&node.auth)),
        Route::Description if is_read => Ok(description::answer()),
        Route::Pipeline(_) if is_read && wants_page(request.headers()) => Ok(web::inspector(&node.auth)),
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
            history::delete(node, &may_publish(node, pipeline, request).await?).await
        }
        Route::Stream(pipeline) if is_read => match may_read(node, pipeline, request).await {
            Ok(grant) => subscribe::subscribe(node, grant, request, client),
            // Soon over: a status other than 200 would end an `EventSource` for good.
            Err(RequestError::Access(Refused::NoKeys)) => {
                node.metrics.rejected(Rejection::JwksUnavailable);
                Ok(subscribe::soft_rejection(node))
            }
            Err(error) => Err(error),
        },
        other => Err(RequestError::Method(other.methods())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_and_its_methods_are_described() {
        let described: serde_json::Value = serde_json::from_str(description::TEXT).unwrap();
        let described: BTreeSet<(String, BTreeSet<String>)> = described["paths"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(path, item)| {
                let operations = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
                (path.clone(), operations.map(|method| method.to_uppercase()).collect())
            })
            .collect();
        let methods = |route: &Route| route.methods().split(", ").map(str::to_owned).collect();
        let of_node = OF_NODE.iter().map(|(path, route)| ((*path).to_owned(), methods(route)));
        let of_pipeline = OF_PIPELINE
            .iter()
            .map(|(rest, route)| (format!("/pipelines/{{pipeline}}{rest}"), methods(&route("p".parse().unwrap()))));
        assert_eq!(described, of_node.chain(of_pipeline).collect());
    }
}
