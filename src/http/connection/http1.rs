//! HTTP/1: requests one after the other, until one turns out to be a stream.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::time::{Sleep, sleep};

use super::hand_off::{HandOff, carry, hand_over};
use super::http_transport::HttpTransport;
use super::misread::{last_answer, misread};
use super::protocols::{Protocols, Visitor};
use super::request_body::{Discards, RequestBody, Rest, drain, linger};
use super::service::{Service, answer};
use super::state::ConnectionState;
use super::transport::Transport;
use super::write_deadline::WriteTimer;
use crate::http::body::{Body, Bounded};
use crate::limits::ConnectionSlot;
use crate::limits::proxies::Peer;
use crate::node::Node;

/// Why hyper is done with a connection.
enum Exit {
    /// The connection has ended.
    Closed(hyper::Result<()>),
    /// The client hardly reads the history that it asked for.
    Stalled,
    /// A fan-out thread takes over.
    HandOff(HandOff),
}

/// Serves a connection until it ends, or until its stream is handed to a fan-out thread.
pub(super) async fn serve<T: Transport, S: Service>(
    transport: T,
    protocols: &Protocols,
    node: Arc<Node>,
    service: S,
    state: Arc<ConnectionState>,
    visitor: Visitor,
    mut draining: Pin<&mut impl Future<Output = ()>>,
) {
    let Visitor { peer, place } = visitor;
    let discards = service.discards(&node);
    let responder = Responder { node: node.clone(), service, state: state.clone(), peer, hand_off: Arc::default() };
    let hand_off = responder.hand_off.clone();
    let respond = service_fn(move |request| {
        let responder = responder.clone();
        // Before hyper reads on.
        responder.state.begin_response();
        // Boxed: taking a connection back from hyper needs a future that can be moved.
        Box::pin(async move { Ok::<_, Infallible>(responder.respond::<T>(request).await) })
    });
    let transport = HttpTransport::new(transport, state.clone());
    let mut connection = protocols.http1.serve_connection(TokioIo::new(transport), respond);
    let mut watch = Watch::new(&node, hand_off);
    let mut is_shutting_down = false;
    let exit = poll_fn(|cx| {
        if !is_shutting_down && draining.as_mut().poll(cx).is_ready() {
            is_shutting_down = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        match connection.poll_without_shutdown(cx) {
            // hyper is done once the end of a response is in its buffer, whatever the client has read.
            Poll::Ready(Ok(())) if state.is_blocked() => {}
            Poll::Ready(result) => return Poll::Ready(Exit::Closed(result)),
            Poll::Pending => {}
        }
        watch.poll_exit(&state, cx)
    });
    let exit = exit.await;
    let parts = connection.into_parts();
    let left = Left { transport: parts.io.into_inner().into_inner(), unparsed: parts.read_buf, place };
    left.finish(exit, &state, &node, protocols.head_bytes, discards).await;
}

/// What answers the requests of one connection.
#[derive(Clone)]
struct Responder<S> {
    node: Arc<Node>,
    service: S,
    state: Arc<ConnectionState>,
    peer: Peer,
    /// Written here, taken by the connection's loop. One task polls both.
    hand_off: Arc<Mutex<Option<HandOff>>>,
}

impl<S: Service> Responder<S> {
    async fn respond<T: Transport>(self, request: Request<hyper::body::Incoming>) -> Response<Bounded> {
        let Self { node, service, state, peer, hand_off } = self;
        let version = request.version();
        let mut request = request.map(|body| RequestBody::new(body, Some(state.clone())));
        let mut response = answer(&service, &node, &mut request, peer).await;
        if !matches!(response.body(), Body::Opening(_)) {
            settle(&mut request, &mut response, service.discards(&node), &state).await;
        }
        let response = carry::<T>(response, version, &node, state.clone(), &hand_off).await;
        response.map(|body| Bounded::new(body, state))
    }
}

/// Drains a request's body, or makes its response the last one of the connection.
async fn settle(
    request: &mut Request<RequestBody>,
    response: &mut Response<Body>,
    discards: Discards,
    state: &ConnectionState,
) {
    let rest = drain(request, discards).await;
    // More of a request that was not understood may follow.
    let is_misunderstood = response.status().is_client_error() && response.headers().contains_key(header::CONNECTION);
    if rest != Rest::Nothing {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if rest == Rest::More {
        state.discard_after_response(discards.after);
    } else if rest == Rest::Broken || is_misunderstood {
        state.discard_after_response(discards.before);
    }
}

/// Reasons to end hyper's part that hyper does not know: a fan-out thread takes over, or a timeout passes.
struct Watch {
    hand_off: Arc<Mutex<Option<HandOff>>>,
    request_timeout: Duration,
    /// Only there while a request's head is arriving: idle connections have no timer here.
    head: Option<Pin<Box<Sleep>>>,
    write: WriteTimer,
}

impl Watch {
    fn new(node: &Node, hand_off: Arc<Mutex<Option<HandOff>>>) -> Self {
        let write = WriteTimer::new(node.rules.life.clone());
        Self { hand_off, request_timeout: node.rules.request_timeout, head: None, write }
    }

    fn poll_exit(&mut self, state: &ConnectionState, cx: &mut Context<'_>) -> Poll<Exit> {
        // While the client still reads a response, the head of its next request may take its time.
        if !state.has_partial_head() || state.is_response_under_way() {
            self.head = None;
        } else {
            let head = self.head.get_or_insert_with(|| Box::pin(sleep(self.request_timeout)));
            if head.as_mut().poll(cx).is_ready() {
                tracing::debug!("a request's head did not arrive in time (limits.request_timeout)");
                return Poll::Ready(Exit::Closed(Ok(())));
            }
        }
        if self.write.poll_passed(state.unread(), cx).is_ready() {
            return Poll::Ready(Exit::Stalled);
        }
        // Not while bytes of an earlier response wait in hyper's buffer.
        let hand_off = (!state.is_blocked()).then(|| self.hand_off.lock().take()).flatten();
        hand_off.map_or(Poll::Pending, |hand_off| Poll::Ready(Exit::HandOff(hand_off)))
    }
}

/// What hyper leaves of a connection.
struct Left<T> {
    transport: T,
    /// Bytes of a request that hyper has not parsed.
    unparsed: Bytes,
    place: ConnectionSlot,
}

impl<T: Transport> Left<T> {
    async fn finish(mut self, exit: Exit, state: &ConnectionState, node: &Node, head_bytes: usize, discards: Discards) {
        match exit {
            Exit::Closed(Ok(())) if state.discards() > 0 => linger(self.transport, &[], state.discards()).await,
            Exit::Closed(Ok(())) => {
                // The client may have closed the connection first.
                let _ = self.transport.shutdown().await;
            }
            // A client that leaves is not an error.
            Exit::Closed(Err(error)) => {
                tracing::debug!(%error, "connection ended");
                if state.is_response_under_way() {
                    return;
                }
                if let Some(rejected) = misread(&error, &self.unparsed, head_bytes) {
                    node.metrics.rejected(rejected.rejection());
                    linger(self.transport, &last_answer(&rejected), discards.before).await;
                }
            }
            // Without a regular end, so that the client does not mistake what it has for all.
            Exit::Stalled => tracing::debug!("a client hardly reads its history (stream.write_timeout)"),
            Exit::HandOff(hand_off) => {
                if let Some(socket) = self.transport.into_plain() {
                    hand_over(socket, self.place, hand_off, node);
                }
            }
        }
    }
}
