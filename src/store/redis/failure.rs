//! A command to Redis that failed, as far as a caller can act on it. The only place that knows Redis' error codes.

use deadpool::managed::PoolError;
use redis::{ErrorKind, RedisError};

use super::connector::Unfit;
use crate::store::StoreError;

/// Why a command failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The server could not be reached, or did not answer in time.
    #[error("{0}")]
    Away(String),
    /// The server is not the primary, or serves nothing for now: every connection to it is given up.
    #[error("{text}")]
    NotPrimary { code: String, text: String },
    /// The server stores nothing until there is room or replicas again.
    #[error("{text}")]
    Refused { code: String, text: String },
    /// The server does not let us in, or not do this.
    #[error("{text}")]
    Denied { code: String, text: String },
    /// The server's data or answer is not what this program writes or expects.
    #[error("{text}")]
    Unexpected { code: String, text: String },
    /// The server is of no use to us at all.
    #[error("{0}")]
    Unfit(Unfit),
}

impl Failure {
    /// No answer, for a reason of our own.
    pub(super) fn away(problem: impl Into<String>) -> Self {
        Self::Away(problem.into())
    }

    /// What the callers of the store are told. Redis' own words are for the log.
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Away(reason) => StoreError::Away(reason),
            Self::NotPrimary { text, .. } => StoreError::Away(text),
            Self::Refused { text, .. } => StoreError::Refusing(text),
            Self::Denied { text, .. } | Self::Unexpected { text, .. } => StoreError::Unexpected(text),
            Self::Unfit(unfit) => StoreError::Unexpected(unfit.to_string()),
        }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        let text = error.to_string();
        let kind = error.kind();
        let code = match error.code() {
            Some(code) => code.to_owned(),
            // Of several commands sent together the first that failed speaks for all.
            None => {
                let errors = error.into_server_errors();
                errors.and_then(|errors| Some(errors.first()?.1.code().to_owned())).unwrap_or_default()
            }
        };
        match (&*code, kind) {
            ("READONLY" | "MASTERDOWN" | "LOADING" | "CLUSTERDOWN", _) => Self::NotPrimary { code, text },
            ("OOM" | "MISCONF" | "NOREPLICAS", _) => Self::Refused { code, text },
            ("NOAUTH" | "WRONGPASS" | "NOPERM", _) => Self::Denied { code, text },
            // How a right that a script lacks is told.
            ("ERR", _) if text.contains("user executing the script") => {
                Self::Denied { code: "NOPERM".to_owned(), text }
            }
            (_, ErrorKind::AuthenticationFailed) => Self::Denied { code: "WRONGPASS".to_owned(), text },
            // A script of somebody else's that runs for long, a slot that moves: both end by themselves.
            ("BUSY" | "TRYAGAIN", _) => Self::Away(text),
            // The connection is refused, and not what was asked on it.
            ("ERR", _) if text.contains("max number of clients") => Self::Away(text),
            (_, ErrorKind::UnexpectedReturnType | ErrorKind::Parse) => Self::Unexpected { code, text },
            ("", _) => Self::Away(text),
            _ => Self::Unexpected { code, text },
        }
    }
}

impl From<PoolError<Failure>> for Failure {
    fn from(error: PoolError<Failure>) -> Self {
        match error {
            PoolError::Backend(failure) => failure,
            other => Self::away(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of an error that a server sends.
    fn answered(line: &str) -> Failure {
        match redis::parse_redis_value(format!("-{line}\r\n").as_bytes()) {
            Ok(redis::Value::ServerError(error)) => RedisError::from(error).into(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_ends_by_itself_is_told_from_what_does_not() {
        for line in
            ["READONLY You can't write", "LOADING Redis is loading", "MASTERDOWN Link", "CLUSTERDOWN The cluster"]
        {
            let failure = answered(line);
            assert!(matches!(&failure, Failure::NotPrimary { code, .. } if line.starts_with(code)), "{failure:?}");
        }
        for line in ["OOM command not allowed", "MISCONF Redis is configured", "NOREPLICAS Not enough good replicas"] {
            assert!(matches!(answered(line), Failure::Refused { .. }), "{line}");
        }
        for line in [
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username",
            "NOPERM this user has no",
            "ERR The user executing the script can't run this command or subcommand script: 123, on @user_script:86.",
        ] {
            assert!(matches!(answered(line), Failure::Denied { .. }), "{line}");
        }
        for line in ["BUSY Redis is busy running a script", "ERR max number of clients reached"] {
            assert!(matches!(answered(line), Failure::Away(_)), "{line}");
        }
        for line in ["WRONGTYPE Operation against a key", "ERR unknown command", "EXECABORT Transaction"] {
            assert!(matches!(answered(line), Failure::Unexpected { .. }), "{line}");
        }
        assert!(matches!(Failure::from(RedisError::from(std::io::Error::other("gone"))), Failure::Away(_)));
    }
}
