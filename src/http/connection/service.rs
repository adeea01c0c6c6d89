//! What a listener's connections need to know about the requests that they carry.

use std::future::Future;
use std::net::IpAddr;

use hyper::{Request, Response, header};

use super::head::NOSNIFF;
use super::request_body::{Discards, RequestBody};
use crate::http::body::Body;
use crate::limits::ConnectionSlot;
use crate::limits::proxies::Peer;
use crate::metrics::Rejection;
use crate::node::Node;

/// What answers the requests of a listener.
pub(in crate::http) trait Service: Clone + Send + Sync + Unpin + 'static {
    /// Admits a connection, or says why not.
    fn admit(&self, node: &Node, peer: IpAddr) -> Result<ConnectionSlot, Rejection>;

    /// How much of unwanted request bodies is read.
    fn discards(&self, node: &Node) -> Discards;

    /// Answers a request, whether or not it has read the body to its end.
    fn answer(
        &self,
        node: &Node,
        request: &mut Request<RequestBody>,
        peer: Peer,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Answers a request.
pub(super) async fn answer<S: Service>(
    service: &S,
    node: &Node,
    request: &mut Request<RequestBody>,
    peer: Peer,
) -> Response<Body> {
    let mut response = service.answer(node, request, peer).await;
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    response
}
