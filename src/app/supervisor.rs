//! Reports to the service manager that started this process, such as systemd: that the node is ready, its status, that it stops,
//! and that it is alive. Without a service manager, nothing here runs.
//!
//! The protocol is that of sd_notify(3). The crate reads `NOTIFY_SOCKET` and `WATCHDOG_USEC`, which are not Pipecast's settings.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::node::Node;
use crate::node::drain::NodePhase;

/// How often the node's status is read, which costs a few loads.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Minimum time between two reports when only the number of streams has changed.
const STREAM_COUNT_INTERVAL: Duration = Duration::from_secs(10);

/// A service manager, or none.
#[derive(Clone, Debug)]
pub struct Supervisor {
    /// To the thread that sends: the socket blocks while systemd does not read it, forever if systemd has crashed.
    notices: Option<mpsc::Sender<Notice>>,
    /// The service manager kills the process after this time without a watchdog notice.
    watchdog: Option<Duration>,
}

#[derive(Debug)]
enum Notice {
    Ready,
    Status(String),
    Stopping { at_most: Duration },
    Alive,
}

impl Supervisor {
    /// The service manager that the environment names.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn find(environment: &HashMap<String, String>) -> io::Result<Self> {
        if !cfg!(target_os = "linux") || !environment.contains_key("NOTIFY_SOCKET") {
            return Ok(Self { notices: None, watchdog: None });
        }
        let (notices, queue) = mpsc::channel();
        // Never joined: it may be blocked.
        std::thread::Builder::new().name("supervisor".into()).spawn(move || send_all(&queue))?;
        Ok(Self { notices: Some(notices), watchdog: watchdog() })
    }

    /// Reports that the listeners accept connections.
    pub fn ready(&self) {
        self.send(Notice::Ready);
    }

    /// Reports that the node stops, which takes `at_most` this long.
    pub fn stopping(&self, at_most: Duration) {
        self.send(Notice::Stopping { at_most });
    }

    /// Reports the node's status, and that it is alive. Never ends by itself.
    pub async fn follow(&self, node: &Node) {
        if self.notices.is_some() {
            tokio::join!(self.report_status(node), self.feed_watchdog(node));
        }
        std::future::pending().await
    }

    async fn report_status(&self, node: &Node) {
        let mut reported: Option<(NodeStatus, Instant)> = None;
        loop {
            let status = NodeStatus::of(node);
            let is_due = reported.is_none_or(|(last, at)| {
                let is_new = (last.phase, last.is_store_up) != (status.phase, status.is_store_up);
                is_new || (last.streams != status.streams && at.elapsed() >= STREAM_COUNT_INTERVAL)
            });
            if is_due {
                self.send(Notice::Status(status.to_string()));
                reported = Some((status, Instant::now()));
            }
            tokio::select! {
                () = sleep(STATUS_INTERVAL) => {}
                // At once: a short drain is over before the next interval.
                () = node.drain.passed(status.phase) => {}
            }
        }
    }

    /// The node is alive when each part answers that could hang by itself: the runtime, which runs this, the hub's loop, and every
    /// fan-out thread. A thread that panicked answers no more than one that hangs.
    async fn feed_watchdog(&self, node: &Node) {
        let Some(watchdog) = self.watchdog else { return };
        let mut rounds = interval(watchdog / 2);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            // All parts are asked before the first answer is awaited.
            let asked = node.fanout.ask().into_iter().chain([("hub".to_owned(), node.hub.ask())]);
            for (part, answer) in asked.collect::<Vec<_>>() {
                await_answer(&part, answer, watchdog / 4).await;
            }
            self.send(Notice::Alive);
        }
    }

    fn send(&self, notice: Notice) {
        if let Some(notices) = &self.notices {
            // Cannot fail: the thread ends with the process.
            let _ = notices.send(notice);
        }
    }
}

/// Waits for an answer, forever if need be. Logs that it is missing: the service manager will not know why it kills the process.
async fn await_answer(part: &str, mut answer: oneshot::Receiver<()>, soon: Duration) {
    match timeout(soon, &mut answer).await {
        Ok(Ok(())) => return,
        Ok(Err(_)) => {}
        Err(_) => {
            tracing::error!(part, "does not respond; if this lasts, the service manager's watchdog kills the process");
            if answer.await.is_ok() {
                tracing::warn!(part, "responds again");
                return;
            }
        }
    }
    // It ended without answering.
    std::future::pending().await
}

/// What `systemctl status` shows of a node.
#[derive(Clone, Copy, Debug)]
struct NodeStatus {
    phase: NodePhase,
    is_store_up: bool,
    streams: usize,
}

impl NodeStatus {
    fn of(node: &Node) -> Self {
        Self { phase: node.drain.phase(), is_store_up: node.is_store_up(), streams: node.metrics.streams_open() }
    }
}

impl fmt::Display for NodeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            NodePhase::Serving => "Serving",
            NodePhase::Leaving => "Stopping, still accepting connections",
            NodePhase::Draining => "Draining",
        };
        let store = if self.is_store_up { "up" } else { "unreachable, so publishing fails and new streams wait" };
        write!(f, "{phase}; streams open: {}; store: {store}", self.streams)
    }
}

fn send_all(queue: &mpsc::Receiver<Notice>) {
    let mut is_delivered = true;
    for notice in queue {
        let delivered = notify(&notice);
        if let Err(error) = &delivered
            && is_delivered
        {
            tracing::warn!(%error, "cannot report to the service manager");
        }
        is_delivered = delivered.is_ok();
    }
}

#[cfg(target_os = "linux")]
fn notify(notice: &Notice) -> io::Result<()> {
    use sd_notify::NotifyState;
    match notice {
        Notice::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Notice::Status(text) => sd_notify::notify(&[NotifyState::Status(text)]),
        // systemd waits for TimeoutStopSec= or for this, whichever is longer: a drain is not cut short because only one of the two
        // was raised.
        Notice::Stopping { at_most } => {
            let longest = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
            sd_notify::notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(longest)])
        }
        Notice::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
    }
}

#[cfg(target_os = "linux")]
fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

#[cfg(not(target_os = "linux"))]
fn notify(_: &Notice) -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn watchdog() -> Option<Duration> {
    None
}
