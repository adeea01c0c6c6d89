//! What carries requests and responses: a plain socket, or TLS on one.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::write_deadline::TimedSocket;

/// A connection's bytes, once it is known what the client speaks.
pub(in crate::http) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Whether what is written goes to the socket unchanged, so that a fan-out thread can write there too.
    const IS_PLAIN: bool;

    /// The socket, if that is so.
    fn into_plain(self) -> Option<TcpStream>;
}

impl Transport for TimedSocket {
    const IS_PLAIN: bool = true;

    fn into_plain(self) -> Option<TcpStream> {
        Some(self.into_socket())
    }
}

impl Transport for Box<TlsStream<TimedSocket>> {
    const IS_PLAIN: bool = false;

    fn into_plain(self) -> Option<TcpStream> {
        None
    }
}
