//! The store on Redis or Valkey: scripts and reads through a pool, announcements by [`super::listener`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deadpool::Runtime;
use deadpool::managed::{self, PoolConfig, PoolError, Timeouts};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, IntoConnectionInfo, RedisError, Script};

use super::appender::{self, Appender};
use super::connector::{Connector, PoolManager};
use super::keys::Prefix;
use super::listener::{self, Health, ListenerHandle};
use super::{Audience, IdempotencyKey, Newest, Receipt, Retention, StoreError, newest};
use crate::event::Batch;
use crate::frame::History;
use crate::pipeline::PipelineId;

/// The oldest server version that has what is used here (`SPUBLISH`, channel permissions).
const OLDEST_VERSION: (u32, u32) = (7, 0);

/// Connections for commands.
pub(super) type Pool = managed::Pool<PoolManager>;

/// How Redis is reached. Section `redis` of the settings.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://`, `rediss://` or `redis+unix://`, with user, password and database.
    pub url: String,
    /// File with the password, where the URL has none. Read for each connection.
    pub password_file: Option<PathBuf>,
    /// PEM file with the certificate authority of `rediss://`; the system's when absent.
    pub tls_ca: Option<Vec<u8>>,
    /// Client certificate and key, PEM, for servers that ask for one.
    pub tls_client: Option<(Vec<u8>, Vec<u8>)>,
    /// What all keys and channels begin with.
    pub prefix: Prefix,
    /// Connections for commands.
    pub pool_size: usize,
    /// Longest time that one command may take, waiting for a connection included.
    pub timeout: Duration,
    /// How often the pub/sub connection must hear its own probe.
    pub probe_interval: Duration,
}

/// Histories in Redis.
pub struct RedisStore {
    pool: Pool,
    prefix: Prefix,
    retention: Retention,
    timeout: Duration,
    appender: Appender,
    forget: Script,
    newest: newest::NewestScript,
    listener: ListenerHandle,
    health: Arc<Health>,
}

/// Why a node cannot start on this Redis. Retrying would not help.
#[derive(Debug, thiserror::Error)]
pub enum RedisSetupError {
    /// The URL is not one.
    #[error("{0}; write redis://host:6379, rediss://host:6379 or redis+unix:///path/to/socket")]
    Url(String),
    /// The file with the password cannot be used.
    #[error("{0}")]
    Password(String),
    /// The certificates cannot be used.
    #[error("redis TLS: {0}")]
    Tls(RedisError),
    /// The pool cannot be made.
    #[error("redis pool: {0}")]
    Pool(#[from] managed::BuildError),
    /// The server refuses the credentials or a command.
    #[error("Redis refused the connection: {0}; check the user, the password and the rights (README: Redis rights)")]
    Refused(RedisError),
    /// The server lacks what is needed.
    #[error("Redis {found} is too old: Redis {}.{} or newer, or Valkey 7.2 or newer, is needed", OLDEST_VERSION.0, OLDEST_VERSION.1)]
    TooOld {
        /// The server's own version.
        found: String,
    },
}

impl RedisStore {
    /// Prepares the store. Reaches out only when it is used; see [`RedisStore::check`].
    ///
    /// The returned future is the life of what runs in the background; it never ends by itself.
    ///
    /// # Errors
    /// When the options cannot be right.
    pub fn open(
        options: &RedisOptions,
        retention: Retention,
        audience: Arc<dyn Audience>,
    ) -> Result<(Arc<Self>, impl Future<Output = ()> + Send + use<>), RedisSetupError> {
        let connector = Connector::new(options)?;
        // redis-rs' own default of half a second would turn a slow fork of Redis into errors.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.timeout))
            .set_response_timeout(Some(options.timeout));
        let manager = PoolManager { connector: connector.clone(), config };
        let mut pool = PoolConfig::new(options.pool_size);
        let each = Some(options.timeout);
        pool.timeouts = Timeouts { wait: each, create: each, recycle: each };
        let pool = Pool::builder(manager).config(pool).runtime(Runtime::Tokio1).build()?;
        let health = Arc::new(Health::default());
        let (appender, appending) = appender::new(&connector, options, retention);
        let (listener, listening) = listener::new(connector, pool.clone(), options, audience, health.clone());
        let store = Self {
            pool,
            prefix: options.prefix.clone(),
            retention,
            timeout: options.timeout,
            appender,
            forget: Script::new(include_str!("forget.lua")),
            newest: newest::NewestScript::default(),
            listener,
            health,
        };
        let life = Box::pin(async {
            tokio::join!(listening, appending);
        });
        Ok((Arc::new(store), life))
    }

    /// Asks the server for its version and tries the credentials.
    ///
    /// # Errors
    /// What no retry would mend. A server that cannot be reached is not an error: the node waits for it.
    pub async fn check(&self) -> Result<Reached, RedisSetupError> {
        let hello = redis::cmd("HELLO");
        let checked = self.command(async |connection| hello.query_async::<redis::Value>(connection).await);
        match checked.await {
            Ok(hello) => check_version(&hello).map(|()| Reached::Yes),
            Err(Failure::Refused(error)) => Err(RedisSetupError::Refused(error)),
            Err(Failure::Store(error)) => Ok(Reached::No(error)),
        }
    }

