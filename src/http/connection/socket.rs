//! A socket with a write deadline, which hyper does not have, and what was read from it already.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

use crate::http::taking::Taking;
use crate::limits::Budget;

/// What a connection and the streams on it know of each other.
#[derive(Debug, Default)]
pub(in crate::http) struct ConnectionState {
    /// Written by the socket when its deadline has passed, read when the stream is dropped.
    has_timed_out: AtomicBool,
    /// Written by the socket: bytes wait that the peer does not take.
    is_blocked: AtomicBool,
    /// Written by the service: a request is being answered, or a stream is.
    is_answering: AtomicBool,
    /// Written by the socket, taken back by the service: bytes of a request came, and not all of its head.
    has_begun: AtomicBool,
    /// Written by the service, taken back by the transport: an answer is under way that the client may wait for with its
    /// side closed.
    is_answer_awaited: AtomicBool,
    /// Written by the service, taken back by the transport: what is written belongs to an answer of the service.
    is_answer_under_way: AtomicBool,
    /// Written when an answer's body is over, taken back by the transport: the answer is whole once it is flushed.
    is_answer_whole: AtomicBool,
    /// Written by the transport: the client has closed its side meanwhile.
    has_ended: AtomicBool,
    /// Written by the service when the connection ends with its answer: bytes that are still read then, and thrown away.
    discards: AtomicU64,
    /// Room for histories as JSON that its streams share; made when the first one asks.
    histories: OnceLock<Budget>,
    /// In HTTP/1.1, what the client has not taken yet of a history as JSON; written by the service, read by whoever
    /// carries the connection.
    taking: Mutex<Option<Arc<Taking>>>,
    /// Written at each request in HTTP/2, taken back by whoever looks for a connection without any.
    has_asked: AtomicBool,
}

impl ConnectionState {
    /// Whether the client took nothing for too long.
    pub(in crate::http) fn has_timed_out(&self) -> bool {
        self.has_timed_out.load(Ordering::Relaxed)
    }

    /// Takes note of that.
    pub(in crate::http) fn set_timed_out(&self) {
        self.has_timed_out.store(true, Ordering::Relaxed);
    }

    /// A request's head is there.
    pub(in crate::http) fn answer_begins(&self) {
        self.has_begun.store(false, Ordering::Relaxed);
        self.is_answering.store(true, Ordering::Relaxed);
        self.is_answer_awaited.store(true, Ordering::Relaxed);
        self.is_answer_whole.store(false, Ordering::Relaxed);
        self.is_answer_under_way.store(true, Ordering::Relaxed);
    }

    /// The body of an answer is over. The HTTP library may still have its end.
    pub(in crate::http) fn body_is_over(&self) {
        self.is_answer_whole.store(true, Ordering::Relaxed);
    }

    /// The HTTP library has nothing left to write.
    pub(in crate::http) fn note_flush(&self) {
        if self.is_answer_whole.load(Ordering::Relaxed) {
            self.is_answer_whole.store(false, Ordering::Relaxed);
            self.is_answer_under_way.store(false, Ordering::Relaxed);
            self.is_answer_awaited.store(false, Ordering::Relaxed);
        }
    }

    /// Whether a request was read whose answer is not all written.
    pub(in crate::http) fn is_answer_under_way(&self) -> bool {
        self.is_answer_under_way.load(Ordering::Relaxed)
    }

    /// The next request may come. Not after a stream, whose client may send what it likes meanwhile.
    pub(in crate::http) fn answer_is_made(&self) {
        self.is_answering.store(false, Ordering::Relaxed);
    }

    /// The answer is a stream, whose client is gone when it closes its side.
    pub(in crate::http) fn stream_begins(&self) {
        self.is_answer_awaited.store(false, Ordering::Relaxed);
    }

    /// Whether an answer is under way that is no stream, as far as is known.
    pub(in crate::http) fn is_answer_awaited(&self) -> bool {
        self.is_answer_awaited.load(Ordering::Relaxed)
    }

