//! One connection: hyper parses and answers its requests, until one turns out to be a stream.
//!
//! On a plain socket with HTTP/1.1 it is then taken back from hyper before a byte of the answer is
//! written, and given to a fan-out thread. Over TLS, in HTTP/2, and where the threads are off, hyper
//! carries the stream as a body.

pub(super) mod arriving;
pub(super) mod flood_guard;
mod frame_heads;
pub(super) mod head;
pub(super) mod http2;
pub(super) mod http_transport;
mod misread;
pub(super) mod proxy_header;
pub(super) mod service;
pub(super) mod socket;
mod stall;
pub(super) mod stream_body;
pub(super) mod tls;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn;
use hyper::service::service_fn;
use hyper::{Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Sender;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::server::TlsStream;

use super::body::{Body, Bounded, Opening};
use super::pages::Pages;
use crate::limits::ConnectionSlot;
use crate::limits::proxies::Peer;
use crate::metrics::Rejection;
use crate::node::Node;
use crate::stream::fanout::{Framing, Handover};
use crate::stream::subscription::Subscription;
use arriving::{Arriving, Discards, Rest, drain, linger};
use flood_guard::{FloodGuard, send_away};
use head::{NOSNIFF, head};
use http_transport::HttpTransport;
use http2::{PREFACE, Silence, StreamExecutor, StreamState};
use misread::{last_answer, misread};
use proxy_header::Introduced;
use service::Service;
use socket::{ConnectionState, Deadline, Transport};
use stall::Stall;
use stream_body::StreamBody;
use tls::Tls;

/// A client of HTTP/2 may leave so many bytes of each answer untaken; of all that its connection may ask for at once
/// that is a megabyte.
const LARGE_ANSWER: usize = 4 << 10;

/// A stream to be taken over: its head, and what it is to carry.
struct Taken {
    headers: HeaderMap,
    framing: Framing,
    opening: Box<Opening>,
}

/// How hyper's part in a connection ended.
enum End {
    /// With the connection.
    Closed(hyper::Result<()>),
    /// With a client that hardly takes its history.
    Stalled,
    /// With a stream that somebody else carries on.
    Taken(Taken),
}

/// What the connections of a listener may speak.
#[derive(Clone, Debug)]
pub(in crate::http) struct Protocols {
    pub(in crate::http) http1: conn::http1::Builder,
    /// The largest head that it reads.
    pub(in crate::http) head_bytes: usize,
    /// None where nothing but HTTP/1.1 is spoken.
    pub(in crate::http) http2: Option<conn::http2::Builder<StreamExecutor>>,
    pub(in crate::http) tls: Option<Tls>,
    /// Whether a header of the PROXY protocol comes before everything else.
    pub(in crate::http) has_proxy_header: bool,
    /// Longest time until a client has said which it speaks, handshake included.
    pub(in crate::http) opening_timeout: Duration,
}

/// Who is at the other end, as far as is known, and the place that the connection takes.
pub(in crate::http) struct Visitor {
    pub(in crate::http) peer: Peer,
    pub(in crate::http) place: ConnectionSlot,
}

/// Serves one connection to its end, and lets go of `open` then.
///
/// `draining` resolves when it is to end with the requests that it is at.
pub(in crate::http) async fn serve<S: Service>(
    mut socket: TcpStream,
    protocols: Arc<Protocols>,
    node: Arc<Node>,
    service: S,
    mut visitor: Visitor,
    draining: impl Future<Output = ()>,
    open: Sender<Infallible>,
) {
    let state = Arc::new(ConnectionState::default());
    let write_timeout = node.rules.stream.write_timeout;
    let mut draining = pin!(draining);
    let opening = async {
        if protocols.has_proxy_header {
            // In a box: few installations have it.
            Box::pin(introduce(&mut socket, &mut visitor, &node)).await?;
        }
        Ok::<_, io::Error>(match &protocols.tls {
            Some(tls) => {
                let socket = Deadline::new(socket, Bytes::new(), write_timeout, state.clone());
                let accepted = Box::pin(tls.acceptor().accept(socket)).await;
                let stream = accepted.inspect_err(|_| node.metrics.rejected(Rejection::TlsHandshake))?;
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(tls::H2);
                (Opened::Tls(Box::new(stream)), is_http2)
            }
            None if protocols.http2.is_none() => {
                (Opened::Plain(Deadline::new(socket, Bytes::new(), write_timeout, state.clone())), false)
            }
            None => {
                let (first, is_http2) = first_bytes(&mut socket).await?;
                (Opened::Plain(Deadline::new(socket, first, write_timeout, state.clone())), is_http2)
            }
        })
    };
    let opened = tokio::select! {
        opened = timeout(protocols.opening_timeout, opening) => opened,
        // It has not asked for anything yet.
        () = &mut draining => return,
    };
    let (opened, is_http2) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return tracing::debug!(%error, "connection ended before its first request"),
        Err(_) => return tracing::debug!("connection said nothing in time"),
    };
    // In boxes: a storm of connections waits for its first bytes in this function, with room for what comes after.
    match (opened, protocols.http2.as_ref().filter(|_| is_http2)) {
        (Opened::Plain(socket), None) => {
            Box::pin(serve_http1(socket, &protocols, node, service, state, visitor, draining)).await;
        }
        (Opened::Plain(socket), Some(http2)) => {
            Box::pin(serve_http2(socket, http2, node, service, state, visitor, draining)).await;
        }
        (Opened::Tls(stream), None) => {
            Box::pin(serve_http1(stream, &protocols, node, service, state, visitor, draining)).await;
        }
        (Opened::Tls(stream), Some(http2)) => {
            Box::pin(serve_http2(stream, http2, node, service, state, visitor, draining)).await;
        }
    }
    drop(open);
}

