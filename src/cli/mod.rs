//! The command line: arguments in, one command run, an exit code out.
//!
//! Commands that are clients of a node know it by its HTTP API only. What they print goes through `output`.

// epoll, timerfd and /proc.
#[cfg(target_os = "linux")]
mod bench;
mod client;
mod config;
mod demo;
mod doctor;
mod follower;
mod health;
mod node_args;
mod node_url;
mod number_format;
mod output;
mod plan;
mod publish;
mod quick_start;
mod sender;
mod serve;
mod tail;
mod token;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::settings::{Row, Settings, Sources};
use node_args::{InvalidToken, NodeArgs, Token};
use output::{print_clap, print_error, print_out};

/// The environment, as names and values.
pub type Environment = HashMap<String, String>;

/// A broker for Server-Sent Events.
///
/// Without a command, runs one node with default settings, which keeps events in memory.
#[derive(Parser, Debug)]
#[command(
    name = "pipecast",
    version,
    after_help = "Examples:\n  \
    pipecast                                         one node, events in memory\n  \
    pipecast serve --redis redis://127.0.0.1:6379    one of several nodes\n  \
    pipecast publish p_aBcDeF --channel names '{\"name\":\"Luke\"}'\n  \
    pipecast tail p_aBcDeF\n  \
    pipecast demo                                    sample events and subscribers, to see it work\n  \
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
    `pipecast config` prints every setting.")]
struct ServeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Check the settings and print the values in effect, with secrets hidden
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
    /// Address for publishers and subscribers (server.listen)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Address for /metrics, /livez and /readyz (server.admin_listen)
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// Redis, shared by all nodes (redis.url). Without it, the node uses its embedded store
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Settings file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl SettingsArgs {
    fn sources(self, environment: Environment) -> Sources {
        let flags =
            [("server.listen", self.listen), ("server.admin_listen", self.admin_listen), ("redis.url", self.redis)];
        let flags = flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        Sources { flags, ..sources(self.config, environment) }
    }
}

/// Settings from a file and the environment.
fn sources(file: Option<PathBuf>, environment: Environment) -> Sources {
    let command_variables = command_variables(&Cli::command());
    Sources { file, environment, command_variables, flags: Vec::new() }
}

/// The environment variables that commands read for their own flags, such as `PIPECAST_TOKEN`. They may be set where a node
/// runs too.
fn command_variables(command: &clap::Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|argument| Some(argument.get_env()?.to_string_lossy().into_owned()));
    let mut variables: Vec<_> = own.chain(command.get_subcommands().flat_map(command_variables)).collect();
    variables.sort();
    variables.dedup();
    variables
}

/// Why a command failed, as its exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Failure {
    /// The command could not do its work: 1.
    Failed,
    /// Invalid arguments or settings: 2.
    Usage,
}

type Outcome = Result<(), Failure>;

/// Loads the settings, or prints every error in them.
fn load_settings(sources: &Sources) -> Result<(Settings, Vec<Row>), Failure> {
    Settings::load(sources).map_err(|errors| {
        print_error(format!("invalid configuration:\n{errors}"));
        Failure::Usage
    })
}

/// Runs the command that the arguments name.
///
/// Exit codes: 0 success, 1 failure, 2 usage error.
pub async fn run(environment: Environment) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are not errors.
            let is_requested = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            print_clap(&error, is_requested);
            return ExitCode::from(if is_requested { 0 } else { 2 });
        }
    };
    let outcome = match cli.command.unwrap_or_else(|| Command::Serve(ServeArgs::default())) {
        Command::Serve(args) => Box::pin(serve::serve(args.settings.sources(environment))).await,
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
