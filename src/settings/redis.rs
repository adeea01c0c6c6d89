//! Section `redis`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::reader::Reader;
use crate::files::pem::{SeveralPrivateKeys, check_private_key};
use crate::files::text::read_bytes;
use crate::store::redis::{RedisOptions, has_password, is_sentinel_url};

const SECOND: Duration = Duration::from_secs(1);

/// Section `redis`.
pub struct RedisSettings {
    /// How to reach Redis. Certificates are not read yet.
    pub options: RedisOptions,
    /// `redis.tls_ca`.
    pub tls_ca: Option<PathBuf>,
    /// `redis.tls_cert` and `redis.tls_key`.
    pub tls_client: Option<(PathBuf, PathBuf)>,
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.options.fmt(f)
    }
}

/// A certificate file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
struct UnusableFile {
    path: PathBuf,
    #[source]
    problem: FileProblem,
}

#[derive(Debug, thiserror::Error)]
enum FileProblem {
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    #[error(transparent)]
    SeveralKeys(#[from] SeveralPrivateKeys),
}

impl RedisSettings {
    /// Reads the certificate files.
    ///
    /// # Errors
    /// With the path of the file that cannot be used.
    pub fn load_files(&self) -> Result<RedisOptions, io::Error> {
        let mut options = self.options.clone();
        options.tls_ca = self.tls_ca.as_deref().map(read_file).transpose()?;
        options.tls_client = match &self.tls_client {
            Some((cert, key)) => {
                let (cert, key_text) = (read_file(cert)?, read_file(key)?);
                check_private_key(&key_text)
                    .map_err(|problem| unusable(io::ErrorKind::InvalidData, key, problem.into()))?;
                Some((cert, key_text))
            }
            None => None,
        };
        Ok(options)
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    read_bytes(path).map_err(|error| unusable(error.kind(), path, error.into()))
}

fn unusable(kind: io::ErrorKind, path: &Path, problem: FileProblem) -> io::Error {
    io::Error::new(kind, UnusableFile { path: path.to_owned(), problem })
}

/// Reads the section; none without `redis.url`, which means the embedded store.
pub(super) fn read(r: &mut Reader) -> Option<RedisSettings> {
    let url = r.redis_url("redis.url", "URL of Redis, with user, password and database, for example `redis://user:secret@host:6379/0`. The scheme is `redis://`, `rediss://` or `redis+unix://`. With Sentinel: `redis-sentinel://host:26379,host:26379/<master>`, or `rediss-sentinel://` for TLS. If empty, the node uses the embedded store.");
    let password_file = r.file("redis.password_file", "File with the Redis password, for a `redis.url` without one. Read for new connections; the pool of clients' reads reads it again when Redis rejects the last password. A byte order mark and line breaks at its end are ignored.");
    let sentinel_user = r.optional(
        "redis.sentinel_user",
        "User on the sentinels, if they need one. The user in `redis.url` is for the Redis servers.",
    );
    let sentinel_password_file = r.file(
        "redis.sentinel_password_file",
        "File with the password on the sentinels. Read each time a node asks them for the primary.",
    );
    let tls_ca = r.file(
        "redis.tls_ca",
        "PEM file with the certificate authority for `rediss://` and `rediss-sentinel://`. If empty, the system's authorities are trusted.",
    );
    let tls_cert = r.file("redis.tls_cert", "PEM file with a client certificate, for servers that require one.");
    let tls_key = r.file("redis.tls_key", "PEM file with the client certificate's private key.");
    let prefix = r.redis_prefix("redis.prefix", "pipecast", "Prefix of all keys and channels (`<prefix>:{<pipeline>}:events`). Installations that share one Redis need different prefixes.");
    let pool_size = r.count("redis.pool_size", "8", 1..=1000, "Connections for requests by clients, such as histories as JSON. Six more connections publish, listen, probe, read for live streams and compare.");
    let timeout = r.duration("redis.timeout", "2s", SECOND / 100..=SECOND * 2, "Maximum time for one command, including the wait for a connection. A publish waits at most this long for Redis.");
    let probe_interval = r.duration("redis.probe_interval", "5s", SECOND / 10..=SECOND * 60, "How often the listening connection must receive the node's own probe. After three intervals without one, the node is not ready.");
    let tls_client = r.pair(("redis.tls_cert", tls_cert), ("redis.tls_key", tls_key));
    if password_file.is_some() {
        check_password_file(r, url.as_deref());
    }
    check_sentinel_login(r, url.as_deref(), sentinel_user.as_deref(), sentinel_password_file.as_deref());
    let options = RedisOptions {
        url: url?,
        password_file,
        sentinel_user,
        sentinel_password_file,
        tls_ca: None,
        tls_client: None,
        prefix: prefix?,
        pool_size,
        timeout,
        probe_interval,
    };
    Some(RedisSettings { options, tls_ca, tls_client })
}

fn check_password_file(r: &mut Reader, url: Option<&str>) {
    match url {
        None => r.fault("redis.password_file", "has no effect without redis.url"),
        Some(url) if has_password(url) => {
            r.fault("redis.password_file", "redis.url contains a password too; remove one of them");
        }
        Some(_) => {}
    }
}

fn check_sentinel_login(r: &mut Reader, url: Option<&str>, user: Option<&str>, password_file: Option<&Path>) {
    let given = [user.map(|_| "redis.sentinel_user"), password_file.map(|_| "redis.sentinel_password_file")];
    if !url.is_some_and(is_sentinel_url) {
        for key in given.into_iter().flatten() {
            r.fault(key, "has no effect unless redis.url begins with redis-sentinel:// or rediss-sentinel://");
        }
    } else if user.is_some() && password_file.is_none() {
        r.fault("redis.sentinel_user", "has no effect without redis.sentinel_password_file");
    }
}
