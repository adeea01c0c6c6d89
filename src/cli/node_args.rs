//! Which node a command talks to, and with which key or token.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use clap::Args;
use http::HeaderValue;

use super::node_url::NodeUrl;

/// The arguments of every command that is a client of a node.
#[derive(Args, Debug)]
pub(super) struct NodeArgs {
    /// The node, or the load balancer in front of the nodes
    #[arg(long, env = "PIPECAST_URL", hide_env_values = true, default_value = "http://127.0.0.1:8080")]
    pub(super) url: NodeUrl,
    /// Key or token. Prefer PIPECAST_TOKEN: command lines are visible to other users
    #[arg(long, env = "PIPECAST_TOKEN", hide_env_values = true)]
    pub(super) token: Option<Token>,
}

/// A key or token, not checked yet: clap would repeat a value that its parser rejects.
#[derive(Clone)]
pub(super) struct Token(String);

/// A token that no header can carry.
#[derive(Debug, thiserror::Error)]
#[error("invalid token in --token or PIPECAST_TOKEN: a token is visible ASCII without spaces")]
pub(super) struct InvalidToken;

impl Token {
    /// The value of the header `Authorization`.
    pub(super) fn header(&self) -> Result<HeaderValue, InvalidToken> {
        let is_text = !self.0.is_empty() && self.0.bytes().all(|byte| byte.is_ascii_graphic());
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0)).map_err(|_| InvalidToken)?;
        // Keeps it out of debug output.
        value.set_sensitive(true);
        if is_text { Ok(value) } else { Err(InvalidToken) }
    }

    /// The text itself. Never print it.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Token {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
