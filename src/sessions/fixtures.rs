//! The real parts around the sessions under test: a key ring in a folder, a memory store, a clock.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use zeroize::Zeroizing;

use super::clock::Clock;
use super::keyring::algorithm::SigningAlgorithm;
use super::keyring::{KeyRing, KeyRingConfig, ceremony};
use super::token::TokenKeys;
use super::{Issued, NewSession, Resolved, Sessions, SessionsConfig};
use crate::authz::credential::{AccessToken, Carrier};
use crate::authz::plan::Wanted;
use crate::authz::policy::{ForwardClaims, MintSpec, PolicyName, RuleName};
use crate::authz::session::{Claims, Realm, Session, SessionId, Timestamp};
use crate::authz::verdict::{Allow, Decision, Lookup, Permit, Verdict};
use crate::store::Store;
use crate::store::embedded::EmbeddedStore;
use crate::store::memory::MemoryStore;
use crate::store::redis::stats::RedisStats;
use crate::store::redis::{Access, Address, RedisConfig, RedisStore, Servers};

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// Sessions over a store.
pub(super) struct House {
    pub(super) sessions: Arc<Sessions>,
    pub(super) store: Arc<Store>,
    pub(super) realm: Realm,
    /// When it was built.
    pub(super) start: Timestamp,
    token_keys: Arc<Zeroizing<String>>,
    /// The key ring's folder, and the store's.
    folders: Arc<[TempDir]>,
}

pub(super) fn config() -> SessionsConfig {
    SessionsConfig {
        idle: HOUR,
        absolute: 24 * HOUR,
        rotate_every: Some(15 * MINUTE),
        rotate_overlap: 30 * SECOND,
        view_bytes: 64 << 20,
        max_staleness: 5 * SECOND,
        negative: 2 * SECOND,
        hard_ttl: MINUTE,
    }
}

pub(super) fn realm(name: &str) -> Realm {
    Realm::parse(name).unwrap()
}

/// A new session of `subject` and nothing more.
pub(super) fn new(subject: &str) -> NewSession {
    NewSession {
        realm: realm("shop"),
        subject: subject.to_owned(),
        auth_time: None,
        idle: None,
        absolute: None,
        acr: None,
        amr: Vec::new(),
        scopes: Vec::new(),
        roles: Vec::new(),
        claims: Claims::empty(),
        device: None,
        provider: None,
    }
}

pub(super) fn cookie() -> Carrier {
    Carrier::Cookie("__Host-session".into())
}

pub(super) fn claims(value: serde_json::Value) -> Claims {
    let serde_json::Value::Object(object) = value else { panic!("claims are an object") };
    Claims::from_object(&object).unwrap()
}

impl House {
    pub(super) fn new() -> Self {
        Self::with(config())
    }

    /// Over a memory store.
    pub(super) fn with(config: SessionsConfig) -> Self {
        Self::over(config, Store::Memory(MemoryStore::default()), None)
    }