/// Reads from the proxy in between who connects.
async fn introduce(socket: &mut TcpStream, visitor: &mut Visitor, node: &Node) -> io::Result<()> {
    let introduced = proxy_header::read(socket).await.inspect_err(|_| node.metrics.rejected(Rejection::ProxyHeader))?;
    let is_proxy = match introduced {
        Introduced::Proxy => return Ok(()),
        Introduced::Client(client) => {
            visitor.peer = Peer::At(client);
            node.rules.trusted_proxies.contains(client)
        }
        Introduced::Unknown => {
            visitor.peer = Peer::Behind(visitor.peer.address());
            false
        }
    };
    visitor.place.arrive((!is_proxy).then_some(visitor.peer.address())).map_err(|rejection| {
        node.metrics.rejected(rejection);
        io::Error::new(io::ErrorKind::QuotaExceeded, format!("a limit on connections is reached ({rejection:?})"))
    })
}

/// A connection on which requests come.
enum Opened {
    Plain(Deadline),
    Tls(Box<TlsStream<Deadline>>),
}

/// Reads until it is known whether the client speaks HTTP/2 with prior knowledge. No method of
/// HTTP/1.1 begins as its preface does.
async fn first_bytes(socket: &mut TcpStream) -> io::Result<(Bytes, bool)> {
    const ENOUGH: usize = 4;
    // Few: a connection that waits costs no buffer.
    let mut bytes = [0; PREFACE.len()];
    let mut length = 0;
    while length < ENOUGH && bytes[..length] == PREFACE[..length] {
        let read = socket.read(&mut bytes[length..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        length += read;
    }
    Ok((Bytes::copy_from_slice(&bytes[..length]), bytes[..length] == PREFACE[..length]))
}

async fn serve_http2<T: Transport, S: Service>(
    transport: T,
    protocol: &conn::http2::Builder<StreamExecutor>,
    node: Arc<Node>,
    service: S,
    state: Arc<ConnectionState>,
    visitor: Visitor,
    mut draining: Pin<&mut impl Future<Output = ()>>,
) {
    // Held to the end of the connection.
    let Visitor { peer, place: _place } = visitor;
    let (own_state, opening, idle) = (state.clone(), node.rules.request_timeout, node.rules.idle_timeout);
    let (metrics, discards) = (node.metrics.clone(), service.discards(&node));
    let answering = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (node, service, state) = (node.clone(), service.clone(), state.clone());
        state.set_asked();
        // Boxed, since a stream's task keeps the room of this future for as long as the stream is open.
        Box::pin(async move {
            StreamState::belong_to(&state);
            let mut request = request.map(|body| Arriving::new(body, None));
            let mut response = answer(&service, &node, &mut request, peer).await;
            if !matches!(response.body(), Body::Opening(_)) {
                // What is left of its body then is told by a reset of this stream alone, after the answer. But the HTTP library
                // ends a connection with all its streams after some resets that a body has overtaken.
                drain(&mut request, discards).await;
            }
            // A header of HTTP/1.1: here one request's end is not the connection's.
            response.headers_mut().remove(header::CONNECTION);
            if let Some(opening) = take_opening(&mut response) {
                *response.body_mut() = stream_body(*opening, &node, state);
            }
            // The HTTP library would take it whole and forget its stream, whose client may never want it.
            if let Body::Full(text) = response.body_mut()
                && text.len() > LARGE_ANSWER
            {
                let text = std::mem::take(text);
                *response.body_mut() = Body::Pages(Box::new(Pages::of(text)));
            }
            Ok::<_, Infallible>(response)
        })
    });
    let (guard, flooded) = FloodGuard::new(transport);
    let mut connection = Box::pin(protocol.serve_connection(TokioIo::new(guard), answering));
    let mut silence = Silence::new(opening, idle, own_state);
    let (mut is_told, mut is_warned) = (false, false);
    let ended = poll_fn(|cx| {
        if !is_told && draining.as_mut().poll(cx).is_ready() {
            is_told = true;
            connection.as_mut().graceful_shutdown();
        }
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            if silence.poll_past(cx).is_pending() {
                return Poll::Pending;
            }
            // First in good order, so that no request which is under way to us is lost; a peer that does not
            // answer to that is left.
            if is_warned {
                return Poll::Ready(Ok(()));
            }
            is_warned = true;
            connection.as_mut().graceful_shutdown();
        }
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "connection ended");
    }
    // With its streams.
    drop(connection);
    let flooded = flooded.lock().take();
    if let Some(flooded) = flooded {
        metrics.rejected(Rejection::Http2Flood);
        send_away(flooded, discards).await;
    }
}

