//! How connections to Redis are made: for the pool, for the appender and for the listener alike.
//!
//! A password that is in a file is read for each of them, so that it can be changed under a running node. It keeps no connection.

use std::fmt;
use std::path::{Path, PathBuf};

use deadpool::managed::{self, Metrics, RecycleResult};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionInfo, ErrorKind, IntoConnectionInfo};
use redis::{RedisError, TlsCertificates};

use super::redis::{RedisOptions, RedisSetupError};

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    client: Client,
    password_file: Option<PathBuf>,
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
        // RESP3: announcements arrive as pushes on a connection that can still be asked things.
        let info = info.set_redis_settings(settings.set_protocol(redis::ProtocolVersion::RESP3));
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

    /// A new connection.
    ///
    /// # Errors
    /// When Redis cannot be reached or does not let us in, or the password cannot be read.
    pub(super) async fn connect(&self, config: &AsyncConnectionConfig) -> Result<MultiplexedConnection, RedisError> {
        let Some(path) = &self.password_file else {
            return self.client.get_multiplexed_async_connection_with_config(config).await;
        };
        let password = read_password(path).map_err(|problem| (ErrorKind::Io, "no password", problem))?;
        let info = self.client.get_connection_info().clone();
        let settings = info.redis_settings().clone().set_password(password);
        let client = Client::open(info.set_redis_settings(settings))?;
        client.get_multiplexed_async_connection_with_config(config).await
    }
}

/// What the pool makes its connections with, and finds out with whether they are still good.
pub(super) struct PoolManager {
    pub(super) connector: Connector,
    pub(super) config: AsyncConnectionConfig,
}

impl managed::Manager for PoolManager {
    type Type = MultiplexedConnection;
    type Error = RedisError;

    async fn create(&self) -> Result<MultiplexedConnection, RedisError> {
        self.connector.connect(&self.config).await
    }

    async fn recycle(&self, connection: &mut MultiplexedConnection, _: &Metrics) -> RecycleResult<RedisError> {
        Ok(redis::cmd("PING").query_async::<()>(connection).await?)
    }
}

impl fmt::Debug for PoolManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client knows the password.
        f.debug_struct("PoolManager").finish_non_exhaustive()
    }
}

/// Line breaks at the end are an editor's. Blanks are left: they may be part of the password.
fn read_password(path: &Path) -> Result<String, String> {
    let wrong = |problem: &dyn fmt::Display| format!("redis.password_file {}: {problem}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(wrong(&"it is empty; write the password into it")),
        password => Ok(password.to_owned()),
    }
}
