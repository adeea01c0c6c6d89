//! The write deadline where hyper carries the bytes: closes a socket, a stream or a response whose client reads nothing.
//!
//! hyper has no timeout for writes. When the deadline is, [`Stall`] says, as it does for the fan-out threads.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::state::ConnectionState;
use crate::http::unread_pages::Unread;
use crate::stream::life::{Intake, LifeRules, Stall};

/// A timer for clients that read nothing.
#[derive(Debug)]
pub(super) struct WriteTimer {
    rules: Arc<LifeRules>,
    stall: Stall,
    /// As of the last look.
    progress: u64,
    /// Only there while something waits: idle connections have no timer here.
    timer: Option<Pin<Box<Sleep>>>,
}

impl WriteTimer {
    pub(super) fn new(rules: Arc<LifeRules>) -> Self {
        Self { rules, stall: Stall::NONE, progress: 0, timer: None }
    }

    /// Ready when the client has read nothing for too long.
    pub(super) fn poll_passed(&mut self, unread: Unread, cx: &mut Context<'_>) -> Poll<()> {
        let Unread::Something { progress } = unread else {
            (self.stall, self.timer) = (Stall::NONE, None);
            return Poll::Pending;
        };
        let has_read = std::mem::replace(&mut self.progress, progress) != progress;
        let intake = if has_read { Intake::Some } else { Intake::Nothing };
        self.stall.record(intake, &self.rules, Instant::now().into_std());
        let Some(deadline) = self.stall.deadline(&self.rules).map(Instant::from_std) else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}

/// A socket whose writes fail when the client reads nothing for `stream.write_timeout`.
#[derive(Debug)]
pub(super) struct TimedSocket {
    socket: TcpStream,
    /// What was read to find out what the client speaks, to be read again.
    first_bytes: Bytes,
    timer: WriteTimer,
    state: Arc<ConnectionState>,
}

impl TimedSocket {
    pub(super) fn new(
        socket: TcpStream,
        first_bytes: Bytes,
        rules: Arc<LifeRules>,
        state: Arc<ConnectionState>,
    ) -> Self {
        Self { socket, first_bytes, timer: WriteTimer::new(rules), state }
    }

    pub(super) fn into_socket(self) -> TcpStream {
        self.socket
    }

    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.state.set_blocked(written.is_pending());
        let unread = if written.is_pending() { Unread::Something { progress: 0 } } else { Unread::Nothing };
        if self.timer.poll_passed(unread, cx).is_pending() {
            return written;
        }
        self.state.set_timed_out();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing (stream.write_timeout)")))
    }
}

impl AsyncRead for TimedSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first_bytes.is_empty() {
            let before = buffer.filled().len();
            let polled = Pin::new(&mut self.socket).poll_read(cx, buffer);
            if buffer.filled().len() > before {
                self.state.note_input();
            }
            return polled;
        }
        self.state.note_input();
        let length = self.first_bytes.len().min(buffer.remaining());
        buffer.put_slice(&self.first_bytes[..length]);
        self.first_bytes.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TimedSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, parts);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
