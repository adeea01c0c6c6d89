//! What hyper reads and writes: a transport, but for two things.
//!
//! A client may end its side of the connection behind its request, and wait for the answer. hyper takes that for the end of
//! the client, or with `half_close` looks for no end at all, so that a stream's reader who leaves would not be noticed. So
//! the end is kept from it, and only while an answer is under way.
//!
//! And what cannot be read as a request hyper answers by itself, with a status and nothing else. What it writes while no
//! request is to be answered is dropped, and `http::connection` says what is wrong.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::state::ConnectionState;
use super::transport::Transport;

/// A transport as hyper sees it.
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
        // hyper reads again after the answer, and the end is still there. A body that it cuts off is waited for by this
        // task, which nothing else would wake.
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
        // hyper comes here when it has nothing left to write, and TLS has nothing either now.
        self.state.note_flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
