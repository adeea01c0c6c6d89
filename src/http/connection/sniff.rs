//! The opening of a connection: who connects, over TLS or not, and which HTTP the client speaks.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::frame_heads::PREFACE;
use super::protocols::{Protocols, Visitor};
use super::proxy_header::{self, Introduced};
use super::state::ConnectionState;
use super::tls;
use super::write_deadline::TimedSocket;
use crate::limits::proxies::Peer;
use crate::metrics::Rejection;
use crate::node::Node;

/// A connection whose client is about to send requests.
pub(super) struct Opened {
    pub(super) carrier: Carrier,
    pub(super) is_http2: bool,
}

pub(super) enum Carrier {
    Plain(TimedSocket),
    Tls(Box<TlsStream<TimedSocket>>),
}

/// Reads just enough to know what the client speaks.
///
/// # Errors
/// When the client leaves, fails the TLS handshake, or is one too many behind its proxy.
pub(super) async fn open(
    mut socket: TcpStream,
    protocols: &Protocols,
    node: &Node,
    visitor: &mut Visitor,
    state: &Arc<ConnectionState>,
) -> io::Result<Opened> {
    if protocols.has_proxy_header {
        // Boxed, since few installations have it.
        Box::pin(introduce(&mut socket, visitor, node)).await?;
    }
    let timed = |socket, first_bytes| TimedSocket::new(socket, first_bytes, node.rules.life.clone(), state.clone());
    if let Some(tls) = &protocols.tls {
        let accepted = Box::pin(tls.acceptor().accept(timed(socket, Bytes::new()))).await;
        let stream = accepted.inspect_err(|_| node.metrics.rejected(Rejection::TlsHandshake))?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(tls::H2);
        return Ok(Opened { carrier: Carrier::Tls(Box::new(stream)), is_http2 });
    }
    let (first_bytes, is_http2) = match protocols.http2 {
        Some(_) => first_bytes(&mut socket).await?,
        None => (Bytes::new(), false),
    };
    Ok(Opened { carrier: Carrier::Plain(timed(socket, first_bytes)), is_http2 })
}

/// Reads the client's address from the proxy in front of the node, and counts the connection for it.
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

/// Reads until it is known whether the client speaks HTTP/2 with prior knowledge. Returns what was read, and whether it does.
async fn first_bytes(socket: &mut TcpStream) -> io::Result<(Bytes, bool)> {
    // No method of HTTP/1.1 begins like the preface.
    const ENOUGH: usize = 4;
    // On the stack, and small: many connections may be waiting here.
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
