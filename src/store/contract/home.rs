//! Where the stores of the suite live.

use std::sync::Arc;
use std::time::Duration;

use e2e::process::wait_until;
use e2e::redis::cluster::RedisCluster;
use e2e::redis::sentinel::{SentinelOptions, Sentinels};
use e2e::redis::{Redis, RedisOptions};
use tempfile::TempDir;

use super::done;
use crate::authz::session::{Session, SessionId};
use crate::store::embedded::EmbeddedStore;
use crate::store::fixtures::{realm, sid};
use crate::store::memory::MemoryStore;
use crate::store::redis::stats::RedisStats;
use crate::store::redis::{Access, Address, RedisConfig, RedisStore, Sentinel, Servers as Places};
use crate::store::{Loaded, Store};

/// Where stores live. One place has many, one after the other.
#[derive(Clone)]
pub(super) enum Place {
    Memory,
    Embedded,
    Redis(Arc<Servers>),
}

/// Running servers of Redis.
pub(super) enum Servers {
    One(Box<Redis>),
    Sentinel(Sentinels),
    Cluster(RedisCluster),
}

impl Servers {
    pub(super) fn all(&self) -> &[Redis] {
        match self {
            Self::One(server) => std::slice::from_ref(&**server),
            Self::Sentinel(servers) => servers.servers(),
            Self::Cluster(servers) => servers.nodes(),
        }
    }

    pub(super) fn config(&self) -> Places {
        let address = |at: std::net::SocketAddr| Address::parse(&at.to_string()).unwrap();
        match self {
            Self::One(server) => Places::One(address(server.address())),
            Self::Sentinel(servers) => Places::Sentinel(Sentinel {
                master: servers.master_name().to_owned(),
                addresses: servers.sentinel_addresses().into_iter().map(address).collect(),
                access: Access::default(),
            }),
            Self::Cluster(servers) => Places::Cluster(servers.addresses().into_iter().map(address).collect()),
        }
    }

    /// Whoever is no master refuses, and gets it from its master.
    pub(super) async fn flush(&self) {
        for server in self.all() {
            let _ = server.command(&["FLUSHALL"]).await;
        }
    }
}

impl Place {
    pub(super) async fn memory() -> Self {
        Self::Memory
    }

    pub(super) async fn embedded() -> Self {
        Self::Embedded
    }

    pub(super) async fn redis() -> Self {
        Self::Redis(Arc::new(Servers::One(Box::new(Redis::spawn(RedisOptions::default()).await.unwrap()))))
    }

    pub(super) async fn sentinel() -> Self {
        Self::Redis(Arc::new(Servers::Sentinel(Sentinels::spawn(SentinelOptions::default()).await.unwrap())))
    }

    pub(super) async fn cluster() -> Self {
        Self::Redis(Arc::new(Servers::Cluster(RedisCluster::spawn(RedisOptions::default()).await.unwrap())))
    }

    /// An empty store.
    pub(super) async fn home(&self) -> Home {
        let folder = tempfile::tempdir().unwrap();
        if let Self::Redis(servers) = self {
            servers.flush().await;
        }
        let store = self.open(&folder).await;
        Home { store, folder, place: self.clone() }
    }

    pub(super) async fn open(&self, folder: &TempDir) -> Arc<Store> {
        let store = match self {
            Self::Memory => Store::Memory(MemoryStore::default()),
            Self::Embedded => Store::Embedded(EmbeddedStore::open(&folder.path().join("sessions.redb")).unwrap()),
            Self::Redis(servers) => {
                let config = RedisConfig {
                    servers: servers.config(),
                    database: 0,
                    access: Access::default(),
                    wait: None,
                    realm: realm("shop"),
                    max_staleness: Duration::from_secs(5),
                    clock_leeway: Duration::MAX,
                    probe_every: Duration::from_millis(200),
                    probe_within: Duration::from_secs(1),
                };
                Store::Redis(RedisStore::open(config, RedisStats::new().unwrap()))
            }
        };
        // A cluster is open with its first server; here every key is asked for at once.
        let known = async || matches!(store.load(&realm("shop"), sid(u64::MAX)).await, Ok(Loaded::Absent));
        wait_until(Duration::from_secs(60), "store that answers", async || store.is_open() && known().await)
            .await
            .unwrap();
        Arc::new(store)
    }
}

/// A store, and what it lives in.
pub(super) struct Home {
    pub(super) store: Arc<Store>,
    folder: TempDir,
    place: Place,
}

impl Home {
    /// The store after a clean restart of this process, where it outlives one.
    pub(super) async fn restart(self) -> Self {
        if !self.is_durable() {
            return self;
        }
        self.store.close().await.unwrap();
        drop(self.store);
        Self { store: self.place.open(&self.folder).await, ..self }
    }

    pub(super) fn is_durable(&self) -> bool {
        !matches!(self.place, Place::Memory)
    }

    /// Whether it forgets when it is told to, and not by a clock of its own.
    pub(super) fn forgets_by_sweep(&self) -> bool {
        !matches!(self.place, Place::Redis(_))
    }

    pub(super) async fn plant(&self, key: &Session, bytes: Vec<u8>) {
        match &*self.store {
            Store::Memory(store) => store.plant(&key.realm, key.id, bytes),
            Store::Embedded(store) => store.plant(&key.realm, key.id, bytes).await,
            Store::Redis(store) => store.plant(&key.realm, key.id, bytes).await,
        }
    }

    pub(super) async fn create(&self, session: Session) -> Session {
        done(self.store.create(session).await.unwrap())
    }

    pub(super) async fn load(&self, of: &Session) -> Loaded {
        self.store.load(&of.realm, of.id).await.unwrap()
    }

    pub(super) async fn live(&self, of: &Session) -> Session {
        match self.load(of).await {
            Loaded::Session(session) => *session,
            other => panic!("not live: {other:?}"),
        }
    }

    pub(super) async fn ids(&self, subject: &str, limit: usize) -> Vec<Vec<SessionId>> {
        let mut pages = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.list(&realm("shop"), subject, limit, after).await.unwrap();
            pages.push(page.sessions.iter().map(|session| session.id).collect());
            after = page.next;
            if after.is_none() {
                return pages;
            }
        }
    }
}
