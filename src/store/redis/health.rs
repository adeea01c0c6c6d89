//! What is known of the Redis server: whether it is reached, hears and stores, and what it refuses.
//!
//! Every connection reports here and looks here; this knows no connection and sends nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::failure::Failure;

/// For so long a server may not be reached before the node says so: less is a restart.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(1);

/// Different error codes that are kept at a time.
const REFUSALS: usize = 16;

/// What is known of the server.
#[derive(Debug)]
pub struct Health {
    /// Connections made under an older number are given up.
    generation: watch::Sender<u64>,
    /// Whether commands fail.
    is_failing: AtomicBool,
    /// Whether the last connection could not be made.
    is_refused: AtomicBool,
    /// Told when what failed succeeds again: a command after a command, a new connection after a new connection. What is
    /// open may work while nothing new can be opened.
    recovered: Notify,
    /// Told when a probe is wanted at once: a command got no answer, a connection could not be made, or a new one listens.
    probe_wanted: Notify,
    reconnects: AtomicU64,
    state: Mutex<State>,
}

/// Guarded by one lock, held for a few statements: connections write, readiness and metrics read.
#[derive(Debug, Default)]
struct State {
    /// When the listening connection last heard a probe.
    heard: Option<Instant>,
    /// When a probe was last stored.
    stored: Option<Instant>,
    /// When the oldest probe was sent that the server has published and nobody has heard.
    unheard: Option<Instant>,
    /// Since when no connection can be made, and no probe was stored either.
    unreachable_since: Option<Instant>,
    refusals: Vec<Refusal>,
}

/// Something that the server refuses.
#[derive(Debug)]
struct Refusal {
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
            state: Mutex::default(),
        }
    }
}

impl Health {
    /// How long ago the server was last known to store and to notify; `None` while it is not known to.
    pub fn probe_age(&self) -> Option<Duration> {
        let state = self.state.lock();
        let (heard, stored) = (state.heard?, state.stored?);
        Some(heard.min(stored).elapsed())
    }

    /// Whether the server is reached, over a new connection or one that is open, as far as is known.
    pub fn is_reachable(&self) -> bool {
        self.state.lock().unreachable_since.is_none_or(|since| since.elapsed() < UNREACHABLE_AFTER)
    }

