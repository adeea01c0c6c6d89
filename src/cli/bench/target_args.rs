//! The flags that name the server: its kind, its URLs, and what differs from its kind.

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use pipecast_bench::{Preset, TargetOptions};

use super::error::CommandError;
use crate::cli::Token;
use crate::cli::node_url::NodeUrl;

/// The server.
#[derive(Args, Debug)]
pub(super) struct TargetArgs {
    /// Kind of server; the options below override parts of it
    #[arg(long, value_parser = preset(), default_value = Preset::Pipecast.name(), help_heading = "Server")]
    preset: Preset,
    /// The server, in place of {url} below; repeat it to spread the load over several
    #[arg(
        long,
        env = "PIPECAST_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080",
        help_heading = "Server"
    )]
    url: Vec<NodeUrl>,
    /// Key or token for streams and for publishing. Prefer PIPECAST_TOKEN: command lines are visible to other users
    #[arg(long, env = "PIPECAST_TOKEN", hide_env_values = true, help_heading = "Server")]
    token: Option<Token>,
    /// Prefix of the pipelines' names; random by default
    #[arg(long, value_name = "TEXT", help_heading = "Server")]
    prefix: Option<String>,
    /// URL of a pipeline's stream, with {url} and {pipeline}
    #[arg(long, value_name = "TEMPLATE", help_heading = "Server")]
    stream_url: Option<String>,
    /// Header of stream requests, as "Name: value"
    #[arg(long, value_name = "HEADER", help_heading = "Server")]
    stream_header: Vec<String>,
    /// URL to publish to, with {url} and {pipeline}
    #[arg(long, value_name = "TEMPLATE", help_heading = "Server")]
    publish_url: Option<String>,
    /// Method of publish requests
    #[arg(long, value_name = "METHOD", default_value = "POST", help_heading = "Server")]
    publish_method: String,
    /// Content type of publish requests
    #[arg(long, value_name = "TYPE", help_heading = "Server")]
    publish_type: Option<String>,
    /// One event, with {payload} and {pipeline}; a batch has one event per line
    #[arg(long, value_name = "TEMPLATE", help_heading = "Server")]
    publish_body: Option<String>,
    /// Header of publish requests, as "Name: value"
    #[arg(long, value_name = "HEADER", help_heading = "Server")]
    publish_header: Vec<String>,
}

impl TargetArgs {
    pub(super) fn options(self) -> Result<TargetOptions, CommandError> {
        let authorization = self.token.as_ref().map(Token::header).transpose()?;
        Ok(TargetOptions {
            preset: self.preset,
            urls: self.url.iter().map(NodeUrl::checked).collect::<Result<_, _>>()?,
            // A token is visible ASCII.
            authorization: authorization.and_then(|value| value.to_str().ok().map(str::to_owned)),
            prefix: self.prefix,
            stream_url: self.stream_url,
            stream_headers: self.stream_header,
            publish_url: self.publish_url,
            publish_method: self.publish_method,
            publish_type: self.publish_type,
            publish_body: self.publish_body,
            publish_headers: self.publish_header,
        })
    }
}

fn preset() -> impl TypedValueParser<Value = Preset> {
    let values = Preset::ALL.map(|preset| PossibleValue::new(preset.name()).help(requirements(preset)));
    PossibleValuesParser::new(values).try_map(|name| {
        Preset::ALL.into_iter().find(|preset| preset.name() == name).ok_or("the parser knows the same names")
    })
}

/// What must be set up at such a server.
fn requirements(preset: Preset) -> &'static str {
    match preset {
        Preset::Pipecast => "Pipecast",
        Preset::Nchan => "Nchan with a publisher location /pub/<id> and an eventsource location /sub/<id>",
        Preset::Mercure => "Mercure with anonymous subscribers; publishing needs --publish-header",
        Preset::Centrifugo => {
            "Centrifugo with uni_sse and clients that may subscribe; publishing needs --publish-header"
        }
    }
}
