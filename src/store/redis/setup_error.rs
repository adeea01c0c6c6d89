//! Why a node cannot start on a Redis.

use redis::RedisError;

use super::command_error::{PasswordError, Unfit};

/// Why a node cannot start on this Redis. Retrying would not help.
#[derive(Debug, thiserror::Error)]
pub enum RedisSetupError {
    /// `redis.url` is not the URL of a Redis.
    #[error("{0}; write redis://host:6379, rediss://host:6379 or redis+unix:///path/to/socket")]
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
    /// A query parameter that means nothing here.
    #[error("remove its query: it has no meaning here")]
    UnknownQuery,
}
