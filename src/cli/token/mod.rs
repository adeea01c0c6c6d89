//! `pipecast token`: makes a token. `inspect` explains one.

mod inspect;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Environment, Failure, Outcome, load_settings, print_error, print_out, sources};
use crate::auth::{AuthOptions, AuthSetupError, NewToken, Pattern, Secret, SigningError, SigningKey, read_text};
use crate::files::text::read_bytes;
use inspect::InspectArgs;

/// Make a token, or inspect one
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  \
    PIPECAST_AUTH__JWT_SECRET=... pipecast token --pipeline p_aBcDeF --subscribe --ttl 10m\n  \
    pipecast token --pipeline 'p_*' --publish --ttl 1h --key-file private.pem --kid 2026-1\n  \
    pipecast token inspect < token.txt\n\n\
    The secret, the issuer and the audience default to those of the settings."
)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: Option<TokenCommand>,
    /// A pipeline that the token allows, or a pattern such as 'p_*'. Repeatable
    #[arg(long, value_name = "PATTERN", required = true)]
    pipeline: Vec<Pattern>,
    /// Allow publishing
    #[arg(long)]
    publish: bool,
    /// Allow subscribing and reading the history
    #[arg(long)]
    subscribe: bool,
    /// Limit reading to this channel. Repeatable
    #[arg(long, value_name = "CHANNEL", requires = "subscribe")]
    channel: Vec<String>,
    /// How long the token is valid
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// File with the secret to sign with (HS256)
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    secret_file: Option<PathBuf>,
    /// Private key to sign with: RSA, P-256 or Ed25519, in PEM
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// HS256, HS384, HS512, RS256, PS256, ES256 or EdDSA. Defaults to the first that the key supports
    #[arg(long, value_name = "NAME")]
    alg: Option<String>,
    /// The token's id (`jti`), by which it can be revoked. Random by default
    #[arg(long, value_name = "TEXT")]
    jti: Option<String>,
    /// The key's id (`kid`), if nodes have several keys
    #[arg(long, value_name = "TEXT")]
    kid: Option<String>,
    /// The issuer (`iss`)
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,
    /// The audience (`aud`)
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,
    /// Settings file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum TokenCommand {
    Inspect(InspectArgs),
}

/// Why no token can be made.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error(transparent)]
    Secret(#[from] AuthSetupError),
    #[error("no key to sign with; give --secret-file or --key-file, or set PIPECAST_AUTH__JWT_SECRET")]
    NoKey,
    #[error("a token needs at least one permission: add --subscribe or --publish")]
    NoRight,
    #[error(transparent)]
    Signing(#[from] SigningError),
}

pub(super) async fn token(args: TokenArgs, environment: Environment) -> Outcome {
    if let Some(TokenCommand::Inspect(args)) = args.command {
        return inspect::inspect(args, environment).await;
    }
    let sources = sources(args.config.clone(), environment);
    let (settings, _) = load_settings(&sources)?;
    match make(args, &settings.auth) {
        Ok(token) => {
            print_out(format!("{token}\n"));
            Ok(())
        }
        Err(error) => {
            print_error(&error);
            Err(match error {
                TokenError::File { .. } | TokenError::Secret(_) => Failure::Failed,
                TokenError::NoKey | TokenError::NoRight | TokenError::Signing(_) => Failure::Usage,
            })
        }
    }
}

fn make(args: TokenArgs, settings: &AuthOptions) -> Result<String, TokenError> {
    if !args.publish && !args.subscribe {
        return Err(TokenError::NoRight);
    }
    let key = match (&args.key_file, args.secret_file.as_ref().or(settings.jwt_secret_file.as_ref())) {
        (Some(path), _) => SigningKey::from_pem(&read(path)?)
            .map_err(|error| TokenError::File { path: path.clone(), problem: error.to_string() })?,
        (None, Some(path)) => SigningKey::from_secret(&Secret::new(read_text(path)?.trim()))?,
        (None, None) => SigningKey::from_secret(settings.jwt_secret.as_ref().ok_or(TokenError::NoKey)?)?,
    };
    let patterns = |is_wanted: bool| if is_wanted { args.pipeline.clone() } else { Vec::new() };
    let mint = NewToken {
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
