//! The target: where a server's streams are, and how events are published to it.

use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};

use clap::{Args, ValueEnum};
use url::Url;

use super::publisher::Request;
use super::stamp::{Stamp, Stamper};
use crate::cli::node_url::{InvalidUrl, NodeUrl};
use crate::cli::{InvalidToken, Token};

/// Servers whose addresses are known
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Preset {
    /// Pipecast
    Pipecast,
    /// Nchan with a publisher location /pub/<id> and an eventsource location /sub/<id>
    Nchan,
    /// Mercure with anonymous subscribers; publishing needs --publish-header
    Mercure,
    /// Centrifugo with uni_sse and clients that may subscribe; publishing needs --publish-header
    Centrifugo,
}

/// The server.
#[derive(Args, Debug)]
pub(super) struct TargetArgs {
    /// The kind of server; the options below override what follows from it
    #[arg(long, value_enum, default_value = "pipecast", help_heading = "Server")]
    preset: Preset,
    /// The server, in place of {url} below; repeat it to spread over several
    #[arg(
        long,
        env = "PIPECAST_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080",
        help_heading = "Server"
    )]
    url: Vec<NodeUrl>,
    /// A key or token for both. Other users of the machine see a command line: better by PIPECAST_TOKEN
    #[arg(long, env = "PIPECAST_TOKEN", hide_env_values = true, help_heading = "Server")]
    token: Option<Token>,
    /// Beginning of the pipelines' names; a random one if not given
    #[arg(long, value_name = "TEXT", help_heading = "Server")]
    prefix: Option<String>,
    /// A pipeline's stream, with {url} and {pipeline}
    #[arg(long, value_name = "TEMPLATE", help_heading = "Server")]
    stream_url: Option<String>,
    /// A header of stream requests, as "Name: value"
    #[arg(long, value_name = "HEADER", help_heading = "Server")]
    stream_header: Vec<String>,
    /// Where to publish, with {url} and {pipeline}
    #[arg(long, value_name = "TEMPLATE", help_heading = "Server")]
    publish_url: Option<String>,
    /// The method to publish with
    #[arg(long, value_name = "METHOD", default_value = "POST", help_heading = "Server")]
    publish_method: String,
    /// Content type of what is published
    #[arg(long, value_name = "TYPE", help_heading = "Server")]
    publish_type: Option<String>,
    /// One event, with {payload} and {pipeline}; a batch has one a line
    #[arg(long, value_name = "TEMPLATE", help_heading = "Server")]
    publish_body: Option<String>,
    /// A header of publish requests, as "Name: value"
    #[arg(long, value_name = "HEADER", help_heading = "Server")]
    publish_header: Vec<String>,
}

/// Why there is nothing to measure at such a target.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    #[error("{0}")]
    Url(#[from] InvalidUrl),
    #[error("--url {0}: the bench speaks plain http:// only; measure behind what ends TLS")]
    Scheme(String),
    #[error(
        "--stream-url or --publish-url is no address that begins with http://; write one such as {{url}}/pipelines/{{pipeline}}/sse"
    )]
    Address,
    #[error("--publish-body has no {{payload}}; the bench finds its events by it")]
    NoPayload,
    #[error("--batch: this server takes one event a request; to batch, give --publish-type and --publish-body")]
    NoBatch,
    #[error("{0}")]
    Token(#[from] InvalidToken),
    #[error("{host} cannot be resolved: {problem}")]
    Unresolved { host: String, problem: std::io::Error },
}

/// Requests of one run, ready to be written.
pub(super) struct Target {
    pub(super) preset: Preset,
    pub(super) urls: Vec<Url>,
    prefix: String,
    streams: Vec<Route>,
    publishing: Vec<Route>,
    stream_headers: String,
    publish_method: String,
    publish_headers: String,
    event: String,
}

/// One server's address and what follows it.
struct Route {
    address: SocketAddr,
    host: String,
    path: String,
}

struct Templates {
    stream_url: &'static str,
    publish_url: &'static str,
    publish_type: &'static str,
    batch_type: Option<&'static str>,
    event: &'static str,
}

impl Preset {
    /// As on the command line.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn templates(self) -> Templates {
        match self {
            Self::Pipecast => Templates {
                stream_url: "{url}/pipelines/{pipeline}/sse",
                publish_url: "{url}/pipelines/{pipeline}/events",
                publish_type: "application/json",
                batch_type: Some("application/x-ndjson"),
                event: r#"{"channel":"bench","payload":"{payload}"}"#,
            },
            Self::Nchan => Templates {
                stream_url: "{url}/sub/{pipeline}",
                publish_url: "{url}/pub/{pipeline}",
                publish_type: "application/json",
                batch_type: None,
                event: r#""{payload}""#,
            },
            Self::Mercure => Templates {
                stream_url: "{url}/.well-known/mercure?topic={pipeline}",
                publish_url: "{url}/.well-known/mercure",
                publish_type: "application/x-www-form-urlencoded",
                batch_type: None,
                event: "topic={pipeline}&data=%22{payload}%22",
            },
            // {"subs":{"<pipeline>":{}}}
            Self::Centrifugo => Templates {
                stream_url: "{url}/connection/uni_sse?cf_connect=%7B%22subs%22:%7B%22{pipeline}%22:%7B%7D%7D%7D",
                publish_url: "{url}/api/publish",
                publish_type: "application/json",
                batch_type: None,
                event: r#"{"channel":"{pipeline}","data":"{payload}"}"#,
            },
        }
    }
}

