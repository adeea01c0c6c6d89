//! Closes an HTTP/2 connection whose client floods it with frames that ask for nothing, and has every connection yield.
//!
//! Such a frame costs the client a few bytes and the node some work: a SETTINGS changes the window of every stream and
//! wakes it, a PING is answered, a WINDOW_UPDATE may cause a DATA frame of one byte. hyper limits resets, refused streams,
//! CONTINUATION and empty DATA, but not these. It also reads for as long as there is something to read while everything else
//! on the thread waits: events were seconds late.
//!
//! The guard looks at the bytes as they pass. It does not count requests and bodies, which have limits of their own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame_heads::PREFACE;
use super::frame_heads::{ACK, CONTINUATION, DATA, END_STREAM, FrameHead, FrameHeads, GOAWAY, HEADERS, SETTINGS};
use super::request_body::{Discards, linger};
use super::transport::Transport;

/// What a client may spend on such frames at once, and what it regains per second.
const CREDIT: u32 = 10_000;
const CREDIT_PER_SECOND: u32 = 500;

/// The maximum with what it has earned. A client may be late to read what the sockets hold for it, and then send a frame for
/// each piece: of the shortest events, 6 MiB hold this many.
const MOST_CREDIT: u32 = 250_000;

/// The cost of a frame that hyper applies to every stream of the connection.
const WALK_COST: u32 = 500;

/// What a response's head earns: the client may set its window, its priority, and reset it.
const ANSWER_EARNS: u32 = 4;

/// What a piece of a response earns, and each KiB of it: the client may open the stream's window and the connection's.
const PIECE_EARNS: u32 = 2;

/// Shorter pieces earn nothing. No event is this short, so the client's window has let in a few bytes at a time.
const LEAST_PIECE: u32 = 12;

/// Bytes to read before other connections have their turn.
const TURN_BYTES: usize = 16 << 10;

/// The debug data of the GOAWAY.
const TOO_MANY: &[u8] = b"too many SETTINGS, PING, WINDOW_UPDATE, PRIORITY or other frames that ask for nothing";

/// The transport of an HTTP/2 connection.
#[derive(Debug)]
pub(in crate::http) struct FloodGuard<T> {
    /// `None` once the client has overdrawn its credit.
    transport: Option<T>,
    flooded: FloodedSlot<T>,
    incoming: FrameHeads,
    outgoing: FrameHeads,
    allowance: Allowance,
    /// Bytes read since other connections had their turn.
    turn_bytes: usize,
}

/// Where the guard leaves the transport of a client that has overdrawn its credit.
pub(in crate::http) type FloodedSlot<T> = Arc<Mutex<Option<Flooded<T>>>>;

/// A connection whose client has flooded it.
#[derive(Debug)]
pub(in crate::http) struct Flooded<T> {
    transport: T,
    /// Whether a GOAWAY can be sent: not in the middle of a frame.
    is_between_frames: bool,
}

/// How much a client may still spend.
#[derive(Debug)]
struct Allowance {
    credit: u32,
    filled_at: Instant,
    is_overdrawn: bool,
}

impl Allowance {
    fn new() -> Self {
        Self { credit: CREDIT, filled_at: Instant::now(), is_overdrawn: false }
    }

    fn spend(&mut self, cost: u32) {
        if self.credit < cost {
            self.fill();
        }
        match self.credit.checked_sub(cost) {
            Some(credit) => self.credit = credit,
            None => self.is_overdrawn = true,
        }
    }

    fn earn(&mut self, credit: u32) {
        self.credit = (self.credit + credit).min(MOST_CREDIT);
    }

    /// Adds what the client has regained since the last call, up to what it had at first. Not called for each frame, to save
    /// looks at the clock.
    fn fill(&mut self) {
        let now = Instant::now();
        let millis = u64::try_from((now - self.filled_at).as_millis()).unwrap_or(u64::MAX);
        let credit = millis.saturating_mul(u64::from(CREDIT_PER_SECOND)) / 1000;
        let filled = u64::from(self.credit).saturating_add(credit).min(u64::from(CREDIT));
        self.credit = self.credit.max(u32::try_from(filled).unwrap_or(CREDIT));
        self.filled_at = now;
    }
}

/// The cost of a frame that the client sends.
fn cost(head: FrameHead) -> u32 {
    match head.kind {
        DATA | HEADERS | CONTINUATION => 0,
        SETTINGS if head.flags & ACK != 0 => 1,
        SETTINGS | GOAWAY => WALK_COST,
        _ => 1,
    }
}

/// What a client earns by reading a frame.
fn earned(head: FrameHead) -> u32 {
    match head.kind {
        HEADERS => ANSWER_EARNS,
        DATA if head.length >= LEAST_PIECE || head.flags & END_STREAM != 0 => PIECE_EARNS + (head.length >> 10),
        _ => 0,
    }
}

impl<T> FloodGuard<T> {
    /// Guards a connection from which nothing was read yet. When its client overdraws its credit, reading fails and the
    /// transport is in the slot.
    pub(in crate::http) fn new(transport: T) -> (Self, FloodedSlot<T>) {
        let flooded = FloodedSlot::default();
        let guard = Self {
            transport: Some(transport),
            flooded: flooded.clone(),
            incoming: FrameHeads::after(PREFACE.len()),
            outgoing: FrameHeads::after(0),
            allowance: Allowance::new(),
            turn_bytes: 0,
        };
        (guard, flooded)
    }

