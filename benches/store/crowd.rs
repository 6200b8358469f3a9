//! Sessions made straight through the store's own interface: a million of them by the session API would take an hour.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use cloakroom::authz::session::{Claims, Realm, Session, SessionId, Timestamp};
use cloakroom::sessions::token::{TokenKeys, new_session_id};
use cloakroom::store::redis::stats::RedisStats;
use cloakroom::store::redis::{Access, Address, RedisConfig, RedisStore, Servers};
use cloakroom::store::{Changed, Store};
use e2e::process::wait_until;
use e2e::redis::Redis;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use super::gate::Gate;

/// How many are made at a time.
const AT_ONCE: usize = 256;
const DAY: Duration = Duration::from_secs(86_400);

/// A store in Redis, and the keys of the gate whose sessions are made.
pub(crate) struct Crowd {
    store: Store,
    keys: TokenKeys,
    realm: Realm,
}

/// A session that was made.
pub(crate) struct Made {
    id: SessionId,
    subject: String,
    pub(crate) token: String,
}

impl Crowd {
    pub(crate) async fn of(redis: &Redis, gate: &Gate) -> Result<Self> {
        let address = Address::parse(&redis.address().to_string()).context("Redis has an address")?;
        let realm = Realm::parse("shop").context("a realm")?;
        let config = RedisConfig {
            servers: Servers::One(address),
            database: 0,
            access: Access::default(),
            wait: None,
            realm: realm.clone(),
            max_staleness: Duration::from_secs(5),
            clock_leeway: Duration::from_secs(60),
            probe_every: Duration::from_secs(1),
            probe_within: Duration::from_secs(5),
        };
        let store = Store::Redis(RedisStore::open(config, RedisStats::new()?));
        wait_until(Duration::from_secs(10), "connection to Redis", async || store.is_open()).await?;
        let keys = TokenKeys::load(&gate.0.folder().join("token.key"))?;
        Ok(Self { store, keys, realm })
    }

    /// Makes sessions with about so many bytes of claims, in no order.
    pub(crate) async fn create(
        &self,
        ids: Range<usize>,
        bytes: usize,
        role: &str,
        subject: impl Fn(usize) -> String,
    ) -> Result<Vec<Made>> {
        let claims = json!({ "tenant": "gold", "filling": "x".repeat(bytes.saturating_sub(40)) });
        let claims = claims.as_object().and_then(Claims::from_object).context("claims")?;
        let made = stream::iter(ids).map(async |n| self.create_one(subject(n), role, claims.clone()).await);
        made.buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn create_one(&self, subject: String, role: &str, claims: Claims) -> Result<Made> {
        let id = new_session_id()?;
        let (token, secret) = self.keys.mint(&self.realm, id)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let now = Timestamp::from_millis(i64::try_from(now.as_millis())?);
        let session = Session {
            id,
            realm: self.realm.clone(),
            subject: subject.clone(),
            secret,
            previous: None,
            rotated_at: now,
            created: now,
            auth_time: now,
            last_seen: now,
            // No use of it is due to be written while it is measured.
            idle: DAY,
            absolute_end: now.plus(DAY),
            version: 1,
            epoch: 0,
            acr: None,
            amr: vec!["pwd".to_owned()],
            scopes: vec!["orders".to_owned()],
            roles: vec![role.to_owned()],
            claims,
            device: None,
            provider: None,
        };
        let created = self.store.create(session).await?;
        ensure!(matches!(created, Changed::Done(_)), "the session was not made");
        Ok(Made { id, subject, token: token.reveal().to_string() })
    }

    /// What Redis says that each key of a session takes: the average of some sessions.
    pub(crate) async fn memory_of(&self, redis: &Redis, made: &[Made]) -> Result<Vec<(&'static str, u64)>> {
        use base64::Engine as _;
        let mut connection = redis.connect().await?;
        let sample: Vec<&Made> = made.iter().step_by((made.len() / 200).max(1)).collect();
        let subject = |made: &Made| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&made.subject);
        let mut all = Vec::new();
        for (what, kind) in [("its record", "s"), ("its subject's epoch", "e"), ("its subject's index", "i")] {
            let mut sum = 0;
            for made in &sample {
                let tag = if kind == "s" { made.id.to_string() } else { subject(made) };
                let key = format!("ckr:{}:{kind}:{{{tag}}}", self.realm);
                let bytes = connection.call(&["MEMORY", "USAGE", &key, "SAMPLES", "0"]).await?.ok()?.text();
                sum += bytes.parse::<u64>().with_context(|| format!("no {key}"))?;
            }
            all.push((what, sum / sample.len() as u64));
        }
        Ok(all)
    }
}
