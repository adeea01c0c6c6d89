//! The transport as hyper sees it, which differs from the real one in two ways.
//!
//! A client may close its side after its request and wait for the response. hyper treats that as the end of the client. With
//! `half_close` it does not look for an end at all, and would not notice that a stream's client has left. So the end is
//! hidden from hyper, but only while a response other than a stream is under way.
//!
//! hyper answers a request that it cannot parse by itself, with only a status. What it writes while no request is being answered
//! is discarded, and `misread` provides the response.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::state::ConnectionState;
use super::transport::Transport;

/// hyper's buffers for one connection: the largest request head, and how much of a stream waits in user space. Small, since
/// there are thousands of connections, but large enough for any browser's head.
pub(in crate::http) const BUFFER_BYTES: usize = 32 << 10;

/// A transport for hyper.
#[derive(Debug)]
pub(in crate::http) struct HttpTransport<T> {
    transport: T,
    state: Arc<ConnectionState>,
}

impl<T> HttpTransport<T> {
    pub(in crate::http) fn new(transport: T, state: Arc<ConnectionState>) -> Self {
        Self { transport, state }
    }

    pub(in crate::http) fn into_inner(self) -> T {
        self.transport
    }
}

impl<T: Transport> AsyncRead for HttpTransport<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.transport).poll_read(cx, buffer))?;
        let is_end = buffer.filled().len() == before && buffer.remaining() > 0;
        if !is_end || !self.state.is_response_awaited() {
            return Poll::Ready(Ok(()));
        }
        // hyper reads again after the response, and meets the end then. If the end cuts off a body, this task waits for that
        // body, and nothing else would wake it.
        if self.state.note_client_closed() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<T: Transport> AsyncWrite for HttpTransport<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.state.is_response_under_way() {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.transport).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.state.is_response_under_way() {
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        Pin::new(&mut self.transport).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.transport).poll_flush(cx))?;
        // hyper flushes when it has nothing left to write, and now TLS has nothing left either.
        self.state.note_flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
