//! What a TLS listener shows, and whom it lets in: a certificate from files, read again when they have changed, or one that is
//! given while the process runs.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, DnsName, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

mod clients;
pub mod handshakes;
#[cfg(test)]
mod tests;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How often files are looked at, at most: a connection costs whoever opens it less than a look at the disk costs us.
const LOOK: Duration = Duration::from_secs(1);

/// Where the certificate and its key lie, both PEM. A mounted Secret of the type `kubernetes.io/tls` has them as `tls.crt` and
/// `tls.key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities whose certificates clients must show; `None` asks for none.
    pub client_ca: Option<PathBuf>,
    /// The names that clients' certificates must have, one of them each: an empty list lets nobody in. `None` asks for none.
    pub client_names: Option<Vec<DnsName<'static>>>,
}

/// What is spoken below TLS (ALPN, RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Why there is no TLS with these.
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
    #[error("{place} holds no {what} in PEM")]
    Pem {
        /// Which.
        place: String,
        /// What it should hold.
        what: &'static str,
    },
    /// They do not fit together, or the key is of no use.
    #[error("the certificate in {certificate} and the key in {key} cannot be used")]
    Unfit {
        /// Where the certificate is.
        certificate: String,
        /// Where the key is.
        key: String,
        /// Why.
        source: rustls::Error,
    },
    /// What should say whom to let in does not.
    #[error("{place} holds a certificate that is no authority's: {problem}")]
    Authority {
        /// Which.
        place: String,
        /// Why.
        problem: String,
    },
}

/// What is used for the next connection. Others may hold it too.
#[derive(Debug)]
pub struct Tls {
    /// `None`: what it shows is given.
    files: Option<TlsFiles>,
    protocol: Protocol,
    config: ArcSwapOption<ServerConfig>,
    /// The files as they were when they were last read, whether they were good or not.
    seen: Mutex<Seen>,
    /// When they were looked at last.
    looked: Mutex<Instant>,
}

/// When a file was last written, how long it is, and which it is: of the certificate, of the key and of the authorities.
type Seen = [Option<(SystemTime, u64, u64)>; 3];

impl Tls {
    /// Shows what these files hold.
    ///
    /// # Errors
    /// When they make no TLS now. Later the last good ones stay, and the log says why.
    pub fn load(files: TlsFiles, protocol: Protocol) -> Result<Self, TlsError> {
        let seen = seen(&files);
        let config = from_files(&files, protocol)?;
        let tls = Self { files: Some(files), seen: Mutex::new(seen), ..Self::awaited(protocol) };
        tls.config.store(Some(config));
        Ok(tls)
    }

    /// Shows what [`Self::give`] will give; before that nobody is answered.
    pub fn awaited(protocol: Protocol) -> Self {
        let (config, seen) = (ArcSwapOption::empty(), Mutex::default());
        Self { files: None, protocol, config, seen, looked: Mutex::new(Instant::now()) }
    }

    /// Takes this certificate and this key, both PEM, for connections that come from now on. `place` is what errors call them.
    ///
    /// # Errors
    /// When they make no TLS; the last good ones stay.
    pub fn give(&self, place: &str, certificate: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let certificate = Text { place: format!("tls.crt of {place}"), text: certificate };
        let key = Text { place: format!("tls.key of {place}"), text: key };
        let config = config(&certificate, &key, None, self.protocol)?;
        self.config.store(Some(config));
        Ok(())
    }

    /// Whether it has something to show.
    pub fn is_there(&self) -> bool {
        self.config.load().is_some()
    }

    /// TLS over a new connection, within its time. What goes wrong with one is between the client and its network: `None`.
    pub async fn accept(self: &Arc<Self>, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        if self.is_due() {
            // Who comes first in a second waits for the disk, on a thread that may; all others take what is there.
            let tls = Arc::clone(self);
            let _ = tokio::task::spawn_blocking(move || tls.look()).await;
        }
        let acceptor = TlsAcceptor::from(self.config.load_full()?);
        tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await.ok()?.ok()
    }

    /// Whether it is time for a look, which then is the caller's to take.
    fn is_due(&self) -> bool {
        if self.files.is_none() {
            return false;
        }
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = looked.elapsed() >= LOOK;
        if is_due {
            *looked = Instant::now();
        }
        is_due
    }

    /// Files that have changed are read again; while they are no good (a certificate that was written before its key) the last
    /// good ones stay.
    fn look(&self) {
        let Some(files) = &self.files else { return };
        let mut last = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen(files);
        if seen == *last {
            return;
        }
        let certificate = files.certificate.display();
        match from_files(files, self.protocol) {
            Ok(config) => {
                tracing::info!(%certificate, "a certificate was read again");
                self.config.store(Some(config));
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%certificate, error, "a new certificate is no good; the last one stays");
            }
        }
        *last = seen;
    }

    #[cfg(test)]
    fn current(&self) -> Option<Arc<ServerConfig>> {
        self.look();
        self.config.load_full()
    }
}

fn seen(files: &TlsFiles) -> Seen {
    [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()].map(|path| {
        let metadata = std::fs::metadata(path?).ok()?;
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    })
}

/// A text in PEM, and where it is from.
struct Text<'a> {
    place: String,
    text: &'a [u8],
}

impl Text<'_> {
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.text).collect();
        chain.ok().filter(|it| !it.is_empty()).ok_or_else(|| self.without("certificate"))
    }

    fn without(&self, what: &'static str) -> TlsError {
        TlsError::Pem { place: self.place.clone(), what }
    }
}

fn from_files(files: &TlsFiles, protocol: Protocol) -> Result<Arc<ServerConfig>, TlsError> {
    let place = |path: &Path| path.display().to_string();
    let (certificate, key) = (file(&files.certificate)?, Zeroizing::new(file(&files.key)?));
    let authorities = files.client_ca.as_deref().map(|path| Ok((place(path), file(path)?))).transpose()?;
    let names = files.client_names.as_deref();
    config(
        &Text { place: place(&files.certificate), text: &certificate },
        &Text { place: place(&files.key), text: &key },
        authorities.map(|(place, text)| clients::of(&Text { place, text: &text }, names)).transpose()?,
        protocol,
    )
}

fn config(
    certificate: &Text<'_>,
    key: &Text<'_>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    protocol: Protocol,
) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificate.certificates()?;
    let secret = PrivateKeyDer::from_pem_slice(key.text).map_err(|_| key.without("private key"))?;
    let unfit = |source| TlsError::Unfit { certificate: certificate.place.clone(), key: key.place.clone(), source };
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(unfit)?;
    let knows = clients.is_some();
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, secret).map_err(unfit)?;
    config.alpn_protocols = match protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    if knows {
        // A session that is resumed shows no certificate: it would outlive the one that it was begun with.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

fn file(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}
