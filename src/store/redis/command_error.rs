//! Why a command to Redis failed, as far as a caller can act on it. The only place that knows Redis' error codes.

use std::path::PathBuf;
use std::time::Duration;

use deadpool_redis::{HookError, PoolError};
use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::files::text::NoText;
use crate::store::error::{Cause, StoreError};

/// The oldest server version that has everything used here (channel permissions, `redis.acl_check_cmd`).
const OLDEST_VERSION: (u32, u32) = (7, 0);

/// Why a command failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum CommandError {
    /// The server could not be reached, or did not answer in time.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The server is not the primary, or serves nothing for now: every connection to it is closed.
    #[error("{source}")]
    NotPrimary { code: String, source: RedisError },
    /// The server stores nothing until it has memory, disk or replicas again.
    #[error("{source}")]
    Refused { code: String, source: RedisError },
    /// The server rejects the credentials, or the user lacks a permission.
    #[error("{source}")]
    Denied { code: String, source: RedisError },
    /// The server's data or answer is not what this program writes or expects.
    #[error("{source}")]
    Unexpected { code: String, source: RedisError },
    /// No retry would make this server usable.
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

/// Why there was no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Unreachable {
    /// The connection or the server failed.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// The time was over.
    #[error("no answer within {0:?} (redis.timeout)")]
    NoAnswer(Duration),
    /// There is no password to connect with.
    #[error(transparent)]
    Password(std::sync::Arc<PasswordError>),
    /// No sentinel has named a primary.
    #[error("no sentinel answers; {sentinel}: {problem}")]
    Sentinels {
        /// One of them.
        sentinel: String,
        /// What went wrong there.
        problem: String,
    },
    /// The server that the sentinels name cannot be reached.
    #[error("the sentinels name {address} as the primary: {problem}")]
    NamedPrimary {
        /// Host and port, as nodes need to reach it.
        address: String,
        /// What went wrong there.
        problem: String,
    },
    /// The pool gave no connection, for a reason of its own.
    #[error("no connection from the pool: {0}")]
    Pool(String),
    /// `SCRIPT LOAD` succeeded and `EVALSHA` did not find the script.
    #[error("Redis does not keep the script that it has just loaded")]
    ScriptLost,
}

/// A password file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{setting} {}: {problem}", path.display())]
pub struct PasswordError {
    /// The setting that names it.
    pub setting: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub problem: PasswordProblem,
}

/// What is wrong with a password file.
#[derive(Debug, thiserror::Error)]
pub enum PasswordProblem {
    /// It is not text, or cannot be read.
    #[error(transparent)]
    NoText(#[from] NoText),
    /// It contains nothing but line breaks.
    #[error("it is empty; write the password into it")]
    Empty,
}

/// A server that answers but cannot be used. Trying again would not help.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unfit {
    /// It lacks commands that are needed.
    #[error("Redis {found} is too old: Redis {}.{} or newer, or Valkey 7.2 or newer, is needed", OLDEST_VERSION.0, OLDEST_VERSION.1)]
    TooOld {
        /// The server's version.
        found: String,
    },
    /// It is part of a cluster.
    #[error("this Redis runs in cluster mode, which is not supported; set redis.url to a single primary")]
    Cluster,
    /// It is a sentinel, where a server was expected.
    #[error(
        "this server is a sentinel; set redis.url to redis-sentinel://host:26379/<master>, with the name of `sentinel monitor` for <master>"
    )]
    Sentinel,
    /// It is not a sentinel, where one was expected.
    #[error(
        "{address} is not a sentinel ({problem}); list only sentinels in redis.url, or use redis:// for a single primary"
    )]
    NoSentinel {
        /// As in `redis.url`.
        address: String,
        /// What it answered.
        problem: String,
    },
    /// None of the sentinels knows the primary.
    #[error(
        "no sentinel knows a primary named `{master}`; use the name of `sentinel monitor` in redis.url (docs/operate/redis.md)"
    )]
    UnknownMaster {
        /// As in `redis.url`.
        master: String,
    },
    /// A sentinel rejects the credentials, or the user lacks a permission.
    #[error(
        "sentinel {sentinel} refused: {problem}; check redis.sentinel_user, redis.sentinel_password_file and the user's permissions (docs/operate/redis.md)"
    )]
    SentinelRefuses {
        /// As in `redis.url`.
        sentinel: String,
        /// In its own words.
        problem: String,
    },
    /// It does not have the database of `redis.url`.
    #[error("Redis refuses the database of redis.url: {0}; use one that exists, such as redis://host:6379/0")]
    Database(String),
}

impl Unfit {
    /// Whether this version is too old. Valkey counts its versions on from Redis 7.2, so one bound serves both.
    pub(super) fn check_version(found: &str) -> Result<(), Self> {
        let mut numbers = found.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
        let version = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        if version < OLDEST_VERSION { Err(Self::TooOld { found: found.to_owned() }) } else { Ok(()) }
    }
}

impl CommandError {
    /// The server at this address is a replica.
    pub(super) fn replica() -> Self {
        let text = "the server is a replica; publishing needs its primary".to_owned();
        redis::make_extension_error("READONLY".to_owned(), Some(text)).into()
    }

    /// Whether the server said that it is a replica.
    pub(super) fn is_replica(&self) -> bool {
        matches!(self, Self::NotPrimary { code, .. } if code == "READONLY")
    }

