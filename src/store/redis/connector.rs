//! How connections to Redis are made, and how each new one is verified.
//!
//! A verified connection leads to a primary that is new enough and serves: behind one address there may be another server
//! each time. A password that is in a file is read for each connection made here, so it can be changed under a running
//! node. Keeps no connection.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionInfo, FromRedisValue, IntoConnectionInfo};
use redis::{TlsCertificates, Value};
use tokio::time::Instant;

use super::command_error::{CommandError, PasswordError, PasswordProblem, Unfit};
use super::health::Health;
use super::options::RedisOptions;
use super::setup_error::{RedisSetupError, UrlError};
use crate::files::text::read_text;

/// TCP keepalive probes that may go unanswered, a second or a probe's interval apart.
const TCP_PROBES: u32 = 3;

#[derive(Clone)]
pub(super) struct Connector {
    info: ConnectionInfo,
    password_file: Option<PathBuf>,
}

impl Connector {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When the options cannot be right.
    pub(super) fn new(options: &RedisOptions) -> Result<Self, RedisSetupError> {
        let info: ConnectionInfo = options.url.as_str().into_connection_info().map_err(UrlError::from)?;
        let settings = info.redis_settings().clone();
        // RESP3: notifications arrive as pushes, on a connection that still answers commands.
        let info = info.set_redis_settings(settings.set_protocol(redis::ProtocolVersion::RESP3));
        let info = info.set_tcp_settings(tcp_settings(options.probe_interval));
        let client = if options.url.starts_with("rediss://") {
            let client_tls =
                options.tls_client.clone().map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
            let certificates = TlsCertificates { client_tls, root_cert: options.tls_ca.clone() };
            Client::build_with_tls(info, certificates).map_err(RedisSetupError::Tls)?
        } else {
            Client::open(info).map_err(UrlError::from)?
        };
        // The certificates are part of it.
        let info = client.get_connection_info().clone();
        if let Some(path) = &options.password_file {
            read_password(path)?;
        }
        Ok(Self { info, password_file: options.password_file.clone() })
    }

    /// The number of the database that the URL names.
    pub(super) fn database(&self) -> i64 {
        self.info.redis_settings().db()
    }

    /// What a connection is made with at this moment: the password file is read.
    ///
    /// # Errors
    /// When the password cannot be read.
    pub(super) fn connection_info(&self) -> Result<ConnectionInfo, PasswordError> {
        let info = self.info.clone();
        let Some(path) = &self.password_file else { return Ok(info) };
        let settings = info.redis_settings().clone().set_password(read_password(path)?);
        Ok(info.set_redis_settings(settings))
    }

    /// A new connection to a primary. Reports to `health` whether it could be made.
    ///
    /// # Errors
    /// When Redis cannot be reached, refuses the credentials or cannot be used, or the password cannot be read.
    pub(super) async fn connect(
        &self,
        config: &AsyncConnectionConfig,
        health: &Health,
    ) -> Result<MultiplexedConnection, CommandError> {
        let began = Instant::now();
        let connected = self.try_connect(config).await;
        health.connected(began, connected.is_ok());
        connected
    }

    async fn try_connect(&self, config: &AsyncConnectionConfig) -> Result<MultiplexedConnection, CommandError> {
        let client = Client::open(self.connection_info()?)?;
        let mut connection = client.get_multiplexed_async_connection_with_config(config).await?;
        verify(&mut connection).await?;
        Ok(connection)
    }
}

/// Asks a new connection whether it leads to a primary that can be used.
///
/// # Errors
/// When it does not, or there is no answer.
pub(super) async fn verify(connection: &mut MultiplexedConnection) -> Result<(), CommandError> {
    // A server that loads its data answers HELLO, but not PING.
    let (hello, _): (Value, Value) = redis::pipe().cmd("HELLO").cmd("PING").query_async(connection).await?;
    check(&hello)
}

/// Idle connections stay known to routers and balancers, and a peer that vanished is noticed.
fn tcp_settings(probe_interval: Duration) -> TcpSettings {
    // The kernel counts whole seconds.
    let interval = probe_interval.max(Duration::from_secs(1));
    let keepalive = TcpKeepalive::new().with_time(interval).with_interval(interval).with_retries(TCP_PROBES);
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive)
}

/// Reads the answer to `HELLO`.
fn check(hello: &Value) -> Result<(), CommandError> {
    let fields = HashMap::<String, Value>::from_redis_value_ref(hello).unwrap_or_default();
    let field =
        |name: &str| fields.get(name).and_then(|value| String::from_redis_value_ref(value).ok()).unwrap_or_default();
    Unfit::check_version(&field("version"))?;
    let mode = field("mode");
    if matches!(&*mode, "cluster" | "sentinel") {
        return Err(Unfit::Mode { mode }.into());
    }
    if matches!(&*field("role"), "replica" | "slave") {
        return Err(CommandError::replica());
    }
    Ok(())
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Knows the password.
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

/// Removes line breaks at the end, which editors add. Keeps blanks: they may be part of the password.
fn read_password(path: &Path) -> Result<String, PasswordError> {
    let wrong = |problem: PasswordProblem| PasswordError { path: path.to_owned(), problem };
    let text = read_text(path).map_err(|error| wrong(error.into()))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(wrong(PasswordProblem::Empty)),
        password => Ok(password.to_owned()),
    }
}
