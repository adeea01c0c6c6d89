//! What tests start, ask and wait for.

pub mod cgroup;
pub mod http2;
pub mod impostor;
pub mod node;
pub mod proxy;
pub mod raw;
pub mod redis;
pub mod sentinel;
pub mod strace;
pub mod stream;
pub mod tls;

use std::future::Future;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Longest wait for anything that should happen at once; long, since machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Splits an id into its parts.
pub fn parts(id: &str) -> (u64, u64) {
    let (ms, seq) = id.split_once('-').unwrap_or_else(|| panic!("{id:?} is not an event id"));
    (ms.parse().unwrap(), seq.parse().unwrap())
}

/// The event's number in the pipeline.
pub fn seq(id: &str) -> u64 {
    parts(id).1
}

/// A client that makes a connection for each request, as different clients would.
pub fn http() -> reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| client().build().unwrap()).clone()
}

/// A client that speaks HTTP/2 without asking whether the server does, as a load balancer would.
pub fn http2() -> reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| client().http2_prior_knowledge().build().unwrap()).clone()
}

/// What all clients have in common.
pub fn client() -> reqwest::ClientBuilder {
    // reqwest comes without a TLS provider, as it does in the program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().pool_max_idle_per_host(0).read_timeout(PATIENCE)
}
