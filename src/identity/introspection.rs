//! Asking an authorization server about a token (RFC 7662).
//!
//! | what | bound |
//! |---|---|
//! | a question | 64 KiB of answer, the provider's `timeout`, no redirect, the addresses that the install allows |
//! | questions under way for one provider | 64; one more answers `overloaded` |
//! | a token that is active | believed for the provider's `maxCache`, never past its `exp`; all of them 8 MiB |
//! | a token that is not | believed for 2 s; 16,384 of them, apart: no flood of dead tokens pushes out a live one |
//!
//! Requests with one token wait for one question, which runs in a task of its own. What goes wrong is 503, and is not kept.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::{Map, Value};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::jwt::{self, JwtRefusal};
use super::outbound::{FetchError, Outbound};
use super::stats::{Asked, ProviderStats};
use super::vouch::{self, Key};
use crate::api::secret::SecretValue;
use crate::authz::credential::ForeignCredential;
use crate::authz::identity::Identity;
use crate::authz::percent::encode;
use crate::authz::policy::provider::{IdentityProvider, Introspection, ProviderFingerprint, ProviderKind};
use crate::authz::reason::DenyReason;
use crate::authz::session::Timestamp;
use crate::authz::unique::UniqueObject;
use crate::authz::verdict::Lookup;

const MAX_ANSWER: usize = 64 * 1024;
const MAX_ASKING: usize = 64;
const INACTIVE_FOR: Duration = Duration::from_secs(2);
const MAX_INACTIVE: usize = 16_384;
const MAX_BYTES: u64 = 8 << 20;
const TYPICAL_BYTES: u64 = 1_024;

/// The authorization servers, and what they said.
pub(super) struct Introspections {
    active: Cache<Key, Active, ByWeight>,
    inactive: Cache<Key, Inactive>,
    desk: Arc<Mutex<Desk>>,
    outbound: Arc<Outbound>,
    stats: Arc<ProviderStats>,
    tasks: TaskTracker,
}

/// Who is being asked what.
#[derive(Default)]
struct Desk {
    flights: HashMap<Key, watch::Receiver<Option<Found>>>,
    servers: HashMap<ProviderFingerprint, Arc<Server>>,
}

/// One provider's server.
struct Server {
    places: Arc<Semaphore>,
    /// Whether the last question failed, so that a failure is logged once.
    fails: AtomicBool,
}

#[derive(Clone)]
struct Active {
    identity: Arc<Identity>,
    until: Instant,
}

#[derive(Clone, Copy)]
struct Inactive {
    reason: DenyReason,
    until: Instant,
}

/// What a question found out.
#[derive(Clone)]
enum Found {
    Active(Arc<Identity>),
    Inactive(DenyReason),
    Trouble,
}

impl From<Found> for Lookup {
    fn from(found: Found) -> Self {
        match found {
            Found::Active(identity) => Self::Vouched(identity),
            Found::Inactive(reason) => Self::Refused(reason),
            Found::Trouble => Self::Unavailable(DenyReason::ProviderUnavailable),
        }
    }
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<Key, Active> for ByWeight {
    fn weight(&self, _: &Key, active: &Active) -> u64 {
        vouch::weight(&active.identity)
    }
}

impl Introspections {
    pub(super) fn new(outbound: Arc<Outbound>, stats: Arc<ProviderStats>, tasks: TaskTracker) -> Self {
        let items = usize::try_from(MAX_BYTES / TYPICAL_BYTES).unwrap_or(usize::MAX);
        Self {
            active: Cache::with_weighter(items, MAX_BYTES, ByWeight),
            inactive: Cache::new(MAX_INACTIVE),
            desk: Arc::default(),
            outbound,
            stats,
            tasks,
        }
    }

