//! What a node prints when it starts: its addresses, and commands to paste that work with its configuration. Where a token is
//! needed, that includes how to get one. A secret is never printed.

use std::net::SocketAddr;
use std::path::Path;

use crate::auth::{Access, AuthOptions, KeyTable, Right, SecretSource};
use crate::event::PipelineId;
use crate::settings::{Settings, Sources};

const PIPELINE: &str = "p_aBcDeF";
const CHANNEL: &str = "names";
const TOKEN_HEADER: &str = r#" -H "Authorization: Bearer $PIPECAST_TOKEN""#;

/// A token that the printed commands can use.
struct TokenSource {
    /// How to get it.
    instruction: String,
    /// A pipeline and a channel that it allows.
    pipeline: String,
    channel: String,
}

/// The whole text.
pub(super) fn quick_start(settings: &Settings, sources: &Sources, public: SocketAddr, admin: SocketAddr) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let what = match &settings.redis {
        None => "one node with an embedded store. Events are kept in memory and are lost when it stops.",
        Some(_) => "a node on Redis. All nodes on the same Redis form one broker.",
    };
    let scheme = if settings.server.tls.is_some() { "https" } else { "http" };
    let auth = &settings.auth;
    let needed: Vec<_> =
        [Right::Publish, Right::Subscribe].into_iter().filter(|right| auth.access(*right) == Access::Token).collect();
    let source = token_source(auth, sources, &needed);
    let header = |right| if needed.contains(&right) { TOKEN_HEADER } else { "" };
    let TokenSource { instruction, pipeline, channel } = &source;
    let pipeline = format!("{scheme}://{public}/pipelines/{pipeline}");
    let event = serde_json::json!({"channel": channel, "payload": {"name": "Luke"}}).to_string();
    let get_token = if needed.is_empty() { String::new() } else { format!("  Token       {instruction}\n") };
    format!(
        "Pipecast {version}: {what}\n\n  \
         public   {scheme}://{public}\n  \
         admin    http://{admin}\n\n  \
         Inspector   {pipeline}\n\
         {get_token}  \
         Subscribe   curl -N {pipeline}/sse{}\n  \
         Publish     curl -X POST {pipeline}/events{} -H 'Content-Type: application/json' -d {}\n\n",
        header(Right::Subscribe),
        header(Right::Publish),
        quoted(&event),
    )
}

/// The simplest way to a token with these rights: one that the user can make here, then a static key, then an issuer.
fn token_source(auth: &AuthOptions, sources: &Sources, needed: &[Right]) -> TokenSource {
    let any = |instruction| TokenSource { instruction, pipeline: PIPELINE.into(), channel: CHANNEL.into() };
    if let Some(signer) = signer(auth, sources) {
        return any(token_command(auth, sources, needed, &signer));
    }
    if let Some(source) = auth.keys.iter().find_map(|key| static_key(key, needed)) {
        return source;
    }
    if !auth.jwt_keys.is_empty() {
        // The node has only the public key.
        return any(token_command(auth, sources, needed, " --key-file PRIVATE_KEY.pem"));
    }
    let rights: Vec<_> = needed.iter().map(Right::to_string).collect();
    any(format!("set PIPECAST_TOKEN to a key or token that allows {PIPELINE}: {}", rights.join(" and ")))
}

/// The arguments with which `pipecast token` signs as this node verifies.
fn signer(auth: &AuthOptions, sources: &Sources) -> Option<String> {
    const VARIABLE: &str = "PIPECAST_AUTH__JWT_SECRET";
    let file = |flag: &str, path: &Path| format!(" {flag} {}", quoted(&path.display().to_string()));
    if let Some(path) = &auth.jwt_secret_file {
        return Some(file("--secret-file", path));
    }
    auth.jwt_secret.as_ref()?;
    if sources.environment.contains_key(VARIABLE) {
        // The shell that runs the command has the variable too, or can set it.
        return Some(String::new());
    }
    // In the configuration file, which the command reads.
    sources.file.as_ref().map(|_| String::new())
}

/// With the node's configuration file, if it has one: without it `pipecast token` could reject the rest of the settings.
fn token_command(auth: &AuthOptions, sources: &Sources, needed: &[Right], signer: &str) -> String {
    let mut command = format!("pipecast token --pipeline {PIPELINE}");
    needed.iter().for_each(|right| command.push_str(&format!(" --{right}")));
    command.push_str(signer);
    for (flag, claim) in [("--issuer", &auth.issuer), ("--audience", &auth.audience)] {
        if let Some(claim) = claim {
            command.push_str(&format!(" {flag} {}", quoted(claim)));
        }
    }
    if let Some(path) = &sources.file {
        command.push_str(&format!(" --config {}", quoted(&path.display().to_string())));
    }
    format!("export PIPECAST_TOKEN=$({command})")
}

/// A static key, if it has all these rights on one pipeline.
fn static_key(key: &KeyTable, needed: &[Right]) -> Option<TokenSource> {
    let patterns = key.rights.publish.iter().chain(&key.rights.subscribe).map(ToString::to_string);
    let names =
        patterns.map(|pattern| pattern.strip_suffix('*').map(|prefix| format!("{prefix}demo")).unwrap_or(pattern));
    let allows = |name: &String| {
        let pipeline = name.parse::<PipelineId>();
        pipeline.is_ok_and(|pipeline| needed.iter().all(|right| key.rights.allow(*right, &pipeline)))
    };
    let pipeline = std::iter::once(PIPELINE.to_owned()).chain(names).find(allows)?;
    let instruction = match &key.secret {
        SecretSource::File(path) => format!("export PIPECAST_TOKEN=$(cat {})", quoted(&path.display().to_string())),
        SecretSource::Given(_) => format!("set PIPECAST_TOKEN to the key `{}` of auth.keys", key.name),
    };
    let channel = key.rights.channels.as_ref().and_then(|channels| channels.first().cloned());
    Some(TokenSource { instruction, pipeline, channel: channel.unwrap_or_else(|| CHANNEL.into()) })
}

/// The text as one word of a shell command.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+=,".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.into()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
