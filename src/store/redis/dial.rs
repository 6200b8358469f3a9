//! One connection to one server: TLS, the user, the protocol.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo as _,
    ProtocolVersion, PushInfo, RedisConnectionInfo, TlsCertificates,
};
use tokio::time::timeout;
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
    /// The ACL user; `default` unless told.
    pub user: Option<String>,
    /// The file with its password.
    pub password: Option<PathBuf>,
    /// TLS; without it the connection is plain.
    pub tls: Option<Tls>,
}

/// TLS to the servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Who may vouch for them (PEM); the system's authorities unless told.
    pub ca: Option<PathBuf>,
    /// Our own certificate chain and key (PEM), where servers ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why there is no connection. Each says what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{path} cannot be read")]
    File { path: String, source: Arc<std::io::Error> },
    #[error("{0} holds no password: write it there, on one line")]
    NoPassword(String),
    #[error("the server refused the user or the password: check username and passwordFile")]
    Refused(#[source] redis::RedisError),
    #[error("no connection within {DIAL_WITHIN:?}")]
    Late,
    #[error(
        "less than half of the sentinels agree on a master of the name {0}: check sentinel.master and sentinel.addresses"
    )]
    Disagreed(String),
    #[error("no connection")]
    Failed(#[source] redis::RedisError),
}

/// A connection, and whether it speaks RESP3 (and so can be told of changes).
pub(super) struct Dialled {
    pub(super) connection: MultiplexedConnection,
    pub(super) can_be_told: bool,
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
        match self.dial_with(address, database, ProtocolVersion::RESP3, told.clone()).await {
            Ok(connection) => Ok(Dialled { connection, can_be_told: true }),
            Err(DialError::Failed(error)) if error.kind() == ErrorKind::RESP3NotSupported => {
                let connection = self.dial_with(address, database, ProtocolVersion::RESP2, told).await?;
                Ok(Dialled { connection, can_be_told: false })
            }
            Err(error) => Err(error),
        }
    }

    async fn dial_with(
        &self,
        address: &Address,
        database: i64,
        protocol: ProtocolVersion,
        told: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, DialError> {
        let mut settings = RedisConnectionInfo::default().set_db(database).set_protocol(protocol);
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(path) = &self.password {
            let text = Zeroizing::new(read(path)?);
            let password = std::str::from_utf8(&text).unwrap_or_default().trim_end_matches(['\r', '\n']);
            if password.is_empty() {
                return Err(DialError::NoPassword(path.display().to_string()));
            }
            settings = settings.set_password(password);
        }
        let client = self.client(address, settings)?;
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(DIAL_WITHIN))
            // Each call has a deadline of its own.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        if protocol == ProtocolVersion::RESP3 {
            config = config.set_push_sender(move |push| {
                told(push);
                Ok::<(), redis::aio::SendError>(())
            });
        }
        match timeout(DIAL_WITHIN, client.get_multiplexed_async_connection_with_config(&config)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) if refuses(&error) => Err(DialError::Refused(error)),
            Ok(Err(error)) => Err(DialError::Failed(error)),
            Err(_) => Err(DialError::Late),
        }
    }

    fn client(&self, address: &Address, settings: RedisConnectionInfo) -> Result<Client, DialError> {
        let (host, port) = (address.host.clone(), address.port);
        let Some(tls) = &self.tls else {
            let info = ConnectionAddr::Tcp(host, port).into_connection_info().map_err(DialError::Failed)?;
            return Client::open(info.set_redis_settings(settings)).map_err(DialError::Failed);
        };
        let root_cert = tls.ca.as_ref().map(read).transpose()?;
        let client_tls = match &tls.identity {
            None => None,
            Some((cert, key)) => Some(ClientTlsConfig { client_cert: read(cert)?, client_key: read(key)? }),
        };
        let address = ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None };
        let info = address.into_connection_info().map_err(DialError::Failed)?.set_redis_settings(settings);
        Client::build_with_tls(info, TlsCertificates { client_tls, root_cert }).map_err(DialError::Failed)
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, DialError> {
    std::fs::read(path).map_err(|error| DialError::File { path: path.display().to_string(), source: Arc::new(error) })
}

/// `WRONGPASS`, `NOAUTH`, `NOPERM`: a person has to do something about it.
fn refuses(error: &redis::RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed || matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"))
}