    /// Takes note that the client has closed its side; whether that is new.
    pub(in crate::http) fn note_end(&self) -> bool {
        !self.has_ended.swap(true, Ordering::Relaxed)
    }

    /// Whether that was noted: nothing more comes.
    pub(in crate::http) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// The connection ends with this answer, and its client may send so many bytes more that nobody wants.
    pub(in crate::http) fn discard_after_answer(&self, bytes: u64) {
        self.discards.store(bytes, Ordering::Relaxed);
    }

    /// How many those are.
    pub(in crate::http) fn discards(&self) -> u64 {
        self.discards.load(Ordering::Relaxed)
    }

    /// Whether a part of a request's head is there, and the rest is not.
    pub(in crate::http) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    fn received(&self) {
        if !self.is_answering.load(Ordering::Relaxed) {
            self.has_begun.store(true, Ordering::Relaxed);
        }
    }

    /// Takes note of a request.
    pub(in crate::http) fn set_asked(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
    }

    /// Whether a request was noted since the last time that this was asked.
    pub(in crate::http) fn take_asked(&self) -> bool {
        self.has_asked.swap(false, Ordering::Relaxed)
    }

    /// Room of so many bytes for histories as JSON on this connection.
    pub(in crate::http) fn histories(&self, bytes: usize) -> &Budget {
        self.histories.get_or_init(|| Budget::new(bytes))
    }

    /// The answer is a history as JSON, and this is what is known of its client.
    pub(in crate::http) fn set_taking(&self, taking: Arc<Taking>) {
        *self.taking.lock() = Some(taking);
    }

    /// The turn at which the client of a history as JSON stands; `None` while nothing of it waits for the client.
    pub(in crate::http) fn stands_at(&self) -> Option<u64> {
        // No lock for all those who take what they are given.
        if !self.is_blocked() {
            return None;
        }
        let mut taking = self.taking.lock();
        let turn = taking.as_ref()?.stands_at();
        // Nobody else has it any more: that answer is over.
        if taking.as_ref().is_some_and(|taking| Arc::strong_count(taking) == 1) {
            *taking = None;
        }
        turn
    }

    /// Whether bytes wait to be written.
    pub(in crate::http) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Relaxed)
    }
}

/// What carries requests and answers.
pub(in crate::http) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Whether nothing stands between the socket and the bytes that are written.
    const IS_PLAIN: bool;

    /// The socket, if that is so.
    fn into_plain(self) -> Option<TcpStream>;
}

impl Transport for Deadline {
    const IS_PLAIN: bool = true;

    fn into_plain(self) -> Option<TcpStream> {
        Some(self.stream)
    }
}

impl Transport for Box<TlsStream<Deadline>> {
    const IS_PLAIN: bool = false;

    fn into_plain(self) -> Option<TcpStream> {
        None
    }
}

/// A socket that fails when the peer takes nothing for `timeout` while there is something to take.
#[derive(Debug)]
pub(in crate::http) struct Deadline {
    stream: TcpStream,
    /// What was read before, to be read again.
    first: Bytes,
    timeout: Duration,
    /// There only while a write waits: idle connections have no timer here.
    blocked: Option<Pin<Box<Sleep>>>,
    state: Arc<ConnectionState>,
}

impl Deadline {
    pub(in crate::http) fn new(
        stream: TcpStream,
        first: Bytes,
        timeout: Duration,
        state: Arc<ConnectionState>,
    ) -> Self {
        Self { stream, first, timeout, blocked: None, state }
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
        self.state.set_timed_out();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing (stream.write_timeout)")))
    }
}

impl AsyncRead for Deadline {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            let before = buffer.filled().len();
            let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
            if buffer.filled().len() > before {
                self.state.received();
            }
            return polled;
        }
        self.state.received();
        let length = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..length]);
        self.first.advance(length);
        Poll::Ready(Ok(()))
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
