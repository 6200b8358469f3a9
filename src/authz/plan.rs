//! The two pure halves of a decision, around the one look-up: [`plan`] finds the rule and the credential, [`settle`] judges
//! what was found behind it.
//!
//! Most requests have one policy. Where `Required` policies stand further out, each is asked in turn, the outermost first: all
//! must let the request pass, and the most specific one that asked for a session says what the service is told.

mod alive;
mod choose;
mod draft;
pub mod explain;
mod redirect;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use self::alive::{Alive, alive};
use self::draft::Draft;
use super::attributes::RequestAttributes;
use super::credential::{AccessToken, Carrier, ForeignCredential, PresentedJwt, TakeOff};
use super::identity::Holder;
use super::policy::provider::{IdentityProvider, ProviderRef};
use super::policy::{Access, Judge, Located, PolicyIndex, Refusal, SessionJwtRule};
use super::reason::{DenyReason, RefusalClass};
use super::response::ResponseScope;
use super::session::{Realm, Session, Timestamp};
use super::verdict::{Challenge, Decision, Denial, Lookup, Permit};
use crate::api::auth_policy::Mode;

/// How far a session's own times may lie ahead of our clock before we say that the clock is wrong (P23).
pub const CLOCK_LEEWAY: Duration = Duration::from_secs(30);

/// What to do next.
#[derive(Debug)]
pub enum Plan {
    /// Nothing has to be looked up.
    Settled(Box<Decision>),
    /// The decision hangs on a session, or on what an identity provider says.
    Lookup(Box<Pending>),
}

/// A decision that waits for its session.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Those whose word hangs on the session, the outermost first; empty where it is looked up for a log-in alone.
    asking: Vec<Asking>,
    wanted: Wanted,
    carrier: Carrier,
    take_off: TakeOff,
    /// What an `Audit` policy would have refused it for already.
    audit: Option<DenyReason>,
    /// The most specific rule: by it a request passes that an `Audit` policy would have refused, and it says what the service
    /// may do to sessions.
    inner: Judge,
}

/// A rule that asks for a session.
#[derive(Clone, Debug)]
struct Asking {
    judge: Judge,
    /// Where an interactive request goes instead of a 401.
    redirect_to: Option<Arc<str>>,
}

/// What has to be found.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// The session of this token.
    Token(AccessToken),
    /// The session of this JWT, verified with the keys of the namespaces and for the audiences that the rule names.
    SessionJwt(PresentedJwt, SessionJwtRule),
    /// Whom this credential belongs to, by the word of this provider.
    Foreign(ForeignCredential, Arc<IdentityProvider>),
}

impl Wanted {
    /// The identity provider that is asked.
    pub fn provider(&self) -> Option<&Arc<IdentityProvider>> {
        match self {
            Self::Foreign(_, provider) => Some(provider),
            Self::Token(_) | Self::SessionJwt(..) => None,
        }
    }
}

impl Pending {
    /// What has to be found.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// In which realm: that of the outermost policy which enforces. A policy of another realm knows no session of this one.
    pub fn realm(&self) -> &Realm {
        let enforces = |asking: &&Asking| asking.judge.form().mode == Mode::Enforce;
        let asking = self.asking.iter().find(enforces).or(self.asking.first());
        &asking.map_or(&self.inner, |asking| &asking.judge).form().realm
    }
}

/// Finds the rule that judges the request and the credential it asks for.
pub fn plan(index: &PolicyIndex, request: &RequestAttributes<'_>) -> Plan {
    match index.locate(request) {
        Ok(located) => plan_located(index, request, located),
        Err(reason) => Plan::Settled(Box::new(Decision::Deny(Denial::bare(reason)))),
    }
}

fn plan_located(index: &PolicyIndex, request: &RequestAttributes<'_>, located: Located) -> Plan {
    match Draft::begin(index, request, &located) {
        Ok(draft) => draft.finish(index, request, located.inner),
        Err(denial) => Plan::Settled(Box::new(Decision::Deny(denial))),
    }
}

/// Judges what was found.
pub fn settle(pending: Pending, found: &Lookup, now: Timestamp) -> Decision {
    let Pending { asking, wanted, carrier, take_off, mut audit, inner } = pending;
    for asking in &asking {
        let Err(refusal) = session(found, &wanted, &asking.judge, now) else { continue };
        if let Err(reason) = audited(&asking.judge, refusal.reason) {
            let redirect_to = asking.redirect_to.clone();
            let denial = denial(&asking.judge, reason, refusal.challenge, redirect_to, Some(&carrier));
            return Decision::Deny(Denial { provider: provider_name(&wanted), ..denial });
        }
        audit.get_or_insert(refusal.reason);
    }
    // Reached only when every rule that enforces has seen a live session or would have let pass without one.
    if inner.logs_in() {
        return log_in(&inner, found, &wanted, &carrier, take_off, audit, now);
    }
    let holder = match found {
        Lookup::Active(session) => Some(Holder::Session(session.clone())),
        Lookup::Vouched(identity) => Some(Holder::Identity(identity.clone())),
        _ => None,
    };
    let (None, Some(holder), Some(asking)) = (audit, holder, asking.last()) else {
        return Decision::Anonymous { rule: inner.rule().name.clone(), take_off, audit, scope: None };
    };
    let judge = &asking.judge;
    let Some(mint) = judge.mint() else {
        // A rule that asks for a session has something to mint; anything else is a defect, and a defect refuses (P2).
        return Decision::Deny(bare(judge, DenyReason::Internal));
    };
    // What the service may do is said by the rule that it stands behind, and not by one further out.
    // Behind an identity of somebody else there is no session that it could change.
    let session = match &holder {
        Holder::Session(session) => Some(&**session),
        Holder::Identity(_) => None,
    };
    let scope = scope(&inner, session, Some(&carrier)).map(Box::new);
    let may_end = inner.grants().is_some_and(|grants| grants.end);
    let (rule, mint) = (judge.rule().name.clone(), mint.clone());
    Decision::Permit(Box::new(Permit { holder, rule, mint, carrier, take_off, scope, may_end }))
}