async fn serve_http1<T: Transport, S: Service>(
    transport: T,
    protocols: &Protocols,
    node: Arc<Node>,
    service: S,
    state: Arc<ConnectionState>,
    visitor: Visitor,
    mut draining: Pin<&mut impl Future<Output = ()>>,
) {
    let (request_timeout, discards) = (node.rules.request_timeout, service.discards(&node));
    let Visitor { peer, place } = visitor;
    // Written by the service, taken out by the loop below; both are polled by this task.
    let taken: Arc<Mutex<Option<Taken>>> = Arc::default();
    let answering = {
        let (node, taken, state) = (node.clone(), taken.clone(), state.clone());
        service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let (node, taken, state, service) = (node.clone(), taken.clone(), state.clone(), service.clone());
            // Before hyper reads on.
            state.answer_begins();
            // Boxed, since taking a connection back asks for a future that may be moved.
            Box::pin(async move {
                let version = request.version();
                let mut request = request.map(|body| Arriving::new(body, Some(state.clone())));
                let mut response = answer(&service, &node, &mut request, peer).await;
                if !matches!(response.body(), Body::Opening(_)) {
                    settle(&mut request, &mut response, service.discards(&node), &state).await;
                }
                let response = carry::<T>(response, version, &node, state.clone(), &taken).await;
                Ok::<_, Infallible>(response.map(|body| Bounded::new(body, state)))
            })
        })
    };
    let transport = HttpTransport::new(transport, state.clone());
    let mut connection = protocols.http1.serve_connection(TokioIo::new(transport), answering);
    let end = {
        let mut is_told = false;
        // There only while a request's head is on its way: idle connections have no timer here.
        let mut head: Option<Pin<Box<Sleep>>> = None;
        let mut stall = Stall::new(node.rules.stream.write_timeout);
        poll_fn(|cx| {
            if !is_told && draining.as_mut().poll(cx).is_ready() {
                is_told = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            match connection.poll_without_shutdown(cx) {
                // hyper is done when it has the last of an answer in its buffer, whatever the client has taken.
                Poll::Ready(Ok(())) if state.is_blocked() => {}
                Poll::Ready(result) => return Poll::Ready(End::Closed(result)),
                Poll::Pending => {}
            }
            // The next request may come while its client still takes an answer; it need not be whole before that is.
            if !state.has_begun() || state.is_answer_under_way() {
                head = None;
            } else if head.get_or_insert_with(|| Box::pin(sleep(request_timeout))).as_mut().poll(cx).is_ready() {
                tracing::debug!("a request's head did not arrive in time (limits.request_timeout)");
                return Poll::Ready(End::Closed(Ok(())));
            }
            if stall.poll_past(state.stands_at(), cx).is_ready() {
                return Poll::Ready(End::Stalled);
            }
            // Not while bytes of an earlier answer wait in hyper's buffer.
            let taken = (!state.is_blocked()).then(|| taken.lock().take()).flatten();
            taken.map_or(Poll::Pending, |taken| Poll::Ready(End::Taken(taken)))
        })
        .await
    };
    match end {
        End::Closed(Ok(())) => {
            let mut transport = connection.into_parts().io.into_inner().into_inner();
            if state.discards() > 0 {
                linger(transport, &[], state.discards()).await;
            } else {
                // The peer may have gone first.
                let _ = transport.shutdown().await;
            }
        }
        // A client that leaves is not an error.
        End::Closed(Err(error)) => {
            tracing::debug!(%error, "connection ended");
            if state.is_answer_under_way() {
                return;
            }
            let (transport, refused) = {
                let parts = connection.into_parts();
                (parts.io.into_inner().into_inner(), misread(&error, &parts.read_buf, protocols.head_bytes))
            };
            if let Some(refused) = refused {
                node.metrics.rejected(refused.rejection());
                linger(transport, &last_answer(&refused), discards.before).await;
            }
        }
        // Cut off, so that it does not take what it has for all.
        End::Stalled => tracing::debug!("a client hardly takes its history (stream.write_timeout)"),
        // What the client has sent beyond its request is of no use to a stream.
        End::Taken(taken) => {
            if let Some(socket) = connection.into_parts().io.into_inner().into_inner().into_plain() {
                hand_over(socket, place, taken, &node);
            }
        }
    }
}

