//! `sessions.store`: which store, and where.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::{ClusterFile, RedisFile, SentinelFile, StoreFile, StoreKind, TlsFile, WaitFile};
use super::{Wrong, within, wrong};
use crate::authz::plan::CLOCK_LEEWAY;
use crate::authz::session::Realm;
use crate::store::redis::{Access, Address, RedisConfig, Sentinel, Servers, Tls, Wait};

/// `sessions.store`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreConfig {
    /// `kind: memory`
    Memory,
    /// `kind: embedded`
    Embedded {
        /// The file.
        path: PathBuf,
    },
    /// `kind: redis`
    Redis(Box<RedisConfig>),
}

pub(super) fn resolve(
    given: Option<StoreFile>,
    folder: &Path,
    realm: &Realm,
    max_staleness: Duration,
) -> Result<StoreConfig, Wrong> {
    let file = given.unwrap_or(StoreFile { kind: StoreKind::Embedded, path: None, redis: None });
    if file.path.is_some() && file.kind != StoreKind::Embedded {
        return Err(wrong(
            "sessions.store.path",
            "only an embedded store has a file: leave it out, or say kind: embedded".into(),
        ));
    }
    if file.redis.is_some() && file.kind != StoreKind::Redis {
        return Err(wrong("sessions.store.redis", "belongs to kind: redis: leave it out, or say kind: redis".into()));
    }
    Ok(match file.kind {
        StoreKind::Memory => StoreConfig::Memory,
        StoreKind::Embedded => {
            StoreConfig::Embedded { path: folder.join(file.path.as_deref().unwrap_or("sessions.redb")) }
        }
        StoreKind::Redis => {
            let file = file.redis.unwrap_or_default();
            StoreConfig::Redis(Box::new(redis(file, folder, realm, max_staleness)?))
        }
    })
}

fn redis(file: RedisFile, folder: &Path, realm: &Realm, max_staleness: Duration) -> Result<RedisConfig, Wrong> {
    let tls = file.tls.map(|tls| self::tls(tls, folder)).transpose()?;
    // Redis takes a user only with a password; without one the connection would be that of `default`.
    if file.username.is_some() && file.password_file.is_none() {
        return Err(wrong("sessions.store.redis.passwordFile", "is missing beside username".into()));
    }
    let password = |given: Option<String>| given.map(|path| folder.join(path));
    let (servers, tls, database) = match (file.url, file.sentinel, file.cluster) {
        (Some(url), None, None) => {
            let (address, secure, database) = url_parts(&url)?;
            if !secure && tls.is_some() {
                let problem = "asks for plain connections while tls is set: begin it with rediss://, or take tls away";
                return Err(wrong("sessions.store.redis.url", problem.into()));
            }
            (Servers::One(address), secure.then(|| tls.unwrap_or_default()), database)
        }
        (None, Some(sentinel), None) => {
            let access = Access {
                user: sentinel.username.clone(),
                password: password(sentinel.password_file.clone()),
                tls: tls.clone(),
            };
            (Servers::Sentinel(self::sentinel(sentinel, access)?), tls, None)
        }
        (None, None, Some(ClusterFile { addresses })) => {
            (Servers::Cluster(self::addresses("sessions.store.redis.cluster.addresses", &addresses)?), tls, None)
        }
        _ => {
            return Err(wrong(
                "sessions.store.redis",
                "say where Redis is by one of url (one server), sentinel or cluster".into(),
            ));
        }
    };
    let database = match (file.database, database) {
        (Some(_), Some(_)) => {
            return Err(wrong("sessions.store.redis.database", "the url names one too: say it once".into()));
        }
        (given, of_url) => given.or(of_url).unwrap_or(0),
    };
    let most = if matches!(servers, Servers::Cluster(_)) { 0 } else { 1_023 };
    if !(0..=most).contains(&database) {
        let problem = format!("{database} is out of bounds: 0 to {most} (a cluster has database 0 alone)");
        return Err(wrong("sessions.store.redis.database", problem));
    }
    Ok(RedisConfig {
        servers,
        database,
        access: Access { user: file.username, password: password(file.password_file), tls },
        wait: file.wait.map(self::wait).transpose()?,
        realm: realm.clone(),
        max_staleness,
        // Half of what other gates forgive, or a gate whose clock is ahead would make them refuse what it has used.
        clock_leeway: CLOCK_LEEWAY / 2,
        // Several rounds fit into the time that an entry is believed without one.
        probe_every: (max_staleness / 5).clamp(Duration::from_millis(50), Duration::from_secs(1)),
        probe_within: (max_staleness / 4).clamp(Duration::from_millis(50), Duration::from_secs(1)),
    })
}

