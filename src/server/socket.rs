//! A socket with a write deadline, which hyper does not have.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// What a connection and the streams on it know of each other.
#[derive(Debug, Default)]
pub(super) struct ConnectionState {
    /// Written by the socket when its deadline has passed, read when the stream is dropped.
    has_timed_out: AtomicBool,
    /// Written by the socket: bytes wait that the peer does not take.
    is_blocked: AtomicBool,
}

impl ConnectionState {
    /// Whether the client took nothing for too long.
    pub(super) fn has_timed_out(&self) -> bool {
        self.has_timed_out.load(Ordering::Relaxed)
    }

    /// Whether bytes wait to be written.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Relaxed)
    }
}

/// A socket that fails when the peer takes nothing for `timeout` while there is something to take.
#[derive(Debug)]
pub(super) struct Deadline {
    stream: TcpStream,
    timeout: Duration,
    /// There only while a write waits: idle connections have no timer here.
    blocked: Option<Pin<Box<Sleep>>>,
    state: Arc<ConnectionState>,
}

impl Deadline {
    pub(super) fn new(stream: TcpStream, timeout: Duration, state: Arc<ConnectionState>) -> Self {
        Self { stream, timeout, blocked: None, state }
    }

    /// The socket, for whoever goes on with it.
    pub(super) fn into_socket(self) -> TcpStream {
        self.stream
    }

    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.state.is_blocked.store(written.is_pending(), Ordering::Relaxed);
        if written.is_ready() {
            self.blocked = None;
            return written;
        }
        let timeout = self.timeout;
        let blocked = self.blocked.get_or_insert_with(|| Box::pin(sleep(timeout)));
        if blocked.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.state.has_timed_out.store(true, Ordering::Relaxed);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing (stream.write_timeout)")))
    }
}

impl AsyncRead for Deadline {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Deadline {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
