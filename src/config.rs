//! The configuration of `cloakroom serve` and `cloakroom controller`: the file as written (`config/file.rs`), then the values as used. Defaults and
//! checks live here and nowhere else; `docs/configuration.md` is the reference.

mod callers;
mod carriers;
mod controller;
mod file;
mod jwt;
pub mod pod;
mod policies;
mod providers;
mod realms;
mod sidecars;
mod store;
mod telemetry;
mod tls;

#[cfg(test)]
mod tests;

pub use self::controller::ControllerSettings;
pub use self::jwt::JwtConfig;
pub use self::policies::PoliciesConfig;
pub use self::sidecars::{SidecarsSettings, UsersSettings};
pub use self::store::StoreConfig;
pub use self::telemetry::TelemetryConfig;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::admin::caller::CallerConfig;
use crate::api::byte_size::ByteSize;
use crate::api::duration::HumanDuration;
use crate::authz::credential::Carriers;
use crate::authz::policy::{RealmRights, RouteIdentity};
use crate::authz::session::Realm;
use crate::grpc::Address;
use crate::identity::outbound::OutboundConfig;
use crate::sessions::SessionsConfig;

/// Everything `serve` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The install's realm.
    pub realm: Realm,
    /// Every realm that a policy may name, the install's included, and which namespaces may do what in it.
    pub realms: BTreeMap<Realm, RealmRights>,
    /// Where to listen.
    pub listen: Listen,
    /// The token keys' file.
    pub token_key_file: PathBuf,
    /// The file that handles are sealed under; without it they are under the token keys.
    pub handle_key_file: Option<PathBuf>,
    /// Where tokens travel.
    pub carriers: Carriers,
    /// Limits and the view.
    pub sessions: SessionsConfig,
    /// The store.
    pub store: StoreConfig,
    /// Session JWTs.
    pub jwt: JwtConfig,
    /// Where policies come from.
    pub policies: PoliciesConfig,
    /// What the cluster says about the pod that this is a sidecar of ([`pod::read`]).
    pub pod: Option<PathBuf>,
    /// What the proxy's word about a request's route is worth.
    pub route_identity: RouteIdentity,
    /// How identity providers are asked.
    pub providers: OutboundConfig,
    /// The session API's callers.
    pub callers: Vec<CallerConfig>,
    /// Logs.
    pub telemetry: TelemetryConfig,
    /// How to end.
    pub shutdown: ShutdownConfig,
    /// How to answer checks.
    pub check: CheckConfig,
    /// How to process responses.
    pub response: ResponseConfig,
    /// The controller.
    pub controller: ControllerSettings,
}

/// `listen`.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Where Envoy asks.
    pub grpc: Address,
    /// JWKS and discovery.
    pub http: SocketAddr,
    /// Health and metrics.
    pub health: SocketAddr,
    /// Explain and policies; loopback.
    pub admin: SocketAddr,
    /// The session API.
    pub sessions: Option<SocketAddr>,
}

/// `shutdown`.
#[derive(Clone, Copy, Debug)]
pub struct ShutdownConfig {
    /// How long readiness is down before the listeners close.
    pub settle: Duration,
    /// How long running checks may take after that.
    pub drain: Duration,
}

/// `check`.
#[derive(Clone, Copy, Debug)]
pub struct CheckConfig {
    /// After which a check answers 503 itself.
    pub timeout: Duration,
    /// Threads.
    pub workers: usize,
}

/// `response`.
#[derive(Clone, Copy, Debug)]
pub struct ResponseConfig {
    /// After which a response whose change is not done becomes a 503.
    pub timeout: Duration,
}

/// Why a configuration file cannot be used. Says the file, the key, what is wrong and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not YAML of the right shape.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, where, and the nearest right key.
        message: String,
    },
    /// A value cannot be used.
    #[error("{}: {key}: {problem}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, dotted.
        key: Cow<'static, str>,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// What is wrong with one key.
