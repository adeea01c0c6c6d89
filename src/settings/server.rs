//! Section `server`.

use std::net::SocketAddr;

use super::reader::Reader;
use crate::http::TlsFiles;
use crate::limits::proxies::{ForwardedHeader, TrustedProxies};

/// Section `server`.
#[derive(Debug)]
pub struct ServerSettings {
    /// Address for publishers and subscribers.
    pub listen: SocketAddr,
    /// Address for `/metrics`, `/livez` and `/readyz`.
    pub admin_listen: SocketAddr,
    /// The certificate; none means plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Origins whose pages may use the broker; a single `*` means all.
    pub cors_origins: Vec<String>,
    /// Whether the operator has set them.
    pub are_origins_decided: bool,
    /// Proxies that may name the client.
    pub trusted_proxies: TrustedProxies,
    /// The header in which they name it.
    pub forwarded_header: ForwardedHeader,
    /// Whether connections begin with a PROXY header.
    pub has_proxy_header: bool,
}

pub(super) fn read(r: &mut Reader) -> ServerSettings {
    let settings = ServerSettings {
        listen: r.address("server.listen", "127.0.0.1:8080", "Address for publishers and subscribers."),
        admin_listen: r.address("server.admin_listen", "127.0.0.1:8081", "Address for `/metrics`, `/livez` and `/readyz`."),
        tls: read_tls(r),
        cors_origins: r.origins("server.cors_origins", "*", "Origins whose pages may use the broker, separated by commas. `*` allows all, without credentials; with a list, the origin is echoed and credentials are allowed. If neither this nor `auth.publish` is set, pages of other machines can read but not publish or delete, and requests for a public host name are rejected."),
        are_origins_decided: r.is_given("server.cors_origins"),
        trusted_proxies: r.networks("server.trusted_proxies", "Networks of your proxies, for example `10.0.0.0/8,2001:db8::/32`. Only they may name the client in `server.forwarded_header`; from other addresses it is ignored."),
        forwarded_header: r.choice("server.forwarded_header", "x-forwarded-for", &[("x-forwarded-for", ForwardedHeader::XForwardedFor), ("forwarded", ForwardedHeader::Forwarded)], "Header in which trusted proxies name the client: `x-forwarded-for`, or `forwarded` (RFC 7239). The other one is ignored, because a proxy may pass it on as the client sent it."),
        has_proxy_header: r.choice("server.proxy_protocol", "off", &[("off", false), ("v2", true)], "`v2`: each connection must begin with a PROXY protocol header, version 2, and come from `server.trusted_proxies`; other connections are closed."),
    };
    if settings.has_proxy_header && settings.trusted_proxies.is_empty() {
        r.fault(
            "server.trusted_proxies",
            "is empty, so with server.proxy_protocol = v2 nobody could connect; set it to the addresses of your proxies",
        );
    }
    settings
}

fn read_tls(r: &mut Reader) -> Option<TlsFiles> {
    let cert = r.file(
        "server.tls_cert",
        "PEM file with the certificate chain. `server.listen` then accepts only TLS. Reloaded when it changes.",
    );
    let key = r.file("server.tls_key", "PEM file with the certificate's private key.");
    let (cert, key) = r.pair(("server.tls_cert", cert), ("server.tls_key", key))?;
    Some(TlsFiles { cert, key })
}