    /// Over an embedded store.
    pub(super) fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&folder.path().join("sessions.redb")).unwrap();
        Self::over(config(), Store::Embedded(store), Some(folder))
    }

    /// Over a memory store, with the token keys of these lines.
    pub(super) fn with_token_keys(lines: &str) -> Self {
        let lines = Zeroizing::new(lines.to_owned());
        Self::keyed(config(), Store::Memory(MemoryStore::default()), None, lines)
    }

    fn over(config: SessionsConfig, store: Store, folder: Option<TempDir>) -> Self {
        Self::keyed(config, store, folder, TokenKeys::generate_line().unwrap())
    }

    fn keyed(config: SessionsConfig, store: Store, folder: Option<TempDir>, token_keys: Zeroizing<String>) -> Self {
        let keys = tempfile::tempdir().unwrap();
        ceremony::generate(keys.path(), SigningAlgorithm::Es256, Clock::start().now()).unwrap();
        Self::built(config, Arc::new(store), Arc::new(token_keys), [keys].into_iter().chain(folder).collect())
    }

    fn built(
        config: SessionsConfig,
        store: Arc<Store>,
        token_keys: Arc<Zeroizing<String>>,
        folders: Arc<[TempDir]>,
    ) -> Self {
        let keys = TokenKeys::parse(&token_keys).unwrap();
        Self::of_keys(keys, config, store, token_keys, folders)
    }

    /// Another gate of the same store and token keys, with handles under these lines.
    pub(super) fn with_handles_under(&self, lines: &str) -> Self {
        let keys = TokenKeys::parse(&self.token_keys).unwrap().with_handles_under(TokenKeys::parse(lines).unwrap());
        let (store, token_keys) = (Arc::clone(&self.store), Arc::clone(&self.token_keys));
        Self::of_keys(keys, config(), store, token_keys, Arc::clone(&self.folders))
    }

    fn of_keys(
        keys: TokenKeys,
        config: SessionsConfig,
        store: Arc<Store>,
        token_keys: Arc<Zeroizing<String>>,
        folders: Arc<[TempDir]>,
    ) -> Self {
        let clock = Arc::new(Clock::start());
        let start = clock.now();
        let ring = KeyRing::open(KeyRingConfig {
            dir: folders[0].path().to_owned(),
            issuer: "https://cloakroom.example".to_owned(),
            algorithm: SigningAlgorithm::Es256,
            lifetime: MINUTE,
            max_bytes: 6 * 1024,
        });
        let sessions = Sessions::new(config, Arc::clone(&store), keys, Arc::new(ring.unwrap()), clock);
        Self { sessions: Arc::new(sessions), store, realm: realm("shop"), start, token_keys, folders }
    }

    /// Another replica: the same store and keys, and a view of its own.
    pub(super) fn replica(&self) -> Self {
        let (store, token_keys) = (Arc::clone(&self.store), Arc::clone(&self.token_keys));
        Self::built(config(), store, token_keys, Arc::clone(&self.folders))
    }

    /// Several gates on one Redis: each has connections and a view of its own.
    pub(super) fn fleet(redis: &e2e::redis::Redis, count: usize) -> Vec<Self> {
        let store = || {
            let address = Address::parse(&redis.address().to_string()).unwrap();
            let config = RedisConfig {
                servers: Servers::One(address),
                database: 0,
                access: Access::default(),
                wait: None,
                realm: realm("shop"),
                max_staleness: 5 * SECOND,
                clock_leeway: SECOND,
                probe_every: Duration::from_millis(5),
                probe_within: SECOND,
            };
            Store::Redis(RedisStore::open(config, RedisStats::new().unwrap()))
        };
        let first = Self::over(config(), store(), None);
        let others: Vec<_> = (1..count)
            .map(|_| {
                let token_keys = Arc::clone(&first.token_keys);
                Self::built(config(), Arc::new(store()), token_keys, Arc::clone(&first.folders))
            })
            .collect();
        [first].into_iter().chain(others).collect()
    }

    /// Some time after the start.
    pub(super) fn after(&self, by: Duration) -> Timestamp {
        self.start.plus(by)
    }

    pub(super) async fn create(&self, subject: &str) -> Issued {
        self.sessions.create(new(subject), self.start).await.unwrap()
    }

    pub(super) async fn resolve(&self, token: &AccessToken, now: Timestamp) -> Resolved {
        self.sessions.resolve(&Wanted::Token(token.clone()), &self.realm, now).await
    }

    pub(super) async fn lookup(&self, token: &AccessToken, now: Timestamp) -> Lookup {
        self.resolve(token, now).await.lookup
    }

    /// A request with this token in this carrier, allowed for this audience.
    pub(super) async fn check(
        &self,
        token: &AccessToken,
        carrier: &Carrier,
        audience: &str,
        now: Timestamp,
    ) -> Verdict {
        let resolved = self.resolve(token, now).await;
        let Lookup::Active(session) = &resolved.lookup else { panic!("not alive: {resolved:?}") };
        self.sessions.render(permit(session, carrier, audience), &resolved, now).await
    }

    /// As [`Self::check`], by cookie, for one audience.
    pub(super) async fn pass(&self, token: &AccessToken, now: Timestamp) -> Allow {
        allowed(self.check(token, &cookie(), "shop/cart", now).await)
    }

    /// The record in the store.
    pub(super) async fn stored(&self, sid: SessionId) -> Session {
        match self.store.load(&self.realm, sid).await.unwrap() {
            crate::store::Loaded::Session(session) => *session,
            other => panic!("no record: {other:?}"),
        }
    }

    /// Waits for everything that was begun in the background.
    pub(super) async fn settled(&self) {
        self.sessions.tasks.close();
        self.sessions.tasks.wait().await;
        self.sessions.tasks.reopen();
    }

    pub(super) fn loads(&self) -> u64 {
        self.sessions.stats().loads.get()
    }
}

pub(super) fn permit(session: &Arc<Session>, carrier: &Carrier, audience: &str) -> Decision {
    let policy = PolicyName { namespace: "shop".into(), name: "shop".into() };
    let rule = Arc::new(RuleName { policy, rule: "default".into() });
    let mint = Arc::new(MintSpec { namespace: "shop".into(), audience: audience.into(), claims: ForwardClaims::All });
    Decision::Permit(Box::new(Permit::for_test(Arc::clone(session), rule, mint, carrier.clone())))
}

pub(super) fn allowed(verdict: Verdict) -> Allow {
    match verdict {
        Verdict::Allow(allow) => allow,
        Verdict::Deny(denial) => panic!("refused: {:?}", denial.reason),
    }
}
