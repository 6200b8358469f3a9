//! The install that targets fuzz against: the policies of `fixtures/policies.yaml`, and sessions in memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::authz::attributes::own_headers::OwnHeaders;
use cloakroom::authz::credential::{AccessToken, Carrier, Carriers};
use cloakroom::authz::policy::{Grants, HostsFrom, Install, PolicyIndex, PolicyName, RouteIdentity, RuleName};
use cloakroom::authz::session::{Claims, Realm, SecretDigest, Session, Timestamp};
use cloakroom::folder;
use cloakroom::sessions::clock::Clock;
use cloakroom::sessions::keyring::algorithm::SigningAlgorithm;
use cloakroom::sessions::keyring::{KeyRing, KeyRingConfig, ceremony};
use cloakroom::sessions::token::TokenKeys;
use cloakroom::sessions::{Sessions, SessionsConfig};
use cloakroom::store::Store;
use cloakroom::store::memory::MemoryStore;

/// The header of the session JWT.
pub const JWT_HEADER: &str = "x-session-jwt";
/// The cookie that carries tokens.
pub const COOKIE: &str = "__Host-session";
/// The header that carries tokens.
pub const TICKET: &str = "x-ticket";
/// When session JWTs are minted and verified: 2030-01-31T08:00:00Z.
pub const NOW: Timestamp = Timestamp::from_millis(1_896_076_800_000);

/// The token key of 32 zero bytes: seeds hold tokens that it tags.
const TOKEN_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The only realm.
pub fn realm() -> Realm {
    Realm::parse("shop").expect("a DNS label")
}

/// A file of `fixtures/`.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// What the install says about policies.
pub fn install() -> Install {
    let carriers = vec![Carrier::Cookie(COOKIE.into()), Carrier::Bearer, Carrier::Header(TICKET.into())];
    Install {
        default_realm: realm(),
        realms: [].into(),
        carriers: Carriers::new(carriers).expect("three places"),
        own_headers: OwnHeaders::new(JWT_HEADER),
        hosts: HostsFrom::Everyone,
        gateways: None,
        pod: None,
        route_identity: RouteIdentity::default(),
    }
}

/// The policies of the fixture, compiled.
pub fn policies() -> PolicyIndex {
    let (index, problems) = folder::check(&[fixture("policies.yaml")], &install()).expect("the fixture reads");
    assert!(problems.is_empty(), "{problems:?}");
    index
}

/// The policies that let services say everything there is to be said by responses.
pub fn responses() -> PolicyIndex {
    let (index, problems) = folder::check(&[fixture("responses.yaml")], &install()).expect("the fixture reads");
    assert!(problems.is_empty(), "{problems:?}");
    index
}

/// What the rule of this name in `responses` grants.
pub fn grants(index: &PolicyIndex, rule: &str) -> Grants {
    let policy = PolicyName { namespace: "shop".into(), name: "shop".into() };
    let (_, grants) = index.grants(&RuleName { policy, rule: rule.into() }).expect("the rule has grants");
    Grants::clone(grants)
}

/// A key ring with one new key. Its folder is gone once it is open.
pub fn keyring(algorithm: SigningAlgorithm, now: Timestamp) -> KeyRing {
    let dir = tempfile::tempdir().expect("a folder");
    ceremony::generate(dir.path(), algorithm, now).expect("a key");
    let config = KeyRingConfig {
        dir: dir.path().to_owned(),
        issuer: "https://cloakroom.example".to_owned(),
        algorithm,
        lifetime: Duration::from_secs(60),
        max_bytes: 6 * 1024,
    };
    KeyRing::open(config).expect("the key just made")
}

/// Sessions in memory; there are none yet.
pub fn sessions(keyring: Arc<KeyRing>, clock: Arc<Clock>) -> Sessions {
    let config = SessionsConfig {
        idle: Duration::from_secs(3600),
        absolute: Duration::from_secs(86_400),
        rotate_every: None,
        rotate_overlap: Duration::from_secs(30),
        view_bytes: 1 << 20,
        max_staleness: Duration::from_secs(5),
        negative: Duration::from_secs(2),
        hard_ttl: Duration::from_secs(60),
    };
    let token_keys = TokenKeys::parse(TOKEN_KEY).expect("32 bytes");
    Sessions::new(config, Arc::new(Store::Memory(MemoryStore::default())), token_keys, keyring, clock)
}

/// A live session that has nothing a rule could require, found behind this token.
pub fn session_of(token: &AccessToken, now: Timestamp) -> Session {
    Session {
        id: token.sid(),
        realm: realm(),
        subject: "ada".to_owned(),
        secret: SecretDigest::from_bytes([0; 32]),
        previous: None,
        rotated_at: now,
        created: now,
        auth_time: now,
        last_seen: now,
        idle: Duration::from_secs(3600),
        absolute_end: now.plus(Duration::from_secs(3600)),
        version: 1,
        epoch: 0,
        acr: None,
        amr: Vec::new(),
        scopes: Vec::new(),
        roles: Vec::new(),
        claims: Claims::empty(),
        device: None,
        provider: None,
    }
}

/// A runtime without I/O, for what is written as a future.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}
