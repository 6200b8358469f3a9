//! Requests that leave this process because a policy's author named an address (P25).
//!
//! Who may write an IdentityProvider may not, by that, reach what only this pod can reach: the addresses of the machine, of the
//! link (where clouds keep their metadata) and of private networks are refused, unless the install allows them by
//! `providers.networks`. A name is resolved here and the connection goes to the addresses that were judged, so that it cannot mean
//! another one a moment later. There is no redirect and no proxy; `http` is for the machine itself alone.

mod lookups;
mod network;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder, Url};
use url_host::Host;

use self::lookups::Lookups;
pub use self::network::{Network, NetworkError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Idle connections to one host, and how long they are kept.
const IDLE_CONNECTIONS: usize = 4;
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_CA_FILE: u64 = 1 << 20;

/// What the install says (`providers` of the configuration).
#[derive(Clone, Debug, Default)]
pub struct OutboundConfig {
    /// The networks of the machine, the link and private ones that may be asked all the same.
    pub networks: Vec<Network>,
    /// Whom TLS trusts, PEM; the system's certificates unless told.
    pub ca_file: Option<PathBuf>,
}

/// Why the install's word cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The file of certificates cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// There is no certificate in it.
    #[error("{} holds no certificate in PEM that can be used", .0.display())]
    Certificates(PathBuf),
}

/// Why there is no answer. It holds nothing of what was sent or answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The address is not one that the install allows.
    #[error(
        "its address is not allowed: `https` is needed, and `providers.networks` for addresses that are not public"
    )]
    Address,
    /// No connection, or it broke.
    #[error("it cannot be reached: {0}")]
    Unreachable(Unreachable),
    /// It took too long.
    #[error("it took too long")]
    Timeout,
    /// It answered with this status.
    #[error("it answers with status {0}")]
    Status(u16),
    /// It answered with more than we read.
    #[error("its answer is too large")]
    TooLarge,
    /// It answered with what is not what was asked for.
    #[error("its answer is not what was asked for")]
    Malformed,
    /// Its discovery document names another issuer.
    #[error("its discovery document names another issuer")]
    Issuer,
}

/// What kind of trouble a connection had, in words that name no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreachable {
    Connect,
    Other,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "no connection, or no TLS that is trusted",
            Self::Other => "the connection broke",
        })
    }
}

/// An answer with status 200.
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
    pub(super) cache_control: String,
}

/// The one way out.
pub(super) struct Outbound {
    guard: Arc<Guard>,
    certificates: Option<Vec<Certificate>>,
    /// Made when it is first needed: reading the system's certificates takes longer than all else at the start.
    client: OnceLock<Option<Client>>,
}

/// Which addresses may be asked.
#[derive(Debug)]
struct Guard {
    networks: Vec<Network>,
}

impl Guard {
    fn allows(&self, address: IpAddr) -> bool {
        network::is_public(address) || self.networks.iter().any(|network| network.contains(address))
    }
}

impl Outbound {
    pub(super) fn new(config: &OutboundConfig) -> Result<Self, OutboundError> {
        let certificates = config.ca_file.as_deref().map(certificates).transpose()?;
        let guard = Arc::new(Guard { networks: config.networks.clone() });
        Ok(Self { guard, certificates, client: OnceLock::new() })
    }

    /// Gets a document of at most `most` bytes. The caller bounds the time.
    pub(super) async fn get(&self, url: &str, most: usize) -> Result<Answer, FetchError> {
        let url = self.checked(url)?;
        self.send(self.client()?.get(url), most).await
    }