impl Target {
    /// Puts presets and overrides together and resolves the servers' names.
    pub(super) fn new(args: TargetArgs, run: u32, batch: usize) -> Result<Self, TargetError> {
        let templates = args.preset.templates();
        let urls = args.url.iter().map(NodeUrl::checked).collect::<Result<Vec<_>, _>>()?;
        if let Some(url) = urls.iter().find(|url| url.scheme() != "http") {
            return Err(TargetError::Scheme(url.to_string()));
        }
        let event = args.publish_body.as_deref().unwrap_or(templates.event);
        if !event.contains("{payload}") {
            return Err(TargetError::NoPayload);
        }
        let media_type = match (args.publish_type.as_deref(), templates.batch_type) {
            (Some(given), _) => given,
            (None, _) if batch == 1 => templates.publish_type,
            (None, Some(batched)) => batched,
            (None, None) => return Err(TargetError::NoBatch),
        };
        let routes = |template: &str| urls.iter().map(|url| Route::new(template, url)).collect::<Result<Vec<_>, _>>();
        let bearer = match args.token.as_ref().map(Token::header).transpose()? {
            Some(value) => format!("Authorization: {}\r\n", value.to_str().unwrap_or_default()),
            None => String::new(),
        };
        let lines =
            |headers: &[String]| headers.iter().map(|header| format!("{header}\r\n")).collect::<String>() + &bearer;
        Ok(Self {
            preset: args.preset,
            prefix: args.prefix.unwrap_or_else(|| format!("bench-{run:08x}-")),
            streams: routes(args.stream_url.as_deref().unwrap_or(templates.stream_url))?,
            publishing: routes(args.publish_url.as_deref().unwrap_or(templates.publish_url))?,
            stream_headers: lines(&args.stream_header),
            publish_method: args.publish_method,
            publish_headers: format!("Content-Type: {media_type}\r\n{}", lines(&args.publish_header)),
            event: event.into(),
            urls,
        })
    }

    /// Whether a publish with this status was taken. A node says 202 and no other: of those, a page behind a redirect is one.
    pub(super) fn acknowledges(&self, status: u16) -> bool {
        match self.preset {
            Preset::Pipecast => status == 202,
            Preset::Nchan | Preset::Mercure | Preset::Centrifugo => (200..300).contains(&status),
        }
    }

    /// Where streams of this server, counted around, connect to.
    pub(super) fn stream_address(&self, server: usize) -> SocketAddr {
        self.streams[server % self.streams.len()].address
    }

    /// The request of a stream of this server, counted around.
    pub(super) fn stream_request(&self, server: usize, pipeline: usize) -> String {
        let Route { host, path, .. } = &self.streams[server % self.streams.len()];
        let (path, headers) = (self.with_pipeline(path, pipeline), &self.stream_headers);
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n{headers}\r\n")
    }

    /// Where the publisher with this number connects to.
    pub(super) fn publish_address(&self, publisher: usize) -> SocketAddr {
        self.publishing[publisher % self.publishing.len()].address
    }

