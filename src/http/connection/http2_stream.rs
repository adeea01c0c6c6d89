//! One stream of an HTTP/2 connection: what its task knows about the body that it sends, and the task's write deadline.
//!
//! hyper does not ask a body for more while the flow control of its stream or of its connection is closed, so the body
//! cannot notice that its client reads nothing. The other streams of the connection must not suffer.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, ready};

use hyper::rt::Executor;

use super::state::{ConnectionState, OpenStream};
use super::write_deadline::WriteTimer;
use crate::http::unread_pages::Unread;
use crate::stream::life::LifeRules;

tokio::task_local! {
    static STREAM: Arc<StreamState>;
}

/// Written and read by the stream's task only, but for `has_timed_out`, which the body reads when it is dropped.
#[derive(Debug, Default)]
pub(in crate::http) struct StreamState {
    /// How often hyper has asked the body for more. Each time, the client had made room.
    asked: AtomicU64,
    /// Whether the body gave something the last time that it was asked, which may wait for the client.
    has_given: AtomicBool,
    has_timed_out: AtomicBool,
    /// Set when the stream's request is answered, held until the task ends.
    connection: OnceLock<OpenStream>,
}

impl StreamState {
    /// The state of the stream that this task carries, if it is one of HTTP/2.
    pub(in crate::http) fn current() -> Option<Arc<Self>> {
        STREAM.try_with(Arc::clone).ok()
    }

    /// Makes this task's stream one of the connection's.
    pub(super) fn belong_to(connection: &Arc<ConnectionState>) {
        let _ = STREAM.try_with(|state| state.connection.set(ConnectionState::open_stream(connection)));
    }

    /// The connection of the stream.
    pub(in crate::http) fn connection(&self) -> Option<Arc<ConnectionState>> {
        self.connection.get().map(|open| open.connection().clone())
    }

    /// Records that the body of this task's stream was asked for more, and whether it gave something.
    pub(in crate::http) fn record_asked(has_given: bool) {
        // Bodies over HTTP/1.1 have no such state.
        let _ = STREAM.try_with(|state| {
            state.asked.fetch_add(1, Ordering::Relaxed);
            state.has_given.store(has_given, Ordering::Relaxed);
        });
    }

    /// Whether the client read nothing for too long.
    pub(in crate::http) fn has_timed_out(&self) -> bool {
        self.has_timed_out.load(Ordering::Relaxed)
    }

    fn unread(&self) -> Unread {
        match self.has_given.load(Ordering::Relaxed) {
            true => Unread::Something { progress: self.asked.load(Ordering::Relaxed) },
            false => Unread::Nothing,
        }
    }
}

/// Runs the streams of a connection, and ends one whose client reads nothing.
#[derive(Clone, Debug)]
pub(in crate::http) struct StreamExecutor {
    pub(super) rules: Arc<LifeRules>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        tokio::spawn(run(stream, self.rules.clone()));
    }
}

async fn run(stream: impl Future<Output = ()>, rules: Arc<LifeRules>) {
    let state = Arc::new(StreamState::default());
    let mut stream = pin!(stream);
    let mut timer = WriteTimer::new(rules);
    poll_fn(|cx| {
        if STREAM.sync_scope(state.clone(), || stream.as_mut().poll(cx)).is_ready() {
            return Poll::Ready(());
        }
        ready!(timer.poll_passed(state.unread(), cx));
        state.has_timed_out.store(true, Ordering::Relaxed);
        Poll::Ready(())
    })
    .await;
}
