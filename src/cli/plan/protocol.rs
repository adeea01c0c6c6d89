//! The protocol between a stream's client, or the load balancer in front, and a node. Costs depend on it.

use clap::ValueEnum;

/// What streams reach a node with.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[value(rename_all = "kebab-case")]
pub(super) enum Protocol {
    /// HTTP/1.1, one stream per connection
    Http1,
    /// HTTP/2 without TLS, 100 streams per connection
    Http2,
    /// HTTP/1.1 over TLS
    Tls,
    /// HTTP/2 over TLS, 100 streams per connection
    TlsHttp2,
}
