//! The way back: what a response may say about sessions, and whose session it may say it of (DESIGN 6).
//!
//! A request that a rule with `session` lets pass leaves a [`ResponseScope`] for its response. The response half reads the
//! service's wish into one [`Command`]; which session it is about comes from the scope alone (P22).

mod command;
mod refusal;

use std::fmt;
use std::sync::Arc;

pub use self::command::{Command, EndScope, Wish, asks_to_end, is_command};
pub use self::refusal::{CommandRefusal, RefusalEffect};

use super::policy::{Fingerprint, RuleRef};
use super::session::{Claims, Device, Provider, Realm, SessionId, Timestamp};

/// The dynamic metadata that the response half trusts: what the request leaves for its response, sealed.
pub const HANDLE_METADATA: &str = "cloakroom.handle";

/// What a request leaves for its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseScope {
    /// The most specific rule that let the request pass: its `session` says what the service may do.
    pub rule: RuleRef,
    /// The namespace of the route.
    pub namespace: Arc<str>,
    /// Whose sessions the service may change.
    pub realm: Realm,
    /// What the rule's `session` said when the request was judged.
    pub fingerprint: Fingerprint,
    /// The request's session; on a log-in rule the one presented, which is only ever ended.
    pub session: Option<SessionId>,
    /// The cookie that the credential came in, if it came in one.
    pub cookie: Option<Arc<str>>,
    /// On a log-in rule: what was presented is dead, so that its cookie is to be expired.
    pub dead: bool,
    /// Whose session it is, where the service may end all of theirs.
    pub subject: Option<Arc<str>>,
    /// The service may put a JWT into the response that must not leave (`exchange`).
    pub exchanges: bool,
}

/// Who a new session belongs to, as a service or an issuer tells it. `Debug` shows no claim.
#[derive(Clone, PartialEq)]
pub struct NewIdentity {
    /// Who it is (`sub`).
    pub subject: String,
    /// When they proved it; now unless told.
    pub auth_time: Option<Timestamp>,
    /// Authentication context class.
    pub acr: Option<String>,
    /// Authentication methods (RFC 8176).
    pub amr: Vec<String>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Roles.
    pub roles: Vec<String>,
    /// The application's claims.
    pub claims: Claims,
    /// The device.
    pub device: Option<Device>,
    /// The identity provider's session behind it.
    pub provider: Option<Provider>,
}

impl fmt::Debug for NewIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewIdentity").field("subject", &self.subject).finish_non_exhaustive()
    }
}