    /// Posts a form; `authorization` is a whole field.
    pub(super) async fn post_form(
        &self,
        url: &str,
        authorization: &str,
        form: String,
        most: usize,
    ) -> Result<Answer, FetchError> {
        let url = self.checked(url)?;
        let mut authorization = HeaderValue::from_str(authorization).map_err(|_| FetchError::Malformed)?;
        authorization.set_sensitive(true);
        let request = self.client()?.post(url).header(AUTHORIZATION, authorization);
        self.send(request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form), most).await
    }

    async fn send(&self, request: RequestBuilder, most: usize) -> Result<Answer, FetchError> {
        let mut response = request.header(ACCEPT, "application/json").send().await.map_err(|error| trouble(&error))?;
        if response.status() != http::StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let cache_control = response.headers().get_all(CACHE_CONTROL).iter();
        let cache_control = cache_control.filter_map(|line| line.to_str().ok()).collect::<Vec<_>>().join(",");
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| trouble(&error))? {
            if body.len() + chunk.len() > most {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { body, cache_control })
    }

    /// The address, if it is one that may be asked. A host that is an address itself is judged here, a name when it is resolved.
    fn checked(&self, text: &str) -> Result<Url, FetchError> {
        let url = Url::parse(text).map_err(|_| FetchError::Address)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(FetchError::Address);
        }
        let literal = match Host::of(&url) {
            Host::Address(address) => Some(address),
            Host::Name => None,
            Host::Missing => return Err(FetchError::Address),
        };
        let allowed = match (url.scheme(), literal) {
            ("https", Some(address)) => self.guard.allows(address),
            ("https", None) => true,
            ("http", Some(address)) => address.is_loopback() && self.guard.allows(address),
            _ => false,
        };
        if allowed { Ok(url) } else { Err(FetchError::Address) }
    }

    fn client(&self) -> Result<&Client, FetchError> {
        let made = self.client.get_or_init(|| {
            let client = self.builder().build();
            if let Err(error) = &client {
                tracing::error!(error = error as &dyn std::error::Error, "identity providers cannot be asked: no TLS");
            }
            client.ok()
        });
        made.as_ref().ok_or(FetchError::Unreachable(Unreachable::Connect))
    }

    fn builder(&self) -> ClientBuilder {
        let builder = Client::builder()
            .user_agent(concat!("cloakroom/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            .dns_resolver(Guarded { guard: Arc::clone(&self.guard), lookups: Lookups::new() })
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_TIMEOUT);
        match &self.certificates {
            Some(certificates) => builder.tls_certs_only(certificates.iter().cloned()),
            None => builder,
        }
    }
}

fn certificates(file: &Path) -> Result<Vec<Certificate>, OutboundError> {
    let read = std::fs::metadata(file).and_then(|metadata| {
        if metadata.len() > MAX_CA_FILE {
            return Err(std::io::Error::other("over 1 MiB"));
        }
        std::fs::read(file)
    });
    let pem = read.map_err(|error| OutboundError::Read(file.to_owned(), error))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(OutboundError::Certificates(file.to_owned())),
    }
}

fn trouble(error: &reqwest::Error) -> FetchError {
    if error.is_timeout() {
        return FetchError::Timeout;
    }
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = source {
        if inner.is::<NotAllowed>() {
            return FetchError::Address;
        }
        source = inner.source();
    }
    FetchError::Unreachable(if error.is_connect() { Unreachable::Connect } else { Unreachable::Other })
}

/// Resolves names to addresses that may be asked.
struct Guarded {
    guard: Arc<Guard>,
    lookups: Arc<Lookups>,
}

/// A name has no address that may be asked.
#[derive(Debug, thiserror::Error)]
#[error("the name has no address that is allowed")]
struct NotAllowed;

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, lookups) = (Arc::clone(&self.guard), Arc::clone(&self.lookups));
        Box::pin(async move {
            let found = lookups.addresses(name.as_str()).await?;
            let allowed: Vec<SocketAddr> = found.into_iter().filter(|address| guard.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(NotAllowed.into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

/// The host of a URL, without the crate whose type it has.
mod url_host {
    use std::net::IpAddr;

    use reqwest::Url;

    pub(super) enum Host {
        Name,
        Address(IpAddr),
        Missing,
    }

    impl Host {
        pub(super) fn of(url: &Url) -> Self {
            match url.host_str() {
                None | Some("") => Self::Missing,
                Some(host) => {
                    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
                    bare.parse().map_or(Self::Name, Self::Address)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
