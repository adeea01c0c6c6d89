//! HTTP/2: many streams on one connection, each of which may stall by itself.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, Sleep, sleep};

use super::flood_guard::{self, FloodGuard};
use super::hand_off::{stream_body, take_opening};
use super::http_transport::BUFFER_BYTES;
use super::http2_stream::{StreamExecutor, StreamState};
use super::protocols::Visitor;
use super::request_body::{Discards, RequestBody, drain};
use super::service::{Service, answer};
use super::state::ConnectionState;
use super::transport::Transport;
use crate::http::body::Body;
use crate::http::pages::Pages;
use crate::limits::proxies::Peer;
use crate::metrics::Rejection;
use crate::node::{Node, Rules};

/// How much of request bodies a client may send ahead, on one stream and on all of a connection. `limits.bodies` does not count
/// it, so all streams together get no more than one.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW;

/// What waits in user space for one stream whose client does not read it.
const SEND_BUFFER: usize = 16 << 10;

/// Streams that the client may reset before they are answered; more end the connection (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;

/// A response up to this size may stay unread without being watched. For all that a connection may ask for at once that is a
/// megabyte.
const LARGE_RESPONSE: usize = 4 << 10;

/// HTTP/2 as this node speaks it.
pub(in crate::http) fn protocol(rules: &Rules) -> http2::Builder<StreamExecutor> {
    let mut protocol = http2::Builder::new(StreamExecutor { rules: rules.life.clone() });
    protocol
        .timer(TokioTimer::new())
        .max_concurrent_streams(rules.http2_max_concurrent_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(BUFFER_BYTES).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        // A client that vanished silently answers no ping.
        .keep_alive_interval(rules.stream.keepalive)
        .keep_alive_timeout(rules.stream.write_timeout);
    protocol
}

/// Serves a connection until it ends.
pub(super) async fn serve<T: Transport, S: Service>(
    transport: T,
    protocol: &http2::Builder<StreamExecutor>,
    node: Arc<Node>,
    service: S,
    state: Arc<ConnectionState>,
    visitor: Visitor,
    draining: Pin<&mut impl Future<Output = ()>>,
) {
    // The place is held to the end of the connection.
    let Visitor { peer, place: _place } = visitor;
    let idle = IdleTimeout::new(node.rules.request_timeout, node.rules.idle_timeout, state.clone());
    let (metrics, discards) = (node.metrics.clone(), service.discards(&node));
    let responder = Responder { node, service, state, peer, discards };
    let respond = service_fn(move |request| {
        let responder = responder.clone();
        responder.state.note_request();
        // Boxed: a stream's task keeps the room of this future for as long as the stream is open.
        Box::pin(async move { Ok::<_, Infallible>(responder.respond(request).await) })
    });
    let (guard, flooded) = FloodGuard::new(transport);
    let connection = Box::pin(protocol.serve_connection(TokioIo::new(guard), respond));
    if let Err(error) = run(connection, |connection| connection.graceful_shutdown(), idle, draining).await {
        tracing::debug!(%error, "connection ended");
    }
    let flooded = flooded.lock().take();
    if let Some(flooded) = flooded {
        metrics.rejected(Rejection::Http2Flood);
        flood_guard::close(flooded, discards).await;
    }
}

/// Runs a connection until it ends, and its streams with it.
async fn run<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<Box<C>>,
    shut_down: impl Fn(Pin<&mut C>),
    mut idle: IdleTimeout,
    mut draining: Pin<&mut impl Future<Output = ()>>,
) -> hyper::Result<()> {
    let (mut is_shutting_down, mut has_been_idle) = (false, false);
    poll_fn(|cx| {
        if !is_shutting_down && draining.as_mut().poll(cx).is_ready() {
            is_shutting_down = true;
            shut_down(connection.as_mut());
        }
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            if idle.poll_passed(cx).is_pending() {
                return Poll::Pending;
            }
            // Gracefully at first, so that a request on its way to the node is not lost. A client that does not react is
            // closed the second time.
            if has_been_idle {
                return Poll::Ready(Ok(()));
            }
            has_been_idle = true;
            shut_down(connection.as_mut());
        }
    })
    .await
}

/// What answers the requests of one connection.
#[derive(Clone)]
struct Responder<S> {
    node: Arc<Node>,
    service: S,
    state: Arc<ConnectionState>,
    peer: Peer,
    discards: Discards,
}

impl<S: Service> Responder<S> {
    async fn respond(self, request: Request<Incoming>) -> Response<Body> {
        let Self { node, service, state, peer, discards } = self;
        StreamState::belong_to(&state);
        let mut request = request.map(|body| RequestBody::new(body, None));
        let mut response = answer(&service, &node, &mut request, peer).await;
        if !matches!(response.body(), Body::Opening(_)) {
            // hyper refuses the rest of the body by resetting this stream after the response. But it ends a connection with all its
            // streams after some resets that a body has overtaken.
            drain(&mut request, discards).await;
        }
        // In HTTP/2 the end of a request is not the end of its connection.
        response.headers_mut().remove(header::CONNECTION);
        if let Some(opening) = take_opening(&mut response) {
            *response.body_mut() = stream_body(*opening, &node, state);
        }
        // hyper would buffer a large response and forget its stream, whose client may never read it.
        if let Body::Full(text) = response.body_mut()
            && text.len() > LARGE_RESPONSE
        {
            let text = std::mem::take(text);
            *response.body_mut() = Body::Pages(Box::new(Pages::of(text)));
        }
        response
    }
}

/// Finds a connection without requests.
///
/// hyper has no timeout for it. A client that sends only the preface would hold its connection without end, and so would one
/// that has asked once and answers pings.
struct IdleTimeout {
    /// Maximum time until the first request.
    opening: Duration,
    /// Maximum time without a request after that.
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    connection: Arc<ConnectionState>,
}

impl IdleTimeout {
    fn new(opening: Duration, idle: Duration, connection: Arc<ConnectionState>) -> Self {
        Self { opening, idle, timer: Box::pin(sleep(opening)), connection }
    }

    /// Ready when there was no request for too long, and again if there is still none after the time for an opening.
    fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let is_idle = !self.connection.take_had_request() && !self.connection.has_open_streams();
            let period = if is_idle { self.opening } else { self.idle };
            self.timer.as_mut().reset(Instant::now() + period);
            if is_idle {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}
