//! What answers the requests of a connection.

use std::future::Future;
use std::net::IpAddr;

use hyper::{Request, Response};

use super::arriving::{Arriving, Discards};
use crate::http::body::Body;
use crate::limits::ConnectionSlot;
use crate::limits::proxies::Peer;
use crate::metrics::Rejection;
use crate::node::Node;

/// What answers the requests of a listener.
pub(in crate::http) trait Service: Clone + Send + Sync + Unpin + 'static {
    /// Lets a connection in, or says why not.
    fn admit(&self, node: &Node, peer: IpAddr) -> Result<ConnectionSlot, Rejection>;

    /// What is read of bodies that nobody wants.
    fn discards(&self, node: &Node) -> Discards;

    /// Answers a request, whether or not it has read the body to its end.
    fn answer(
        &self,
        node: &Node,
        request: &mut Request<Arriving>,
        peer: Peer,
    ) -> impl Future<Output = Response<Body>> + Send;
}
