//! The service manager that started this process, systemd for one: it hears that the node is ready, what it does, that it
//! stops, and that it lives. Without one, nothing here runs.
//!
//! The protocol is that of sd_notify(3): the crate reads `NOTIFY_SOCKET` and `WATCHDOG_USEC`, which are no settings of ours.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::node::Node;
use crate::node::drain::Phase;

/// How often the node's state is looked at. A look costs a few loads.
const LOOK: Duration = Duration::from_secs(1);

/// A status in which nothing but the number of streams has changed waits for so long.
const REFRESH: Duration = Duration::from_secs(10);

/// A service manager, or none.
#[derive(Clone, Debug)]
pub struct Supervisor {
    /// What it is to hear, said by a thread of its own: the socket blocks when nobody reads it, for ever if systemd has crashed.
    words: Option<mpsc::Sender<Word>>,
    /// It ends a process that has given no sign of life for so long.
    patience: Option<Duration>,
}

#[derive(Debug)]
enum Word {
    Ready,
    Status(String),
    Stopping { longest: Duration },
    Alive,
}

impl Supervisor {
    /// The one that the environment names.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn find(environment: &HashMap<String, String>) -> io::Result<Self> {
        if !cfg!(target_os = "linux") || !environment.contains_key("NOTIFY_SOCKET") {
            return Ok(Self { words: None, patience: None });
        }
        let (words, queue) = mpsc::channel();
        // Never joined: it may be blocked.
        std::thread::Builder::new().name("supervisor".into()).spawn(move || say_all(&queue))?;
        Ok(Self { words: Some(words), patience: patience() })
    }

    /// Tells that the listeners take connections.
    pub fn ready(&self) {
        self.say(Word::Ready);
    }

    /// Tells that the node was asked to stop, and will have done so after `longest` in any case.
    pub fn stopping(&self, longest: Duration) {
        self.say(Word::Stopping { longest });
    }

    /// Tells what the node does, and that it lives. Never ends by itself.
    pub async fn follow(&self, node: &Node) {
        if self.words.is_some() {
            tokio::join!(self.tell_status(node), self.tell_life(node));
        }
        std::future::pending().await
    }

    async fn tell_status(&self, node: &Node) {
        let mut told: Option<(Status, Instant)> = None;
        loop {
            let status = Status::of(node);
            let is_due = told.is_none_or(|(last, at)| {
                let is_new = (last.phase, last.is_store_up) != (status.phase, status.is_store_up);
                is_new || (last.streams != status.streams && at.elapsed() >= REFRESH)
            });
            if is_due {
                self.say(Word::Status(status.to_string()));
                told = Some((status, Instant::now()));
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                // At once: a short drain is over before the next look.
                () = node.drain.passed(status.phase) => {}
            }
        }
    }

    /// A sign of life is one of each part that could hang by itself: the runtime, which runs this, the hub's loop, and
    /// every fan-out thread. A thread that ended by a fault of ours is as silent as one that hangs.
    async fn tell_life(&self, node: &Node) {
        let Some(patience) = self.patience else { return };
        let mut rounds = interval(patience / 2);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            // All are asked before the first answer is waited for.
            let asked = node.fanout.ask().into_iter().chain([("hub".to_owned(), node.hub.ask())]);
            for (part, answer) in asked.collect::<Vec<_>>() {
                hear(&part, answer, patience / 4).await;
            }
            self.say(Word::Alive);
        }
    }

    fn say(&self, word: Word) {
        if let Some(words) = &self.words {
            // The thread ends with the process.
            let _ = words.send(word);
        }
    }
}

/// Waits for an answer, for ever if need be, and says so in the log: who ends this process will not know why.
async fn hear(part: &str, mut answer: oneshot::Receiver<()>, soon: Duration) {
    match timeout(soon, &mut answer).await {
        Ok(Ok(())) => return,
        Ok(Err(_)) => {}
        Err(_) => {
            tracing::error!(part, "does not answer; if it stays so, the service manager's watchdog ends this process");
            if answer.await.is_ok() {
                tracing::warn!(part, "answers again");
                return;
            }
        }
    }
    // Gone with the question.
    std::future::pending().await
}

/// What `systemctl status` shows of a node.
#[derive(Clone, Copy, Debug)]
struct Status {
    phase: Phase,
    is_store_up: bool,
    streams: usize,
}

impl Status {
    fn of(node: &Node) -> Self {
        Self { phase: node.drain.phase(), is_store_up: node.is_store_up(), streams: node.metrics.streams_open() }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Serving => "Serving",
            Phase::Leaving => "Stopping, connections are still taken",
            Phase::Draining => "Draining",
        };
        let store = if self.is_store_up { "up" } else { "away, so publishing is refused and new streams wait" };
        write!(f, "{phase}; streams open: {}; store: {store}", self.streams)
    }
}

fn say_all(queue: &mpsc::Receiver<Word>) {
    let mut is_heard = true;
    for word in queue {
        let heard = notify(&word);
        if let Err(error) = &heard
            && is_heard
        {
            tracing::warn!(%error, "the service manager does not hear how the node is");
        }
        is_heard = heard.is_ok();
    }
}

#[cfg(target_os = "linux")]
fn notify(word: &Word) -> io::Result<()> {
    use sd_notify::NotifyState;
    match word {
        Word::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Word::Status(text) => sd_notify::notify(&[NotifyState::Status(text)]),
        // systemd waits for TimeoutStopSec= or for this, whichever is longer: a drain is not cut short because one was raised
        // without the other.
        Word::Stopping { longest } => {
            let longest = u32::try_from(longest.as_micros()).unwrap_or(u32::MAX);
            sd_notify::notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(longest)])
        }
        Word::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
    }
}

#[cfg(target_os = "linux")]
fn patience() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

#[cfg(not(target_os = "linux"))]
fn notify(_: &Word) -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn patience() -> Option<Duration> {
    None
}