/// Answers a request.
async fn answer<S: Service>(
    service: &S,
    node: &Node,
    request: &mut hyper::Request<Arriving>,
    peer: Peer,
) -> Response<Body> {
    let mut response = service.answer(node, request, peer).await;
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    response
}

/// Drains a request's body, or has its answer say that the connection ends.
async fn settle(
    request: &mut hyper::Request<Arriving>,
    response: &mut Response<Body>,
    discards: Discards,
    state: &ConnectionState,
) {
    let rest = drain(request, discards).await;
    // Behind a request that was not understood may come more of it.
    let is_misunderstood = response.status().is_client_error() && response.headers().contains_key(header::CONNECTION);
    if rest != Rest::Nothing {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if rest == Rest::More {
        state.discard_after_answer(discards.after);
    } else if rest == Rest::Broken || is_misunderstood {
        state.discard_after_answer(discards.before);
    }
}

/// Decides how an answer is carried. Never returns for a stream that a fan-out thread takes over.
async fn carry<T: Transport>(
    mut response: Response<Body>,
    version: Version,
    node: &Node,
    state: Arc<ConnectionState>,
    taken: &Mutex<Option<Taken>>,
) -> Response<Body> {
    let Some(opening) = take_opening(&mut response) else {
        if let Body::Pages(pages) = response.body() {
            state.set_taking(pages.taking());
        }
        state.answer_is_made();
        return response;
    };
    state.stream_begins();
    if T::IS_PLAIN && node.fanout.is_on() {
        let framing = if version == Version::HTTP_10 { Framing::Plain } else { Framing::Chunked };
        let headers = std::mem::take(response.headers_mut());
        *taken.lock() = Some(Taken { headers, framing, opening });
        return std::future::pending().await;
    }
    // As on a fan-out thread: what a client sends behind its subscription is no further request.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    // Gone already: nobody would read what is sent.
    if !state.has_ended() {
        *response.body_mut() = stream_body(*opening, node, state);
    }
    response
}

/// The stream that an answer is to carry, if it is one.
fn take_opening(response: &mut Response<Body>) -> Option<Box<Opening>> {
    match std::mem::replace(response.body_mut(), Body::Empty) {
        Body::Opening(opening) => Some(opening),
        body => {
            *response.body_mut() = body;
            None
        }
    }
}

/// A stream that hyper carries.
fn stream_body(opening: Opening, node: &Node, state: Arc<ConnectionState>) -> Body {
    let Opening { pipeline, wanted, coding, keepalive, admission } = opening;
    let subscription = Subscription::new(node.hub.join(&pipeline), wanted);
    let (mut options, metrics) = (node.rules.stream, node.metrics.clone());
    options.keepalive = keepalive.map_or(options.keepalive, |seconds| Duration::from_secs(seconds.get().into()));
    Body::Stream(Box::new(StreamBody::new(subscription, coding, &options, metrics, state, admission)))
}

fn hand_over(socket: TcpStream, place: ConnectionSlot, taken: Taken, node: &Node) {
    let Taken { headers, framing, opening } = taken;
    let Opening { pipeline, wanted, coding, keepalive, mut admission } = *opening;
    if let Some(stream) = &mut admission.place {
        stream.hold_connection(place);
    }
    match socket.into_std() {
        Ok(socket) => {
            let head = stream_head(headers, framing);
            node.fanout.hand_over(Handover { socket, head, framing, coding, keepalive, pipeline, wanted, admission });
        }
        Err(error) => tracing::debug!(%error, "a socket could not be taken over"),
    }
}

/// The head of a stream's answer.
fn stream_head(mut headers: HeaderMap, framing: Framing) -> Bytes {
    if framing == Framing::Chunked {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    head(StatusCode::OK, headers).into()
}
