//! Who a request belongs to, as an identity provider tells it; and what rules ask of that, or of a session, in one form.

use std::fmt;
use std::sync::Arc;

use super::policy::provider::ProviderRef;
use super::session::{Claims, Realm, Session, SessionId, Timestamp};

/// Who a credential of somebody else belongs to, by the word of an identity provider. There is no session behind it. `Debug` shows
/// no claim.
#[derive(Clone, PartialEq)]
pub struct Identity {
    /// The provider that says so.
    pub provider: ProviderRef,
    /// Who it is (`sub`): 1 to 255 bytes, no control characters.
    pub subject: String,
    /// When they proved it; `None` when the provider does not say, and then no `maxAge` holds.
    pub auth_time: Option<Timestamp>,
    /// Authentication context class.
    pub acr: Option<String>,
    /// Authentication methods (RFC 8176).
    pub amr: Vec<String>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Roles.
    pub roles: Vec<String>,
    /// The claims that the provider keeps.
    pub claims: Claims,
    /// When the credential ends; `None` for one that counts until it is taken back.
    pub ends: Option<Timestamp>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { provider, subject, ends, .. } = self;
        let mut shown = f.debug_struct("Identity");
        shown.field("provider", provider).field("subject", subject).field("ends", ends).finish_non_exhaustive()
    }
}

impl Identity {
    /// What rules and JWTs read of it.
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            sid: None,
            realm: None,
            subject: &self.subject,
            auth_time: self.auth_time,
            acr: self.acr.as_deref(),
            amr: &self.amr,
            scopes: &self.scopes,
            roles: &self.roles,
            claims: &self.claims,
            ends: self.ends.unwrap_or(Timestamp::from_millis(i64::MAX)),
        }
    }
}

/// Who a request belongs to.
#[derive(Clone, Debug)]
pub enum Holder {
    /// The owner of this session.
    Session(Arc<Session>),
    /// Whom an identity provider vouches for.
    Identity(Arc<Identity>),
}

impl Holder {
    /// What rules and JWTs read of it.
    pub fn facts(&self) -> Facts<'_> {
        match self {
            Self::Session(session) => session.facts(),
            Self::Identity(identity) => identity.facts(),
        }
    }
}

/// What rules ask of a session or of an identity, and what session JWTs say of it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The session, if there is one.
    pub sid: Option<SessionId>,
    /// Where it counts; an identity of somebody else is of no realm.
    pub realm: Option<&'a Realm>,
    /// Who.
    pub subject: &'a str,
    /// When they proved it, if that is known.
    pub auth_time: Option<Timestamp>,
    /// Authentication context class.
    pub acr: Option<&'a str>,
    /// Authentication methods.
    pub amr: &'a [String],
    /// Scopes.
    pub scopes: &'a [String],
    /// Roles.
    pub roles: &'a [String],
    /// The application's claims.
    pub claims: &'a Claims,
    /// When it is over at the latest.
    pub ends: Timestamp,
}

impl Session {
    /// What rules and JWTs read of it.
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            sid: Some(self.id),
            realm: Some(&self.realm),
            subject: &self.subject,
            auth_time: Some(self.auth_time),
            acr: self.acr.as_deref(),
            amr: &self.amr,
            scopes: &self.scopes,
            roles: &self.roles,
            claims: &self.claims,
            ends: self.ends().min(self.absolute_end),
        }
    }
}