    /// Forgets the servers of all other providers, and what they said.
    pub(super) fn retain(&self, named: &HashSet<ProviderFingerprint>) {
        self.desk().servers.retain(|fingerprint, _| named.contains(fingerprint));
        self.active.retain(|(provider, _), _| named.contains(provider));
        self.inactive.retain(|(provider, _), _| named.contains(provider));
    }

    /// Whom the token belongs to: as the server said a moment ago, or says now.
    pub(super) async fn ask(
        self: &Arc<Self>,
        credential: &ForeignCredential,
        provider: &Arc<IdentityProvider>,
        asked: &Introspection,
        now: Timestamp,
    ) -> Lookup {
        let key = (provider.fingerprint, *credential.digest());
        let at = Instant::now();
        if let Some(active) = self.active.get(&key).filter(|active| at < active.until) {
            return Lookup::Vouched(active.identity);
        }
        if let Some(inactive) = self.inactive.get(&key).filter(|inactive| at < inactive.until) {
            return Lookup::Refused(inactive.reason);
        }
        let Some(secret) = &asked.client_secret else {
            return Lookup::Unavailable(DenyReason::ProviderUnavailable);
        };
        let Some(mut flight) = self.board(key, credential, provider, asked, secret, now) else {
            return Lookup::Unavailable(DenyReason::Overloaded);
        };
        match flight.wait_for(Option::is_some).await.map(|found| found.clone()) {
            Ok(Some(found)) => found.into(),
            // A question that ended without an answer has a defect.
            Ok(None) | Err(_) => Lookup::Unavailable(DenyReason::ProviderUnavailable),
        }
    }

    /// The question about this token: the one under way, or a new one. `None` when too many are.
    fn board(
        self: &Arc<Self>,
        key: Key,
        credential: &ForeignCredential,
        provider: &Arc<IdentityProvider>,
        asked: &Introspection,
        secret: &SecretValue,
        now: Timestamp,
    ) -> Option<watch::Receiver<Option<Found>>> {
        let mut desk = self.desk();
        if let Some(flight) = desk.flights.get(&key) {
            return Some(flight.clone());
        }
        let server = Arc::clone(desk.servers.entry(provider.fingerprint).or_insert_with(|| {
            Arc::new(Server { places: Arc::new(Semaphore::new(MAX_ASKING)), fails: AtomicBool::new(false) })
        }));
        let place = Arc::clone(&server.places).try_acquire_owned().ok()?;
        let (landing, flight) = watch::channel(None);
        desk.flights.insert(key, flight.clone());
        let authorization = basic(&asked.client_id, secret);
        let (all, credential, provider) = (Arc::clone(self), credential.clone(), Arc::clone(provider));
        self.tasks.spawn(async move {
            let _place = place;
            let _flight = Flight { all: &all, key };
            let ProviderKind::Introspection(asked) = &provider.kind else { return };
            let question = all.question(asked, &authorization, &credential);
            let answer = tokio::time::timeout(asked.timeout, question).await.unwrap_or(Err(FetchError::Timeout));
            all.stats.asked(Asked::Token, answer.is_ok());
            let found = match answer.and_then(|answer| judge(&provider, asked, answer, now)) {
                Ok(found) => {
                    server.fails.store(false, Ordering::Relaxed);
                    found
                }
                Err(error) => {
                    if !server.fails.swap(true, Ordering::Relaxed) {
                        tracing::warn!(
                            provider = %provider.name,
                            error = &error as &dyn std::error::Error,
                            "an authorization server gives no answer that can be used"
                        );
                    }
                    Found::Trouble
                }
            };
            all.keep(key, &server, &found, asked.max_cache, now);
            landing.send_replace(Some(found));
        });
        Some(flight)
    }

    async fn question(
        &self,
        asked: &Introspection,
        authorization: &str,
        credential: &ForeignCredential,
    ) -> Result<Map<String, Value>, FetchError> {
        let mut form = "token_type_hint=access_token&token=".to_owned();
        encode(&mut form, credential.reveal().as_bytes());
        let answer = self.outbound.post_form(&asked.endpoint, authorization, form, MAX_ANSWER).await?;
        serde_json::from_slice::<UniqueObject>(&answer.body).map(|it| it.0).map_err(|_| FetchError::Malformed)
    }

