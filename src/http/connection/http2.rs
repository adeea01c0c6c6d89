//! HTTP/2: many streams on one connection, each of which may stall by itself.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::TokioTimer;
use tokio::time::{Instant, Sleep, sleep};

use super::http_transport::BUFFER_BYTES;
use super::socket::ConnectionState;
use super::stall::Stall;
use crate::node::Rules;

/// What every client of HTTP/2 with prior knowledge sends first (RFC 9113, section 3.4).
pub(in crate::http) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client may send of requests' bodies before we have read it, on one stream and on all of a connection. Not
/// counted by `limits.bodies`, so no more on all than on one.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW;

/// What waits in user space for one stream that the client does not take.
const SEND_BUFFER: usize = 16 << 10;

/// Streams that were reset before we came to answer them; more end the connection (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;

tokio::task_local! {
    static STREAM: Arc<StreamState>;
}

/// What a stream's task knows of the body that it sends.
#[derive(Debug, Default)]
pub(in crate::http) struct StreamState {
    /// How often the body was asked, times two; odd while what it gave has not been taken.
    turns: AtomicU64,
    has_timed_out: AtomicBool,
    /// Held until the stream is over, by which its connection knows of it.
    connection: OnceLock<Arc<ConnectionState>>,
}

impl StreamState {
    /// The state of the stream that this task carries, if it is one of HTTP/2.
    pub(in crate::http) fn current() -> Option<Arc<Self>> {
        STREAM.try_with(Arc::clone).ok()
    }

    /// The stream of this task is one of this connection's.
    pub(in crate::http) fn belong_to(connection: &Arc<ConnectionState>) {
        let _ = STREAM.try_with(|state| state.connection.set(connection.clone()));
    }

    /// The connection that it is a stream of.
    pub(in crate::http) fn connection(&self) -> Option<Arc<ConnectionState>> {
        self.connection.get().cloned()
    }

    /// The body of this task's stream was asked for more, so what it gave before was taken; and it
    /// gave something, or did not.
    pub(in crate::http) fn asked(has_given: bool) {
        // Bodies of HTTP/1.1 have no such state.
        let _ = STREAM.try_with(|state| {
            let turn = state.turns.load(Ordering::Relaxed) / 2 + 1;
            state.turns.store(turn * 2 + u64::from(has_given), Ordering::Relaxed);
        });
    }

    /// Whether the client took nothing for too long.
    pub(in crate::http) fn has_timed_out(&self) -> bool {
        self.has_timed_out.load(Ordering::Relaxed)
    }

    /// The turn at which the body's bytes wait for the client; `None` while they do not.
    fn stalled_at(&self) -> Option<u64> {
        Some(self.turns.load(Ordering::Relaxed)).filter(|turns| turns % 2 == 1)
    }
}

/// Runs the streams of a connection, and ends one whose client takes nothing.
///
/// A body is not asked while the flow control of its stream or of its connection is closed, so it
/// cannot notice by itself; and the other streams of the connection are none of its business.
#[derive(Clone, Debug)]
pub(in crate::http) struct StreamExecutor {
    write_timeout: Duration,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        tokio::spawn(watch(stream, self.write_timeout));
    }
}

async fn watch(stream: impl Future<Output = ()>, write_timeout: Duration) {
    let state = Arc::new(StreamState::default());
    let mut stream = pin!(stream);
    let mut stall = Stall::new(write_timeout);
    poll_fn(|cx| {
        if STREAM.sync_scope(state.clone(), || stream.as_mut().poll(cx)).is_ready() {
            return Poll::Ready(());
        }
        ready!(stall.poll_past(state.stalled_at(), cx));
        state.has_timed_out.store(true, Ordering::Relaxed);
        Poll::Ready(())
    })
    .await;
}

/// Looks for a connection that has no request under way and gets none.
///
/// hyper has no time-out for it: a client that sends the preface and nothing else would hold its connection
/// for ever, and so would one that has asked once and answers pings.
pub(in crate::http) struct Silence {
    /// Longest time until the first request.
    opening: Duration,
    /// Longest time without any after that.
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    connection: Arc<ConnectionState>,
    /// How many hold the connection's state while it has no stream.
    holders: usize,
}

impl Silence {
    /// For a connection that is made and has had no turn yet, so no stream either.
    pub(in crate::http) fn new(opening: Duration, idle: Duration, connection: Arc<ConnectionState>) -> Self {
        let holders = Arc::strong_count(&connection);
        Self { opening, idle, timer: Box::pin(sleep(opening)), connection, holders }
    }

    /// Ready when there was no request for too long; and again when there still is none after the time for an opening.
    pub(in crate::http) fn poll_past(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let has_asked = self.connection.take_asked();
            let is_silent = !has_asked && Arc::strong_count(&self.connection) <= self.holders;
            let period = if is_silent { self.opening } else { self.idle };
            self.timer.as_mut().reset(Instant::now() + period);
            if is_silent {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

/// HTTP/2 as this node speaks it.
pub(in crate::http) fn protocol(rules: &Rules) -> http2::Builder<StreamExecutor> {
    let mut protocol = http2::Builder::new(StreamExecutor { write_timeout: rules.stream.write_timeout });
    protocol
        .timer(TokioTimer::new())
        .max_concurrent_streams(rules.http2_max_concurrent_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(BUFFER_BYTES).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        // A peer that is gone without a word answers no ping.
        .keep_alive_interval(rules.stream.keepalive)
        .keep_alive_timeout(rules.stream.write_timeout);
    protocol
}
