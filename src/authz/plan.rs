//! The two pure halves of a decision, around the one look-up: [`plan`] finds the rule and the credential, [`settle`] judges
//! what was found behind it.
//!
//! Most requests have one policy. Where `Required` policies stand further out, each is asked in turn, the outermost first: all
//! must let the request pass, and the most specific one that asked for a session says what the service is told.

mod alive;
mod choose;
pub mod explain;
mod redirect;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use self::alive::{Alive, alive};
use super::attributes::RequestAttributes;
use super::credential::{AccessToken, Carrier, Credential, ForeignCredential, Presented, PresentedJwt, TakeOff};
use super::identity::Holder;
use super::policy::provider::{IdentityProvider, ProviderRef};
use super::policy::{Access, AuthRule, Judge, Located, PolicyIndex, Refusal, RuleProvider, SessionJwtRule};
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

/// A plan in the making.
struct Draft {
    asking: Vec<Asking>,
    presented: Option<Presented>,
    /// What all rules that take a session JWT agree about.
    jwt_rule: Option<SessionJwtRule>,
    /// The provider that all rules which take the credential of somebody else agree about.
    provider: Option<Arc<IdentityProvider>>,
    /// Where the providers of all rules look.
    places: Vec<Carrier>,
    audit: Option<DenyReason>,
}

impl Draft {
    /// Asks every rule what it wants; the first that refuses is the answer.
    fn begin(index: &PolicyIndex, request: &RequestAttributes<'_>, located: &Located) -> Result<Self, Denial> {
        let mut draft = Self {
            asking: Vec::new(),
            presented: None,
            jwt_rule: None,
            provider: None,
            places: places(located),
            audit: None,
        };
        for judge in located.judges() {
            let reason = match &judge.rule().access {
                Access::Public => continue,
                Access::Deny(reason) => *reason,
                Access::Authenticate(rule) => match draft.ask(index, request, judge, rule) {
                    Ok(()) => continue,
                    Err(reason) => reason,
                },
            };
            if let Err(reason) = audited(judge, reason) {
                let credential = draft.presented.as_ref().and_then(|presented| presented.credential.as_ref());
                let carrier = credential.map(|(_, carrier)| carrier);
                return Err(denial(judge, reason, Challenge::default(), redirect::target(judge, request), carrier));
            }
            draft.audit.get_or_insert(reason);
        }
        Ok(draft)
    }

    /// What `rule` makes of the credential, before anything is looked up.
    fn ask(
        &mut self,
        index: &PolicyIndex,
        request: &RequestAttributes<'_>,
        judge: &Judge,
        rule: &AuthRule,
    ) -> Result<(), DenyReason> {
        if self.presented.is_none() {
            self.presented = Some(index.carriers.present(request, &self.places)?);
        }
        // Where nobody knows where a missing provider would look, a credential of its own may be anywhere: none was found, or one
        // alone, only as far as we can see (P6, P13), and what we do not see the service would (P7).
        if rule.providers.iter().any(RuleProvider::is_anywhere) {
            return Err(DenyReason::ProviderMissing);
        }
        let Some((credential, carrier)) = self.presented.as_ref().and_then(|it| it.credential.as_ref()) else {
            return if rule.anonymous { Ok(()) } else { Err(DenyReason::NoCredential) };
        };
        match (credential, &rule.session, &rule.session_jwt) {
            (Credential::Foreign(foreign), ..) => {
                let chosen = choose::provider(rule, foreign, carrier)?;
                // One credential is judged once: what one provider says counts for no rule that trusts another.
                if self.provider.as_ref().is_some_and(|other| !Arc::ptr_eq(other, chosen)) {
                    return Err(DenyReason::InvalidCredential);
                }
                self.provider = Some(chosen.clone());
            }
            (Credential::Other, ..) if *carrier != Carrier::Bearer && self.places.contains(carrier) => {
                return Err(DenyReason::InvalidCredential);
            }
            (Credential::Other, ..) => return Err(DenyReason::InvalidToken),
            (Credential::Token(_), Some(carriers), _) => {
                if carriers.as_ref().is_some_and(|carriers| !carriers.contains(carrier)) {
                    return Err(DenyReason::WrongCarrier);
                }
            }
            (Credential::Token(_), None, _) => return Err(DenyReason::WrongCarrier),
            (Credential::SessionJwt(_), _, Some(accepted)) => {
                let both = self.jwt_rule.as_ref().map_or_else(|| Some(accepted.clone()), |it| it.and(accepted));
                self.jwt_rule = Some(both.ok_or(DenyReason::InvalidSessionJwt)?);
            }
            (Credential::SessionJwt(_), _, None) => return Err(DenyReason::InvalidSessionJwt),
        }
        if is_forced(carrier, request, judge) {
            return Err(DenyReason::CrossSite);
        }
        self.asking.push(Asking { judge: judge.clone(), redirect_to: redirect::target(judge, request) });
        Ok(())
    }