    /// How often the listening connection was lost and made again.
    pub fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }

    pub(super) fn reconnected(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    /// The number under which connections are made. To be asked for before one is made.
    pub(super) fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// Waits until connections of this generation are given up. Cancel safe.
    pub(super) async fn condemned(&self, generation: u64) {
        let mut changes = self.generation.subscribe();
        // The sender is here: the wait cannot fail.
        let _ = changes.wait_for(|now| *now != generation).await;
    }

    /// Waits until a command succeeds after others failed, or a connection is made after others were not. Cancel safe.
    pub(super) async fn recovered(&self) {
        self.recovered.notified().await;
    }

    /// Waits until a probe is wanted before its time. Cancel safe.
    pub(super) async fn probe_wanted(&self) {
        self.probe_wanted.notified().await;
    }

    /// Takes note of what became of a command on a connection of this generation.
    pub(super) fn outcome<T>(&self, generation: u64, outcome: &Result<T, Failure>) {
        match outcome {
            Ok(_) => self.succeeded(),
            Err(failure) => self.failed(generation, failure),
        }
    }

    fn succeeded(&self) {
        if self.is_failing.load(Ordering::Relaxed) && self.is_failing.swap(false, Ordering::Relaxed) {
            self.recovered.notify_waiters();
        }
    }

    fn failed(&self, generation: u64, failure: &Failure) {
        match failure {
            Failure::Away(_) => {
                self.is_failing.store(true, Ordering::Relaxed);
                self.probe_wanted.notify_one();
            }
            Failure::NotPrimary { code, text } => {
                self.is_failing.store(true, Ordering::Relaxed);
                let is_news = self.generation.send_if_modified(|now| {
                    let is_news = *now == generation;
                    *now += u64::from(is_news);
                    is_news
                });
                if is_news {
                    tracing::warn!(
                        code,
                        error = text,
                        "Redis does not serve as a primary; every connection to it is made again"
                    );
                }
            }
            Failure::Refused { code, text } | Failure::Denied { code, text } | Failure::Unexpected { code, text } => {
                self.refused(code, text);
            }
            // Told where the connection was to be made.
            Failure::Unfit(_) => {}
        }
    }

    /// Says once that the server refuses, however often it does.
    fn refused(&self, code: &str, text: &str) {
        let now = Instant::now();
        let mut state = self.state.lock();
        if let Some(known) = state.refusals.iter_mut().find(|refusal| refusal.code == code) {
            known.seen = now;
            known.count += 1;
            return;
        }
        if state.refusals.len() < REFUSALS {
            state.refusals.push(Refusal { code: code.to_owned(), seen: now, count: 1 });
            drop(state);
            tracing::warn!(code, error = text, "Redis refuses commands");
        }
    }

    /// Says that the server no longer refuses what it has not refused for so long.
    pub(super) fn forget_refusals(&self, calm: Duration) {
        let mut ended = Vec::new();
        self.state.lock().refusals.retain(|refusal| {
            let is_over = refusal.seen.elapsed() >= calm;
            if is_over {
                ended.push((refusal.code.clone(), refusal.count));
            }
            !is_over
        });
        for (code, refused) in ended {
            tracing::info!(code, refused, "Redis refuses no more commands with this code");
        }
    }

    /// A connection that was begun then was made, or could not be.
    pub(super) fn connected(&self, began: Instant, is_connected: bool) {
        let was_refused = self.is_refused.swap(!is_connected, Ordering::Relaxed);
        if is_connected {
            self.state.lock().unreachable_since = None;
            if was_refused {
                self.recovered.notify_waiters();
            }
        } else {
            self.state.lock().unreachable_since.get_or_insert(began);
            self.probe_wanted.notify_one();
        }
    }

    /// A new connection listens, which may have missed the last probe.
    pub(super) fn listening(&self) {
        self.probe_wanted.notify_one();
    }

    /// The listening connection heard a probe.
    pub(super) fn heard(&self) {
        let mut state = self.state.lock();
        state.heard = Some(Instant::now());
        state.unheard = None;
    }

    /// Whether a probe was heard after that moment.
    pub(super) fn has_heard_since(&self, moment: Instant) -> bool {
        self.state.lock().heard.is_some_and(|heard| heard >= moment)
    }

    /// A probe that was sent then was stored.
    pub(super) fn stored(&self, sent: Instant) {
        let mut state = self.state.lock();
        state.stored = Some(sent);
        state.unreachable_since.take_if(|since| *since <= sent);
    }

    /// The server has published a probe that was sent then.
    pub(super) fn published(&self, sent: Instant) {
        let mut state = self.state.lock();
        if state.heard.is_none_or(|heard| heard < sent) {
            state.unheard.get_or_insert(sent);
        }
    }

    /// Since when the server says that it publishes probes which a connection that listens since `began` has not heard.
    pub(super) fn unheard_since(&self, began: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        // Those from before are the last connection's.
        state.unheard.take_if(|sent| *sent < began);
        state.unheard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_primary() -> Failure {
        Failure::NotPrimary { code: "READONLY".to_owned(), text: "READONLY".to_owned() }
    }

    #[tokio::test]
    async fn connections_of_one_generation_are_given_up_once() {
        let health = Health::default();
        let generation = health.generation();
        for _ in 0..3 {
            health.outcome::<()>(generation, &Err(not_primary()));
        }
        health.condemned(generation).await;
        assert_eq!(health.generation(), generation + 1, "late news of old connections condemn no new ones");
        health.outcome::<()>(generation + 1, &Err(not_primary()));
        assert_eq!(health.generation(), generation + 2);
    }

    #[test]
    fn a_probe_counts_when_it_was_stored_and_heard() {
        let health = Health::default();
        let began = Instant::now();
        let sent = began + Duration::from_millis(1);
        health.published(sent);
        health.published(sent + Duration::from_secs(5));
        assert_eq!((health.probe_age(), health.unheard_since(began)), (None, Some(sent)));
        assert_eq!(health.unheard_since(sent + Duration::from_millis(1)), None, "a new connection never heard of it");
        health.published(sent);
        health.heard();
        assert_eq!((health.probe_age(), health.unheard_since(began)), (None, None), "nothing is known to be stored");
        health.published(began);
        assert_eq!(health.unheard_since(began), None, "it was heard before that was known");
        health.stored(sent);
        assert!(health.probe_age().is_some());
    }

    #[test]
    fn a_server_is_unreachable_from_the_first_of_failed_tries_on_and_not_for_a_short_one() {
        let health = Health::default();
        let now = Instant::now();
        health.connected(now, false);
        assert!(health.is_reachable(), "a restart");
        health.connected(now, true);
        // One that is not answered is known to fail only when its time is over.
        health.connected(now.checked_sub(UNREACHABLE_AFTER).unwrap(), false);
        health.connected(now, false);
        assert!(!health.is_reachable());
        health.connected(now, true);
        assert!(health.is_reachable());
    }

    #[test]
    fn a_refusal_is_kept_while_it_lasts_and_there_are_few() {
        let health = Health::default();
        for number in 0..100 {
            health.refused(&format!("CODE{}", number % 50), "");
        }
        assert_eq!(health.state.lock().refusals.len(), REFUSALS);
        health.forget_refusals(Duration::from_secs(60));
        assert_eq!(health.state.lock().refusals.len(), REFUSALS);
        health.forget_refusals(Duration::ZERO);
        assert!(health.state.lock().refusals.is_empty());
    }
}