struct Wrong(Cow<'static, str>, String);

fn wrong(key: impl Into<Cow<'static, str>>, problem: String) -> Wrong {
    Wrong(key.into(), problem)
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Checks the text of the file at `path`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let syntax = |message: String| ConfigError::Syntax { path: path.to_owned(), message };
        let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|error| syntax(error.to_string()))?;
        let value = if value.is_null() { serde_json::json!({}) } else { value };
        let written: file::File = crate::api::read::read(value).map_err(|error| syntax(error.to_string()))?;
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        resolve(written, folder).map_err(|Wrong(key, problem)| ConfigError::Value {
            path: path.to_owned(),
            key,
            problem,
        })
    }
}

fn resolve(file: file::File, folder: &Path) -> Result<Config, Wrong> {
    let at = |given: Option<String>, default: &str| folder.join(given.as_deref().unwrap_or(default));
    let realm = realm("realm", file.realm.as_deref().unwrap_or("default"))?;
    let realms = realms::resolve(&realm, file.realms.unwrap_or_default())?;
    let listen = listen(file.listen, folder)?;
    let callers = callers::resolve(file.api, folder, &realms)?;
    if listen.sessions.is_some() && callers.is_empty() {
        return Err(wrong(
            "api",
            "listen.sessions is set, so somebody must be allowed in: set api.tokenFile or api.callers".into(),
        ));
    }
    if listen.sessions.is_none() && !callers.is_empty() {
        return Err(wrong(
            "listen.sessions",
            "api has callers but the session API listens nowhere: set an address such as 127.0.0.1:9081".into(),
        ));
    }
    let mut sessions_file = file.sessions;
    let store = sessions_file.store.take();
    let sessions = sessions(sessions_file)?;
    let store = store::resolve(store, folder, &realm, sessions.max_staleness)?;
    let jwt = jwt::resolve(file.jwt, folder)?;
    let pod = file.policies.pod.as_ref().map(|dir| folder.join(dir));
    let policies = policies::resolve(file.policies, folder)?;
    Ok(Config {
        realm: realm.clone(),
        realms,
        listen,
        token_key_file: at(file.token.key_file, "token.key"),
        handle_key_file: file.token.handle_key_file.map(|path| folder.join(path)),
        carriers: carriers::resolve(file.token.carriers)?,
        controller: controller::resolve(file.controller, folder, jwt.ring.algorithm, &policies, &store)?,
        store,
        sessions,
        jwt,
        policies,
        pod,
        route_identity: match file.proxy.route_identity.as_deref().unwrap_or("verified") {
            "verified" => RouteIdentity::Verified,
            "trusted" => RouteIdentity::Trusted,
            other => {
                return Err(wrong("proxy.routeIdentity", format!("`{other}` is not one of verified, trusted")));
            }
        },
        providers: providers::resolve(file.providers, folder)?,
        callers,
        telemetry: telemetry::resolve(file.telemetry)?,
        shutdown: ShutdownConfig {
            settle: within("shutdown.settle", file.shutdown.settle, 2_000, 0, 300_000)?,
            drain: within("shutdown.drain", file.shutdown.drain, 10_000, 0, 3_600_000)?,
        },
        check: CheckConfig {
            timeout: within("check.timeout", file.check.timeout, 200, 10, 60_000)?,
            workers: match file.check.workers.unwrap_or(1) {
                workers @ 1..=256 => workers,
                other => return Err(wrong("check.workers", format!("{other} is out of bounds: 1 to 256"))),
            },
        },
        response: ResponseConfig { timeout: within("response.timeout", file.response.timeout, 1_000, 10, 60_000)? },
    })
}

fn realm(key: &'static str, name: &str) -> Result<Realm, Wrong> {
    Realm::parse(name).ok_or_else(|| {
        wrong(key, format!("`{name}` is not a realm's name: 1 to 63 of a-z, 0-9 and -, not at the ends"))
    })
}

/// A duration in milliseconds between `min` and `max`.
fn within(
    key: &'static str,
    given: Option<HumanDuration>,
    default: u64,
    min: u64,
    max: u64,
) -> Result<Duration, Wrong> {
    let value = given.map_or(Duration::from_millis(default), HumanDuration::get);
    let (least, most) = (Duration::from_millis(min), Duration::from_millis(max));
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    let word = |it: Duration| HumanDuration::new(it).map_or_else(|| format!("{it:?}"), |it| it.to_string());
    Err(wrong(key, format!("{} is out of bounds: {} to {}", word(value), word(least), word(most))))
}

