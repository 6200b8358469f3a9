//! Sessions as the surfaces use them: tokens in, facts out; a cached view over the store, and the JWTs minted for services.

mod bounds;
mod change;
pub mod clock;
pub mod cookie;
mod end;
mod handle;
mod issue;
pub mod keyring;
mod render;
mod resolve;
mod respond;
mod rotation;
pub mod secret_file;
pub mod stats;
pub mod token;
mod touch;
pub mod view;
mod vouched;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::{RwLock, Semaphore};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use self::change::Changes;
use self::clock::Clock;
use self::keyring::KeyRing;
pub use self::respond::{NotDone, Responded};
use self::stats::SessionsStats;
use self::token::{RandomFailed, TokenKeys};
use self::view::{Link, View};
use self::vouched::VouchedJwts;
use crate::authz::credential::AccessToken;
use crate::authz::session::{Claims, Device, Provider, Realm, SecretAge, Session, SessionId, Timestamp};
use crate::authz::verdict::Lookup;
use crate::store::{Follower, Loaded, Store, StoreError};

/// Limits and times of sessions (DESIGN 2), resolved from the configuration.
#[derive(Clone, Debug)]
pub struct SessionsConfig {
    /// Default idle timeout.
    pub idle: Duration,
    /// Default absolute life, and the longest that a caller may ask for.
    pub absolute: Duration,
    /// How old a cookie's secret may be before it is replaced; `None` never.
    pub rotate_every: Option<Duration>,
    /// How long the secret before it counts once its successor was presented.
    pub rotate_overlap: Duration,
    /// The view's bound in bytes.
    pub view_bytes: u64,
    /// How long an entry answers after the last proof of the store's link.
    pub max_staleness: Duration,
    /// How long "no such session" is believed.
    pub negative: Duration,
    /// How long any entry is believed, with a live link.
    pub hard_ttl: Duration,
}

/// What is asked for in a new session.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Where it counts.
    pub realm: Realm,
    /// Who it belongs to: 1 to 255 bytes, no control characters.
    pub subject: String,
    /// When its owner proved who they are; now unless told.
    pub auth_time: Option<Timestamp>,
    /// Idle timeout; the configuration's unless told, never longer than `absolute`.
    pub idle: Option<Duration>,
    /// Life; the configuration's unless told, never longer.
    pub absolute: Option<Duration>,
    /// `acr`.
    pub acr: Option<String>,
    /// `amr`.
    pub amr: Vec<String>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Roles.
    pub roles: Vec<String>,
    /// Claims.
    pub claims: Claims,
    /// Device.
    pub device: Option<Device>,
    /// Provider.
    pub provider: Option<Provider>,
}

/// A change of a session: `None` leaves a field alone, `Some(None)` clears it.
#[derive(Clone, Debug, Default)]
pub struct SessionChange {
    /// `acr`.
    pub acr: Option<Option<String>>,
    /// `amr`.
    pub amr: Option<Vec<String>>,
    /// Scopes.
    pub scopes: Option<Vec<String>>,
    /// Roles.
    pub roles: Option<Vec<String>>,
    /// A JSON merge patch (RFC 7396) of the claims: `null`, or an object. As text, since many may wait and a parsed one is many times
    /// as large.
    pub claims: Option<Box<RawValue>>,
    /// Device.
    pub device: Option<Option<Device>>,
    /// Idle timeout.
    pub idle: Option<Duration>,
}

/// A session and the token for its client: the only time that the token is seen.
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub token: AccessToken,
    /// The session.
    pub session: Arc<Session>,
}

/// Why a session could not be made, changed or found.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SessionError {
    /// A value is out of bounds.
    #[error("{field}: {problem}")]
    OutOfBounds {
        /// The field, as the API names it.
        field: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// No such session in this realm, or it is over.
    #[error("no such session")]
    NotFound,
    /// The version is another one.
    #[error("the session has changed: its version is {0}")]
    VersionMismatch(u64),
    /// Others kept changing the session, or too many wanted to at once. Nothing was changed; asking again is safe.
    #[error("too many changes of the session at once: nothing was changed")]
    Contended,
    /// The presented token is not the session's present one.
    #[error("the token is not the session's present one")]
    WrongToken,
    /// The session JWT of this session would be too large for any service.
    #[error("the session JWT would be {0} bytes, the most is {1}")]
    JwtTooLarge(usize, usize),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No signing key, or no random number to make a token of.
    #[error("keys are not available")]
    Keys,
}

impl From<RandomFailed> for SessionError {
    fn from(RandomFailed: RandomFailed) -> Self {
        Self::Keys
    }
}

/// What a look-up found, and the cache entry beside it that keeps minted JWTs.
#[derive(Debug)]
pub struct Resolved {
    /// What was found.
    pub lookup: Lookup,
    /// Where JWTs minted for this session are kept; with every `Lookup::Active`.
    pub entry: Option<Arc<view::Entry>>,
    /// Which of the session's secrets the token held; `None` for a session JWT, which holds none.
    pub secret: Option<SecretAge>,
}

impl Resolved {
    /// A look-up that found no live session, or that was none of ours.
    pub fn without(lookup: Lookup) -> Self {
        Self { lookup, entry: None, secret: None }
    }
}

