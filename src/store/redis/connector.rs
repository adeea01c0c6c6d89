//! How connections to Redis are made, and how each new one is verified.
//!
//! A verified connection leads to a primary that is new enough and serves: behind one address there may be another server
//! each time. A password that is in a file is read for each connection made here, so it can be changed under a running
//! node. With sentinels, each connection leads to the primary that they name at that moment. Keeps no connection.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionInfo, FromRedisValue, IntoConnectionInfo};
use redis::{TlsCertificates, Value};
use tokio::time::Instant;

use super::command_error::{CommandError, PasswordError, PasswordProblem, Unfit};
use super::health::Health;
use super::options::{RedisOptions, is_sentinel_url};
use super::sentinel_url::SentinelUrl;
use super::sentinels::Sentinels;
use super::setup_error::{RedisSetupError, UrlError};
use crate::files::text::read_text;

/// TCP keepalive probes that may go unanswered, a second or a probe's interval apart.
const TCP_PROBES: u32 = 3;

/// The setting that names the file with the password of the Redis servers.
const PASSWORD_FILE: &str = "redis.password_file";

/// The same for the sentinels.
pub(super) const SENTINEL_PASSWORD_FILE: &str = "redis.sentinel_password_file";

#[derive(Clone)]
pub(super) struct Connector {
    /// With sentinels, its address is that of one of them.
    info: ConnectionInfo,
    password_file: Option<PathBuf>,
    sentinels: Option<Arc<Sentinels>>,
}

impl Connector {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When the options cannot be right.
    pub(super) fn new(options: &RedisOptions) -> Result<Self, RedisSetupError> {
        if let Some(path) = &options.password_file {
            read_password(PASSWORD_FILE, path)?;
        }
        if let Some(path) = &options.sentinel_password_file {
            read_password(SENTINEL_PASSWORD_FILE, path)?;
        }
        let password_file = options.password_file.clone();
        if !is_sentinel_url(&options.url) {
            let info = options.url.as_str().into_connection_info().map_err(UrlError::from)?;
            return Ok(Self { info: prepare(info, options)?, password_file, sentinels: None });
        }
        let url = SentinelUrl::parse(&options.url)?;
        let connection_info = |sentinel: &String| prepare(url.connection_info(sentinel)?, options);
        let infos = url.sentinels.iter().map(connection_info).collect::<Result<Vec<_>, _>>()?;
        let info = infos.first().ok_or(UrlError::NoSentinel)?.clone();
        let info = info.set_redis_settings(url.login.set_protocol(redis::ProtocolVersion::RESP3));
        let sentinels = Sentinels::new(
            url.sentinels.into_iter().zip(infos).collect(),
            url.master,
            options.sentinel_user.clone(),
            options.sentinel_password_file.clone(),
            options.timeout,
        );
        Ok(Self { info, password_file, sentinels: Some(sentinels) })
    }

    /// Those that are asked for the primary.
    pub(super) fn sentinels(&self) -> Option<&Sentinels> {
        self.sentinels.as_deref()
    }

    /// Asks the sentinels, if there are any, and leaves a server that is no longer the primary.
    ///
    /// # Errors
    /// As [`Self::connection_info`].
    pub(super) async fn follow(&self, health: &Health) -> Result<(), CommandError> {
        match &self.sentinels {
            Some(sentinels) => sentinels.follow(&self.with_password()?, health).await,
            None => Ok(()),
        }
    }

    /// The number of the database that the URL names.
    pub(super) fn database(&self) -> i64 {
        self.info.redis_settings().db()
    }

    /// What a connection is made with at this moment, and its generation: the password file is read, and the sentinels are
    /// asked.
    ///
    /// # Errors
    /// When the password cannot be read, or no primary is known.
    pub(super) async fn connection_info(&self, health: &Health) -> Result<(ConnectionInfo, u64), CommandError> {
        let info = self.with_password()?;
        match &self.sentinels {
            Some(sentinels) => sentinels.primary(&info, health).await,
            None => Ok((info, health.generation())),
        }
    }

    fn with_password(&self) -> Result<ConnectionInfo, PasswordError> {
        let info = self.info.clone();
        let Some(path) = &self.password_file else { return Ok(info) };
        let settings = info.redis_settings().clone().set_password(read_password(PASSWORD_FILE, path)?);
        Ok(info.set_redis_settings(settings))
    }

    /// A new connection to a primary, and its generation. Reports to `health` whether it could be made.
    ///
    /// # Errors
    /// When Redis cannot be reached, refuses the credentials or cannot be used, or the password cannot be read.
    pub(super) async fn connect(
        &self,
        config: &AsyncConnectionConfig,
        health: &Health,
    ) -> Result<(MultiplexedConnection, u64), CommandError> {
        let began = Instant::now();
        let connected = self.try_connect(config, health).await;
        if let (Err(CommandError::NotPrimary { .. }), Some(sentinels)) = (&connected, &self.sentinels) {
            sentinels.doubt();
        }
        health.connected(began, connected.is_ok());
        connected
    }

    async fn try_connect(
        &self,
        config: &AsyncConnectionConfig,
        health: &Health,
    ) -> Result<(MultiplexedConnection, u64), CommandError> {
        let (info, generation) = self.connection_info(health).await?;
        let mut connection = Client::open(info)?.get_multiplexed_async_connection_with_config(config).await?;
        verify(&mut connection).await?;
        Ok((connection, generation))
    }
}

/// Adds what is the same for all connections.
fn prepare(info: ConnectionInfo, options: &RedisOptions) -> Result<ConnectionInfo, RedisSetupError> {
    let settings = info.redis_settings().clone();
    // RESP3: notifications arrive as pushes, on a connection that still answers commands.
    let info = info.set_redis_settings(settings.set_protocol(redis::ProtocolVersion::RESP3));
    let info = info.set_tcp_settings(tcp_settings(options.probe_interval));
    let client = if options.url.starts_with("rediss") {
        let client_tls =
            options.tls_client.clone().map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        let certificates = TlsCertificates { client_tls, root_cert: options.tls_ca.clone() };
        Client::build_with_tls(info, certificates).map_err(RedisSetupError::Tls)?
    } else {
        Client::open(info).map_err(UrlError::from)?
    };
    // The certificates are part of it.
    Ok(client.get_connection_info().clone())
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
    match &*field("mode") {
        "cluster" => return Err(Unfit::Cluster.into()),
        "sentinel" => return Err(Unfit::Sentinel.into()),
        _ => {}
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
pub(super) fn read_password(setting: &'static str, path: &Path) -> Result<String, PasswordError> {
    let wrong = |problem: PasswordProblem| PasswordError { setting, path: path.to_owned(), problem };
    let text = read_text(path).map_err(|error| wrong(error.into()))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(wrong(PasswordProblem::Empty)),
        password => Ok(password.to_owned()),
    }
}