fn listen(file: file::ListenFile, folder: &Path) -> Result<Listen, Wrong> {
    let tcp = |key: &'static str, given: Option<String>, default: &str| {
        let text = given.unwrap_or_else(|| default.to_owned());
        text.parse::<SocketAddr>()
            .map_err(|_| wrong(key, format!("`{text}` is not an address: write IP:PORT, such as {default}")))
    };
    let grpc = match file.grpc.unwrap_or_else(|| "unix:///run/cloakroom/gate.sock".to_owned()) {
        text if text.starts_with("unix:") => {
            let path = text.trim_start_matches("unix:");
            let path = folder.join(path.strip_prefix("//").unwrap_or(path));
            // sockaddr_un holds 108 bytes with the closing NUL.
            if path.as_os_str().len() > 107 {
                return Err(wrong("listen.grpc", "a socket file's path has at most 107 bytes".into()));
            }
            if file.tls.is_some() {
                return Err(wrong(
                    "listen.tls",
                    "a socket file has no TLS: remove it, or set listen.grpc to an address such as 0.0.0.0:9443".into(),
                ));
            }
            Address::Unix(path)
        }
        text => {
            let address = tcp("listen.grpc", Some(text), "127.0.0.1:9443")?;
            match file.tls {
                Some(files) => Address::Known { address, tls: tls::resolve(files, folder)? },
                None if address.ip().is_loopback() => Address::Loopback(address),
                None => {
                    return Err(wrong(
                        "listen.grpc",
                        format!(
                            "{address} can be reached by others; only proxies that are known may ask: set listen.tls (certFile, \
                             keyFile and clientCaFile), or a unix:///path or a loopback address such as 127.0.0.1:9443"
                        ),
                    ));
                }
            }
        }
    };
    let admin = tcp("listen.admin", file.admin, "127.0.0.1:9090")?;
    if !admin.ip().is_loopback() {
        return Err(wrong(
            "listen.admin",
            format!("{admin} can be reached by others; it must be a loopback address such as 127.0.0.1:9090"),
        ));
    }
    let sessions = file.sessions.map(|text| tcp("listen.sessions", Some(text), "127.0.0.1:9081")).transpose()?;
    // Plain HTTP with tokens in it: nobody beside this machine may read along (P36).
    if let Some(address) = sessions.filter(|address| !address.ip().is_loopback()) {
        return Err(wrong(
            "listen.sessions",
            format!(
                "{address} can be reached by others and speaks plain HTTP: use a loopback address such as 127.0.0.1:9081 \
                 and put a TLS proxy in front"
            ),
        ));
    }
    Ok(Listen {
        grpc,
        http: tcp("listen.http", file.http, "127.0.0.1:9080")?,
        health: tcp("listen.health", file.health, "0.0.0.0:9091")?,
        admin,
        sessions,
    })
}

fn sessions(file: file::SessionsFile) -> Result<SessionsConfig, Wrong> {
    const DAY: u64 = 24 * 3_600_000;
    let absolute = within("sessions.absolute", file.absolute, DAY, 60_000, 400 * DAY)?;
    let idle = within("sessions.idle", file.idle, 3_600_000, 10_000, 400 * DAY)?;
    if idle > absolute {
        return Err(wrong("sessions.idle", "is longer than sessions.absolute, so it would never be reached".into()));
    }
    let rotate_every = within("sessions.rotate.every", file.rotate.every, 900_000, 0, 400 * DAY)?;
    let view_bytes = file.view.max_bytes.map_or(64 << 20, ByteSize::get);
    if !((1 << 20)..=(1 << 40)).contains(&view_bytes) {
        return Err(wrong("sessions.view.maxBytes", "is out of bounds: 1Mi to 1Ti".into()));
    }
    Ok(SessionsConfig {
        idle,
        absolute,
        rotate_every: (!rotate_every.is_zero()).then_some(rotate_every),
        rotate_overlap: within("sessions.rotate.overlap", file.rotate.overlap, 30_000, 1_000, 600_000)?,
        view_bytes,
        max_staleness: within("sessions.view.maxStaleness", file.view.max_staleness, 5_000, 100, 60_000)?,
        negative: within("sessions.view.negative", file.view.negative, 2_000, 100, 60_000)?,
        hard_ttl: Duration::from_secs(60),
    })
}
