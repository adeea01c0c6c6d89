//! Why a node cannot start on a Redis.

use redis::RedisError;

use super::command_error::{PasswordError, Unfit};

/// Why a node cannot start on this Redis. Retrying would not help.
#[derive(Debug, thiserror::Error)]
pub enum RedisSetupError {
    /// `redis.url` is not the URL of a Redis.
    #[error(
        "{0}; write redis://host:6379, rediss://host:6379, redis+unix:///path/to/socket or redis-sentinel://host:26379/master"
    )]
    Url(#[from] UrlError),
    /// The password file cannot be used.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The certificates cannot be used.
    #[error("redis TLS: {0}")]
    Tls(#[source] RedisError),
    /// The server refuses the credentials or a command.
    #[error(
        "Redis refused {doing}: {problem}; check the user, the password and its permissions (docs/operate/redis.md)"
    )]
    Refused {
        /// What was tried.
        doing: &'static str,
        /// In the server's words.
        #[source]
        problem: RedisError,
    },
    /// The server cannot be used.
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

/// What is wrong with `redis.url`. Never repeats it: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// The Redis library does not accept it.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// It is not a URL.
    #[error(transparent)]
    Syntax(#[from] url::ParseError),
    /// The database is negative.
    #[error("the number of a database is 0 or more")]
    NegativeDatabase,
    /// `?db=` on a URL with a host.
    #[error("put the database into the path, as in redis://host:6379/3")]
    DatabaseInQuery,
    /// It names no sentinel.
    #[error("name each sentinel as host:port, with commas in between")]
    NoSentinel,
    /// It does not name the primary that the sentinels watch.
    #[error("the path must be the name of the primary, as in the sentinels' `sentinel monitor <name>`")]
    NoMaster,
    /// The database is not a number.
    #[error("after the name of the primary, only the number of a database may follow")]
    NoDatabase,
    /// A user or password that is not UTF-8.
    #[error("the user and the password must be percent-encoded UTF-8")]
    NoText,
    /// A query parameter that means nothing here.
    #[error("remove its query: it has no meaning here")]
    UnknownQuery,
}
