//! Rings in real folders, and the values that the tests below share.

mod bundle;
mod folder;
mod mint;
mod namespaces;
mod rotation;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::algorithm::SigningAlgorithm;
use super::folder::{KeyRingError, RING_FILE};
use super::timeline::Timeline;
use super::{KeyRing, KeyRingConfig, ceremony};
use crate::authz::policy::{ForwardClaims, MintSpec, SessionJwtRule};
use crate::authz::session::{Claims, Realm, SecretDigest, Session, SessionId, Timestamp};

/// 2030-01-31T08:00:00Z
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_896_076_800_000);

pub(crate) const ISSUER: &str = "https://cloakroom.example";

/// A folder with one key for `algorithm`, made at `now`.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) algorithm: SigningAlgorithm,
}

impl Fixture {
    pub(crate) fn new(algorithm: SigningAlgorithm, now: Timestamp) -> Self {
        let dir = TempDir::new().unwrap();
        ceremony::generate(&dir.path().join("keys"), algorithm, now).unwrap();
        Self { dir, algorithm }
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    pub(crate) fn config(&self) -> KeyRingConfig {
        KeyRingConfig {
            dir: self.keys(),
            issuer: ISSUER.to_owned(),
            algorithm: self.algorithm,
            lifetime: Duration::from_secs(60),
            max_bytes: 6 * 1024,
        }
    }

    pub(crate) fn open(&self) -> KeyRing {
        KeyRing::open(self.config()).unwrap()
    }

    fn try_open(&self) -> Result<KeyRing, KeyRingError> {
        KeyRing::open(self.config())
    }

    fn ring_file(&self) -> PathBuf {
        self.keys().join(RING_FILE)
    }

    fn pem(&self) -> PathBuf {
        pem_files(&self.keys()).pop().unwrap()
    }
}

impl KeyRing {
    /// The ring of all namespaces.
    fn timeline(&self) -> Arc<Timeline> {
        self.keys().all().next().unwrap().clone()
    }
}

fn pem_files(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "pem")).collect()
}

/// A session with something in every field, alive for an hour from `now` on.
pub(crate) fn session(now: Timestamp) -> Session {
    let claims = json!({ "tenant": { "id": "t-1", "beta": false }, "tier": "gold", "list": [1, 2] });
    Session {
        id: SessionId::from_bytes(*b"sixteen bytes id"),
        realm: Realm::parse("shop").unwrap(),
        subject: "ada \"the\" first\n".to_owned(),
        secret: SecretDigest::from_bytes([7; 32]),
        previous: None,
        rotated_at: now,
        created: now,
        auth_time: now,
        last_seen: now,
        idle: Duration::from_secs(3600),
        absolute_end: now.plus(Duration::from_secs(86_400)),
        version: 3,
        epoch: 1,
        acr: Some("urn:mfa".to_owned()),
        amr: vec!["pwd".to_owned(), "otp".to_owned()],
        scopes: vec!["cart".to_owned(), "orders".to_owned()],
        roles: vec!["admin".to_owned()],
        claims: Claims::from_object(claims.as_object().unwrap()).unwrap(),
        device: None,
        provider: None,
    }
}

pub(crate) fn spec() -> MintSpec {
    MintSpec { namespace: "shop".into(), audience: "shop/orders".into(), claims: ForwardClaims::All }
}

fn rule() -> SessionJwtRule {
    SessionJwtRule {
        audiences: Arc::new(["shop/cart".to_owned(), "shop/orders".to_owned()]),
        namespaces: Arc::new(["shop".to_owned()]),
    }
}

fn later(at: Timestamp, seconds: u64) -> Timestamp {
    at.plus(Duration::from_secs(seconds))
}