    /// Keeps an answer, unless its provider has left since it was asked.
    fn keep(&self, key: Key, server: &Arc<Server>, found: &Found, max_cache: Duration, now: Timestamp) {
        let at = Instant::now();
        let desk = self.desk();
        if !desk.servers.get(&key.0).is_some_and(|it| Arc::ptr_eq(it, server)) {
            return;
        }
        match found {
            Found::Active(identity) => {
                let left = identity.ends.map_or(max_cache, |ends| ends.since(now).min(max_cache));
                if !left.is_zero() {
                    self.active.insert(key, Active { identity: Arc::clone(identity), until: at + left });
                }
            }
            Found::Inactive(reason) => {
                self.inactive.insert(key, Inactive { reason: *reason, until: at + INACTIVE_FOR });
            }
            Found::Trouble => {}
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question under way; when it is over, however it ends, the next one may begin.
struct Flight<'a> {
    all: &'a Introspections,
    key: Key,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.all.desk().flights.remove(&self.key);
    }
}

/// What the answer says of the token. What is no answer at all is trouble; what is one, and not for us, is no credential.
fn judge(
    provider: &IdentityProvider,
    asked: &Introspection,
    answer: Map<String, Value>,
    now: Timestamp,
) -> Result<Found, FetchError> {
    match answer.get("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Ok(Found::Inactive(DenyReason::InactiveToken)),
        _ => return Err(FetchError::Malformed),
    }
    Ok(match identity(provider, asked, answer, now) {
        Ok(identity) => Found::Active(Arc::new(identity)),
        Err(JwtRefusal::Expired) => Found::Inactive(DenyReason::ExpiredCredential),
        Err(refusal) => {
            tracing::debug!(provider = %provider.name, %refusal, "an active token is refused");
            Found::Inactive(DenyReason::InactiveToken)
        }
    })
}

fn identity(
    provider: &IdentityProvider,
    asked: &Introspection,
    mut answer: Map<String, Value>,
    now: Timestamp,
) -> Result<Identity, JwtRefusal> {
    answer.remove("active");
    if let Some(issuer) = &asked.issuer {
        jwt::check_issuer(issuer, &answer)?;
    }
    jwt::check_audience(&asked.audiences, &answer)?;
    let ends = jwt::check_times(&answer, &asked.claims.auth_time, now)?;
    // A refresh token is active too, and is for the server alone (RFC 7662 §2.2).
    let is = |name: &str, allowed: &[&str]| match answer.get(name) {
        None => true,
        Some(Value::String(value)) => allowed.iter().any(|it| it.eq_ignore_ascii_case(value)),
        Some(_) => false,
    };
    if !is("token_type", &["Bearer", "access_token"]) || !is("token_use", &["access_token", "access"]) {
        return Err(JwtRefusal::Type);
    }
    vouch::identity(&provider.name, &asked.claims, asked.issuer.as_deref().unwrap_or_default(), answer, ends, now)
}

/// HTTP Basic with id and secret encoded as in a form first (RFC 6749 §2.3.1).
fn basic(client_id: &str, secret: &SecretValue) -> Zeroizing<String> {
    // Editors and `echo` leave a line end behind.
    let secret = secret.reveal().trim_ascii_end();
    let mut pair = Zeroizing::new(String::with_capacity(3 * (client_id.len() + secret.len()) + 1));
    encode(&mut pair, client_id.as_bytes());
    pair.push(':');
    encode(&mut pair, secret);
    let mut field = Zeroizing::new(String::with_capacity(6 + pair.len().div_ceil(3) * 4));
    field.push_str("Basic ");
    STANDARD.encode_string(pair.as_bytes(), &mut field);
    field
}

#[cfg(test)]
mod tests;
