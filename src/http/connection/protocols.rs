//! What a listener's connections may speak, and who is at the other end of one.

use std::time::Duration;

use hyper::server::conn;

use super::http2_stream::StreamExecutor;
use super::tls::Tls;
use crate::limits::ConnectionSlot;
use crate::limits::proxies::Peer;

/// What the connections of a listener may speak.
#[derive(Clone, Debug)]
pub(in crate::http) struct Protocols {
    pub(in crate::http) http1: conn::http1::Builder,
    /// The largest request head.
    pub(in crate::http) head_bytes: usize,
    /// `None` where only HTTP/1 is spoken.
    pub(in crate::http) http2: Option<conn::http2::Builder<StreamExecutor>>,
    pub(in crate::http) tls: Option<Tls>,
    /// Whether connections begin with a PROXY protocol header.
    pub(in crate::http) has_proxy_header: bool,
    /// Maximum time until it is known what the client speaks, TLS handshake included.
    pub(in crate::http) opening_timeout: Duration,
}

/// The client as far as it is known, and the place that its connection takes.
pub(in crate::http) struct Visitor {
    pub(in crate::http) peer: Peer,
    pub(in crate::http) place: ConnectionSlot,
}
