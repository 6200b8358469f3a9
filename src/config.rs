//! The configuration of `cloakroom serve` and `cloakroom controller`: the file as written (`config/file.rs`), then the values as used. Defaults and
//! checks live here and nowhere else; `docs/configuration.md` is the reference.

mod controller;
mod file;
pub mod pod;
mod policies;
mod realms;
mod sidecars;
mod store;
mod tls;

#[cfg(test)]
mod tests;

pub use self::controller::ControllerSettings;
pub use self::policies::PoliciesConfig;
pub use self::sidecars::{SidecarsSettings, UsersSettings};
pub use self::store::StoreConfig;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::admin::caller::{Caller, CallerConfig, Realms, Verb};
use crate::api::byte_size::ByteSize;
use crate::api::duration::HumanDuration;
use crate::authz::credential::{Carrier, Carriers};
use crate::authz::policy::{RealmRights, RouteIdentity};
use crate::authz::session::Realm;
use crate::ext_authz::record::Decisions;
use crate::grpc::Address;
use crate::identity::outbound::{NetworkError, OutboundConfig};
use crate::sessions::SessionsConfig;
use crate::sessions::keyring::KeyRingConfig;
use crate::telemetry::LogFormat;

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

/// `jwt`.
#[derive(Clone, Debug)]
pub struct JwtConfig {
    /// The header services read, in lower case.
    pub header: String,
    /// The keys and what is made with them.
    pub ring: KeyRingConfig,
}

