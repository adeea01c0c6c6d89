//! Fan-out: streams over plain HTTP/1.1 sockets, written by a few threads of their own.
//!
//! A connection costs an entry in a slab: no task, no timer, no buffer. One wake-up a pipeline and
//! thread serves all of the pipeline's connections there; each takes all frames since its cursor in
//! one vectored write. Nothing here parses requests; see `http::connection` for how a socket gets here.

mod client;
mod group;
mod inbox;
mod serve;
mod thread;
mod timers;

use std::io;
use std::net::TcpStream;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot, watch};

use crate::event::PipelineId;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::stream::StreamOptions;
use crate::stream::admission::Admission;
use crate::stream::content_encoding::Coding;
use crate::stream::subscription::Wanted;
use inbox::Inbox;
use thread::Thread;

/// How a stream's bytes are put on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// HTTP/1.1: chunks.
    Chunked,
    /// HTTP/1.0: as they are; the end of the connection is the end.
    Plain,
}

/// A socket on which a stream begins.
#[derive(Debug)]
pub struct Handover {
    /// The socket; its request was read, and nothing of the answer is written.
    pub socket: TcpStream,
    /// The answer's head.
    pub head: Bytes,
    /// How the body is written.
    pub framing: Framing,
    /// How its content is coded.
    pub coding: Coding,
    /// Seconds between two keepalives, where the client asked for its own.
    pub keepalive: Option<NonZeroU8>,
    /// The pipeline to read.
    pub pipeline: PipelineId,
    /// What of it.
    pub wanted: Wanted,
    /// What it was let in under.
    pub admission: Admission,
}

/// What all threads share.
#[derive(Debug)]
struct Shared {
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    stream: StreamOptions,
    /// Told when a stream ends.
    ended: Notify,
    /// Which thread has ended first by a fault, and why.
    broken: watch::Sender<Option<String>>,
}

impl Shared {
    fn new(hub: Arc<Hub>, metrics: Arc<Metrics>, stream: StreamOptions) -> Self {
        Self { hub, metrics, stream, ended: Notify::new(), broken: watch::Sender::new(None) }
    }
}

/// The fan-out threads.
#[derive(Debug)]
pub struct Fanout {
    shared: Arc<Shared>,
    inboxes: Vec<Arc<Inbox>>,
    threads: Vec<JoinHandle<()>>,
    turn: AtomicUsize,
}

impl Fanout {
    /// Starts so many threads; with none, [`Fanout::hand_over`] must not be called.
    ///
    /// # Errors
    /// When the system has no more threads or file descriptors.
    pub fn start(count: usize, hub: Arc<Hub>, metrics: Arc<Metrics>, stream: StreamOptions) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(hub, metrics, stream));
        let (mut inboxes, mut threads) = (Vec::new(), Vec::new());
        for number in 0..count {
            let thread = Thread::new(shared.clone())?;
            inboxes.push(thread.inbox());
            let end = ThreadEnd { shared: shared.clone(), number, why: None };
            threads.push(std::thread::Builder::new().name(thread_name(number)).spawn(move || end.watch(thread))?);
        }
        Ok(Self { shared, inboxes, threads, turn: AtomicUsize::new(0) })
    }

    /// Whether there are threads to hand sockets to.
    pub fn is_on(&self) -> bool {
        !self.inboxes.is_empty()
    }

    /// Gives a socket to one of the threads.
    pub fn hand_over(&self, handover: Handover) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        // In turn, past a thread that ended by a fault of ours, for as long as the node drains for it.
        let living = (turn..turn + self.threads.len())
            .map(|turn| turn % self.threads.len())
            .find(|number| !self.threads[*number].is_finished());
        // None is left: the client is cut off, and comes to another node.
        let Some(number) = living else { return };
        self.shared.metrics.stream_opened();
        self.inboxes[number].add(handover);
    }

    /// Waits until a thread ends by a fault; which one, and why. Cancel safe.
    pub async fn ended(&self) -> String {
        match self.shared.broken.subscribe().wait_for(Option::is_some).await.as_deref() {
            Ok(Some(why)) => why.clone(),
            // The sender lives in self.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Asks each thread, by its name, whether its loop turns. One that hangs or has ended never answers.
    pub fn ask(&self) -> Vec<(String, oneshot::Receiver<()>)> {
        self.inboxes.iter().enumerate().map(|(number, inbox)| (thread_name(number), inbox.ask())).collect()
    }

    /// Waits until no stream is open. Cancel safe.
    pub async fn emptied(&self) {
        loop {
            let ended = self.shared.ended.notified();
            // Those of a thread that has ended are cut, and nobody counts them down.
            let living = self.inboxes.iter().zip(&self.threads).filter(|(_, thread)| !thread.is_finished());
            if living.map(|(inbox, _)| inbox.streams()).sum::<usize>() == 0 {
                return;
            }
            // Looks again now and then: a notice between the look and the wait is kept for one waiter only.
            let _ = tokio::time::timeout(Duration::from_millis(100), ended).await;
        }
    }
}

/// Says how a thread ended, also when it panics.
struct ThreadEnd {
    shared: Arc<Shared>,
    number: usize,
    /// Not known while the thread runs, and so after a panic.
    why: Option<Result<(), io::Error>>,
}

impl ThreadEnd {
    fn watch(mut self, thread: Thread) {
        self.why = Some(thread.run());
    }
}

impl Drop for ThreadEnd {
    fn drop(&mut self) {
        let why = match &self.why {
            // It was asked to.
            Some(Ok(())) => return,
            Some(Err(error)) => format!("it cannot wait for its sockets: {error}"),
            None => "it panicked".to_owned(),
        };
        let why = format!("{}: {why}", thread_name(self.number));
        self.shared.broken.send_if_modified(|broken| {
            let is_first = broken.is_none();
            broken.get_or_insert(why);
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
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}