    /// The error that the store's callers see. Redis' own words are its cause, for the log.
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Unreachable(_) | Self::NotPrimary { .. } => StoreError::Unreachable(Cause::new(self)),
            Self::Refused { .. } => StoreError::Refusing(Cause::new(self)),
            Self::Denied { .. } | Self::Unexpected { .. } | Self::Unfit(_) => StoreError::Unexpected(Cause::new(self)),
        }
    }
}

impl From<CommandError> for RedisError {
    /// For the pool, whose errors are those of the Redis library. Only for errors of `connector::verify`: `Unfit` comes back as
    /// `Unexpected`, which callers treat as the same.
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::NotPrimary { source, .. }
            | CommandError::Refused { source, .. }
            | CommandError::Denied { source, .. }
            | CommandError::Unexpected { source, .. }
            | CommandError::Unreachable(Unreachable::Redis(source)) => source,
            other => redis::make_extension_error("UNFIT".to_owned(), Some(other.to_string())),
        }
    }
}

impl From<RedisError> for CommandError {
    fn from(source: RedisError) -> Self {
        let code = code_of(&source);
        let is_text = |part: &str| source.to_string().contains(part);
        match (&*code, source.kind()) {
            ("READONLY" | "MASTERDOWN" | "LOADING" | "CLUSTERDOWN", _) => Self::NotPrimary { code, source },
            ("OOM" | "MISCONF" | "NOREPLICAS", _) => Self::Refused { code, source },
            ("NOAUTH" | "WRONGPASS" | "NOPERM", _) => Self::Denied { code, source },
            // How Redis reports a permission that a script lacks.
            ("ERR", _) if is_text("user executing the script") => Self::Denied { code: "NOPERM".to_owned(), source },
            (_, ErrorKind::AuthenticationFailed) => Self::Denied { code: "WRONGPASS".to_owned(), source },
            (_, ErrorKind::Server(ServerErrorKind::ResponseError)) if is_text("refused to switch database") => {
                Unfit::Database(source.detail().unwrap_or_default().to_owned()).into()
            }
            // A long script of another application, or a slot that moves: both end by themselves.
            ("BUSY" | "TRYAGAIN", _) => Unreachable::Redis(source).into(),
            // The connection is refused, not the command.
            ("ERR", _) if is_text("max number of clients") => Unreachable::Redis(source).into(),
            (_, ErrorKind::UnexpectedReturnType | ErrorKind::Parse) => Self::Unexpected { code, source },
            ("", _) => Unreachable::Redis(source).into(),
            _ => Self::Unexpected { code, source },
        }
    }
}

/// The code that the server sent; empty when the error is not from the server.
fn code_of(error: &RedisError) -> String {
    match error.code() {
        Some(code) => code.to_owned(),
        // Of several commands sent together, the first that failed speaks for all.
        None => {
            let errors = error.clone().into_server_errors();
            errors.and_then(|errors| Some(errors.first()?.1.code().to_owned())).unwrap_or_default()
        }
    }
}

impl From<PasswordError> for CommandError {
    fn from(error: PasswordError) -> Self {
        Unreachable::Password(error.into()).into()
    }
}

impl From<PoolError> for CommandError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => error.into(),
            other => Unreachable::Pool(other.to_string()).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error that a server's error line becomes.
    fn received(line: &str) -> CommandError {
        match redis::parse_redis_value(format!("-{line}\r\n").as_bytes()) {
            Ok(redis::Value::ServerError(error)) => RedisError::from(error).into(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn transient_errors_differ_from_lasting_ones() {
        for line in
            ["READONLY You can't write", "LOADING Redis is loading", "MASTERDOWN Link", "CLUSTERDOWN The cluster"]
        {
            let error = received(line);
            assert!(matches!(&error, CommandError::NotPrimary { code, .. } if line.starts_with(code)), "{error:?}");
        }
        for line in ["OOM command not allowed", "MISCONF Redis is configured", "NOREPLICAS Not enough good replicas"] {
            assert!(matches!(received(line), CommandError::Refused { .. }), "{line}");
        }
        for line in [
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username",
            "NOPERM this user has no",
            "ERR The user executing the script can't run this command or subcommand script: 123, on @user_script:86.",
        ] {
            assert!(matches!(received(line), CommandError::Denied { .. }), "{line}");
        }
        for line in ["BUSY Redis is busy running a script", "ERR max number of clients reached"] {
            assert!(matches!(received(line), CommandError::Unreachable(_)), "{line}");
        }
        for line in ["WRONGTYPE Operation against a key", "ERR unknown command", "EXECABORT Transaction"] {
            assert!(matches!(received(line), CommandError::Unexpected { .. }), "{line}");
        }
        let broken = CommandError::from(RedisError::from(std::io::Error::other("gone")));
        assert!(matches!(broken, CommandError::Unreachable(_)));
    }

    #[test]
    fn replica_counts_as_a_server_that_left_its_role() {
        assert!(matches!(CommandError::replica(), CommandError::NotPrimary { code, .. } if code == "READONLY"));
    }

    #[test]
    fn versions_before_the_oldest_are_refused() {
        for (version, is_enough) in [("6.2.14", false), ("7.0.0", true), ("7.2.4", true), ("10.1", true), ("", false)] {
            assert_eq!(Unfit::check_version(version).is_ok(), is_enough, "{version}");
        }
    }
}
