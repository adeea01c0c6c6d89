//! How far a client has read an answer, for answers whose memory stays reserved until the client has read them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;

/// What waits for a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unread {
    Nothing,
    /// Something. The number changes whenever the client reads a part of it.
    Something {
        progress: u64,
    },
}

/// How far a client has read an answer of several pages. Their memory stays reserved until it has read them, and the HTTP library
/// may hold a whole page in its queues, so what carries the answer checks whether its client has stalled.
#[derive(Debug, Default)]
pub(super) struct UnreadPages {
    /// Pages that the client has not read completely.
    pages: AtomicUsize,
    /// How often hyper has asked the answer for more.
    asked: AtomicU64,
    /// Wakes the answer where it waits for its last page to be read.
    waker: AtomicWaker,
}

impl UnreadPages {
    /// What waits for the client.
    pub(super) fn unread(&self) -> Unread {
        match self.pages.load(Ordering::SeqCst) {
            0 => Unread::Nothing,
            _ => Unread::Something { progress: self.asked.load(Ordering::Relaxed) },
        }
    }

    /// Records that hyper has asked the answer for more.
    pub(super) fn record_asked(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// Ready when the client has read all that it was sent.
    pub(super) fn poll_taken(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.pages.load(Ordering::SeqCst) == 0 { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// The text of a page, which keeps `room` until the last slice of its bytes is dropped, including those in the HTTP
/// library's queues.
pub(super) fn hold<T, R>(text: T, room: R, unread_pages: &Arc<UnreadPages>) -> Bytes
where
    T: AsRef<[u8]> + Send + 'static,
    R: Send + 'static,
{
    unread_pages.pages.fetch_add(1, Ordering::SeqCst);
    Bytes::from_owner(Held { text, _room: room, unread_pages: unread_pages.clone() })
}

struct Held<T, R> {
    text: T,
    _room: R,
    unread_pages: Arc<UnreadPages>,
}

impl<T: AsRef<[u8]>, R> AsRef<[u8]> for Held<T, R> {
    fn as_ref(&self) -> &[u8] {
        self.text.as_ref()
    }
}

impl<T, R> Drop for Held<T, R> {
    fn drop(&mut self) {
        self.unread_pages.pages.fetch_sub(1, Ordering::SeqCst);
        self.unread_pages.waker.wake();
    }
}