/// `redis://host[:port][/database]`, or `rediss` with TLS.
fn url_parts(url: &str) -> Result<(Address, bool, Option<i64>), Wrong> {
    let key = "sessions.store.redis.url";
    let shape = || wrong(key, "is not redis://HOST[:PORT][/DATABASE], or rediss:// with TLS".into());
    let (scheme, rest) = url.split_once("://").ok_or_else(shape)?;
    let secure = match scheme {
        "redis" => false,
        "rediss" => true,
        _ => return Err(shape()),
    };
    // The text may hold a password, so no message repeats it.
    if rest.contains('@') {
        return Err(wrong(key, "holds a user or a password: write them as username and passwordFile".into()));
    }
    let (authority, database) = match rest.split_once('/') {
        Some((authority, "")) => (authority, None),
        Some((authority, database)) => (authority, Some(database.parse().map_err(|_| shape())?)),
        None => (rest, None),
    };
    let bare = !authority.starts_with('[') && authority.matches(':').count() > 1;
    if bare || authority.contains(['?', '#']) {
        return Err(shape());
    }
    let with_port = format!("{authority}:6379");
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let address = Address::parse(if has_port { authority } else { &with_port }).ok_or_else(shape)?;
    Ok((address, secure, database))
}

fn sentinel(file: SentinelFile, access: Access) -> Result<Sentinel, Wrong> {
    if file.master.is_empty() || file.master.len() > 255 || file.master.chars().any(char::is_whitespace) {
        let problem = "is not a name of a master, such as mymaster (sentinel.conf: sentinel monitor NAME …)";
        return Err(wrong("sessions.store.redis.sentinel.master", problem.into()));
    }
    if file.username.is_some() && file.password_file.is_none() {
        return Err(wrong("sessions.store.redis.sentinel.passwordFile", "is missing beside username".into()));
    }
    let addresses = addresses("sessions.store.redis.sentinel.addresses", &file.addresses)?;
    Ok(Sentinel { master: file.master, addresses, access })
}

fn addresses(key: &'static str, given: &[String]) -> Result<Vec<Address>, Wrong> {
    let mut addresses = Vec::new();
    for (i, text) in given.iter().enumerate() {
        // The text may hold a password, so no message repeats it.
        let problem = || wrong(key, format!("entry {} is not HOST:PORT", i + 1));
        let address = Address::parse(text).ok_or_else(problem)?;
        if addresses.contains(&address) {
            return Err(wrong(key, format!("entry {} is there twice", i + 1)));
        }
        addresses.push(address);
    }
    if addresses.is_empty() || addresses.len() > 64 {
        return Err(wrong(key, "list 1 to 64 of HOST:PORT".into()));
    }
    Ok(addresses)
}

fn tls(file: TlsFile, folder: &Path) -> Result<Tls, Wrong> {
    let identity = match (file.cert_file, file.key_file) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((folder.join(cert), folder.join(key))),
        (Some(_), None) => return Err(wrong("sessions.store.redis.tls.keyFile", "is missing beside certFile".into())),
        (None, Some(_)) => return Err(wrong("sessions.store.redis.tls.certFile", "is missing beside keyFile".into())),
    };
    Ok(Tls { ca: file.ca_file.map(|path| folder.join(path)), identity })
}

fn wait(file: WaitFile) -> Result<Wait, Wrong> {
    if !(1..=16).contains(&file.replicas) {
        let problem = format!("{} is out of bounds: 1 to 16; leave wait out to wait for none", file.replicas);
        return Err(wrong("sessions.store.redis.wait.replicas", problem));
    }
    // Below the 2 s that a change may take in all.
    let timeout = within("sessions.store.redis.wait.timeout", file.timeout, 500, 10, 1_500)?;
    Ok(Wait { replicas: file.replicas, timeout })
}