    fn transport(&mut self) -> io::Result<Pin<&mut T>>
    where
        T: Unpin,
    {
        self.transport.as_mut().map(Pin::new).ok_or_else(flooded)
    }

    fn wrote<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>, mut length: usize) {
        for part in parts {
            let part = &part[..part.len().min(length)];
            length -= part.len();
            self.outgoing.pass(part, |head| self.allowance.earn(earned(head)));
        }
    }
}

fn flooded() -> io::Error {
    io::Error::new(io::ErrorKind::QuotaExceeded, "the client floods its connection with frames that ask for nothing")
}

impl<T: AsyncRead + Unpin> AsyncRead for FloodGuard<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        if guard.turn_bytes >= TURN_BYTES {
            guard.turn_bytes = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = guard.transport()?.poll_read(cx, buffer);
        if polled.is_pending() {
            guard.turn_bytes = 0;
        }
        ready!(polled)?;
        let read = &buffer.filled()[before..];
        guard.turn_bytes += read.len();
        guard.incoming.pass(read, |head| guard.allowance.spend(cost(head)));
        if guard.allowance.is_overdrawn {
            let is_between_frames = guard.outgoing.is_between_frames();
            *guard.flooded.lock() = guard.transport.take().map(|transport| Flooded { transport, is_between_frames });
            return Poll::Ready(Err(flooded()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for FloodGuard<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let guard = self.get_mut();
        let length = ready!(guard.transport()?.poll_write(cx, bytes))?;
        guard.wrote([bytes], length);
        Poll::Ready(Ok(length))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let guard = self.get_mut();
        let length = ready!(guard.transport()?.poll_write_vectored(cx, parts))?;
        guard.wrote(parts.iter().map(|part| &**part), length);
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().transport()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().transport()?.poll_shutdown(cx)
    }
}

/// GOAWAY with ENHANCE_YOUR_CALM (RFC 9113, sections 6.8 and 7). The guard does not know which requests were processed, so it
/// names the highest possible stream. Otherwise the client could repeat a publish that was stored.
fn calm() -> Vec<u8> {
    const LAST_STREAM: [u8; 4] = [0x7f, 0xff, 0xff, 0xff];
    const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 0xb];
    let payload = [&LAST_STREAM[..], &ENHANCE_YOUR_CALM, TOO_MANY].concat();
    [&payload.len().to_be_bytes()[5..], &[GOAWAY, 0, 0, 0, 0, 0], &payload].concat()
}

/// Sends a GOAWAY to a client that has overdrawn its credit, and closes its connection.
pub(in crate::http) async fn close<T: Transport>(flooded: Flooded<T>, discards: Discards) {
    let last = if flooded.is_between_frames { calm() } else { Vec::new() };
    linger(flooded.transport, &last, discards.after).await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn client_that_never_pauses_yields_after_a_turn() {
        const READ: usize = 8 << 10;
        // Frames that cost nothing.
        let bytes = vec![0; 10 * TURN_BYTES];
        let (mut guard, _) = FloodGuard::new(&bytes[..]);
        let wakes = Arc::new(Wakes::default());
        let waker = wakes.clone().into();
        let mut cx = Context::from_waker(&waker);
        let (mut turns, mut in_turn) = (1, 0);
        loop {
            let mut room = [0; READ];
            let mut buffer = ReadBuf::new(&mut room);
            match Pin::new(&mut guard).poll_read(&mut cx, &mut buffer) {
                Poll::Ready(read) if buffer.filled().is_empty() => break read.unwrap(),
                Poll::Ready(read) => {
                    read.unwrap();
                    in_turn += buffer.filled().len();
                    assert!(in_turn < TURN_BYTES + READ, "{in_turn} bytes in a turn");
                }
                Poll::Pending => (turns, in_turn) = (turns + 1, 0),
            }
        }
        assert!(turns >= 10, "{turns} turns");
        assert_eq!(wakes.0.load(Ordering::Relaxed), turns - 1, "it goes on by itself");
    }

    #[test]
    fn spent_credit_is_regained_up_to_the_initial_amount() {
        let mut allowance = Allowance::new();
        let passes = |allowance: &mut Allowance, seconds| allowance.filled_at -= Duration::from_secs(seconds);
        allowance.spend(CREDIT);
        passes(&mut allowance, 2);
        allowance.spend(2 * CREDIT_PER_SECOND);
        passes(&mut allowance, 3600);
        allowance.spend(CREDIT);
        assert!(!allowance.is_overdrawn);
        passes(&mut allowance, 3600);
        allowance.spend(CREDIT + 1);
        assert!(allowance.is_overdrawn);
    }

    #[test]
    fn earned_credit_is_added_up_to_a_maximum() {
        let mut allowance = Allowance::new();
        allowance.earn(2 * CREDIT);
        allowance.spend(3 * CREDIT);
        assert!(!allowance.is_overdrawn);
        allowance.earn(MOST_CREDIT);
        allowance.earn(MOST_CREDIT);
        allowance.spend(MOST_CREDIT);
        assert!(!allowance.is_overdrawn);
        allowance.spend(CREDIT);
        assert!(allowance.is_overdrawn);
    }
}
