//! `pipecast token inspect`: prints what a token contains, and whether a node with these settings accepts it.

use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::Value;

use crate::auth::{Access, Auth, Right, Rights, peek};
use crate::cli::{Environment, Failure, Outcome, load_settings, print_error, print_out, sources};
use crate::visible::visible;

/// Print what a token contains, and whether a node with these settings accepts it
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    pipecast token inspect < token.txt\n  \
    pipecast token inspect --config /etc/pipecast.toml < token.txt\n\n\
    Exit codes: 0 accepted, 1 rejected, 2 usage error.")]
pub(super) struct InspectArgs {
    /// The token. Prefer standard input, which is read without it: command lines are visible to other users
    #[arg(value_name = "TOKEN", hide_possible_values = true)]
    token: Option<String>,
    /// Settings file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) async fn inspect(args: InspectArgs, environment: Environment) -> Outcome {
    let sources = sources(args.config, environment);
    let (settings, _) = load_settings(&sources)?;
    let token = args.token.map_or_else(read_standard_input, Ok)?;
    let token = token.trim();
    print_claims(token);
    let settings = settings.auth;
    let accesses = [("publish", Right::Publish), ("subscribe", Right::Subscribe)]
        .map(|(name, right)| (name, right, settings.access(right)));
    let auth = Auth::load(settings).map_err(|error| fail(&error))?;
    auth.fetch_keys().await;
    let mut is_accepted = false;
    for (name, right, access) in accesses {
        let verdict = match auth.explain(token, right).await {
            Ok(explained) => {
                let key = explained.key_name.map(|key| format!("static key `{key}`, ")).unwrap_or_default();
                let scope = scope(&explained.rights, right);
                is_accepted |= scope.is_some();
                scope.map_or_else(
                    || format!("rejected: {key}valid, but without this permission"),
                    |scope| format!("accepted: {key}{scope}"),
                )
            }
            Err(fault) => format!("rejected: {fault}"),
        };
        let open = format!(" ({name} is open here, so nodes do not check tokens)");
        let note = if access == Access::Open { open } else { String::new() };
        // Patterns and channels are the token's own text, which may contain line feeds.
        print_out(format!("{name:<11}{}{note}\n", visible(&verdict)));
    }
    if is_accepted { Ok(()) } else { Err(Failure::Failed) }
}

fn read_standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| fail(&format!("standard input: {error}")))?;
    Ok(text)
}

fn fail(error: &dyn std::fmt::Display) -> Failure {
    print_error(error);
    Failure::Failed
}

/// Prints header, claims and expiry, unless the text is not a JSON Web Token.
fn print_claims(token: &str) {
    if let Some((header, claims)) = peek(token) {
        let pretty = |value: &Value| format!("{value:#}").replace('\n', "\n           ");
        print_out(format!("header     {}\nclaims     {}\n", pretty(&header), pretty(&claims)));
        print_out(format!("expires    {}\n", expiry(&claims)));
    }
}

/// The pipelines for which the rights include this one, and the channels; `None` if there are none.
fn scope(rights: &Rights, right: Right) -> Option<String> {
    let patterns = match right {
        Right::Publish => &rights.publish,
        Right::Subscribe => &rights.subscribe,
    };
    let list: Vec<_> = patterns.iter().map(ToString::to_string).collect();
    let channels = rights.channels.as_ref().filter(|_| right == Right::Subscribe);
    let limit = channels.map(|channels| format!(", only the channels {}", channels.join(", "))).unwrap_or_default();
    (!list.is_empty()).then(|| format!("{}{limit}", list.join(", ")))
}

fn expiry(claims: &Value) -> String {
    let Some(seconds) = claims["exp"].as_f64().filter(|seconds| (0.0..1e11).contains(seconds)) else {
        return "never, or `exp` is not a number".to_owned();
    };
    let moment = UNIX_EPOCH + Duration::from_secs_f64(seconds);
    let show = |duration: Duration| humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string();
    let distance = match moment.duration_since(SystemTime::now()) {
        Ok(left) => format!("in {}", show(left)),
        Err(error) => format!("{} ago", show(error.duration())),
    };
    format!("{}, {distance}", humantime::format_rfc3339_seconds(moment))
}
