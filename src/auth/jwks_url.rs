//! Keys from a URL: fetched at start, every few minutes, and when a token names one that is not known.

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
use super::sources::too_many_nameless;
use super::token::MOST_TRIED;
use super::verifier::Verifier;

/// Between two fetches that nobody asked for, at most.
const REGULAR: Duration = Duration::from_secs(300);

/// After one that failed, at most.
const AGAIN: Duration = Duration::from_secs(30);

/// The shortest time between two fetches: tokens with made-up names must not turn this node against the issuer.
const SHORTEST: Duration = Duration::from_secs(10);

/// While there are no keys.
const FIRST: Duration = Duration::from_secs(2);

/// For a whole answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request waits for a fetch.
const PATIENCE: Duration = Duration::from_secs(6);

/// So many keys that are left out are named in the log.
const MOST_TOLD: usize = 20;

/// The largest answer.
const MAX_BYTES: usize = 1 << 20;

/// The keys that are published at a URL.
#[derive(Debug)]
pub(super) struct JwksUrl {
    url: Url,
    /// The same for the log, without its user and query, in which a key may be.
    shown: String,
    client: Client,
    /// For how long keys are trusted that cannot be fetched again, `auth.jwks_max_age`.
    max_age: Duration,
    /// Written by the loop, read by requests. None until a fetch has succeeded.
    fetched: RwLock<Option<Fetched>>,
    /// How the fetches went.
    readings: Readings,
    /// Whether it was said that the keys are too old.
    is_told_too_old: AtomicBool,
    /// Whether it was said that too many keys have no name.
    is_told_too_many: AtomicBool,
    /// Somebody misses a key.
    asked: Notify,
    /// How many fetches there were, failed ones too, and when the last one began.
    fetches: watch::Sender<(u64, Option<Instant>)>,
}

/// A set that was fetched.
#[derive(Debug)]
struct Fetched {
    keys: Arc<[Verifier]>,
    left_out: Vec<LeftOut>,
    /// When it was asked for.
    at: Instant,
}

impl JwksUrl {
    /// Nothing is fetched yet.
    ///
    /// # Errors
    /// When there is no TLS to be had.
    pub(super) fn new(url: Url, max_age: Duration) -> Result<Self, reqwest::Error> {
        // reqwest is built without a TLS provider of its own, so that one is in the tree.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A redirect would make another place the issuer.
        let client = Client::builder().redirect(Policy::none()).timeout(TIMEOUT).no_proxy().build()?;
        let shown = format!("{}{}", url.origin().ascii_serialization(), url.path());
        Ok(Self {
            url,
            shown,
            client,
            max_age,
            fetched: RwLock::new(None),
            readings: Readings::default(),
            is_told_too_old: AtomicBool::new(false),
            is_told_too_many: AtomicBool::new(false),
            asked: Notify::new(),
            fetches: watch::Sender::new((0, None)),
        })
    }

    /// The keys that are trusted: of the last fetch that succeeded, unless that is too long ago or there were none in it.
    pub(super) fn keys(&self) -> Option<Arc<[Verifier]>> {
        let fetched = self.fetched.read();
        let fetched = fetched.as_ref().filter(|fetched| fetched.at.elapsed() < self.max_age);
        fetched.map(|fetched| fetched.keys.clone()).filter(|keys| !keys.is_empty())
    }

    /// How the fetches went.
    pub(super) fn health(&self) -> SourceHealth {
        self.readings.health()
    }

    /// How long ago the last fetch was that succeeded, and how many of its keys are of no use.
    pub(super) fn age_and_left_out(&self) -> Option<(Duration, usize)> {
        self.fetched.read().as_ref().map(|fetched| (fetched.at.elapsed(), fetched.left_out.len()))
    }

    /// Asks for a fetch, if the last one is long enough ago, and waits for it. Whether there was one. Cancel safe.
    pub(super) async fn ask(&self) -> bool {
        let mut fetches = self.fetches.subscribe();
        let (count, last) = *fetches.borrow_and_update();
        if last.is_some_and(|last| last.elapsed() < self.shortest()) {
            return false;
        }
        self.asked.notify_one();
        timeout(PATIENCE, fetches.wait_for(|(now, _)| *now > count)).await.is_ok()
    }

