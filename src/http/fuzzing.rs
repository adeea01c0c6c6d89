//! Entry points for tests/fuzz into parsers of untrusted input. Built only for it.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};

use super::connection::proxy_header::{self, Introduced};
use super::{accept_encoding, query};
use crate::limits::proxies::Peer;
use crate::stream::content_encoding::ContentEncoding;

/// The client that a PROXY header from this proxy names, and how many bytes follow the header.
pub fn read_proxy_header(mut bytes: &[u8], proxy: IpAddr) -> (io::Result<Peer>, usize) {
    let read = proxy_header::read(&mut bytes).now_or_never().expect("a slice never waits");
    let peer = read.map(|introduced| match introduced {
        Introduced::Proxy => Peer::At(proxy),
        Introduced::Client(client) => Peer::At(client),
        Introduced::Unknown => Peer::Behind(proxy),
    });
    (peer, bytes.len())
}

/// Whether these `Accept-Encoding` lines ask for gzip.
pub fn wants_gzip(lines: &[&[u8]]) -> bool {
    let mut headers = HeaderMap::new();
    for value in lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(ACCEPT_ENCODING, value);
    }
    accept_encoding::choose(&headers) != ContentEncoding::Identity
}

/// The parts of a stream's query that can be compared.
#[derive(Debug)]
pub struct Query {
    /// `channel=`, each.
    pub channels: Vec<String>,
    /// `replay=`.
    pub replay: Option<usize>,
    /// `keepalive=`, in seconds.
    pub keepalive: Option<u8>,
}

/// Parses a stream's query with the default settings.
///
/// # Errors
/// The message that a client would get.
pub fn read_query(text: &str) -> Result<Query, String> {
    let query = query::Query::parse(Some(text), 100, Duration::from_secs(5)).map_err(|error| error.to_string())?;
    Ok(Query { channels: query.channels, replay: query.replay, keepalive: query.keepalive.map(Into::into) })
}
