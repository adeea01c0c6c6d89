//! The target of a run: where a server's streams are, and how events are published to it.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};

use url::Url;

use super::preset::Preset;
use super::publish_request::PublishRequest;
use crate::tally::{Stamp, Stamper};

/// A server, and what differs from its preset. Templates may name `{url}`, `{pipeline}` and, in a body, `{payload}`.
pub struct TargetOptions {
    /// The kind of server.
    pub preset: Preset,
    /// Servers that streams and publishers are spread over, at least one. Only plain `http://`.
    pub urls: Vec<Url>,
    /// Value of the header `Authorization` of every request.
    pub authorization: Option<String>,
    /// Beginning of the pipelines' names; a random one if not given.
    pub prefix: Option<String>,
    /// Template of a stream's URL.
    pub stream_url: Option<String>,
    /// Headers of stream requests, as `Name: value`.
    pub stream_headers: Vec<String>,
    /// Template of the URL to publish to.
    pub publish_url: Option<String>,
    /// Method of publish requests.
    pub publish_method: String,
    /// Content type of publish requests.
    pub publish_type: Option<String>,
    /// Template of one event; several in a request are separated by line feeds.
    pub publish_body: Option<String>,
    /// Headers of publish requests, as `Name: value`.
    pub publish_headers: Vec<String>,
}

/// The options of a target make no requests. No message repeats a URL that may contain a secret.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// A URL that is not `http://`.
    #[error(
        "{scheme}:// cannot be measured: the load generator speaks plain http:// only. Measure behind the proxy that ends TLS"
    )]
    Scheme {
        /// The URL's.
        scheme: String,
    },
    /// A URL with a user or a password.
    #[error("the URLs of the server must not contain a user or password; use a token instead")]
    UserInfo,
    /// A template that gives no URL.
    #[error(
        "the stream URL or publish URL does not begin with http://; use for example {{url}}/pipelines/{{pipeline}}/sse"
    )]
    Address,
    /// A template without a place for the payload.
    #[error("the publish body has no {{payload}}, in which the load generator recognizes its events")]
    NoPayload,
    /// A batch for a server that accepts none.
    #[error("this server accepts one event per request; for batches, set the publish type and the publish body too")]
    NoBatch,
    /// A server whose address is unknown.
    #[error("cannot resolve {host}: {source}")]
    Unresolved {
        /// Its name.
        host: String,
        /// Why.
        source: io::Error,
    },
}

/// The requests of one run, ready to be written.
pub(crate) struct Target {
    preset: Preset,
    prefix: String,
    streams: Vec<Route>,
    publishing: Vec<Route>,
    stream_headers: String,
    publish_method: String,
    publish_headers: String,
    event: String,
}

/// The address of one server, and the path there.
struct Route {
    address: SocketAddr,
    host: String,
    path: String,
}

impl Target {
    /// Combines the preset with what overrides it, and resolves the servers' names.
    pub(crate) fn new(options: TargetOptions, run: u32, batch: usize) -> Result<Self, TargetError> {
        let templates = options.preset.templates();
        let urls = options.urls;
        if let Some(url) = urls.iter().find(|url| url.scheme() != "http") {
            return Err(TargetError::Scheme { scheme: url.scheme().to_owned() });
        }
        let event = options.publish_body.as_deref().unwrap_or(templates.event);
        if !event.contains("{payload}") {
            return Err(TargetError::NoPayload);
        }
        let media_type = match (options.publish_type.as_deref(), templates.batch_type) {
            (Some(given), _) => given,
            (None, _) if batch == 1 => templates.publish_type,
            (None, Some(batched)) => batched,
            (None, None) => return Err(TargetError::NoBatch),
        };
        let routes = |template: &str| urls.iter().map(|url| Route::new(template, url)).collect::<Result<Vec<_>, _>>();
        let authorization =
            options.authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        let lines = |headers: &[String]| {
            headers.iter().map(|header| format!("{header}\r\n")).collect::<String>() + &authorization
        };
        Ok(Self {
            preset: options.preset,
            prefix: options.prefix.unwrap_or_else(|| format!("bench-{run:08x}-")),
            streams: routes(options.stream_url.as_deref().unwrap_or(templates.stream_url))?,
            publishing: routes(options.publish_url.as_deref().unwrap_or(templates.publish_url))?,
            stream_headers: lines(&options.stream_headers),
            publish_method: options.publish_method,
            publish_headers: format!("Content-Type: {media_type}\r\n{}", lines(&options.publish_headers)),
            event: event.into(),
        })
    }

    /// Whether this status acknowledges a publish.
    pub(crate) fn acknowledges(&self, status: u16) -> bool {
        self.preset.acknowledges(status)
    }

    /// The address for streams of this server; numbers beyond the last server begin again at the first.
    pub(crate) fn stream_address(&self, server: usize) -> SocketAddr {
        self.streams[server % self.streams.len()].address
    }

    /// The request for a stream of this server and pipeline.
    pub(crate) fn stream_request(&self, server: usize, pipeline: usize) -> String {
        let Route { host, path, .. } = &self.streams[server % self.streams.len()];
        let (path, headers) = (self.with_pipeline(path, pipeline), &self.stream_headers);
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n{headers}\r\n")
    }

    /// The address for the publisher with this number.
    pub(crate) fn publish_address(&self, publisher: usize) -> SocketAddr {
        self.publishing[publisher % self.publishing.len()].address
    }

