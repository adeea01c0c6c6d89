//! What a connection, the requests on it and the streams on it know of each other.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use crate::http::unread_pages::Unread;
use crate::http::unread_pages::UnreadPages;
use crate::limits::Budget;

/// Shared by the tasks of one connection. In HTTP/1.1 that is one task, in HTTP/2 there is one more for each request.
#[derive(Debug, Default)]
pub(in crate::http) struct ConnectionState {
    /// Written by the socket when its write deadline has passed, read when a stream is dropped.
    has_timed_out: AtomicBool,
    /// Written by the socket: bytes wait that the client does not read.
    is_blocked: AtomicBool,
    /// Written by the service: a request is being answered, or a stream is being sent.
    is_answering: AtomicBool,
    /// Written by the socket, cleared by the service: a part of a request's head has arrived.
    has_partial_head: AtomicBool,
    /// Written by the service, cleared by the transport: the client may have closed its side and still wait for the response.
    is_response_awaited: AtomicBool,
    /// Written by the service, cleared by the transport: what hyper writes belongs to a response of the service.
    is_response_under_way: AtomicBool,
    /// Written when a response's body ends, cleared by the transport: the response is complete once it is flushed.
    is_response_whole: AtomicBool,
    /// Written by the transport: the client has closed its side.
    has_client_closed: AtomicBool,
    /// Written by the service if the connection ends with its response: how many bytes are read and discarded then.
    discards: AtomicU64,
    /// Memory for histories as JSON that the streams of an HTTP/2 connection share; made when the first one asks.
    histories: OnceLock<Budget>,
    /// In HTTP/1.1, how the client reads a history as JSON. Written by the service, read by the connection's task.
    unread_pages: Mutex<Weak<UnreadPages>>,
    /// In HTTP/2, whether there was a request since the idle timeout last looked.
    had_request: AtomicBool,
    /// In HTTP/2, requests that are being answered, streams included.
    open_streams: AtomicUsize,
}

impl ConnectionState {
    /// Whether the client read nothing for too long.
    pub(super) fn has_timed_out(&self) -> bool {
        self.has_timed_out.load(Ordering::Relaxed)
    }

    pub(super) fn set_timed_out(&self) {
        self.has_timed_out.store(true, Ordering::Relaxed);
    }

    /// Whether bytes wait that the client does not read.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Relaxed)
    }

    pub(super) fn set_blocked(&self, is_blocked: bool) {
        self.is_blocked.store(is_blocked, Ordering::Relaxed);
    }

    /// A request's head is complete.
    pub(super) fn begin_response(&self) {
        self.has_partial_head.store(false, Ordering::Relaxed);
        self.is_answering.store(true, Ordering::Relaxed);
        self.is_response_awaited.store(true, Ordering::Relaxed);
        self.is_response_whole.store(false, Ordering::Relaxed);
        self.is_response_under_way.store(true, Ordering::Relaxed);
    }

    /// A response's body has ended. hyper may still have to write the end of it.
    pub(in crate::http) fn end_body(&self) {
        self.is_response_whole.store(true, Ordering::Relaxed);
    }

    /// hyper has written everything that it had.
    pub(super) fn note_flush(&self) {
        if self.is_response_whole.swap(false, Ordering::Relaxed) {
            self.is_response_under_way.store(false, Ordering::Relaxed);
            self.is_response_awaited.store(false, Ordering::Relaxed);
        }
    }

    /// Whether a request was read whose response is not written completely.
    pub(super) fn is_response_under_way(&self) -> bool {
        self.is_response_under_way.load(Ordering::Relaxed)
    }

    /// The response is decided, and the next request may arrive. Not called for a stream, whose client may send anything
    /// meanwhile.
    pub(super) fn response_is_decided(&self) {
        self.is_answering.store(false, Ordering::Relaxed);
    }

    /// The response is a stream: a client that closes its side has left.
    pub(super) fn begin_stream(&self) {
        self.is_response_awaited.store(false, Ordering::Relaxed);
    }

    /// Whether a response is under way that is not known to be a stream.
    pub(super) fn is_response_awaited(&self) -> bool {
        self.is_response_awaited.load(Ordering::Relaxed)
    }

    /// Records that the client has closed its side; returns whether that is new.
    pub(super) fn note_client_closed(&self) -> bool {
        !self.has_client_closed.swap(true, Ordering::Relaxed)
    }

    /// Whether the client has closed its side.
    pub(super) fn has_client_closed(&self) -> bool {
        self.has_client_closed.load(Ordering::Relaxed)
    }

    /// The connection ends with this response. Up to `bytes` that the client still sends are discarded.
    pub(super) fn discard_after_response(&self, bytes: u64) {
        self.discards.store(bytes, Ordering::Relaxed);
    }

    /// How many bytes to discard when the connection ends.
    pub(super) fn discards(&self) -> u64 {
        self.discards.load(Ordering::Relaxed)
    }

    /// Whether a part of a request's head has arrived, and the rest has not.
    pub(super) fn has_partial_head(&self) -> bool {
        self.has_partial_head.load(Ordering::Relaxed)
    }

    /// Records that bytes have arrived.
    pub(super) fn note_input(&self) {
        if !self.is_answering.load(Ordering::Relaxed) {
            self.has_partial_head.store(true, Ordering::Relaxed);
        }
    }

    /// Records a request over HTTP/2.
    pub(super) fn note_request(&self) {
        self.had_request.store(true, Ordering::Relaxed);
    }

    /// Whether a request was recorded since this was last called.
    pub(super) fn take_had_request(&self) -> bool {
        self.had_request.swap(false, Ordering::Relaxed)
    }

    /// Counts a request over HTTP/2 until it is dropped.
    pub(super) fn open_stream(connection: &Arc<Self>) -> OpenStream {
        connection.open_streams.fetch_add(1, Ordering::Relaxed);
        OpenStream { connection: connection.clone() }
    }

    /// Whether a request over HTTP/2 is being answered.
    pub(super) fn has_open_streams(&self) -> bool {
        self.open_streams.load(Ordering::Relaxed) > 0
    }

    /// Memory for histories as JSON on this connection, `bytes` in all.
    pub(in crate::http) fn histories(&self, bytes: usize) -> &Budget {
        self.histories.get_or_init(|| Budget::new(bytes))
    }

    /// The response is a history as JSON, which its client reads like this.
    pub(super) fn set_unread_pages(&self, unread_pages: &Arc<UnreadPages>) {
        *self.unread_pages.lock() = Arc::downgrade(unread_pages);
    }

    /// What waits for the client of a history as JSON.
    pub(super) fn unread(&self) -> Unread {
        // Without the lock for all clients that read what they are sent.
        if !self.is_blocked() {
            return Unread::Nothing;
        }
        self.unread_pages.lock().upgrade().map_or(Unread::Nothing, |unread_pages| unread_pages.unread())
    }
}

/// A request over HTTP/2 that is being answered.
#[derive(Debug)]
pub(super) struct OpenStream {
    connection: Arc<ConnectionState>,
}

impl OpenStream {
    pub(super) fn connection(&self) -> &Arc<ConnectionState> {
        &self.connection
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.connection.open_streams.fetch_sub(1, Ordering::Relaxed);
    }
}
