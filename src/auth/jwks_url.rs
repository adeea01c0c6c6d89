//! Keys from a URL: fetched at start, every few minutes, and when a token names one that is not known.

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

use super::verifier::{Secrets, Verifier, parse_key_set};

/// Between two fetches that nobody asked for.
const REGULAR: Duration = Duration::from_secs(300);

/// The shortest time between two fetches: tokens with made-up names must not turn this node against the issuer.
const SHORTEST: Duration = Duration::from_secs(10);

/// While there are no keys yet.
const FIRST: Duration = Duration::from_secs(2);

/// For a whole answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request waits for a fetch.
const PATIENCE: Duration = Duration::from_secs(6);

/// The largest answer.
const MAX_BYTES: usize = 1 << 20;

/// The keys that are published at a URL.
#[derive(Debug)]
pub(super) struct JwksUrl {
    url: Url,
    /// The same for the log, without its user and query, in which a key may be.
    shown: String,
    client: Client,
    /// Written by the loop, read by requests. None until a fetch has succeeded.
    keys: RwLock<Option<Arc<[Verifier]>>>,
    /// Whether the last fetch failed.
    is_failing: AtomicBool,
    /// Somebody misses a key.
    asked: Notify,
    /// How many fetches there were, failed ones too, and when the last one began.
    fetches: watch::Sender<(u64, Option<Instant>)>,
}

impl JwksUrl {
    /// Nothing is fetched yet.
    ///
    /// # Errors
    /// When there is no TLS to be had.
    pub(super) fn new(url: Url) -> Result<Self, reqwest::Error> {
        // reqwest is built without a TLS provider of its own, so that one is in the tree.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A redirect would make another place the issuer.
        let client = Client::builder().redirect(Policy::none()).timeout(TIMEOUT).no_proxy().build()?;
        let shown = format!("{}{}", url.origin().ascii_serialization(), url.path());
        Ok(Self {
            url,
            shown,
            client,
            keys: RwLock::new(None),
            is_failing: AtomicBool::new(false),
            asked: Notify::new(),
            fetches: watch::Sender::new((0, None)),
        })
    }

    /// The keys of the last fetch that succeeded; none before the first.
    pub(super) fn keys(&self) -> Option<Arc<[Verifier]>> {
        self.keys.read().clone()
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
            let regular = if self.keys().is_some() { REGULAR } else { FIRST };
            // A wish that comes too early waits its time: whoever asked has been told already.
            let asked = async {
                sleep_until(began + self.shortest()).await;
                self.asked.notified().await;
            };
            tokio::select! {
                () = sleep_until(began + regular) => {}
                () = asked => {}
            }
        }
    }

    /// Fetches the keys; those in use stay after a failure.
    pub(super) async fn fetch_once(&self) {
        let began = Instant::now();
        match self.fetch().await {
            Ok(keys) => {
                tracing::debug!(keys = keys.len(), "the keys of auth.jwks_url were fetched");
                *self.keys.write() = Some(keys.into());
                self.is_failing.store(false, Ordering::Relaxed);
            }
            // Once, not at every retry.
            Err(problem) if !self.is_failing.swap(true, Ordering::Relaxed) => {
                tracing::error!(url = self.shown, %problem, "auth.jwks_url cannot be fetched; the keys in use stay");
            }
            Err(problem) => tracing::debug!(%problem, "auth.jwks_url still cannot be fetched"),
        }
        self.fetches.send_modify(|(count, last)| (*count, *last) = (*count + 1, Some(began)));
    }

    fn shortest(&self) -> Duration {
        if self.keys().is_some() { SHORTEST } else { FIRST }
    }

    async fn fetch(&self) -> Result<Vec<Verifier>, String> {
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
        let keys = parse_key_set(&bytes, Secrets::LeftOut)?;
        if keys.is_empty() {
            Err("there is no key in it that tokens could be verified with".to_owned())
        } else {
            Ok(keys)
        }
    }
}
