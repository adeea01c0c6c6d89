//! TLS for the public listener: a certificate that is read again when its files change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::files::pem::check_private_key;
use crate::files::text::read_bytes;
use crate::files::watched::WatchedFiles;
use crate::http::tls_files::TlsFiles;

/// HTTP/2's name in ALPN.
pub(in crate::http) const H2: &[u8] = b"h2";

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or its content is wrong.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The certificate and the key do not match, or TLS cannot be set up with them.
    #[error("server.tls_cert and server.tls_key: {0}")]
    Pair(#[from] rustls::Error),
}

/// TLS for new connections.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    files: TlsFiles,
    current: Arc<Current>,
}

/// The certificate in use.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().clone())
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When they are not a certificate and its key.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let current = Arc::new(Current(RwLock::new(Arc::new(read(&files)?))));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
        // A storm of reconnects resumes sessions instead of signing for each.
        config.ticketer = ring::Ticketer::new()?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), files, current })
    }

    /// For handshakes.
    pub(in crate::http) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Reloads the files whenever they change. Open connections keep their certificate. Never returns.
    pub(in crate::http) async fn follow_files(self) {
        let mut files = WatchedFiles::new(vec![self.files.cert.clone(), self.files.key.clone()]);
        loop {
            files.changed().await;
            // Also after a failure: when half of a pair has been written, the other half is another change.
            match read(&self.files) {
                Ok(pair) => {
                    *self.current.0.write() = Arc::new(pair);
                    tracing::info!(cert = %self.files.cert.display(), "reloaded the TLS certificate");
                }
                Err(error) => tracing::error!(%error, "cannot reload the TLS certificate; keeping the one in use"),
            }
        }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

fn read(files: &TlsFiles) -> Result<CertifiedKey, TlsError> {
    let wrong = |path: &Path, problem: String| TlsError::File { path: path.to_owned(), problem };
    let open = |path: &Path| read_bytes(path).map_err(|error: io::Error| wrong(path, error.to_string()));
    let certs: Vec<_> = CertificateDer::pem_slice_iter(&open(&files.cert)?)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(&files.cert, format!("not a PEM file with certificates ({error:?})")))?;
    if certs.is_empty() {
        return Err(wrong(&files.cert, "no certificate found; write it as PEM".to_owned()));
    }
    let key = open(&files.key)?;
    check_private_key(&key).map_err(|problem| wrong(&files.key, problem.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|error| wrong(&files.key, format!("no private key in PEM form found ({error:?})")))?;
    Ok(CertifiedKey::from_der(certs, key, &ring::default_provider())?)
}