    /// Keeps the keys fresh. Never ends by itself.
    pub(super) async fn run(&self) {
        loop {
            self.fetch_once().await;
            let began = self.fetches.borrow().1.unwrap_or_else(Instant::now);
            // A wish that comes too early waits its time: whoever asked has been told already.
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

    /// When to fetch next if nobody asks: in time for keys not to become too old because of one fetch that fails.
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

    /// Fetches the keys; those in use stay after a failure, for as long as they are trusted.
    pub(super) async fn fetch_once(&self) {
        let began = Instant::now();
        match self.fetch().await {
            Ok(set) => self.take(set, began),
            Err(problem) => self.fail(&problem),
        }
        self.fetches.send_modify(|(count, last)| (*count, *last) = (*count + 1, Some(began)));
    }

    fn take(&self, KeySet { keys, left_out }: KeySet, at: Instant) {
        tracing::debug!(keys = keys.len(), "the keys of auth.jwks_url were fetched");
        if self.readings.succeeded() {
            tracing::info!(keys = keys.len(), "auth.jwks_url can be fetched again");
        }
        self.is_told_too_old.store(false, Ordering::Relaxed);
        let too_many = too_many_nameless(&keys);
        if too_many.is_none() {
            self.is_told_too_many.store(false, Ordering::Relaxed);
        }
        let is_empty = keys.is_empty();
        let before = self.fetched.write().replace(Fetched { keys: keys.into(), left_out: left_out.clone(), at });
        // Once, not at every fetch; and what nobody reads is not said at all.
        let (was_empty, known) = before.map_or((false, HashSet::new()), |before| {
            (before.keys.is_empty(), before.left_out.into_iter().collect::<HashSet<_>>())
        });
        let fresh: Vec<_> = left_out.iter().filter(|key| !known.contains(key)).collect();
        for key in fresh.iter().take(MOST_TOLD) {
            tracing::warn!(url = self.shown, "{key}; it is left out of the keys of auth.jwks_url");
        }
        if let Some(more) = fresh.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
            tracing::warn!(url = self.shown, "{more} more keys are left out of the keys of auth.jwks_url");
        }
        if let Some((count, algorithm)) = too_many
            && !self.is_told_too_many.swap(true, Ordering::Relaxed)
        {
            tracing::error!(
                url = self.shown,
                "auth.jwks_url has {count} keys without a name for {algorithm:?}, and a token is tried with {MOST_TRIED} at most: none of them opens anything until they have a `kid` each"
            );
        }
        // What its issuer has withdrawn is not to be trusted, whatever comes in its place.
        if is_empty && !was_empty {
            tracing::error!(
                url = self.shown,
                "auth.jwks_url has no key that tokens could be verified with; none is trusted"
            );
        }
    }

    fn fail(&self, problem: &str) {
        // Once, not at every retry.
        if self.readings.failed() {
            let max_age = humantime::format_duration(self.max_age);
            tracing::error!(url = self.shown, %problem, "auth.jwks_url cannot be fetched; the keys in use stay for {max_age} (auth.jwks_max_age)");
        } else {
            tracing::debug!(%problem, "auth.jwks_url still cannot be fetched");
        }
        let is_too_old = self.age_and_left_out().is_some_and(|(age, _)| age >= self.max_age);
        if is_too_old && !self.is_told_too_old.swap(true, Ordering::Relaxed) {
            tracing::error!(url = self.shown, %problem, "the keys of auth.jwks_url are older than auth.jwks_max_age, and are not trusted any more");
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
            return Err(format!("it answered {}", answer.status()));
        }
        let (mut bytes, mut parts) = (Vec::new(), answer.bytes_stream());
        while let Some(part) = parts.next().await {
            bytes.extend_from_slice(&part.map_err(failed)?);
            if bytes.len() > MAX_BYTES {
                return Err(format!("it answered with more than {MAX_BYTES} bytes"));
            }
        }
        KeySet::parse(&bytes, Secrets::LeftOut)
    }
}
