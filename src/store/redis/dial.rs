//! One connection to one server: TCP, TLS, the user, the protocol.
//!
//! The library would open the stream as well; we do, so that a connection trusts whom the configuration says and nobody else,
//! and files are read where waiting for a disk holds nobody up.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, ErrorKind, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::address::Address;

/// How long a connection may take to be made, greeting and all.
const DIAL_WITHIN: Duration = Duration::from_secs(1);
/// How many calls wait to be written to one connection; more wait in their callers.
const QUEUE: usize = 256;

/// Who we are to a server, and how we know that it is the right one. Files are read anew for each connection, so that what
/// rotates needs no restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The ACL user; `default` unless told. Needs a password.
    pub user: Option<String>,
    /// The file with its password.
    pub password: Option<PathBuf>,
    /// TLS; without it the connection is plain.
    pub tls: Option<Tls>,
}

/// TLS to the servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Who may vouch for them (PEM), and nobody else; the system's authorities unless told.
    pub ca: Option<PathBuf>,
    /// Our own certificate chain and key (PEM), where servers ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why there is no connection. Each says what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{path} cannot be read")]
    File { path: String, source: Arc<std::io::Error> },
    #[error("{0} holds no password: write it there in UTF-8, on one line")]
    NoPassword(String),
    #[error("{path} does not serve: {problem}")]
    Pem { path: String, problem: &'static str },
    #[error("the system has no certificate authorities: name one in tls.caFile")]
    NoAuthorities,
    #[error("the certificates and the key do not make a TLS client")]
    Tls(#[source] Arc<rustls::Error>),
    #[error("no TLS connection")]
    Handshake(#[source] Arc<std::io::Error>),
    #[error("the server refused the user, the password or a command: check username, passwordFile and the user's ACL")]
    Refused(#[source] RedisError),
    #[error(
        "less than half of the sentinels agree on a master of the name {0}: check sentinel.master and sentinel.addresses"
    )]
    Disagreed(String),
    #[error("no connection within {DIAL_WITHIN:?}")]
    Late,
    #[error("no connection")]
    Unreachable(#[source] Arc<std::io::Error>),
    #[error("no connection")]
    Failed(#[source] RedisError),
    #[error("the connection does not prove itself")]
    Unproved(#[source] Box<super::node::Lost>),
}

/// A connection, and whether it speaks RESP3 (and so can be told of changes).
#[derive(Debug)]
pub(super) struct Dialled {
    pub(super) connection: Connection,
    pub(super) can_be_told: bool,
}

/// A connection that ends when the last clone of it is dropped.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    calls: MultiplexedConnection,
    _driver: Arc<Driver>,
}

#[derive(Debug)]
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Deref for Connection {
    type Target = MultiplexedConnection;

    fn deref(&self) -> &MultiplexedConnection {
        &self.calls
    }
}

/// What the files say.
struct Papers {
    password: Option<Zeroizing<String>>,
    tls: Option<Arc<ClientConfig>>,
}

impl Access {
    /// Connects. `told` hears every push, in the order in which the server sent it and before any later answer is given out;
    /// the loss of the connection is the last one.
    pub(super) async fn dial(
        &self,
        address: &Address,
        database: i64,
        told: impl Fn(PushInfo) + Clone + Send + Sync + 'static,
    ) -> Result<Dialled, DialError> {
        self.dial_with(None, address, database, told).await
    }

    /// [`Self::dial`] with a password that is known by other ways, which counts as long as the file has none.
    pub(super) async fn dial_with(
        &self,
        password: Option<Zeroizing<String>>,
        address: &Address,
        database: i64,
        told: impl Fn(PushInfo) + Clone + Send + Sync + 'static,
    ) -> Result<Dialled, DialError> {
        let access = self.clone();
        // Off the threads that answer checks: a disk may take its time.
        let papers =
            tokio::task::spawn_blocking(move || access.read(password)).await.map_err(|_| DialError::Late)??;
        let dialled = async {
            match self.greet(address, database, &papers, ProtocolVersion::RESP3, told.clone()).await {
                Ok(connection) => Ok(Dialled { connection, can_be_told: true }),
                Err(DialError::Failed(error)) if knows_no_resp3(&error) => {
                    let connection = self.greet(address, database, &papers, ProtocolVersion::RESP2, told).await?;
                    Ok(Dialled { connection, can_be_told: false })
                }
                Err(error) => Err(error),
            }
        };
        timeout(DIAL_WITHIN, dialled).await.unwrap_or(Err(DialError::Late))
    }

    async fn greet(
        &self,
        address: &Address,
        database: i64,
        papers: &Papers,
        protocol: ProtocolVersion,
        told: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<Connection, DialError> {
        let unreachable = |error| DialError::Unreachable(Arc::new(error));
        let tcp = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(unreachable)?;
        // Calls are small, and each is waited for.
        tcp.set_nodelay(true).map_err(unreachable)?;
        let Some(tls) = &papers.tls else {
            return self.speak(tcp, database, papers, protocol, told).await;
        };
        let handshake = |error| DialError::Handshake(Arc::new(error));
        let name = ServerName::try_from(address.host.clone())
            .map_err(|error| handshake(std::io::Error::new(std::io::ErrorKind::InvalidInput, error)))?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await.map_err(handshake)?;
        self.speak(stream, database, papers, protocol, told).await
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        database: i64,
        papers: &Papers,
        protocol: ProtocolVersion,
        told: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<Connection, DialError> {
        // What we are called is no business of the server's, and one before 7.2 knows no rule that allows the word.
        let settings = RedisConnectionInfo::default().set_db(database).set_protocol(protocol);
        let mut settings = settings.set_skip_set_lib_name();
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &papers.password {
            settings = settings.set_password(password.as_str());
        }
        // Each call has a deadline of its own.
        let mut config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(QUEUE);
        if protocol == ProtocolVersion::RESP3 {
            config = config.set_push_sender(move |push| {
                told(push);
                Ok::<(), SendError>(())
            });
        }
        let connected = MultiplexedConnection::new_with_config(&settings, stream, config).await;
        let (calls, driver) = connected.map_err(|error| match refuses(&error) {
            true => DialError::Refused(error),
            false => DialError::Failed(error),
        })?;
        let driver = Driver(tokio::spawn(driver).abort_handle());
        Ok(Connection { calls, _driver: Arc::new(driver) })
    }

    fn read(&self, known: Option<Zeroizing<String>>) -> Result<Papers, DialError> {
        let password = match (self.password.as_deref().map(password).transpose(), known) {
            (Ok(Some(written)), _) => Some(written),
            (_, Some(known)) => Some(known),
            (of_file, None) => of_file?,
        };
        let tls = self.tls.as_ref().map(Tls::client).transpose()?;
        Ok(Papers { password, tls })
    }
}

impl Tls {
    fn client(&self) -> Result<Arc<ClientConfig>, DialError> {
        let config = ClientConfig::builder().with_root_certificates(self.authorities()?);
        let config = match &self.identity {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                let wrong = |problem| DialError::Pem { path: key.display().to_string(), problem };
                let secret = Zeroizing::new(read(key)?);
                let key =
                    PrivateKeyDer::from_pem_slice(&secret).map_err(|_| wrong("it holds no private key in PEM"))?;
                config
                    .with_client_auth_cert(certificates(chain)?, key)
                    .map_err(|error| DialError::Tls(Arc::new(error)))?
            }
        };
        Ok(Arc::new(config))
    }

    fn authorities(&self) -> Result<RootCertStore, DialError> {
        let mut authorities = RootCertStore::empty();
        let Some(path) = &self.ca else {
            authorities.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return if authorities.is_empty() { Err(DialError::NoAuthorities) } else { Ok(authorities) };
        };
        for certificate in certificates(path)? {
            authorities.add(certificate).map_err(|error| DialError::Tls(Arc::new(error)))?;
        }
        Ok(authorities)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, DialError> {
    let wrong = || DialError::Pem { path: path.display().to_string(), problem: "it holds no certificates in PEM" };
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    read.ok().filter(|certificates| !certificates.is_empty()).ok_or_else(wrong)
}

fn password(path: &Path) -> Result<Zeroizing<String>, DialError> {
    let bytes = Zeroizing::new(read(path)?);
    let text = std::str::from_utf8(&bytes).map(|text| text.trim_end_matches(['\r', '\n'])).unwrap_or_default();
    match text.is_empty() {
        true => Err(DialError::NoPassword(path.display().to_string())),
        false => Ok(Zeroizing::new(text.to_owned())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, DialError> {
    std::fs::read(path).map_err(|error| DialError::File { path: path.display().to_string(), source: Arc::new(error) })
}

/// `WRONGPASS`, `NOAUTH`, `NOPERM`: a person has to do something about it.
fn refuses(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed || matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"))
}

/// A server before Redis 6, or something that only looks like one. The library knows one of the ways in which they say so.
fn knows_no_resp3(error: &RedisError) -> bool {
    let unknown = error.detail().is_some_and(|detail| {
        let detail = detail.to_ascii_lowercase();
        detail.starts_with("unknown command") && detail.contains("hello")
    });
    error.kind() == ErrorKind::RESP3NotSupported || error.code() == Some("NOPROTO") || unknown
}
