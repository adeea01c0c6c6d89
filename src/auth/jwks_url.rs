//! Keys from a URL: fetched at the start, every few minutes, and when a token names an unknown one.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::RwLock;
use reqwest::Client;
use reqwest::redirect::Policy;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use url::Url;

use super::health::{Readings, SourceHealth};
use super::key_set::{KeySet, LeftOut, Secrets};
use super::verifier::{MOST_TRIED, Verifier, too_many_nameless};

/// Maximum interval between two regular fetches.
const REGULAR: Duration = Duration::from_secs(300);

/// Maximum interval after a failed fetch.
const AGAIN: Duration = Duration::from_secs(30);

/// Minimum interval between fetches: tokens with invented names must not make this node flood the issuer.
const SHORTEST: Duration = Duration::from_secs(10);

/// Interval while there are no keys.
const FIRST: Duration = Duration::from_secs(2);

/// Maximum time for a whole response.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum time that a request waits for a fetch.
const PATIENCE: Duration = Duration::from_secs(6);

/// Maximum left-out keys named in the log at once.
const MOST_LOGGED: usize = 20;

/// Maximum size of a response.
const MAX_BYTES: usize = 1 << 20;

/// The keys published at a URL.
#[derive(Debug)]
pub(super) struct JwksUrl {
    url: Url,
    /// The same for the log, without its user and query, which may contain a secret.
    shown: String,
    client: Client,
    /// How long keys are trusted when they cannot be fetched again, `auth.jwks_max_age`.
    max_age: Duration,
    /// Written by the loop, read by requests. None until a fetch has succeeded.
    fetched: RwLock<Option<Fetched>>,
    /// Whether fetches succeed.
    readings: Readings,
    /// Whether the log says that the keys are too old.
    is_too_old_logged: AtomicBool,
    /// Whether the log says that too many keys have no name.
    is_too_many_logged: AtomicBool,
    /// Notified when a token names an unknown key.
    asked: Notify,
    /// How many fetches there were, including failed ones, and when the last one began.
    fetches: watch::Sender<(u64, Option<Instant>)>,
}

/// A fetched set.
#[derive(Debug)]
struct Fetched {
    keys: Arc<[Verifier]>,
    left_out: Vec<LeftOut>,
    /// When it was requested.
    at: Instant,
}