    /// What the listener knows of the connection, for metrics.
    pub fn health(&self) -> &Health {
        &self.health
    }

    pub(super) async fn append(
        &self,
        pipeline: &PipelineId,
        batch: Batch,
        key: Option<&IdempotencyKey>,
    ) -> Result<Receipt, StoreError> {
        self.bounded(self.appender.append(pipeline, batch, key)).await.map_err(Failure::into_error)
    }

    pub(super) async fn history(&self, pipeline: &PipelineId) -> Result<History, StoreError> {
        let mut read = redis::cmd("LRANGE");
        // By the limit, not the whole list: another's list of a million entries must not be read.
        read.arg(self.prefix.list(pipeline)).arg(-i64::try_from(self.retention.limit).unwrap_or(i64::MAX)).arg(-1);
        let entries: Vec<Vec<u8>> = self.run(async |connection| read.query_async(connection).await).await?;
        Ok(History::from_entries(entries.into_iter().map(Bytes::from)))
    }

    pub(super) async fn forget(&self, pipeline: &PipelineId) -> Result<(), StoreError> {
        let mut call = self.forget.key(self.prefix.list(pipeline));
        call.arg(millis(self.retention.ttl)).arg(self.prefix.channel(pipeline)).arg("PUBLISH");
        self.run(async |connection| call.invoke_async(connection).await).await
    }

    pub(super) async fn newest(&self, pipelines: &[PipelineId]) -> Vec<Result<Newest, StoreError>> {
        let mut newest = Vec::with_capacity(pipelines.len());
        for some in pipelines.chunks(newest::AT_ONCE) {
            let call = self.newest.call(some, &self.prefix, self.retention);
            let answers = self.run(async |connection| call.invoke_async(connection).await).await;
            newest.extend(newest::read(some.len(), answers));
        }
        newest
    }

    pub(super) fn watch(&self, pipeline: PipelineId) {
        self.listener.watch(pipeline);
    }

    pub(super) fn unwatch(&self, pipeline: PipelineId) {
        self.listener.unwatch(pipeline);
    }

    pub(super) fn probe_age(&self) -> Option<Duration> {
        self.health.probe_age()
    }

    async fn run<T>(
        &self,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        self.command(command).await.map_err(Failure::into_error)
    }

    async fn command<T>(
        &self,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, Failure> {
        let work = async {
            // In a box: what makes a connection is several kilobytes of state, which every request that may
            // come to need one would carry along.
            let mut connection = Box::pin(self.pool.get()).await.map_err(Failure::from)?;
            Ok(command(&mut connection).await?)
        };
        self.bounded(work).await
    }

    async fn bounded<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(done) => done,
            Err(_) => Err(Failure::away(&format!("no answer within {:?} (redis.timeout)", self.timeout))),
        }
    }
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore").field("retention", &self.retention).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        f.debug_struct("RedisOptions").field("pool_size", &self.pool_size).finish_non_exhaustive()
    }
}

/// Whether the server answered at the start.
#[derive(Debug)]
pub enum Reached {
    /// It did, and it will do.
    Yes,
    /// It did not; the node starts and waits for it.
    No(StoreError),
}

/// A failed command, as far as a caller can act on it.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The server does not let us in, or not do this.
    #[error("{0}")]
    Refused(RedisError),
    /// Anything else.
    #[error("{0}")]
    Store(StoreError),
}

impl Failure {
    pub(super) fn away(problem: &str) -> Self {
        Self::Store(StoreError::Away(problem.to_owned()))
    }

    fn into_error(self) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Refused(error) => StoreError::Unexpected(error.to_string()),
        }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        use redis::{ErrorKind, ServerErrorKind};
        match error.kind() {
            ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => Self::Refused(error),
            _ if matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => Self::Refused(error),
            ErrorKind::UnexpectedReturnType | ErrorKind::Parse => {
                Self::Store(StoreError::Unexpected(error.to_string()))
            }
            _ => Self::Store(StoreError::Away(error.to_string())),
        }
    }
}

impl From<PoolError<RedisError>> for Failure {
    fn from(error: PoolError<RedisError>) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            other => Self::away(&other.to_string()),
        }
    }
}

/// Whether a URL can be that of a Redis; reaches out to nobody.
///
/// # Errors
/// [`RedisSetupError::Url`].
pub fn check_url(url: &str) -> Result<(), RedisSetupError> {
    url.into_connection_info().map(drop).map_err(|error| RedisSetupError::Url(error.to_string()))
}

/// Whether a URL that [`check_url`] has passed holds a password.
pub fn has_password(url: &str) -> bool {
    url.into_connection_info().is_ok_and(|info| info.redis_settings().password().is_some())
}

/// Reads `HELLO`'s answer. Valkey counts its versions on from Redis 7.2, so one bound serves both.
pub(super) fn check_version(hello: &redis::Value) -> Result<(), RedisSetupError> {
    let fields = std::collections::HashMap::<String, redis::Value>::from_redis_value_ref(hello).unwrap_or_default();
    let found = fields.get("version").and_then(|value| String::from_redis_value_ref(value).ok()).unwrap_or_default();
    let mut numbers = found.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    let version = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    if version >= OLDEST_VERSION { Ok(()) } else { Err(RedisSetupError::TooOld { found }) }
}

/// As Redis wants durations.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
