//! What is to be said about a request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::credential::{Carrier, TakeOff};
use super::identity::{Facts, Holder, Identity};
use super::policy::provider::ProviderRef;
use super::policy::{MintSpec, RuleRef};
use super::reason::DenyReason;
use super::response::ResponseScope;
use super::session::Session;

/// What was found behind a credential.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// A live session; the secret counts.
    Active(Arc<Session>),
    /// Its absolute end has passed.
    Expired,
    /// It lay unused for too long, by a fresh load.
    Idle,
    /// It was revoked.
    Revoked,
    /// No such session in the realm, or another secret.
    Unknown,
    /// The token's tag, or the JWT's signature, is wrong.
    Invalid,
    /// An identity provider vouches for whom the credential belongs to.
    Vouched(Arc<Identity>),
    /// An identity provider refuses the credential, for this reason.
    Refused(DenyReason),
    /// The truth cannot be known now.
    Unavailable(DenyReason),
}

/// The proof that a request may pass with an identity: that of a session, or one that a provider vouches for. Made by [`super::settle`] alone: no permit, no signature.
#[derive(Clone, Debug)]
pub struct Permit {
    pub(super) holder: Holder,
    pub(super) rule: RuleRef,
    pub(super) mint: Arc<MintSpec>,
    pub(super) carrier: Carrier,
    pub(super) take_off: TakeOff,
    pub(super) scope: Option<Box<ResponseScope>>,
    pub(super) may_end: bool,
}

impl Permit {
    /// Who passes.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// What rules and JWTs read of who passes.
    pub fn facts(&self) -> Facts<'_> {
        self.holder.facts()
    }

    /// The rule that allowed it.
    pub fn rule(&self) -> &RuleRef {
        &self.rule
    }

    /// What to put into the session JWT.
    pub fn mint(&self) -> &Arc<MintSpec> {
        &self.mint
    }

    /// How the credential travelled: only cookies are rotated.
    pub fn carrier(&self) -> &Carrier {
        &self.carrier
    }

    /// What the request leaves for its response, where the rule lets the service say anything.
    pub fn scope(&self) -> Option<&ResponseScope> {
        self.scope.as_deref()
    }

    /// Whether the response may end the session.
    pub fn may_end(&self) -> bool {
        self.may_end
    }

    /// A permit that no rule gave, for the tests of what is done with one.
    #[cfg(test)]
    pub(crate) fn for_test(session: Arc<Session>, rule: RuleRef, mint: Arc<MintSpec>, carrier: Carrier) -> Self {
        let holder = Holder::Session(session);
        Self { holder, rule, mint, carrier, take_off: TakeOff::default(), scope: None, may_end: false }
    }

    /// The same for somebody else.
    #[cfg(test)]
    pub(crate) fn of(self, holder: Holder) -> Self {
        Self { holder, ..self }
    }

    /// The same by a rule whose service may end the session.
    #[cfg(test)]
    pub(crate) fn that_may_end(self) -> Self {
        Self { may_end: true, ..self }
    }

    /// The verdict with this JWT, this cookie for the client and this handle for the response.
    pub fn with_jwt(self, jwt: Bytes, set_cookie: Option<String>, handle: Option<Box<str>>) -> Verdict {
        Verdict::Allow(Allow {
            rule: self.rule,
            jwt: Some(jwt),
            take_off: self.take_off,
            set_cookie,
            handle,
            audit: None,
            provider: match self.holder {
                Holder::Session(_) => None,
                Holder::Identity(identity) => Some(identity.provider.clone()),
            },
        })
    }
}

/// What the rules say, before a JWT is made.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Pass with an identity.
    Permit(Box<Permit>),
    /// Pass without identity: `access: Public`, or `anonymous` where no credential was.
    Anonymous {
        /// The rule that said so.
        rule: RuleRef,
        /// What to take off.
        take_off: TakeOff,
        /// What an `Audit` policy would have refused it for.
        audit: Option<DenyReason>,
        /// What it leaves for its response: on a rule for logging in.
        scope: Option<Box<ResponseScope>>,
    },
    /// Do not pass.
    Deny(Denial),
}

/// A verdict: all that an answer to the proxy needs.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Pass.
    Allow(Allow),
    /// Refuse.
    Deny(Denial),
}

/// A request that passes. `Debug` shows neither the JWT nor the new token.
#[derive(Clone)]
pub struct Allow {
    /// The rule that allowed it.
    pub rule: RuleRef,
    /// The session JWT, if the request has an identity.
    pub jwt: Option<Bytes>,
    /// What to take off the request.
    pub take_off: TakeOff,
    /// A `Set-Cookie` line for the client: a rotated token.
    pub set_cookie: Option<String>,
    /// The sealed scope for the response, as dynamic metadata (`cloakroom.handle`).
    pub handle: Option<Box<str>>,
    /// What an `Audit` policy would have refused it for.
    pub audit: Option<DenyReason>,
    /// The identity provider that vouches for it, where no session does.
    pub provider: Option<ProviderRef>,
}

impl fmt::Debug for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allow")
            .field("rule", &self.rule)
            .field("jwt", &self.jwt.is_some())
            .field("take_off", &self.take_off)
            .field("set_cookie", &self.set_cookie.is_some())
            .field("handle", &self.handle.is_some())
            .field("audit", &self.audit)
            .field("provider", &self.provider)
            .finish()
    }
}

/// A request that does not.
#[derive(Clone, Debug)]
pub struct Denial {
    /// Why. The client is told its class only.
    pub reason: DenyReason,
    /// The rule, when one was found.
    pub rule: Option<RuleRef>,
    /// Where to send the client instead (`deny.redirectTo`): the whole `Location`, `return_to` and all. Only interactive requests
    /// have one, only where they would get a 401, and never gRPC; so whoever renders it has nothing left to judge.
    pub redirect_to: Option<Arc<str>>,
    /// What a stronger authentication must give (RFC 9470 `acr_values`, `max_age`), or the scopes that are missing.
    pub challenge: Challenge,
    /// A dead cookie of ours to expire, by its name.
    pub expire_cookie: Option<Arc<str>>,
    /// The identity provider that judged the credential, if one did.
    pub provider: Option<ProviderRef>,
}

impl Denial {
    /// A denial for `reason` that says nothing more.
    pub fn bare(reason: DenyReason) -> Self {
        Self {
            reason,
            rule: None,
            redirect_to: None,
            challenge: Challenge::default(),
            expire_cookie: None,
            provider: None,
        }
    }
}

/// Parameters of `WWW-Authenticate`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// `scope`: what the resource needs (RFC 6750 §3).
    pub scopes: Vec<String>,
    /// `acr_values` (RFC 9470 §3).
    pub acr_values: Vec<String>,
    /// `max_age` (RFC 9470 §3).
    pub max_age: Option<Duration>,
}
