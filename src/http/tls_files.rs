//! The files of the public listener's certificate.

use std::path::PathBuf;

/// Settings `server.tls_cert` and `server.tls_key`.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM: the certificate chain, the server's certificate first.
    pub cert: PathBuf,
    /// PEM: its private key, as PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}
