//! Sessions as the surfaces use them: tokens in, facts out; a cached view over the store, and the JWTs minted for services.

pub mod clock;
pub mod keyring;
pub mod token;
pub mod view;

use std::sync::Arc;
use std::time::Duration;

use crate::authz::credential::AccessToken;
use crate::authz::plan::Wanted;
use crate::authz::session::{Claims, Device, Provider, Realm, Session, SessionId, Timestamp};
use crate::authz::verdict::{Decision, Lookup, Verdict};
use crate::store::StoreError;

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
    /// A JSON merge patch (RFC 7396) of the claims.
    pub claims: Option<serde_json::Value>,
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
#[derive(Debug, thiserror::Error)]
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
    /// The presented token is not the session's present one.
    #[error("the token is not the session's present one")]
    WrongToken,
    /// The session JWT of this session would be too large for any service.
    #[error("the session JWT would be {0} bytes, the most is {1}")]
    JwtTooLarge(usize, usize),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No token key, or no signing key.
    #[error("keys are not available")]
    Keys,
}

/// What a look-up found, and the cache entry beside it that keeps minted JWTs.
#[derive(Debug)]
pub struct Resolved {
    /// What was found.
    pub lookup: Lookup,
    /// Where JWTs minted for this session are kept.
    pub entry: Option<Arc<view::Entry>>,
}

/// The sessions of this process.
#[derive(Debug)]
pub struct Sessions {}

impl Sessions {
    /// The session behind what a request presented, from the view or the store. Unknown truth is `Lookup::Unavailable`.
    pub async fn resolve(&self, wanted: &Wanted, realm: &Realm, now: Timestamp) -> Resolved {
        let _ = (wanted, realm, now);
        todo!()
    }

    /// Turns a decision into a verdict: adds the cached JWT, or mints one, and a rotated cookie where one is due.
    pub async fn render(&self, decision: Decision, resolved: &Resolved, now: Timestamp) -> Verdict {
        let _ = (decision, resolved, now);
        todo!()
    }

    /// Makes a session.
    pub async fn create(&self, new: NewSession, now: Timestamp) -> Result<Issued, SessionError> {
        let _ = (new, now);
        todo!()
    }

    /// The session `sid`, by a fresh load.
    pub async fn get(&self, realm: &Realm, sid: SessionId, now: Timestamp) -> Result<Arc<Session>, SessionError> {
        let _ = (realm, sid, now);
        todo!()
    }

    /// A page of a subject's live sessions, and where the next begins.
    pub async fn list(
        &self,
        realm: &Realm,
        subject: &str,
        limit: usize,
        after: Option<SessionId>,
        now: Timestamp,
    ) -> Result<(Vec<Session>, Option<SessionId>), SessionError> {
        let _ = (realm, subject, limit, after, now);
        todo!()
    }

    /// Changes a session; with `if_version` only when that is still its version, else merged again on a conflict.
    pub async fn update(
        &self,
        realm: &Realm,
        sid: SessionId,
        change: &SessionChange,
        if_version: Option<u64>,
        now: Timestamp,
    ) -> Result<Arc<Session>, SessionError> {
        let _ = (realm, sid, change, if_version, now);
        todo!()
    }

    /// Gives whoever holds the present token of `sid` the next one.
    pub async fn rotate(
        &self,
        realm: &Realm,
        sid: SessionId,
        present: &AccessToken,
        now: Timestamp,
    ) -> Result<Issued, SessionError> {
        let _ = (realm, sid, present, now);
        todo!()
    }

    /// Ends a session. Idempotent: answers whether there was one.
    pub async fn revoke(&self, realm: &Realm, sid: SessionId) -> Result<bool, SessionError> {
        let _ = (realm, sid);
        todo!()
    }

    /// Ends every session of a subject; answers how many were live.
    pub async fn revoke_subject(&self, realm: &Realm, subject: &str) -> Result<usize, SessionError> {
        let _ = (realm, subject);
        todo!()
    }
}