/// `telemetry`.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// The filter.
    pub log: String,
    /// How lines look.
    pub format: LogFormat,
    /// Which decisions leave a record.
    pub decisions: Decisions,
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
    let callers = callers(file.api, folder, &realms)?;
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
    let jwt = jwt(file.jwt, folder)?;
    let pod = file.policies.pod.as_ref().map(|dir| folder.join(dir));
    let policies = policies::resolve(file.policies, folder)?;
    Ok(Config {
        realm: realm.clone(),
        realms,
        listen,
        token_key_file: at(file.token.key_file, "token.key"),
        handle_key_file: file.token.handle_key_file.map(|path| folder.join(path)),
        carriers: carriers(file.token.carriers)?,
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
        providers: providers(file.providers, folder)?,
        callers,
        telemetry: telemetry(file.telemetry)?,
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

fn carriers(given: Option<Vec<file::CarrierFile>>) -> Result<Carriers, Wrong> {
    let key = "token.carriers";
    let written = given.unwrap_or_else(|| {
        vec![file::CarrierFile::Cookie("__Host-session".to_owned()), file::CarrierFile::Bearer(file::Empty {})]
    });
    let mut carriers = Vec::new();
    for carrier in written {
        carriers.push(match carrier {
            file::CarrierFile::Bearer(_) => Carrier::Bearer,
            file::CarrierFile::Header(name) => Carrier::Header(name.to_ascii_lowercase().into()),
            // RFC 6265bis §4.1.3.2: only this prefix binds a cookie to its host, in every browser.
            file::CarrierFile::Cookie(name) if name.starts_with("__Host-") && (8..=64).contains(&name.len()) => {
                Carrier::Cookie(name.into())
            }
            file::CarrierFile::Cookie(name) => {
                return Err(wrong(
                    key,
                    format!(
                        "`{name}` is not host-bound: begin the cookie's name with `__Host-`, at most 64 bytes in all"
                    ),
                ));
            }
        });
    }
    if carriers.len() > 8 || carriers.iter().filter(|it| matches!(it, Carrier::Cookie(_))).count() > 1 {
        return Err(wrong(key, "list at most 8 carriers and one cookie: two cookies would have to be ranked".into()));
    }
    Carriers::new(carriers).map_err(|error| wrong(key, error.to_string()))
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

fn jwt(file: file::JwtFile, folder: &Path) -> Result<JwtConfig, Wrong> {
    let header = file.header.unwrap_or_else(|| "x-session-jwt".to_owned()).to_ascii_lowercase();
    let plain = header.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !header.starts_with("x-") || header.len() > 64 || header.len() < 3 || !plain {
        return Err(wrong(
            "jwt.header",
            format!(
                "`{header}` is not a header name of ours: it begins with x- and has letters, digits and - after it, at most 64"
            ),
        ));
    }
    if header.starts_with("x-envoy-") || header.starts_with("x-forwarded-") {
        return Err(wrong(
            "jwt.header",
            format!("`{header}` belongs to the proxy: choose another, such as x-session-jwt"),
        ));
    }
    let Some(issuer) = file.issuer else {
        return Err(wrong(
            "jwt.issuer",
            "is required: the https URL that services know as this install, such as https://cloakroom.example".into(),
        ));
    };
    let uri: Option<http::Uri> = issuer.parse().ok();
    let good = uri.is_some_and(|it| {
        it.scheme_str() == Some("https") && it.host().is_some_and(|host| !host.is_empty()) && it.query().is_none()
    });
    if !good || issuer.contains(['#', '?', '"', '\\']) || issuer.len() > 512 {
        return Err(wrong(
            "jwt.issuer",
            format!("`{issuer}` is not an https URL without query and fragment (RFC 8414 §2)"),
        ));
    }
    let max_bytes = file.max_bytes.map_or(6 * 1024, ByteSize::get);
    let max_bytes = usize::try_from(max_bytes).ok().filter(|it| (512..=60 * 1024).contains(it));
    let ring = KeyRingConfig {
        dir: folder.join(file.keys_dir.as_deref().unwrap_or("keys")),
        issuer: issuer.trim_end_matches('/').to_owned(),
        algorithm: file.algorithm.unwrap_or_default(),
        lifetime: within("jwt.lifetime", file.lifetime, 60_000, 10_000, 60_000)?,
        max_bytes: max_bytes.ok_or_else(|| {
            wrong("jwt.maxBytes", "is out of bounds: 512 to 60Ki (Envoy's default for all headers together)".into())
        })?,
    };
    Ok(JwtConfig { header, ring })
}

fn providers(file: file::ProvidersFile, folder: &Path) -> Result<OutboundConfig, Wrong> {
    let written = file.networks.unwrap_or_default();
    if written.len() > 64 {
        return Err(wrong("providers.networks", format!("{} networks, the most is 64", written.len())));
    }
    let networks = written.iter().map(|text| text.parse().map_err(|error| wrong_network(&error)));
    Ok(OutboundConfig {
        networks: networks.collect::<Result<_, _>>()?,
        ca_file: file.ca_file.map(|path| folder.join(path)),
    })
}

fn wrong_network(error: &NetworkError) -> Wrong {
    wrong("providers.networks", error.to_string())
}

fn callers(
    file: file::ApiFile,
    folder: &Path,
    known: &BTreeMap<Realm, RealmRights>,
) -> Result<Vec<CallerConfig>, Wrong> {
    let mut callers: Vec<_> = file.token_file.map(|path| CallerConfig::admin(folder.join(path))).into_iter().collect();
    for written in file.callers {
        let name = written.name;
        if name.is_empty() || name.len() > 64 || callers.iter().any(|it| it.caller.name == name) {
            let problem =
                format!("`{name}` is not a name of its own, 1 to 64 bytes (`admin` is the caller of api.tokenFile)");
            return Err(wrong("api.callers", problem));
        }
        let realms = match written.realms {
            None => Realms::Any,
            Some(names) => Realms::Only(names.iter().map(|name| known_realm(name, known)).collect::<Result<_, _>>()?),
        };
        let verbs = match written.verbs {
            None => Verb::ALL.into(),
            Some(names) => names.iter().map(|name| verb(name)).collect::<Result<_, _>>()?,
        };
        callers
            .push(CallerConfig { caller: Caller { name, realms, verbs }, token_file: folder.join(written.token_file) });
    }
    Ok(callers)
}

fn known_realm(name: &str, known: &BTreeMap<Realm, RealmRights>) -> Result<Realm, Wrong> {
    let named = realm("api.callers.realms", name)?;
    let problem = || wrong("api.callers.realms", format!("`{name}` is not a realm of this install: add it to realms"));
    if known.contains_key(&named) { Ok(named) } else { Err(problem()) }
}

fn verb(name: &str) -> Result<Verb, Wrong> {
    let known: Vec<&str> = Verb::ALL.iter().map(|verb| verb.name()).collect();
    Verb::parse(name).ok_or_else(|| {
        wrong("api.callers.verbs", format!("no verb `{name}`: there are {}", crate::api::read::listed(&known)))
    })
}

fn telemetry(file: file::TelemetryFile) -> Result<TelemetryConfig, Wrong> {
    let format = match file.format.as_deref().unwrap_or("json") {
        "json" => LogFormat::Json,
        "text" => LogFormat::Text,
        other => return Err(wrong("telemetry.format", format!("`{other}` is not one of json, text"))),
    };
    let decisions = match file.decisions.as_deref().unwrap_or("denials") {
        "none" => Decisions::None,
        "denials" => Decisions::Denials,
        "all" => Decisions::All,
        other => return Err(wrong("telemetry.decisions", format!("`{other}` is not one of none, denials, all"))),
    };
    Ok(TelemetryConfig { log: file.log.unwrap_or_else(|| "info".to_owned()), format, decisions })
}
