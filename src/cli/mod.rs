//! The command line.

// epoll, timerfd and /proc.
#[cfg(target_os = "linux")]
mod bench;
mod client;
mod config;
mod demo;
mod doctor;
mod figures;
mod follower;
mod health;
mod node_url;
mod plan;
mod publish;
mod sender;
mod serve;
mod tail;
mod token;

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use http::HeaderValue;

use crate::settings::Sources;
use crate::visible::{visible, visible_in_colour, visible_lines};
use node_url::NodeUrl;

/// The environment, as names and values.
pub type Environment = HashMap<String, String>;

/// A broker for Server-Sent Events.
///
/// Without a command it runs one node with the settings' defaults: events are kept in memory.
#[derive(Parser, Debug)]
#[command(
    name = "pipecast",
    version,
    after_help = "Examples:\n  \
    pipecast                                         one node, events in memory\n  \
    pipecast serve --redis redis://127.0.0.1:6379    one of several nodes\n  \
    pipecast publish p_aBcDeF --channel names '{\"name\":\"Luke\"}'\n  \
    pipecast tail p_aBcDeF\n  \
    pipecast demo                                    invented events, to see lines move\n  \
    pipecast doctor https://events.example.com\n  \
    pipecast token --pipeline p_aBcDeF --subscribe --ttl 10m\n  \
    pipecast bench fanout --readers 1000\n  \
    pipecast plan --streams 1e6 --rate 200"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve(ServeArgs),
    Publish(publish::PublishArgs),
    Tail(tail::TailArgs),
    Demo(demo::DemoArgs),
    Health(health::HealthArgs),
    Doctor(doctor::DoctorArgs),
    #[cfg(target_os = "linux")]
    Bench(bench::BenchArgs),
    Token(token::TokenArgs),
    Plan(plan::PlanArgs),
    Config(ConfigArgs),
}

/// Run a node
#[derive(Args, Debug, Default)]
#[command(after_help = "Examples:\n  \
    pipecast serve\n  \
    pipecast serve --listen 10.0.0.1:8080 --redis redis://redis.internal:6379 --config access.toml\n  \
    PIPECAST_STREAM__KEEPALIVE=10s pipecast serve --config /etc/pipecast.toml\n\n\
    `pipecast config` lists all settings.")]
struct ServeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Check the settings and print those in effect, secrets hidden
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    pipecast config\n  \
    PIPECAST_REDIS__URL=redis://:secret@127.0.0.1 pipecast config --config pipecast.toml")]
struct ConfigArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Print a Markdown table of all settings instead
    #[arg(long)]
    markdown: bool,
}

#[derive(Args, Debug, Default)]
struct SettingsArgs {
    /// Where publishers and readers connect (server.listen)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where /metrics, /livez and /readyz are (server.admin_listen)
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// Redis, shared by all nodes (redis.url); the embedded store when absent
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// A file of settings, TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl SettingsArgs {
    fn sources(self, environment: Environment) -> Sources {
        let flags =
            [("server.listen", self.listen), ("server.admin_listen", self.admin_listen), ("redis.url", self.redis)];
        let flags = flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        Sources { file: self.config, environment, flags }
    }
}

/// Which node a client command talks to.
#[derive(Args, Debug)]
struct NodeArgs {
    /// The node, or the load balancer before the nodes
    #[arg(long, env = "PIPECAST_URL", hide_env_values = true, default_value = "http://127.0.0.1:8080")]
    url: NodeUrl,
    /// A key or token for it. Other users of the machine see a command line: better by PIPECAST_TOKEN
    #[arg(long, env = "PIPECAST_TOKEN", hide_env_values = true)]
    token: Option<Token>,
}

/// A key or token for a node. Any text is taken at first: clap would repeat what it refuses.
#[derive(Clone)]
struct Token(String);

/// A token cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("--token or PIPECAST_TOKEN is none: a token is visible ASCII without blanks")]
struct InvalidToken;

impl Token {
    /// The value of the header `Authorization`.
    fn header(&self) -> Result<HeaderValue, InvalidToken> {
        let is_text = !self.0.is_empty() && self.0.bytes().all(|byte| byte.is_ascii_graphic());
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0)).map_err(|_| InvalidToken)?;
        // Not shown when it is printed for debugging.
        value.set_sensitive(true);
        if is_text { Ok(value) } else { Err(InvalidToken) }
    }
}

impl std::str::FromStr for Token {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Why a command failed, as its exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Failure {
    /// It could not be done: 1.
    Failed,
    /// It was not asked for properly: 2.
    Usage,
}

type Outcome = Result<(), Failure>;

/// Runs the command that the arguments name.
///
/// Exit codes: 0 done, 1 failed, 2 not asked for properly.
pub async fn run(environment: Environment) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no error.
            let is_answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            show(&error, is_answer);
            return ExitCode::from(if is_answer { 0 } else { 2 });
        }
    };
    let outcome = match cli.command.unwrap_or_else(|| Command::Serve(ServeArgs::default())) {
        Command::Serve(args) => serve::serve(args.settings.sources(environment)).await,
        Command::Config(args) => config::config(args.settings.sources(environment), args.markdown),
        Command::Publish(args) => publish::publish(args).await,
        Command::Tail(args) => tail::tail(args).await,
        Command::Plan(args) => plan::plan(&args),
        Command::Demo(args) => demo::demo(args).await,
        Command::Doctor(args) => Box::pin(doctor::doctor(args)).await,
        Command::Health(args) => health::health(args, environment).await,
        Command::Token(args) => Box::pin(token::token(args, environment)).await,
        #[cfg(target_os = "linux")]
        Command::Bench(args) => bench::bench(args).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed) => ExitCode::from(1),
        Err(Failure::Usage) => ExitCode::from(2),
    }
}

/// Writes to standard output. That nobody reads it is no reason to stop, let alone to panic. What a stranger has put into
/// the text reaches no terminal as it is; where it may have line feeds, whoever puts it in takes them out.
fn say(text: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    let _ = write!(out, "{}", visible_lines(&text.to_string())).and_then(|()| out.flush());
}

/// Says on standard error what went wrong.
fn complain(problem: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "pipecast: {}", visible_lines(&problem.to_string()));
}

/// Shows help, or what is wrong with the arguments, which clap would repeat as they are.
fn show(answer: &clap::Error, is_wanted: bool) {
    let is_terminal = if is_wanted { std::io::stdout().is_terminal() } else { std::io::stderr().is_terminal() };
    let text = answer.render();
    let text = if is_terminal { text.ansi().to_string() } else { text.to_string() };
    let shown = if is_terminal { visible_in_colour } else { visible };
    let text = text.split('\n').map(shown).collect::<Vec<_>>().join("\n");
    let _ = if is_wanted { write!(std::io::stdout(), "{text}") } else { write!(std::io::stderr(), "{text}") };
}