    /// Writes a request to publish events into `out`, in place of what is there.
    pub(super) fn write_publish_request(&self, request: &Request, stamper: &Stamper, out: &mut Vec<u8>) {
        let Route { host, path, .. } = &self.publishing[request.publisher % self.publishing.len()];
        let path = self.with_pipeline(path, request.pipeline);
        let event = self.with_pipeline(&self.event, request.pipeline);
        let (before, after) = event.split_once("{payload}").unwrap_or_default();
        let (events, newline) = (request.sequences.len(), "\n");
        let body_bytes =
            events * (before.len() + stamper.payload_bytes() + after.len() + newline.len()) - newline.len();
        let (method, headers) = (&self.publish_method, &self.publish_headers);
        out.clear();
        // A vector takes everything.
        let _ =
            write!(out, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {body_bytes}\r\n{headers}\r\n");
        for sequence in request.sequences.clone() {
            if sequence > request.sequences.start {
                out.extend_from_slice(newline.as_bytes());
            }
            out.extend_from_slice(before.as_bytes());
            stamper.write(Stamp { publisher: request.publisher, sequence, sent: request.due }, out);
            out.extend_from_slice(after.as_bytes());
        }
    }

    fn with_pipeline(&self, template: &str, pipeline: usize) -> String {
        template.replace("{pipeline}", &format!("{}{pipeline}", self.prefix))
    }
}

impl Route {
    /// Splits a template into a server and a path, which may still name the pipeline.
    fn new(template: &str, url: &Url) -> Result<Self, TargetError> {
        let whole = template.replace("{url}", url.as_str().trim_end_matches('/'));
        let wrong = || TargetError::Address;
        let after_scheme = whole.strip_prefix("http://").ok_or_else(wrong)?;
        let (host, path) = after_scheme.split_at(after_scheme.find(['/', '?']).unwrap_or(after_scheme.len()));
        let server = Url::parse(&format!("http://{host}")).map_err(|_| wrong())?;
        if !server.username().is_empty() || server.password().is_some() {
            return Err(InvalidUrl::User.into());
        }
        let name = server.host_str().ok_or_else(wrong)?;
        let unresolved = |problem| TargetError::Unresolved { host: host.into(), problem };
        let address = (name.trim_matches(['[', ']']), server.port().unwrap_or(80))
            .to_socket_addrs()
            .map_err(unresolved)?
            .next()
            .ok_or_else(|| unresolved(std::io::ErrorKind::NotFound.into()))?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self { address, host: host.into(), path: format!("{slash}{path}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        target: TargetArgs,
    }

    fn target(arguments: &[&str], batch: usize) -> Result<Target, TargetError> {
        let command = Command::try_parse_from([&["bench", "--prefix", "b"], arguments].concat()).unwrap();
        Target::new(command.target, 1, batch)
    }

    fn requests(target: &Target, events: usize) -> (String, String) {
        let mut out = Vec::new();
        let request = Request { publisher: 1, pipeline: 7, sequences: 2..2 + events, due: 5 };
        target.write_publish_request(&request, &Stamper::new(9, 40), &mut out);
        (target.stream_request(1, 7), String::from_utf8(out).unwrap())
    }

    const FIRST: &str = "pcb~00000009~000100000002000000000005---";
    const SECOND: &str = "pcb~00000009~000100000003000000000005---";

    #[test]
    fn presets_are_what_the_servers_expect() {
        let check = |preset: &str, stream: &str, publish: &str, media_type: &str, body: &str| {
            let target = target(&["--preset", preset, "--url", "http://127.0.0.1:81/base/"], 1).unwrap();
            let (get, post) = requests(&target, 1);
            let host = "Host: 127.0.0.1:81\r\n";
            assert_eq!(get, format!("GET /base{stream} HTTP/1.1\r\n{host}Accept: text/event-stream\r\n\r\n"));
            let (length, body) = (body.len() + FIRST.len(), body.replace('*', FIRST));
            let length = length - 1;
            let head = format!("{host}Content-Length: {length}\r\nContent-Type: {media_type}\r\n\r\n");
            assert_eq!(post, format!("POST /base{publish} HTTP/1.1\r\n{head}{body}"));
        };
        let json = "application/json";
        let (stream, publish) = ("/pipelines/b7/sse", "/pipelines/b7/events");
        check("pipecast", stream, publish, json, r#"{"channel":"bench","payload":"*"}"#);
        check("nchan", "/sub/b7", "/pub/b7", json, "\"*\"");
        let form = "application/x-www-form-urlencoded";
        let hub = "/.well-known/mercure";
        check("mercure", &format!("{hub}?topic=b7"), hub, form, "topic=b7&data=%22*%22");
        let connect = "/connection/uni_sse?cf_connect=%7B%22subs%22:%7B%22b7%22:%7B%7D%7D%7D";
        check("centrifugo", connect, "/api/publish", json, r#"{"channel":"b7","data":"*"}"#);
    }

    #[test]
    fn options_override_the_preset_and_batches_are_lines() {
        let options = ["--stream-url", "http://localhost/s/{pipeline}?x=1", "--stream-header", "A: b"];
        let publish =
            ["--publish-url", "{url}?id={pipeline}", "--publish-method", "PUT", "--publish-body", "<{payload}>"];
        let others = ["--url", "http://127.0.0.1:81", "--url", "http://127.0.0.2:82", "--publish-header", "C: d"];
        let target = target(&[&options[..], &publish, &others].concat(), 2).unwrap();
        let (get, post) = requests(&target, 2);
        assert_eq!(get, "GET /s/b7?x=1 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nA: b\r\n\r\n");
        let head = "PUT /?id=b7 HTTP/1.1\r\nHost: 127.0.0.2:82\r\nContent-Length: 85\r\n\
                    Content-Type: application/x-ndjson\r\nC: d\r\n\r\n";
        assert_eq!(post, format!("{head}<{FIRST}>\n<{SECOND}>"));
        assert_eq!(target.publish_address(1).to_string(), "127.0.0.2:82");
        assert_eq!(target.stream_address(1).port(), 80);
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        let check = |arguments: &[&str], batch, problem: &str| {
            let error = target(arguments, batch).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(problem), "{error}");
        };
        check(&["--url", "https://example.com"], 1, "http://");
        check(&["--preset", "nchan"], 2, "one event a request");
        check(&["--publish-body", "x"], 1, "{payload}");
        check(&["--stream-url", "/sub"], 1, "no address");
    }
}
