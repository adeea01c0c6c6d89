//! Fan-out: streams over plain HTTP/1.1 sockets, written by a few threads of their own.
//!
//! A connection costs an entry in a slab: no task, no timer, no buffer. One wake-up per pipeline and thread serves all of
//! the pipeline's connections there. Each is sent all frames after its cursor in one vectored write. Nothing here parses
//! requests: `http::connection` hands sockets over once their request has been read.
//!
//! [`thread`] is the loop, [`streams`] what it works on: [`arrival`], [`delivery`] and [`alarms`] say what happens to a stream
//! when it arrives, when there is something to send, and when time has passed.

mod alarms;
mod arrival;
mod client;
mod delivery;
mod group;
mod handover;
mod inbox;
mod shared;
mod streams;
mod thread;
mod timers;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::stream::StreamOptions;
pub use handover::{Framing, Handover};
use inbox::Inbox;
use shared::Shared;
use thread::Thread;

/// The fan-out threads.
#[derive(Debug)]
pub struct Fanout {
    shared: Arc<Shared>,
    inboxes: Vec<Arc<Inbox>>,
    threads: Vec<JoinHandle<()>>,
    turn: AtomicUsize,
}

impl Fanout {
    /// Starts `count` threads. If it is zero, [`Fanout::hand_over`] must not be called.
    ///
    /// # Errors
    /// When the system is out of threads or file descriptors.
    pub fn start(count: usize, hub: Arc<Hub>, metrics: Arc<Metrics>, stream: StreamOptions) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(hub, metrics, stream));
        let (mut inboxes, mut threads) = (Vec::new(), Vec::new());
        for number in 0..count {
            let thread = Thread::new(shared.clone())?;
            inboxes.push(thread.inbox());
            let end = ThreadEnd { shared: shared.clone(), number, result: None };
            threads.push(std::thread::Builder::new().name(thread_name(number)).spawn(move || end.watch(thread))?);
        }
        Ok(Self { shared, inboxes, threads, turn: AtomicUsize::new(0) })
    }

    /// Whether there are threads to hand sockets to.
    pub fn is_on(&self) -> bool {
        !self.inboxes.is_empty()
    }

    /// Gives a socket to the next thread in turn.
    pub fn hand_over(&self, handover: Handover) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        // Skips a thread that has failed, while the node drains because of it.
        let running = (turn..turn + self.threads.len())
            .map(|turn| turn % self.threads.len())
            .find(|number| !self.threads[*number].is_finished());
        // When no thread is left, the client is cut off and reconnects to another node.
        let Some(number) = running else { return };
        self.shared.metrics.stream_opened();
        self.inboxes[number].add(handover);
    }

    /// Waits until a thread fails. Returns which one, and why. Cancel safe.
    pub async fn ended(&self) -> String {
        match self.shared.failure.subscribe().wait_for(Option::is_some).await.as_deref() {
            Ok(Some(why)) => why.clone(),
            // The sender lives in self.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Pings each thread. Returns its name and the answer, which never comes from a thread that hangs or has ended.
    pub fn ask(&self) -> Vec<(String, oneshot::Receiver<()>)> {
        self.inboxes.iter().enumerate().map(|(number, inbox)| (thread_name(number), inbox.ping())).collect()
    }

    /// Waits until no stream is open. Cancel safe.
    pub async fn emptied(&self) {
        loop {
            let ended = self.shared.stream_ended.notified();
            // Streams of a thread that has failed are cut off, but nothing counts them down.
            let running = self.inboxes.iter().zip(&self.threads).filter(|(_, thread)| !thread.is_finished());
            if running.map(|(inbox, _)| inbox.streams()).sum::<usize>() == 0 {
                return;
            }
            // Looks again after a while: a notification between the look and the wait reaches only one waiter.
            let _ = tokio::time::timeout(Duration::from_millis(100), ended).await;
        }
    }
}

/// Reports how a thread ended, also when it panics.
struct ThreadEnd {
    shared: Arc<Shared>,
    number: usize,
    /// `None` while the thread runs, and so after a panic.
    result: Option<Result<(), io::Error>>,
}

impl ThreadEnd {
    fn watch(mut self, thread: Thread) {
        self.result = Some(thread.run());
    }
}

impl Drop for ThreadEnd {
    fn drop(&mut self) {
        let why = match &self.result {
            // It was asked to stop.
            Some(Ok(())) => return,
            Some(Err(error)) => format!("it cannot poll its sockets: {error}"),
            None => "it panicked".to_owned(),
        };
        let why = format!("{}: {why}", thread_name(self.number));
        self.shared.failure.send_if_modified(|failure| {
            let is_first = failure.is_none();
            failure.get_or_insert(why);
            is_first
        });
    }
}

fn thread_name(number: usize) -> String {
    format!("fanout-{number}")
}

impl Drop for Fanout {
    fn drop(&mut self) {
        for inbox in &self.inboxes {
            inbox.stop();
        }
        for thread in self.threads.drain(..) {
            // A panic was reported already.
            let _ = thread.join();
        }
    }
}