    /// Where a request logs in, what it presents is looked for too: to be ended, never as an identity.
    fn log_in(&mut self, index: &PolicyIndex, request: &RequestAttributes<'_>, inner: &Judge) -> Result<(), Denial> {
        if self.presented.is_none() {
            let presented = index.carriers.present(request, &self.places);
            self.presented = Some(presented.map_err(|reason| bare(inner, reason))?);
        }
        let credential = self.presented.as_ref().and_then(|presented| presented.credential.as_ref());
        let by_cookie = matches!(credential, Some((Credential::Token(_), Carrier::Cookie(_))));
        // Also without a cookie: another site must not log a browser in as somebody else.
        let gives_cookie = inner.grants().is_some_and(|grants| grants.gives_cookie());
        let forced = (by_cookie || gives_cookie) && request.cross_site(&inner.form().allowed_origins);
        if forced && audited(inner, DenyReason::CrossSite).is_err() {
            return Err(bare(inner, DenyReason::CrossSite));
        }
        Ok(())
    }

    fn finish(mut self, index: &PolicyIndex, request: &RequestAttributes<'_>, inner: Judge) -> Plan {
        let logs_in = inner.logs_in();
        if logs_in && let Err(denial) = self.log_in(index, request, &inner) {
            return Plan::Settled(Box::new(Decision::Deny(denial)));
        }
        let Self { asking, presented, jwt_rule, provider, places, audit } = self;
        let take_off = index.take_off(request, &places);
        let credential = presented.and_then(|it| it.credential).filter(|_| logs_in || !asking.is_empty());
        let (wanted, carrier) = match (credential, jwt_rule, provider) {
            (Some((Credential::Token(token), carrier)), ..) => (Wanted::Token(token), carrier),
            (Some((Credential::SessionJwt(jwt), carrier)), Some(rule), _) => (Wanted::SessionJwt(jwt, rule), carrier),
            (Some((Credential::Foreign(foreign), carrier)), _, Some(provider)) => {
                (Wanted::Foreign(foreign, provider), carrier)
            }
            _ => {
                let scope = scope(&inner, None, None).filter(|_| logs_in).map(Box::new);
                let rule = inner.rule().name.clone();
                return Plan::Settled(Box::new(Decision::Anonymous { rule, take_off, audit, scope }));
            }
        };
        Plan::Lookup(Box::new(Pending { asking, wanted, carrier, take_off, audit, inner }))
    }
}

/// Where the identity providers of the rules that judge a request look for credentials, missing ones too.
fn places(located: &Located) -> Vec<Carrier> {
    let mut places = Vec::new();
    for judge in located.judges() {
        let Access::Authenticate(rule) = &judge.rule().access else { continue };
        for place in rule.providers.iter().flat_map(RuleProvider::places) {
            if !places.contains(place) {
                places.push(place.clone());
            }
        }
    }
    places
}

fn provider_name(wanted: &Wanted) -> Option<ProviderRef> {
    wanted.provider().map(|provider| provider.name.clone())
}

/// A cookie comes along with whatever makes the browser send a request; other carriers need a script of ours (P14).
fn is_forced(carrier: &Carrier, request: &RequestAttributes<'_>, judge: &Judge) -> bool {
    matches!(carrier, Carrier::Cookie(_)) && request.cross_site(&judge.form().allowed_origins)
}

fn bare(judge: &Judge, reason: DenyReason) -> Denial {
    denial(judge, reason, Challenge::default(), None, None)
}

impl SessionJwtRule {
    /// What both accept; `None` when that is nothing.
    fn and(&self, other: &Self) -> Option<Self> {
        let both = |one: &[String], two: &[String]| -> Arc<[String]> {
            one.iter().filter(|it| two.contains(it)).cloned().collect()
        };
        let audiences = both(&self.audiences, &other.audiences);
        let namespaces = both(&self.namespaces, &other.namespaces);
        (!audiences.is_empty() && !namespaces.is_empty()).then_some(Self { audiences, namespaces })
    }
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
