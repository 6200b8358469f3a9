//! The webhook's certificate: read from files, and again when they have changed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// Where the certificate and its key lie, both PEM. A mounted Secret of the type `kubernetes.io/tls` has them as `tls.crt` and
/// `tls.key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why the files make no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {what} in PEM", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// They do not fit together, or the key is of no use.
    #[error("the certificate in {} and the key in {} cannot be used", files.certificate.display(), files.key.display())]
    Unfit {
        /// The files.
        files: TlsFiles,
        /// Why.
        source: rustls::Error,
    },
}

/// What is used of the files now.
pub(super) struct Tls {
    files: TlsFiles,
    state: Mutex<State>,
}

struct State {
    config: Arc<ServerConfig>,
    /// The files as they were when they were last read, whether they were good or not.
    seen: Seen,
}

/// When a file was last written, and how long it is: of the certificate and of the key.
type Seen = [Option<(SystemTime, u64)>; 2];

impl Tls {
    pub(super) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let seen = seen(&files);
        let config = config(&files)?;
        Ok(Self { files, state: Mutex::new(State { config, seen }) })
    }

    /// The configuration for the next connection. Files that have changed are read again; while they are no good (a certificate
    /// that was written before its key) the last good ones stay.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen(&self.files);
        if seen != state.seen {
            match config(&self.files) {
                Ok(config) => {
                    tracing::info!(certificate = %self.files.certificate.display(), "the webhook's certificate was read again");
                    state.config = config;
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the webhook's new certificate is no good; the last one stays");
                }
            }
            state.seen = seen;
        }
        state.config.clone()
    }
}

fn seen(files: &TlsFiles) -> Seen {
    [&files.certificate, &files.key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let pem = |path: &Path, what| TlsError::Pem { path: path.to_owned(), what };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file(&files.certificate)?).collect();
    let chain = chain.ok().filter(|it| !it.is_empty()).ok_or_else(|| pem(&files.certificate, "certificate"))?;
    let secret = Zeroizing::new(file(&files.key)?);
    let key = PrivateKeyDer::from_pem_slice(&secret).map_err(|_| pem(&files.key, "private key"))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|source| TlsError::Unfit { files: files.clone(), source })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn file(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}
