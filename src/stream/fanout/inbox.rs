//! What other threads ask of a fan-out thread: take a new socket, look at a changed log, end a revoked stream, show that it
//! is alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Wake;

use mio::Waker;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::handover::Handover;
use super::timers::ClientKey;

/// A fan-out thread's queue of messages.
#[derive(Debug)]
pub(super) struct Inbox {
    /// Wakes the thread's poll.
    waker: Waker,
    /// Whether the thread was woken and has not looked yet: waking it again would be a system call for nothing.
    is_notified: AtomicBool,
    /// Streams that were handed over and have not ended.
    streams: AtomicUsize,
    /// Written by any thread, emptied by the fan-out thread.
    messages: Mutex<Messages>,
}

#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Sockets to take over.
    pub(super) handovers: Vec<Handover>,
    /// Groups whose log has changed.
    pub(super) changed: Vec<usize>,
    /// Clients whose key or token was revoked.
    pub(super) revoked: Vec<ClientKey>,
    /// Health checks that wait for an answer.
    pub(super) pings: Vec<oneshot::Sender<()>>,
    /// Whether the thread is to end.
    pub(super) is_stop: bool,
}

impl Inbox {
    pub(super) fn new(waker: Waker) -> Self {
        Self { waker, is_notified: AtomicBool::new(false), streams: AtomicUsize::new(0), messages: Mutex::default() }
    }

    pub(super) fn add(&self, handover: Handover) {
        self.streams.fetch_add(1, Ordering::SeqCst);
        self.messages.lock().handovers.push(handover);
        self.notify();
    }

    /// How many streams the thread has, or will have once it has read its messages.
    pub(super) fn streams(&self) -> usize {
        self.streams.load(Ordering::SeqCst)
    }

    pub(super) fn stream_ended(&self) {
        self.streams.fetch_sub(1, Ordering::SeqCst);
    }

    /// Resolves when the thread has read its messages. Never resolves if the thread hangs or has ended.
    pub(super) fn ping(&self) -> oneshot::Receiver<()> {
        let (answer, answered) = oneshot::channel();
        self.messages.lock().pings.push(answer);
        self.notify();
        answered
    }

    pub(super) fn stop(&self) {
        self.messages.lock().is_stop = true;
        self.notify();
    }

    /// Removes and returns all messages.
    pub(super) fn take(&self) -> Messages {
        // Cleared first: a message that arrives in between wakes the thread again, at worst for nothing.
        self.is_notified.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.messages.lock())
    }

    fn notify(&self) {
        if !self.is_notified.swap(true, Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "failed to wake a fan-out thread");
        }
    }
}

/// Wakes a thread for one of its groups.
#[derive(Debug)]
pub(super) struct GroupWaker {
    pub(super) inbox: Arc<Inbox>,
    pub(super) group: usize,
}

impl Wake for GroupWaker {
    fn wake(self: Arc<Self>) {
        self.inbox.messages.lock().changed.push(self.group);
        self.inbox.notify();
    }
}

/// Wakes a thread for a client whose key or token was revoked.
#[derive(Debug)]
pub(super) struct RevokedWaker {
    pub(super) inbox: Arc<Inbox>,
    pub(super) client: ClientKey,
}

impl Wake for RevokedWaker {
    fn wake(self: Arc<Self>) {
        self.inbox.messages.lock().revoked.push(self.client);
        self.inbox.notify();
    }
}
