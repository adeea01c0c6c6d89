//! One connection: hyper parses and answers its requests, until one turns out to be a stream.
//!
//! Then the socket is taken back from hyper before a byte of the answer is written, and given to a
//! fan-out thread. Where that is off, hyper carries the stream as a body.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, Version};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::Service;
use super::body::{Body, Opening};
use super::socket::{ConnectionState, Deadline};
use super::stream_body::StreamBody;
use crate::fanout::{Framing, Handover};
use crate::node::Node;
use crate::subscription::Subscription;

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
    /// With a stream that somebody else carries on.
    Taken(Taken),
}

/// Serves one connection to its end.
///
/// `draining` resolves when it is to end with the request that it is at.
pub(super) async fn serve<S: Service>(
    stream: TcpStream,
    protocol: http1::Builder,
    node: Arc<Node>,
    service: S,
    draining: impl Future<Output = ()>,
) {
    let state = Arc::new(ConnectionState::default());
    // Written by the service, taken out by the loop below; both are polled by this task.
    let taken: Arc<Mutex<Option<Taken>>> = Arc::default();
    let io = TokioIo::new(Deadline::new(stream, node.rules.stream.write_timeout, state.clone()));
    let answer = {
        let (node, taken, state) = (node.clone(), taken.clone(), state.clone());
        service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let (node, taken, state, service) = (node.clone(), taken.clone(), state.clone(), service.clone());
            // Boxed, since taking a connection back asks for a future that may be moved.
            Box::pin(async move {
                let version = request.version();
                let response = service.answer(&node, request).await;
                Ok::<_, Infallible>(carry(response, version, &node, state, &taken).await)
            })
        })
    };
    let mut connection = protocol.serve_connection(io, answer);
    let end = {
        let mut draining = pin!(draining);
        let mut is_told = false;
        poll_fn(|cx| {
            if !is_told && draining.as_mut().poll(cx).is_ready() {
                is_told = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            if let Poll::Ready(result) = connection.poll_without_shutdown(cx) {
                return Poll::Ready(End::Closed(result));
            }
            // Not while bytes of an earlier answer wait in hyper's buffer.
            let taken = (!state.is_blocked()).then(|| taken.lock().take()).flatten();
            taken.map_or(Poll::Pending, |taken| Poll::Ready(End::Taken(taken)))
        })
        .await
    };
    match end {
        End::Closed(Ok(())) => {
            use tokio::io::AsyncWriteExt;
            // The peer may have gone first.
            let _ = connection.into_parts().io.into_inner().shutdown().await;
        }
        // A client that leaves is not an error.
        End::Closed(Err(error)) => tracing::debug!(%error, "connection ended"),
        // What the client has sent beyond its request is of no use to a stream.
        End::Taken(taken) => hand_over(connection.into_parts().io.into_inner().into_socket(), taken, &node),
    }
}

/// Decides how an answer is carried. Never returns for a stream that a fan-out thread takes over.
async fn carry(
    mut response: Response<Body>,
    version: Version,
    node: &Node,
    state: Arc<ConnectionState>,
    taken: &Mutex<Option<Taken>>,
) -> Response<Body> {
    let opening = match std::mem::replace(response.body_mut(), Body::Empty) {
        Body::Opening(opening) => opening,
        body => {
            *response.body_mut() = body;
            return response;
        }
    };
    if node.fanout.is_on() {
        let framing = if version == Version::HTTP_10 { Framing::Plain } else { Framing::Chunked };
        let headers = std::mem::take(response.headers_mut());
        *taken.lock() = Some(Taken { headers, framing, opening });
        return std::future::pending().await;
    }
    let Opening { pipeline, wanted } = *opening;
    let subscription = Subscription::new(node.hub.join(&pipeline), wanted);
    let body = StreamBody::new(subscription, &node.rules.stream, node.metrics.clone(), state);
    *response.body_mut() = Body::Stream(Box::new(body));
    response
}

fn hand_over(socket: TcpStream, taken: Taken, node: &Node) {
    let Taken { headers, framing, opening } = taken;
    let Opening { pipeline, wanted } = *opening;
    match socket.into_std() {
        Ok(socket) => {
            let head = head(headers, framing);
            node.fanout.hand_over(Handover { socket, head, framing, pipeline, wanted });
        }
        Err(error) => tracing::debug!(%error, "a socket could not be taken over"),
    }
}

/// The head of a stream's answer, as hyper would write it. The connection ends with the stream.
fn head(mut headers: HeaderMap, framing: Framing) -> Bytes {
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now())) {
        headers.insert(header::DATE, date);
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if framing == Framing::Chunked {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
    for (name, value) in &headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}