impl JwksUrl {
    /// Does not fetch anything yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub(super) fn new(url: Url, max_age: Duration) -> Result<Self, reqwest::Error> {
        // reqwest is built without a TLS provider, so that there is only one in the dependency tree.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A redirect would let another server issue keys.
        let client = Client::builder().redirect(Policy::none()).timeout(TIMEOUT).no_proxy().build()?;
        let shown = format!("{}{}", url.origin().ascii_serialization(), url.path());
        Ok(Self {
            url,
            shown,
            client,
            max_age,
            fetched: RwLock::new(None),
            readings: Readings::default(),
            is_too_old_logged: AtomicBool::new(false),
            is_too_many_logged: AtomicBool::new(false),
            asked: Notify::new(),
            fetches: watch::Sender::new((0, None)),
        })
    }

    /// The trusted keys: those of the last successful fetch. None if that was too long ago or had no keys.
    pub(super) fn keys(&self) -> Option<Arc<[Verifier]>> {
        let fetched = self.fetched.read();
        let fetched = fetched.as_ref().filter(|fetched| fetched.at.elapsed() < self.max_age);
        fetched.map(|fetched| fetched.keys.clone()).filter(|keys| !keys.is_empty())
    }

    /// Whether fetches succeed.
    pub(super) fn health(&self) -> SourceHealth {
        self.readings.health()
    }

    /// Time since the last successful fetch, and how many of its keys cannot be used.
    pub(super) fn age_and_left_out(&self) -> Option<(Duration, usize)> {
        self.fetched.read().as_ref().map(|fetched| (fetched.at.elapsed(), fetched.left_out.len()))
    }

    /// Requests a fetch unless the last one was too recent, and waits for it. Returns whether there was one. Cancel safe.
    pub(super) async fn ask(&self) -> bool {
        let mut fetches = self.fetches.subscribe();
        let (count, last) = *fetches.borrow_and_update();
        if last.is_some_and(|last| last.elapsed() < self.shortest()) {
            return false;
        }
        self.asked.notify_one();
        timeout(PATIENCE, fetches.wait_for(|(now, _)| *now > count)).await.is_ok()
    }

    /// Keeps the keys fresh. Never returns.
    pub(super) async fn run(&self) {
        loop {
            self.fetch_once().await;
            let began = self.fetches.borrow().1.unwrap_or_else(Instant::now);
            // A request that comes too early is kept until the interval is over; the requester was answered already.
            let asked = async {
                sleep_until(began + self.shortest()).await;
                self.asked.notified().await;
            };
            tokio::select! {
                () = sleep_until(self.next_fetch(began)) => {}
                () = asked => {}
            }
        }
    }

    /// When to fetch next without a request: early enough that one failed fetch does not make the keys too old.
    fn next_fetch(&self, began: Instant) -> Instant {
        let regular = REGULAR.min(self.max_age / 2);
        match (self.keys(), self.readings.are_stale()) {
            (None, _) => began + FIRST,
            (Some(_), false) => began + regular,
            (Some(_), true) => {
                let end = self.fetched.read().as_ref().map(|fetched| fetched.at + self.max_age);
                let again = began + AGAIN.min(regular);
                end.map_or(again, |end| end.min(again))
            }
        }
    }

    /// Fetches the keys. After a failure the current ones stay, for as long as they are trusted.
    pub(super) async fn fetch_once(&self) {
        let began = Instant::now();
        match self.fetch().await {
            Ok(set) => self.take(set, began),
            Err(problem) => self.fail(&problem),
        }
        self.fetches.send_modify(|(count, last)| (*count, *last) = (*count + 1, Some(began)));
    }

    fn take(&self, KeySet { keys, left_out }: KeySet, at: Instant) {
        tracing::debug!(keys = keys.len(), "fetched the keys at auth.jwks_url");
        if self.readings.succeeded() {
            tracing::info!(keys = keys.len(), "auth.jwks_url can be fetched again");
        }
        self.is_too_old_logged.store(false, Ordering::Relaxed);
        let too_many = too_many_nameless(&keys);
        if too_many.is_none() {
            self.is_too_many_logged.store(false, Ordering::Relaxed);
        }
        let is_empty = keys.is_empty();
        let before = self.fetched.write().replace(Fetched { keys: keys.into(), left_out: left_out.clone(), at });
        // Each left-out key is logged once, not at every fetch.
        let (was_empty, known) = before.map_or((false, HashSet::new()), |before| {
            (before.keys.is_empty(), before.left_out.into_iter().collect::<HashSet<_>>())
        });
        let fresh: Vec<_> = left_out.iter().filter(|key| !known.contains(key)).collect();
        for key in fresh.iter().take(MOST_LOGGED) {
            tracing::warn!(url = self.shown, "left out a key at auth.jwks_url that cannot be used: {key}");
        }
        if let Some(more) = fresh.len().checked_sub(MOST_LOGGED).filter(|more| *more > 0) {
            tracing::warn!(url = self.shown, "left out {more} more keys at auth.jwks_url that cannot be used");
        }
        if let Some((count, algorithm)) = too_many
            && !self.is_too_many_logged.swap(true, Ordering::Relaxed)
        {
            tracing::error!(
                url = self.shown,
                "auth.jwks_url has {count} keys without a `kid` for {algorithm:?}, but a token is tried with at most {MOST_TRIED}: none of them verifies tokens until each has a `kid`"
            );
        }
        // Keys that the issuer has withdrawn are not trusted, even without replacements.
        if is_empty && !was_empty {
            tracing::error!(url = self.shown, "auth.jwks_url has no usable key; no key is trusted");
        }
    }

    fn fail(&self, problem: &str) {
        // Logged once, not at every retry.
        if self.readings.failed() {
            let max_age = humantime::format_duration(self.max_age);
            tracing::error!(url = self.shown, %problem, "auth.jwks_url cannot be fetched; the current keys stay trusted for {max_age} (auth.jwks_max_age)");
        } else {
            tracing::debug!(%problem, "auth.jwks_url still cannot be fetched");
        }
        let is_too_old = self.age_and_left_out().is_some_and(|(age, _)| age >= self.max_age);
        if is_too_old && !self.is_too_old_logged.swap(true, Ordering::Relaxed) {
            tracing::error!(url = self.shown, %problem, "the keys of auth.jwks_url are older than auth.jwks_max_age and no longer trusted");
        }
    }

    fn shortest(&self) -> Duration {
        if self.keys().is_some() { SHORTEST } else { FIRST }
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        let failed = |error: reqwest::Error| {
            let error = error.without_url();
            let mut deepest: &dyn std::error::Error = &error;
            while let Some(source) = deepest.source() {
                deepest = source;
            }
            deepest.to_string()
        };
        let answer = self.client.get(self.url.clone()).send().await.map_err(failed)?;
        if !answer.status().is_success() {
            return Err(format!("the server responded {}", answer.status()));
        }
        let (mut bytes, mut parts) = (Vec::new(), answer.bytes_stream());
        while let Some(part) = parts.next().await {
            bytes.extend_from_slice(&part.map_err(failed)?);
            if bytes.len() > MAX_BYTES {
                return Err(format!("the response is larger than {MAX_BYTES} bytes"));
            }
        }
        KeySet::parse(&bytes, Secrets::LeftOut)
    }
}