    /// Writes a request to publish events into `out`, and replaces what it held.
    pub(crate) fn write_publish_request(&self, request: &PublishRequest, stamper: &Stamper, out: &mut Vec<u8>) {
        let Route { host, path, .. } = &self.publishing[request.publisher % self.publishing.len()];
        let path = self.with_pipeline(path, request.pipeline);
        let event = self.with_pipeline(&self.event, request.pipeline);
        let (before, after) = event.split_once("{payload}").unwrap_or_default();
        let (events, newline) = (request.sequences.len(), "\n");
        let body_bytes =
            events * (before.len() + stamper.payload_bytes() + after.len() + newline.len()) - newline.len();
        let (method, headers) = (&self.publish_method, &self.publish_headers);
        out.clear();
        // Writing to a vector cannot fail.
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
    /// Splits a template into a server and a path, which may still contain `{pipeline}`.
    fn new(template: &str, url: &Url) -> Result<Self, TargetError> {
        let whole = template.replace("{url}", url.as_str().trim_end_matches('/'));
        let wrong = || TargetError::Address;
        let after_scheme = whole.strip_prefix("http://").ok_or_else(wrong)?;
        let (host, path) = after_scheme.split_at(after_scheme.find(['/', '?']).unwrap_or(after_scheme.len()));
        let server = Url::parse(&format!("http://{host}")).map_err(|_| wrong())?;
        if !server.username().is_empty() || server.password().is_some() {
            return Err(TargetError::UserInfo);
        }
        let name = server.host_str().ok_or_else(wrong)?;
        let unresolved = |source| TargetError::Unresolved { host: host.into(), source };
        let address = (name.trim_matches(['[', ']']), server.port().unwrap_or(80))
            .to_socket_addrs()
            .map_err(unresolved)?
            .next()
            .ok_or_else(|| unresolved(io::ErrorKind::NotFound.into()))?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self { address, host: host.into(), path: format!("{slash}{path}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(urls: &[&str]) -> TargetOptions {
        TargetOptions {
            preset: Preset::Pipecast,
            urls: urls.iter().map(|url| Url::parse(url).unwrap()).collect(),
            authorization: None,
            prefix: Some("b".into()),
            stream_url: None,
            stream_headers: vec![],
            publish_url: None,
            publish_method: "POST".into(),
            publish_type: None,
            publish_body: None,
            publish_headers: vec![],
        }
    }

    fn requests(target: &Target, events: usize) -> (String, String) {
        let mut out = Vec::new();
        let request = PublishRequest { publisher: 1, pipeline: 7, sequences: 2..2 + events, due: 5 };
        target.write_publish_request(&request, &Stamper::new(9, 40), &mut out);
        (target.stream_request(1, 7), String::from_utf8(out).unwrap())
    }

    const FIRST: &str = "pcb~00000009~000100000002000000000005---";
    const SECOND: &str = "pcb~00000009~000100000003000000000005---";

    #[test]
    fn presets_are_what_the_servers_expect() {
        let check = |preset, stream: &str, publish: &str, media_type: &str, body: &str| {
            let options = TargetOptions { preset, ..options(&["http://127.0.0.1:81/base/"]) };
            let target = Target::new(options, 1, 1).unwrap();
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
        check(Preset::Pipecast, stream, publish, json, r#"{"channel":"bench","payload":"*"}"#);
        check(Preset::Nchan, "/sub/b7", "/pub/b7", json, "\"*\"");
        let form = "application/x-www-form-urlencoded";
        let hub = "/.well-known/mercure";
        check(Preset::Mercure, &format!("{hub}?topic=b7"), hub, form, "topic=b7&data=%22*%22");
        let connect = "/connection/uni_sse?cf_connect=%7B%22subs%22:%7B%22b7%22:%7B%7D%7D%7D";
        check(Preset::Centrifugo, connect, "/api/publish", json, r#"{"channel":"b7","data":"*"}"#);
    }

    #[test]
    fn options_override_the_preset() {
        let options = TargetOptions {
            stream_url: Some("http://localhost/s/{pipeline}?x=1".into()),
            stream_headers: vec!["A: b".into()],
            publish_url: Some("{url}?id={pipeline}".into()),
            publish_method: "PUT".into(),
            publish_body: Some("<{payload}>".into()),
            publish_headers: vec!["C: d".into()],
            authorization: Some("Bearer t".into()),
            ..options(&["http://127.0.0.1:81", "http://127.0.0.2:82"])
        };
        let target = Target::new(options, 1, 2).unwrap();
        let (get, post) = requests(&target, 2);
        let head = "GET /s/b7?x=1 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n";
        assert_eq!(get, format!("{head}A: b\r\nAuthorization: Bearer t\r\n\r\n"));
        let head = "PUT /?id=b7 HTTP/1.1\r\nHost: 127.0.0.2:82\r\nContent-Length: 85\r\n\
                    Content-Type: application/x-ndjson\r\nC: d\r\nAuthorization: Bearer t\r\n\r\n";
        assert_eq!(post, format!("{head}<{FIRST}>\n<{SECOND}>"));
        assert_eq!(target.publish_address(1).to_string(), "127.0.0.2:82");
        assert_eq!(target.stream_address(1).port(), 80);
    }

    #[test]
    fn options_that_make_no_request_are_rejected() {
        let check = |options: TargetOptions, batch, problem: &str| {
            let error = Target::new(options, 1, batch).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(problem), "{error}");
        };
        let url = ["http://127.0.0.1:81"];
        check(options(&["https://example.com"]), 1, "http://");
        check(options(&["http://me:secret@127.0.0.1"]), 1, "must not contain a user");
        check(TargetOptions { preset: Preset::Nchan, ..options(&url) }, 2, "one event per request");
        check(TargetOptions { publish_body: Some("x".into()), ..options(&url) }, 1, "{payload}");
        check(TargetOptions { stream_url: Some("/sub".into()), ..options(&url) }, 1, "does not begin with http://");
    }
}
