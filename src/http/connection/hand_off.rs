//! Who carries a stream: a fan-out thread, which takes the socket over from hyper before a byte of the response is written,
//! or hyper, as a body.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode, Version};
use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::head::head;
use super::state::ConnectionState;
use super::stream_body::StreamBody;
use super::transport::Transport;
use crate::http::body::Body;
use crate::http::opening::Opening;
use crate::limits::ConnectionSlot;
use crate::node::Node;
use crate::stream::fanout::{Framing, Handover};

/// A stream for a fan-out thread: the response's headers, and what the stream is to send.
pub(super) struct HandOff {
    headers: HeaderMap,
    framing: Framing,
    opening: Box<Opening>,
}

/// Decides who carries the response to a request over HTTP/1.
///
/// Never returns if a fan-out thread takes over. The response is in `hand_off` then.
pub(super) async fn carry<T: Transport>(
    mut response: Response<Body>,
    version: Version,
    node: &Node,
    state: Arc<ConnectionState>,
    hand_off: &Mutex<Option<HandOff>>,
) -> Response<Body> {
    let Some(opening) = take_opening(&mut response) else {
        if let Body::Pages(pages) = response.body() {
            state.set_unread_pages(pages.unread_pages());
        }
        state.response_is_decided();
        return response;
    };
    state.begin_stream();
    if T::IS_PLAIN && node.fanout.is_on() {
        let framing = if version == Version::HTTP_10 { Framing::Plain } else { Framing::Chunked };
        let headers = std::mem::take(response.headers_mut());
        *hand_off.lock() = Some(HandOff { headers, framing, opening });
        return std::future::pending().await;
    }
    // As on a fan-out thread, what a client sends after its subscription is not another request.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    // A client that has left already would not read what is sent.
    if !state.has_client_closed() {
        *response.body_mut() = stream_body(*opening, node, state);
    }
    response
}

/// The stream that a response is to carry, if it is one.
pub(super) fn take_opening(response: &mut Response<Body>) -> Option<Box<Opening>> {
    match std::mem::replace(response.body_mut(), Body::Empty) {
        Body::Opening(opening) => Some(opening),
        body => {
            *response.body_mut() = body;
            None
        }
    }
}

/// A stream that hyper carries.
pub(super) fn stream_body(opening: Opening, node: &Node, state: Arc<ConnectionState>) -> Body {
    Body::Stream(Box::new(StreamBody::new(opening, node, state)))
}

/// Gives a socket and its stream to a fan-out thread. What the client has sent beyond its request is dropped.
pub(super) fn hand_over(socket: TcpStream, place: ConnectionSlot, hand_off: HandOff, node: &Node) {
    let HandOff { headers, framing, opening } = hand_off;
    let Opening { pipeline, wanted, encoding, keepalive, mut context } = *opening;
    if let Some(stream) = &mut context.place {
        stream.hold_connection(place);
    }
    match socket.into_std() {
        Ok(socket) => {
            let head = stream_head(headers, framing);
            node.fanout.hand_over(Handover { socket, head, framing, encoding, keepalive, pipeline, wanted, context });
        }
        Err(error) => tracing::debug!(%error, "a socket could not be handed to a fan-out thread"),
    }
}

/// The head of a stream's response.
fn stream_head(mut headers: HeaderMap, framing: Framing) -> Bytes {
    if framing == Framing::Chunked {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    head(StatusCode::OK, headers).into()
}
