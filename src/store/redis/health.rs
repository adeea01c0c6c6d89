//! What is known about the Redis server: whether it can be reached, stores and publishes, and which commands it refuses.
//!
//! Every connection reports here and looks here. Knows no connection and sends nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::command_error::CommandError;

/// How long a server may be unreachable before the node reports it: a restart is shorter.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(1);

/// Maximum error codes that are kept at a time.
const MAX_REFUSALS: usize = 16;

/// What is known about the server.
#[derive(Debug)]
pub struct Health {
    /// Connections made under an older number are closed.
    generation: watch::Sender<u64>,
    /// Whether commands fail.
    is_failing: AtomicBool,
    /// Whether the last attempt to connect failed.
    is_refused: AtomicBool,
    /// Notified when a command succeeds after others failed, or a connection is made after others were not. The two differ:
    /// open connections may work while no new one can be made.
    recovered: Notify,
    /// Notified when a probe is wanted at once: a command got no answer, a connection could not be made, or a new one listens.
    probe_wanted: Notify,
    reconnects: AtomicU64,
    observations: Mutex<Observations>,
}

/// Guarded by one lock, held for a few statements: connections write, readiness and metrics read.
#[derive(Debug, Default)]
struct Observations {
    /// When the listening connection last heard a probe.
    heard: Option<Instant>,
    /// When the last probe that was stored had been sent.
    stored: Option<Instant>,
    /// When the oldest probe was sent that the server has published and the listening connection has not heard.
    unheard: Option<Instant>,
    /// Since when no connection can be made, and no probe has been stored.
    unreachable_since: Option<Instant>,
    refusals: Vec<RefusedCode>,
}

/// An error code with which the server refuses commands.
#[derive(Debug)]
struct RefusedCode {
    code: String,
    seen: Instant,
    count: u64,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            generation: watch::Sender::new(0),
            is_failing: AtomicBool::new(false),
            is_refused: AtomicBool::new(false),
            recovered: Notify::new(),
            probe_wanted: Notify::new(),
            reconnects: AtomicU64::new(0),
            observations: Mutex::default(),
        }
    }
}

impl Health {
    /// The age of the last proof that the server stores and publishes; `None` while there is none.
    pub fn probe_age(&self) -> Option<Duration> {
        let state = self.observations.lock();
        let (heard, stored) = (state.heard?, state.stored?);
        Some(heard.min(stored).elapsed())
    }

    /// Whether the server can be reached, over a new or an open connection, as far as is known.
    pub fn is_reachable(&self) -> bool {
        self.observations.lock().unreachable_since.is_none_or(|since| since.elapsed() < UNREACHABLE_AFTER)
    }

