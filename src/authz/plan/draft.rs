//! A plan in the making: every rule that judges the request is asked what it makes of the credential.

use std::sync::Arc;

use super::{Asking, Pending, Plan, Wanted, audited, bare, choose, denial, redirect, scope};
use crate::authz::attributes::RequestAttributes;
use crate::authz::credential::{Carrier, Credential, Presented};
use crate::authz::policy::provider::IdentityProvider;
use crate::authz::policy::{Access, AuthRule, Judge, Located, PolicyIndex, RuleProvider, SessionJwtRule};
use crate::authz::reason::DenyReason;
use crate::authz::verdict::{Challenge, Decision, Denial};

/// A plan in the making.
pub(super) struct Draft {
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
    pub(super) fn begin(
        index: &PolicyIndex,
        request: &RequestAttributes<'_>,
        located: &Located,
    ) -> Result<Self, Denial> {
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

    pub(super) fn finish(mut self, index: &PolicyIndex, request: &RequestAttributes<'_>, inner: Judge) -> Plan {
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
pub(super) fn places(located: &Located) -> Vec<Carrier> {
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

/// A cookie comes along with whatever makes the browser send a request; other carriers need a script of ours (P14).
fn is_forced(carrier: &Carrier, request: &RequestAttributes<'_>, judge: &Judge) -> bool {
    matches!(carrier, Carrier::Cookie(_)) && request.cross_site(&judge.form().allowed_origins)
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