/// The sessions of this process.
///
/// `resolve` (in `resolve.rs`) and `render` (in `render.rs`) serve requests; the other methods change sessions, and an
/// answered change is felt by the next `resolve` (P17).
pub struct Sessions {
    config: SessionsConfig,
    store: Arc<Store>,
    view: Arc<View>,
    token_keys: TokenKeys,
    keyring: Arc<KeyRing>,
    clock: Arc<Clock>,
    stats: Arc<SessionsStats>,
    /// JWTs minted where no session is.
    vouched: VouchedJwts,
    /// Changes that wait for their turn.
    changes: Arc<Changes>,
    /// Read by each end of a session while it is under way.
    ending: Arc<RwLock<()>>,
    /// Loads, changes and background writes; each ends by a deadline of its own.
    tasks: TaskTracker,
    /// Places for background writes.
    writes: Arc<Semaphore>,
}

/// How many background writes (touches, ends of overlaps) wait or run at most. A use that finds no place is not written; the
/// next use of its session tries again.
const MAX_BACKGROUND_WRITES: usize = 1_024;
/// How long one call of the store may take for a caller who waits.
const MAX_STORE_WAIT: Duration = Duration::from_secs(5);

impl Sessions {
    /// The sessions of `store`, none of them cached yet.
    pub fn new(
        config: SessionsConfig,
        store: Arc<Store>,
        token_keys: TokenKeys,
        keyring: Arc<KeyRing>,
        clock: Arc<Clock>,
    ) -> Self {
        let stats = Arc::new(SessionsStats::default());
        let tasks = TaskTracker::new();
        // A store of this process is changed by nobody else; a store elsewhere brings a link that it proves.
        let link = match &*store {
            Store::Memory(_) | Store::Embedded(_) => Link::local(),
            Store::Redis(_) => Link::remote(),
        };
        let view = Arc::new(View::new(&config, Arc::clone(&store), link, tasks.clone(), Arc::clone(&stats)));
        // Not by an `Arc`: the store lives in the view, and would keep it alive.
        let (follower, now, at) = (Arc::downgrade(&view), Arc::clone(&clock), Arc::clone(&clock));
        store.follow(Follower {
            tell: Box::new(move |notice| {
                if let Some(view) = follower.upgrade() {
                    view.heed(notice, &at);
                }
            }),
            now: Box::new(move || now.now()),
        });
        let changes = Changes::new(Arc::clone(&store), Arc::clone(&view), Arc::clone(&keyring), tasks.clone());
        let writes = Arc::new(Semaphore::new(MAX_BACKGROUND_WRITES));
        let (changes, ending) = (Arc::new(changes), Arc::default());
        let vouched = VouchedJwts::default();
        Self { config, store, view, token_keys, keyring, clock, stats, vouched, changes, ending, tasks, writes }
    }

    /// What has been done, counted.
    pub fn stats(&self) -> &Arc<SessionsStats> {
        &self.stats
    }

    /// The cached view.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Waits for the changes and background writes that were begun. Before it, the surfaces are closed.
    pub async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The session `sid`, by a fresh load. One that has ended is `NotFound`.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn get(&self, realm: &Realm, sid: SessionId, now: Timestamp) -> Result<Arc<Session>, SessionError> {
        Ok(Arc::new(self.load_live(realm, sid, now).await?))
    }

    /// A page of a subject's live sessions, and where the next begins. A page may be shorter than `limit`, or empty, with more
    /// to come: sessions that have ended are left out of it.
    ///
    /// # Errors
    /// When `limit` is not 1 to 1,000, or the store fails.
    pub async fn list(
        &self,
        realm: &Realm,
        subject: &str,
        limit: usize,
        after: Option<SessionId>,
        now: Timestamp,
    ) -> Result<(Vec<Session>, Option<SessionId>), SessionError> {
        bounds::page(limit)?;
        bounds::subject(subject)?;
        let mut page = in_time(self.store.list(realm, subject, limit, after)).await?;
        page.sessions.retain(|session| now < session.ends() && self.view.ended(realm, session.id).is_none());
        Ok((page.sessions, page.next))
    }

    async fn load_live(&self, realm: &Realm, sid: SessionId, now: Timestamp) -> Result<Session, SessionError> {
        let session = load(&self.store, &self.view, realm, sid).await?;
        if now < session.ends() { Ok(session) } else { Err(SessionError::NotFound) }
    }

    /// Runs a change to its end, also when its caller goes away: a change that the store has made must reach the view.
    async fn to_the_end<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, SessionError>> + Send + 'static,
    ) -> Result<T, SessionError> {
        match self.tasks.spawn(change).await {
            Ok(done) => done,
            Err(ended) if ended.is_panic() => resume_unwind(ended.into_panic()),
            // Only a runtime that shuts down cancels these tasks.
            Err(_) => Err(StoreError::Closed.into()),
        }
    }
}

/// The session `sid` as it is in the store; `NotFound` when there is none or it was ended. Its times are not judged.
async fn load(store: &Store, view: &View, realm: &Realm, sid: SessionId) -> Result<Session, SessionError> {
    let loaded = in_time(store.load(realm, sid)).await?;
    // After the load: an end that was answered while it ran counts.
    match loaded {
        Loaded::Session(session) if view.ended(realm, sid).is_none() => Ok(*session),
        Loaded::Session(_) | Loaded::Revoked | Loaded::Absent => Err(SessionError::NotFound),
    }
}

/// What the store answers, or `Timeout`.
async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(MAX_STORE_WAIT, call).await.unwrap_or(Err(StoreError::Timeout(MAX_STORE_WAIT)))
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("config", &self.config).field("view", &self.view).finish_non_exhaustive()
    }
}