    /// How often the listening connection was lost and made again.
    pub fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }

    pub(super) fn reconnected(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    /// The number under which connections are made. To be read before one is made.
    pub(super) fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// Has all connections closed that were made before.
    pub(super) fn condemn(&self) {
        self.generation.send_modify(|now| *now += 1);
    }

    /// Waits until connections of this generation must be closed. Cancel safe.
    pub(super) async fn condemned(&self, generation: u64) {
        let mut changes = self.generation.subscribe();
        // The sender lives in self, so waiting cannot fail.
        let _ = changes.wait_for(|now| *now != generation).await;
    }

    /// Waits until a command succeeds after others failed, or a connection is made after others were not. Cancel safe.
    pub(super) async fn recovered(&self) {
        self.recovered.notified().await;
    }

    /// Waits until a probe is wanted before the next interval. Cancel safe.
    pub(super) async fn probe_wanted(&self) {
        self.probe_wanted.notified().await;
    }

    /// Records the outcome of a command on a connection of this generation.
    pub(super) fn outcome<T>(&self, generation: u64, outcome: &Result<T, CommandError>) {
        match outcome {
            Ok(_) => self.succeeded(),
            Err(error) => self.failed(generation, error),
        }
    }

    fn succeeded(&self) {
        if self.is_failing.load(Ordering::Relaxed) && self.is_failing.swap(false, Ordering::Relaxed) {
            self.recovered.notify_waiters();
        }
    }

    fn failed(&self, generation: u64, error: &CommandError) {
        match error {
            CommandError::Unreachable(_) => {
                self.is_failing.store(true, Ordering::Relaxed);
                self.probe_wanted.notify_one();
            }
            CommandError::NotPrimary { code, source } => {
                self.is_failing.store(true, Ordering::Relaxed);
                let is_news = self.generation.send_if_modified(|now| {
                    let is_news = *now == generation;
                    *now += u64::from(is_news);
                    is_news
                });
                if is_news {
                    tracing::warn!(code, error = %source, "Redis no longer serves as the primary; reconnecting");
                }
            }
            CommandError::Refused { code, .. }
            | CommandError::Denied { code, .. }
            | CommandError::Unexpected { code, .. } => self.refused(code, error),
            // Reported to the caller that wanted the connection.
            CommandError::Unfit(_) => {}
        }
    }

    /// Logs the first refusal with this code, and counts the others.
    fn refused(&self, code: &str, error: &CommandError) {
        let now = Instant::now();
        let mut state = self.observations.lock();
        if let Some(known) = state.refusals.iter_mut().find(|refusal| refusal.code == code) {
            known.seen = now;
            known.count += 1;
            return;
        }
        if state.refusals.len() < MAX_REFUSALS {
            state.refusals.push(RefusedCode { code: code.to_owned(), seen: now, count: 1 });
            drop(state);
            tracing::warn!(code, %error, "Redis refuses commands");
        }
    }

    /// Logs the end of refusals that have not been repeated for this long.
    pub(super) fn forget_refusals(&self, calm: Duration) {
        let mut ended = Vec::new();
        self.observations.lock().refusals.retain(|refusal| {
            let is_over = refusal.seen.elapsed() >= calm;
            if is_over {
                ended.push((refusal.code.clone(), refusal.count));
            }
            !is_over
        });
        for (code, refused) in ended {
            tracing::info!(code, refused, "Redis no longer refuses commands with this code");
        }
    }

    /// An attempt to connect that began then has succeeded or failed.
    pub(super) fn connected(&self, began: Instant, is_connected: bool) {
        let was_refused = self.is_refused.swap(!is_connected, Ordering::Relaxed);
        if is_connected {
            self.observations.lock().unreachable_since = None;
            if was_refused {
                self.recovered.notify_waiters();
            }
        } else {
            self.observations.lock().unreachable_since.get_or_insert(began);
            self.probe_wanted.notify_one();
        }
    }

    /// A new connection listens; it may have missed the last probe.
    pub(super) fn listening(&self) {
        self.probe_wanted.notify_one();
    }

    /// The listening connection heard a probe.
    pub(super) fn heard(&self) {
        let mut state = self.observations.lock();
        state.heard = Some(Instant::now());
        state.unheard = None;
    }

    /// Whether a probe was heard after that moment.
    pub(super) fn has_heard_since(&self, moment: Instant) -> bool {
        self.observations.lock().heard.is_some_and(|heard| heard >= moment)
    }

    /// A probe that was sent then was stored.
    pub(super) fn stored(&self, sent: Instant) {
        let mut state = self.observations.lock();
        state.stored = Some(sent);
        state.unreachable_since.take_if(|since| *since <= sent);
    }

    /// The server has published a probe that was sent then.
    pub(super) fn published(&self, sent: Instant) {
        let mut state = self.observations.lock();
        if state.heard.is_none_or(|heard| heard < sent) {
            state.unheard.get_or_insert(sent);
        }
    }

    /// When the oldest probe was sent that the server has published but a connection that listens since `began` has not
    /// heard.
    pub(super) fn unheard_since(&self, began: Instant) -> Option<Instant> {
        let mut state = self.observations.lock();
        // Earlier ones belong to the last connection.
        state.unheard.take_if(|sent| *sent < began);
        state.unheard
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn connections_of_a_generation_are_closed_once() {
        let health = Health::default();
        let generation = health.generation();
        for _ in 0..3 {
            health.outcome::<()>(generation, &Err(CommandError::replica()));
        }
        health.condemned(generation).await;
        assert_eq!(health.generation(), generation + 1, "late errors of old connections condemn no new ones");
        health.outcome::<()>(generation + 1, &Err(CommandError::replica()));
        assert_eq!(health.generation(), generation + 2);
    }

    #[tokio::test(start_paused = true)]
    async fn probe_counts_once_stored_and_heard() {
        let health = Health::default();
        let began = Instant::now();
        advance(SECOND).await;
        let sent = Instant::now();
        health.published(sent);
        health.published(sent + SECOND);
        assert_eq!((health.probe_age(), health.unheard_since(began)), (None, Some(sent)));
        assert_eq!(health.unheard_since(sent + SECOND), None, "it was sent before the new connection");
        health.published(sent);
        health.heard();
        assert_eq!((health.probe_age(), health.unheard_since(began)), (None, None), "nothing is known to be stored");
        health.published(began);
        assert_eq!(health.unheard_since(began), None, "it was heard before its confirmation arrived");
        health.stored(sent);
        advance(SECOND).await;
        assert_eq!(health.probe_age(), Some(SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn server_is_unreachable_a_second_after_the_first_failed_attempt() {
        let health = Health::default();
        let failing_since = Instant::now();
        health.connected(failing_since, false);
        advance(UNREACHABLE_AFTER / 2).await;
        assert!(health.is_reachable(), "a restart takes that long");
        health.connected(Instant::now(), false);
        advance(UNREACHABLE_AFTER / 2).await;
        assert!(!health.is_reachable());
        // An open connection proves otherwise.
        health.stored(Instant::now());
        assert!(health.is_reachable());
        // An attempt that times out is known to fail only at its end.
        let began = Instant::now();
        advance(UNREACHABLE_AFTER).await;
        health.connected(began, false);
        assert!(!health.is_reachable());
        health.connected(Instant::now(), true);
        assert!(health.is_reachable());
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_kept_while_they_last_and_are_bounded() {
        let health = Health::default();
        for number in 0..100 {
            health.refused(&format!("CODE{}", number % 50), &CommandError::replica());
        }
        assert_eq!(health.observations.lock().refusals.len(), MAX_REFUSALS);
        advance(SECOND * 10).await;
        health.forget_refusals(SECOND * 60);
        assert_eq!(health.observations.lock().refusals.len(), MAX_REFUSALS);
        health.forget_refusals(SECOND * 10);
        assert!(health.observations.lock().refusals.is_empty());
    }
}
