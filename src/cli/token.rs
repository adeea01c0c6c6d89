//! `pipecast token`: makes a token, or explains one.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::Value;

use super::{Environment, Failure, Outcome, complain, say};
use crate::auth::{
    Access, Auth, AuthOptions, AuthSetupError, Mint, MintError, MintKey, Pattern, Right, Rights, Secret, peek,
    read_text,
};
use crate::files::text::read_bytes;
use crate::settings::{Settings, Sources};
use crate::visible::visible;

/// Make a token, or explain one
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    PIPECAST_AUTH__JWT_SECRET=... pipecast token --pipeline p_aBcDeF --subscribe --ttl 10m\n  \
    pipecast token --pipeline 'p_*' --publish --ttl 1h --key-file private.pem --kid 2026-1\n  \
    pipecast token --check < token.txt\n\n\
    The secret, the issuer and the audience are those of the settings, unless given here.\n\
    A token on a command line can be seen by other users of the machine: pass it on standard input or by PIPECAST_TOKEN.")]
pub(super) struct TokenArgs {
    /// A pipeline that the token is for, or a pattern such as 'p_*'; repeatable
    #[arg(long, value_name = "PATTERN", required_unless_present = "check")]
    pipeline: Vec<Pattern>,
    /// It gives the right to publish
    #[arg(long)]
    publish: bool,
    /// It gives the right to read
    #[arg(long)]
    subscribe: bool,
    /// It reads only this channel; repeatable
    #[arg(long, value_name = "CHANNEL", requires = "subscribe")]
    channel: Vec<String>,
    /// For how long it is good
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// A file with the secret to sign with, for HS256
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    secret_file: Option<PathBuf>,
    /// A private key to sign with: RSA, P-256 or Ed25519, as PEM
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The algorithm: HS256, HS384, HS512, RS256, PS256, ES256 or EdDSA; what the key is for if not given
    #[arg(long, value_name = "NAME")]
    alg: Option<String>,
    /// Its own name, to revoke it by; a random one if not given
    #[arg(long, value_name = "TEXT")]
    jti: Option<String>,
    /// The key's name, where nodes have several
    #[arg(long, value_name = "TEXT")]
    kid: Option<String>,
    /// Who makes it (`iss`)
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,
    /// For whom (`aud`)
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,
    /// Explain a token, or one on standard input: what it says, and whether a node with these settings takes it
    #[arg(long, value_name = "TOKEN", num_args = 0..=1, default_missing_value = "-", hide_possible_values = true, conflicts_with_all = ["pipeline", "publish", "subscribe", "secret_file", "key_file"])]
    check: Option<String>,
    /// A file of settings, TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error("{0}")]
    Secret(#[from] AuthSetupError),
    #[error("there is nothing to sign with; give --secret-file or --key-file, or set PIPECAST_AUTH__JWT_SECRET")]
    NoKey,
    #[error("it would give no right; add --subscribe or --publish")]
    NoRight,
    #[error("{0}")]
    Mint(#[from] MintError),
}

pub(super) async fn token(args: TokenArgs, environment: Environment) -> Outcome {
    let sources = Sources { file: args.config.clone(), environment, flags: Vec::new() };
    let (settings, _) = Settings::load(&sources).map_err(|faults| {
        complain(format!("the settings are not right:\n{faults}"));
        Failure::Usage
    })?;
    if let Some(token) = &args.check {
        return check(token, settings.auth).await;
    }
    match make(args, &settings.auth) {
        Ok(token) => {
            say(format!("{token}\n"));
            Ok(())
        }
        Err(error) => {
            complain(&error);
            Err(match error {
                TokenError::File { .. } | TokenError::Secret(_) => Failure::Failed,
                TokenError::NoKey | TokenError::NoRight | TokenError::Mint(_) => Failure::Usage,
            })
        }
    }
}

fn make(args: TokenArgs, settings: &AuthOptions) -> Result<String, TokenError> {
    if !args.publish && !args.subscribe {
        return Err(TokenError::NoRight);
    }
    let key = match (&args.key_file, args.secret_file.as_ref().or(settings.jwt_secret_file.as_ref())) {
        (Some(path), _) => MintKey::from_pem(&read(path)?)
            .map_err(|error| TokenError::File { path: path.clone(), problem: error.to_string() })?,
        (None, Some(path)) => MintKey::from_secret(&Secret::new(read_text(path)?.trim()))?,
        (None, None) => MintKey::from_secret(settings.jwt_secret.as_ref().ok_or(TokenError::NoKey)?)?,
    };
    let patterns = |is_wanted: bool| if is_wanted { args.pipeline.clone() } else { Vec::new() };
    let mint = Mint {
        publish: patterns(args.publish),
        subscribe: patterns(args.subscribe),
        channels: args.channel,
        ttl: args.ttl,
        jti: Some(args.jti.unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()))),
        key_id: args.kid,
        issuer: args.issuer.or_else(|| settings.issuer.clone()),
        audience: args.audience.or_else(|| settings.audience.clone()),
    };
    Ok(mint.sign(&key, args.alg.as_deref())?)
}

fn read(path: &Path) -> Result<Vec<u8>, TokenError> {
    read_bytes(path).map_err(|error| TokenError::File { path: path.to_owned(), problem: error.to_string() })
}

async fn check(token: &str, settings: AuthOptions) -> Outcome {
    let fail = |error: &dyn std::fmt::Display| {
        complain(error);
        Failure::Failed
    };
    let mut token = token.to_owned();
    if token == "-" {
        token.clear();
        std::io::stdin().read_to_string(&mut token).map_err(|error| fail(&format!("standard input: {error}")))?;
    }
    let token = token.trim();
    if let Some((header, claims)) = peek(token) {
        let pretty = |value: &Value| format!("{value:#}").replace('\n', "\n           ");
        say(format!("header     {}\nclaims     {}\n", pretty(&header), pretty(&claims)));
        say(format!("expires    {}\n", expiry(&claims)));
    }
    let uses = [("publish", Right::Publish, settings.publish), ("subscribe", Right::Subscribe, settings.subscribe)];
    let auth = Auth::load(settings).map_err(|error| fail(&error))?;
    auth.fetch_keys().await;
    let mut is_good = false;
    for (name, right, access) in uses {
        let verdict = match auth.explain(token, right).await {
            Ok(explained) => {
                let what = explained.key_name.map(|key| format!("static key `{key}`, ")).unwrap_or_default();
                let list = scope(&explained.rights, right);
                is_good |= list.is_some();
                list.map_or_else(
                    || format!("refused: {what}it is valid, but not for this"),
                    |list| format!("accepted: {what}{list}"),
                )
            }
            Err(fault) => format!("refused: {fault}"),
        };
        let note = if access == Access::Open { " (open here: no token is looked at)" } else { "" };
        // A token says what it likes, line feeds too.
        say(format!("{name:<11}{}{note}\n", visible(&verdict)));
    }
    if is_good { Ok(()) } else { Err(Failure::Failed) }
}

/// What a right is for.
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
