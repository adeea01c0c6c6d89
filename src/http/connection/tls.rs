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

/// What HTTP/2 is called in the handshake.
pub(in crate::http) const H2: &[u8] = b"h2";

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not what it should be.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The two do not go together, or TLS cannot be set up with them.
    #[error("server.tls_cert and server.tls_key: {0}")]
    Pair(#[from] rustls::Error),
}

/// TLS as connections are accepted with it.
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

    /// Reads the files again whenever they change. Connections that are open stay as they are.
    /// Never ends by itself.
    pub(in crate::http) async fn follow_files(self) {
        let mut files = WatchedFiles::new(vec![self.files.cert.clone(), self.files.key.clone()]);
        loop {
            files.changed().await;
            // After a failure too: half a pair is written at a time, and the other half changes it again.
            match read(&self.files) {
                Ok(pair) => {
                    *self.current.0.write() = Arc::new(pair);
                    tracing::info!(cert = %self.files.cert.display(), "the certificate was read again");
                }
                Err(error) => tracing::error!(%error, "the certificate in use stays"),
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
        .map_err(|error| wrong(&files.cert, format!("it is no PEM file of certificates ({error:?})")))?;
    if certs.is_empty() {
        return Err(wrong(&files.cert, "there is no certificate in it; write it as PEM".to_owned()));
    }
    let key = open(&files.key)?;
    check_private_key(&key).map_err(|problem| wrong(&files.key, problem.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|error| wrong(&files.key, format!("there is no private key in it as PEM ({error:?})")))?;
    Ok(CertifiedKey::from_der(certs, key, &ring::default_provider())?)
}
