//! The URL of a node, as the user gives it. It may hold a secret until it is checked.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use url::Url;

/// The URL of a node, not checked yet: clap would repeat a value that its parser rejects, and it may hold a password.
#[derive(Clone)]
pub(super) struct NodeUrl(String);

/// Why a URL is rejected. No message repeats the URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum InvalidUrl {
    #[error("the URL (PIPECAST_URL) is not valid; use one such as https://events.example.com")]
    Malformed,
    #[error("the URL (PIPECAST_URL) must begin with http:// or https://")]
    Scheme,
    #[error("the URL (PIPECAST_URL) must not contain a user or password; pass a token in PIPECAST_TOKEN")]
    User,
    #[error("the URL (PIPECAST_URL) must not contain ? or #; pass a token in PIPECAST_TOKEN")]
    Query,
}

impl NodeUrl {
    /// The URL, safe to print and log: it has no part left that could hold a secret.
    pub(super) fn checked(&self) -> Result<Url, InvalidUrl> {
        let url = Url::parse(&self.0).map_err(|_| InvalidUrl::Malformed)?;
        if !matches!(url.scheme(), "http" | "https") {
            Err(InvalidUrl::Scheme)
        } else if !url.username().is_empty() || url.password().is_some() {
            Err(InvalidUrl::User)
        } else if url.query().is_some() || url.fragment().is_some() {
            Err(InvalidUrl::Query)
        } else {
            Ok(url)
        }
    }
}

impl FromStr for NodeUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
