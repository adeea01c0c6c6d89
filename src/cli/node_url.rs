//! Where a command finds the node.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use url::Url;

/// The URL of a node. Any text is taken at first, as of a token: clap would repeat what it refuses, and there may be a
/// password in it.
#[derive(Clone)]
pub(super) struct NodeUrl(String);

/// A URL that is not asked. The URL itself is in no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum InvalidUrl {
    #[error("the URL (PIPECAST_URL) is not valid; write one such as https://events.example.com")]
    Malformed,
    #[error("the URL (PIPECAST_URL) must begin with http:// or https://")]
    Scheme,
    #[error("the URL (PIPECAST_URL) must have no user and no password; give a token as PIPECAST_TOKEN")]
    User,
    #[error("the URL (PIPECAST_URL) must have no ? and no #; give a token as PIPECAST_TOKEN")]
    Query,
}

impl NodeUrl {
    /// The URL, which may be shown and logged: it has no place left for a secret.
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
