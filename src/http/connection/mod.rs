//! One connection: from an accepted socket to its end, or to a fan-out thread.
//!
//! [`sniff`] finds out what the client speaks, [`http1`] and [`http2`] have hyper parse and answer its requests. When one
//! turns out to be a stream, [`hand_off`] decides who carries it. On a plain socket with HTTP/1 a fan-out thread does, which
//! takes the socket over before a byte of the response is written. Over TLS, in HTTP/2, and where the threads are off, hyper
//! does, with [`stream_body`] as the body.

pub(super) mod flood_guard;
mod frame_heads;
mod hand_off;
pub(super) mod head;
mod http1;
pub(super) mod http2;
pub(super) mod http2_stream;
pub(super) mod http_transport;
mod misread;
pub(super) mod protocols;
pub(super) mod proxy_header;
pub(super) mod request_body;
pub(super) mod service;
mod sniff;
pub(super) mod state;
pub(super) mod stream_body;
pub(super) mod tls;
mod transport;
pub(super) mod write_deadline;

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;

use crate::node::Node;
use protocols::{Protocols, Visitor};
use service::Service;
use sniff::{Carrier, Opened};
use state::ConnectionState;

/// Serves one connection to its end, and drops `open` then.
///
/// When `draining` resolves, the connection ends with the requests that are being answered.
pub(in crate::http) async fn serve<S: Service>(
    socket: TcpStream,
    protocols: Arc<Protocols>,
    node: Arc<Node>,
    service: S,
    mut visitor: Visitor,
    draining: impl Future<Output = ()>,
    open: Sender<Infallible>,
) {
    let state = Arc::new(ConnectionState::default());
    let mut draining = pin!(draining);
    let opening = sniff::open(socket, &protocols, &node, &mut visitor, &state);
    let opened = tokio::select! {
        opened = timeout(protocols.opening_timeout, opening) => opened,
        // The client has not asked for anything yet.
        () = &mut draining => return,
    };
    let Opened { carrier, is_http2 } = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return tracing::debug!(%error, "connection ended before its first request"),
        Err(_) => return tracing::debug!("connection sent nothing in time"),
    };
    // Boxed: connections wait for their first bytes in this function, with room for everything that comes after.
    match (carrier, protocols.http2.as_ref().filter(|_| is_http2)) {
        (Carrier::Plain(socket), None) => {
            Box::pin(http1::serve(socket, &protocols, node, service, state, visitor, draining)).await;
        }
        (Carrier::Plain(socket), Some(protocol)) => {
            Box::pin(http2::serve(socket, protocol, node, service, state, visitor, draining)).await;
        }
        (Carrier::Tls(stream), None) => {
            Box::pin(http1::serve(stream, &protocols, node, service, state, visitor, draining)).await;
        }
        (Carrier::Tls(stream), Some(protocol)) => {
            Box::pin(http2::serve(stream, protocol, node, service, state, visitor, draining)).await;
        }
    }
    drop(open);
}
