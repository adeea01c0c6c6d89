//! How Redis is reached, as the settings say, and what its URL must be. Connects to nothing.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use redis::IntoConnectionInfo;

use super::keys::Prefix;
use super::sentinel_url::{SentinelUrl, names_sentinels};
use super::setup_error::{RedisSetupError, UrlError};

/// How Redis is reached. Section `redis` of the settings.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://`, `rediss://` or `redis+unix://`, or the same for sentinels, with user, password and database.
    pub url: String,
    /// File with the password, where the URL has none. Read for new connections; the pool reads it again when Redis rejects the last one.
    pub password_file: Option<PathBuf>,
    /// The user on the sentinels, where they need one.
    pub sentinel_user: Option<String>,
    /// File with the password on the sentinels. Read each time they are asked.
    pub sentinel_password_file: Option<PathBuf>,
    /// PEM file with the certificate authority of `rediss://`; the system's when absent.
    pub tls_ca: Option<Vec<u8>>,
    /// Client certificate and key, PEM, for servers that ask for one.
    pub tls_client: Option<(Vec<u8>, Vec<u8>)>,
    /// What all keys and channels begin with.
    pub prefix: Prefix,
    /// Connections in the pool for clients' reads.
    pub pool_size: usize,
    /// Maximum time for one command, including the wait for a connection.
    pub timeout: Duration,
    /// How often the pub/sub connection must hear its own probe.
    pub probe_interval: Duration,
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("RedisOptions").field("pool_size", &self.pool_size).finish_non_exhaustive()
    }
}

/// Whether a URL can be that of a Redis.
///
/// # Errors
/// [`RedisSetupError::Url`].
pub fn check_url(url: &str) -> Result<(), RedisSetupError> {
    if is_sentinel_url(url) {
        SentinelUrl::parse(url)?;
        return Ok(());
    }
    let info = url.into_connection_info().map_err(UrlError::from)?;
    if info.redis_settings().db() < 0 {
        return Err(UrlError::NegativeDatabase.into());
    }
    // redis-rs ignores parameters that it does not know, and so would ignore a database that the operator meant.
    let parsed = url::Url::parse(url).map_err(UrlError::from)?;
    let known: &[&str] =
        if parsed.scheme().ends_with("unix") { &["db", "user", "pass", "protocol"] } else { &["protocol"] };
    match parsed.query_pairs().find(|(name, _)| !known.contains(&&**name)) {
        Some((name, _)) if name == "db" => Err(UrlError::DatabaseInQuery.into()),
        // Not repeated: it may be a password that was not percent-encoded.
        Some(_) => Err(UrlError::UnknownQuery.into()),
        None => Ok(()),
    }
}

/// Whether a URL that [`check_url`] accepts holds a password.
pub fn has_password(url: &str) -> bool {
    match SentinelUrl::parse(url) {
        Ok(url) => url.login.password().is_some(),
        Err(_) => url.into_connection_info().is_ok_and(|info| info.redis_settings().password().is_some()),
    }
}

/// Whether a URL names sentinels, which are asked for the primary.
pub fn is_sentinel_url(url: &str) -> bool {
    names_sentinels(url)
}

/// A URL of sentinels without its password; `None` when it is not one.
pub fn redact_sentinel_url(url: &str) -> Option<String> {
    SentinelUrl::parse(url).ok().map(|url| url.redacted())
}
