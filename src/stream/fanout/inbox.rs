//! What other threads put before a fan-out thread: new sockets, pipelines that have something new, and the question whether it lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Wake;

use mio::Waker;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Handover;
use super::timers::ClientKey;

/// A fan-out thread's letter box.
#[derive(Debug)]
pub(super) struct Inbox {
    /// Wakes the thread's poll.
    waker: Waker,
    /// The thread has been woken and has not looked yet: waking it again would be a system call for nothing.
    is_told: AtomicBool,
    /// Streams handed over and not ended yet.
    streams: AtomicUsize,
    /// Written by anyone, emptied by the thread.
    letters: Mutex<Letters>,
}

#[derive(Debug, Default)]
pub(super) struct Letters {
    /// Sockets to take over.
    pub(super) handovers: Vec<Handover>,
    /// Groups whose log has changed.
    pub(super) changed: Vec<usize>,
    /// Clients whose permit was revoked.
    pub(super) revoked: Vec<ClientKey>,
    /// Who wants to know whether the thread still reads its letters.
    pub(super) asked: Vec<oneshot::Sender<()>>,
    /// The thread is to end.
    pub(super) is_stop: bool,
}

impl Inbox {
    pub(super) fn new(waker: Waker) -> Self {
        Self { waker, is_told: AtomicBool::new(false), streams: AtomicUsize::new(0), letters: Mutex::default() }
    }

    pub(super) fn add(&self, handover: Handover) {
        self.streams.fetch_add(1, Ordering::SeqCst);
        self.letters.lock().handovers.push(handover);
        self.tell();
    }

    /// How many streams the thread has, or will have when it has read its letters.
    pub(super) fn streams(&self) -> usize {
        self.streams.load(Ordering::SeqCst)
    }

    /// Counts one less.
    pub(super) fn stream_ended(&self) {
        self.streams.fetch_sub(1, Ordering::SeqCst);
    }

    /// Answered when the thread has taken its letters. Never, if it hangs or has ended.
    pub(super) fn ask(&self) -> oneshot::Receiver<()> {
        let (answer, answered) = oneshot::channel();
        self.letters.lock().asked.push(answer);
        self.tell();
        answered
    }

    pub(super) fn stop(&self) {
        self.letters.lock().is_stop = true;
        self.tell();
    }

    /// Takes all letters.
    pub(super) fn empty(&self) -> Letters {
        // Before the letters are taken: one that comes in between tells again, for nothing at worst.
        self.is_told.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.letters.lock())
    }

    fn tell(&self) {
        if !self.is_told.swap(true, Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "a fan-out thread could not be woken");
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
        self.inbox.letters.lock().changed.push(self.group);
        self.inbox.tell();
    }
}

/// Wakes a thread for one of its clients.
#[derive(Debug)]
pub(super) struct RevokedWaker {
    pub(super) inbox: Arc<Inbox>,
    pub(super) client: ClientKey,
}

impl Wake for RevokedWaker {
    fn wake(self: Arc<Self>) {
        self.inbox.letters.lock().revoked.push(self.client);
        self.inbox.tell();
    }
}