/// A request to log in passes without identity. What it presented is known only to be ended, or to be forgotten when it is
/// dead: a dead cookie locks nobody out (DESIGN 6).
fn log_in(
    inner: &Judge,
    found: &Lookup,
    wanted: &Wanted,
    carrier: &Carrier,
    take_off: TakeOff,
    mut audit: Option<DenyReason>,
    now: Timestamp,
) -> Decision {
    let (mut session, mut dead) = (None, false);
    let is_token = matches!(wanted, Wanted::Token(_));
    match alive(found, wanted, &inner.form().realm, now) {
        Ok(Alive::Session(found)) => session = is_token.then_some(&**found),
        // Nothing of ours stands behind it.
        Ok(Alive::Identity(_)) => {}
        // Whether there is a session to be ended cannot be known, and a log-in that left it alive would break a promise (P15).
        Err(refusal) if refusal.reason.class() == RefusalClass::Unavailable => {
            if let Err(reason) = audited(inner, refusal.reason) {
                return Decision::Deny(bare(inner, reason));
            }
            audit.get_or_insert(refusal.reason);
        }
        Err(refusal) => dead = is_token && is_dead(refusal.reason),
    }
    let scope = scope(inner, session, Some(carrier)).map(|scope| Box::new(ResponseScope { dead, ..scope }));
    Decision::Anonymous { rule: inner.rule().name.clone(), take_off, audit, scope }
}

/// What a request that `judge` lets pass leaves for its response.
fn scope(judge: &Judge, session: Option<&Session>, carrier: Option<&Carrier>) -> Option<ResponseScope> {
    let grants = judge.grants()?;
    Some(ResponseScope {
        rule: judge.rule().name.clone(),
        namespace: judge.namespace().clone(),
        realm: judge.form().realm.clone(),
        fingerprint: grants.fingerprint,
        session: session.map(|session| session.id),
        cookie: match carrier {
            Some(Carrier::Cookie(name)) => Some(name.clone()),
            Some(Carrier::Bearer | Carrier::Header(_)) | None => None,
        },
        dead: false,
        subject: session.filter(|_| grants.end).map(|session| session.subject.as_str().into()),
        exchanges: grants.exchange.is_some(),
    })
}

/// Whether what was found will do for this rule.
fn session(found: &Lookup, wanted: &Wanted, judge: &Judge, now: Timestamp) -> Result<(), Refusal> {
    let who = alive(found, wanted, &judge.form().realm, now)?;
    match &judge.rule().access {
        Access::Authenticate(rule) => rule.require.check(who.facts(), now),
        Access::Public => Ok(()),
        Access::Deny(reason) => Err((*reason).into()),
    }
}

fn provider_name(wanted: &Wanted) -> Option<ProviderRef> {
    wanted.provider().map(|provider| provider.name.clone())
}

fn bare(judge: &Judge, reason: DenyReason) -> Denial {
    denial(judge, reason, Challenge::default(), None, None)
}

/// Lets the refusals of an `Audit` policy pass; what is malformed stays refused, since no policy has read it (DESIGN 5).
fn audited(judge: &Judge, reason: DenyReason) -> Result<(), DenyReason> {
    match judge.form().mode {
        Mode::Audit if reason.class() != RefusalClass::BadRequest => Ok(()),
        Mode::Audit | Mode::Enforce => Err(reason),
    }
}

/// The refusal of a rule, as the client gets to see it.
fn denial(
    judge: &Judge,
    reason: DenyReason,
    challenge: Challenge,
    redirect_to: Option<Arc<str>>,
    carrier: Option<&Carrier>,
) -> Denial {
    let signs_in = matches!(reason.class(), RefusalClass::Unauthorized | RefusalClass::StepUp);
    Denial {
        reason,
        rule: Some(judge.rule().name.clone()),
        redirect_to: redirect_to.filter(|_| signs_in),
        challenge,
        expire_cookie: match carrier {
            Some(Carrier::Cookie(name)) if is_dead(reason) => Some(name.clone()),
            _ => None,
        },
        provider: None,
    }
}

/// Whether the credential will never count again, so that a browser may forget it. Unknown truth is not death.
fn is_dead(reason: DenyReason) -> bool {
    matches!(
        reason,
        DenyReason::InvalidToken
            | DenyReason::UnknownSession
            | DenyReason::RevokedSession
            | DenyReason::ExpiredSession
            | DenyReason::IdleSession
    )
}
