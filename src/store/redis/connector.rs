//! How connections to Redis are made: for the pool, the appender, the listener and all others alike.
//!
//! Each new one is asked what it leads to, since behind one address there may be another server each time. A password that is in a
//! file is read for each of them, so that it can be changed under a running node. It keeps no connection.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionInfo, FromRedisValue, IntoConnectionInfo};
use redis::{RedisError, TlsCertificates, Value};

use super::failure::Failure;
use super::health::Health;
use super::{RedisOptions, RedisSetupError};
use crate::files::text::read_text;

/// The oldest server version that has what is used here (`SPUBLISH`, channel permissions, `redis.acl_check_cmd`).
const OLDEST_VERSION: (u32, u32) = (7, 0);

/// Keepalive probes of TCP that may go unanswered, a second or a probe's interval apart.
const TCP_PROBES: u32 = 3;

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    client: Client,
    password_file: Option<PathBuf>,
}

/// A server that answers and will not do. Trying again would not help.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unfit {
    /// It lacks what is needed.
    #[error("Redis {found} is too old: Redis {}.{} or newer, or Valkey 7.2 or newer, is needed", OLDEST_VERSION.0, OLDEST_VERSION.1)]
    TooOld {
        /// The server's own version.
        found: String,
    },
    /// It is not a single server.
    #[error("this Redis runs in {mode} mode, which this version cannot use; write the URL of a single primary")]
    Mode {
        /// `cluster` or `sentinel`.
        mode: String,
    },
    /// It has no such database.
    #[error("Redis refuses the database of redis.url: {0}; write one that it has, such as redis://host:6379/0")]
    Database(String),
}

impl Connector {
    /// Reaches out to nobody yet.
    ///
    /// # Errors
    /// When the options cannot be right.
    pub(super) fn new(options: &RedisOptions) -> Result<Self, RedisSetupError> {
        let url_error = |error: RedisError| RedisSetupError::Url(error.to_string());
        let info: ConnectionInfo = options.url.as_str().into_connection_info().map_err(url_error)?;
        let settings = info.redis_settings().clone();
        // RESP3: notifications arrive as pushes on a connection that can still be asked things.
        let info = info.set_redis_settings(settings.set_protocol(redis::ProtocolVersion::RESP3));
        let info = info.set_tcp_settings(tcp_settings(options.probe_interval));
        let client = if options.url.starts_with("rediss://") {
            let client_tls =
                options.tls_client.clone().map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
            let certificates = TlsCertificates { client_tls, root_cert: options.tls_ca.clone() };
            Client::build_with_tls(info, certificates).map_err(RedisSetupError::Tls)?
        } else {
            Client::open(info).map_err(url_error)?
        };
        if let Some(path) = &options.password_file {
            read_password(path).map_err(RedisSetupError::Password)?;
        }
        Ok(Self { client, password_file: options.password_file.clone() })
    }

    /// The number of the database that the URL names.
    pub(super) fn database(&self) -> i64 {
        self.client.get_connection_info().redis_settings().db()
    }

    /// A new connection to a primary; `health` hears whether there is one.
    ///
    /// # Errors
    /// When Redis cannot be reached, does not let us in or will not do, or the password cannot be read.
    pub(super) async fn connect(
        &self,
        config: &AsyncConnectionConfig,
        health: &Health,
    ) -> Result<MultiplexedConnection, Failure> {
        let began = Instant::now();
        let connected = self.try_connect(config).await;
        health.connected(began, connected.is_ok());
        connected
    }

    async fn try_connect(&self, config: &AsyncConnectionConfig) -> Result<MultiplexedConnection, Failure> {
        let mut connection = self.dial(config).await?;
        // HELLO is answered by a server that loads, too. PING is not: a connection that serves nothing yet is none.
        let (hello, _): (Value, Value) = redis::pipe().cmd("HELLO").cmd("PING").query_async(&mut connection).await?;
        check(&hello)?;
        Ok(connection)
    }

    async fn dial(&self, config: &AsyncConnectionConfig) -> Result<MultiplexedConnection, Failure> {
        let dialled = match &self.password_file {
            None => self.client.get_multiplexed_async_connection_with_config(config).await,
            Some(path) => {
                let password = read_password(path).map_err(Failure::away)?;
                let info = self.client.get_connection_info().clone();
                let settings = info.redis_settings().clone().set_password(password);
                let client = Client::open(info.set_redis_settings(settings))?;
                client.get_multiplexed_async_connection_with_config(config).await
            }
        };
        dialled.map_err(|error| match error.detail() {
            Some(detail) if error.to_string().contains("refused to switch database") => {
                Failure::Unfit(Unfit::Database(detail.to_owned()))
            }
            _ => error.into(),
        })
    }
}

/// Idle connections stay known to routers and balancers, and a peer that is gone without a word is noticed.
fn tcp_settings(probe_interval: Duration) -> TcpSettings {
    // The kernel counts whole seconds.
    let interval = probe_interval.max(Duration::from_secs(1));
    let keepalive = TcpKeepalive::new().with_time(interval).with_interval(interval).with_retries(TCP_PROBES);
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive)
}

/// Reads `HELLO`'s answer. Valkey counts its versions on from Redis 7.2, so one bound serves both.
fn check(hello: &Value) -> Result<(), Failure> {
    let fields = HashMap::<String, Value>::from_redis_value_ref(hello).unwrap_or_default();
    let field =
        |name: &str| fields.get(name).and_then(|value| String::from_redis_value_ref(value).ok()).unwrap_or_default();
    let found = field("version");
    let mut numbers = found.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    let version = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    if version < OLDEST_VERSION {
        return Err(Failure::Unfit(Unfit::TooOld { found }));
    }
    let mode = field("mode");
    if matches!(&*mode, "cluster" | "sentinel") {
        return Err(Failure::Unfit(Unfit::Mode { mode }));
    }
    if matches!(&*field("role"), "replica" | "slave") {
        return Err(Failure::NotPrimary {
            code: "READONLY".to_owned(),
            text: "the server is a replica; publishing needs its primary".to_owned(),
        });
    }
    Ok(())
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client knows the password.
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

/// Line breaks at the end are an editor's. Blanks are left: they may be part of the password.
fn read_password(path: &Path) -> Result<String, String> {
    let wrong = |problem: &dyn fmt::Display| format!("redis.password_file {}: {problem}", path.display());
    let text = read_text(path).map_err(|error| wrong(&error))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(wrong(&"it is empty; write the password into it")),
        password => Ok(password.to_owned()),
    }
}
