//! From a decision to a verdict: the session JWT, cached or minted, and what a use of the session brings with it.

use std::sync::Arc;

use bytes::Bytes;

use super::keyring::MintError;
use super::view::{Entry, Jwt};
use super::{Resolved, Sessions};
use crate::authz::credential::{Carrier, TakeOff};
use crate::authz::identity::{Holder, Identity};
use crate::authz::policy::RuleRef;
use crate::authz::reason::DenyReason;
use crate::authz::response::ResponseScope;
use crate::authz::session::{Session, Timestamp};
use crate::authz::verdict::{Allow, Decision, Denial, Permit, Verdict};

impl Sessions {
    /// Turns a decision into a verdict: adds the cached JWT, or mints one, and a rotated cookie where one is due. Only what
    /// passes counts as a use of the session.
    pub async fn render(&self, decision: Decision, resolved: &Resolved, now: Timestamp) -> Verdict {
        let permit = match decision {
            Decision::Permit(permit) => permit,
            Decision::Deny(denial) => return Verdict::Deny(denial),
            Decision::Anonymous { rule, take_off, audit, scope } => {
                return self.anonymous(rule, take_off, audit, scope.as_deref(), now);
            }
        };
        let session = match permit.holder() {
            Holder::Session(session) => session,
            Holder::Identity(identity) => {
                let jwt = self.vouched_jwt(&permit, identity, now);
                return match (jwt, self.handle(permit.scope(), now)) {
                    (Ok(jwt), Ok(handle)) => permit.with_jwt(jwt, None, handle),
                    (Err(reason), _) | (_, Err(reason)) => refused(&permit, reason),
                };
            }
        };
        // A permit for a session comes from an active look-up, and that has an entry.
        let Some(entry) = &resolved.entry else {
            return refused(&permit, DenyReason::Internal);
        };
        let jwt = match self.session_jwt(&permit, session, entry, now) {
            Ok(jwt) => jwt,
            Err(DenyReason::ExpiredSession) => return Verdict::Deny(ending(&permit, session, now)),
            Err(reason) => return refused(&permit, reason),
        };
        self.touch(entry, now);
        let set_cookie = self.renew(&permit, entry, resolved.secret, now).await;
        let Ok(handle) = self.handle(permit.scope(), now) else {
            return refused(&permit, DenyReason::Internal);
        };
        permit.with_jwt(jwt, set_cookie, handle)
    }

    /// The verdict on a request that passes without identity.
    pub fn anonymous(
        &self,
        rule: RuleRef,
        take_off: TakeOff,
        audit: Option<DenyReason>,
        scope: Option<&ResponseScope>,
        now: Timestamp,
    ) -> Verdict {
        match self.handle(scope, now) {
            Ok(handle) => {
                Verdict::Allow(Allow { rule, jwt: None, take_off, set_cookie: None, handle, audit, provider: None })
            }
            Err(reason) => Verdict::Deny(Denial { rule: Some(rule), ..Denial::bare(reason) }),
        }
    }

    /// The handle for the response. A request whose response could not be told apart from one that says nothing does not pass:
    /// a JWT that is to be exchanged would reach the client (P11).
    fn handle(&self, scope: Option<&ResponseScope>, now: Timestamp) -> Result<Option<Box<str>>, DenyReason> {
        let sealed = scope.map(|scope| self.seal(scope, now).ok_or(DenyReason::Internal));
        sealed.transpose()
    }

    /// A JWT for this permit: a kept one until half of its life is spent, or until the session's version, the audience or the
    /// signing key changes (DESIGN 4).
    fn session_jwt(
        &self,
        permit: &Permit,
        session: &Session,
        entry: &Arc<Entry>,
        now: Timestamp,
    ) -> Result<Bytes, DenyReason> {
        let key = self.keyring.signing_key(&permit.mint().namespace, now).ok_or(DenyReason::KeysUnavailable)?;
        let jwt = entry.shelf.jwt(permit.mint(), session.version, &key, now, || self.keyring.mint(permit, now));
        match jwt {
            Ok(Jwt::Kept(jwt)) => {
                self.stats.reuses.inc();
                Ok(jwt)
            }
            Ok(Jwt::New(minted)) => {
                self.stats.mints.inc();
                self.view.reweigh(entry);
                Ok(minted.jwt)
            }
            Err(error) => Err(unsigned(&error)),
        }
    }

    /// The same where no session is: a JWT is kept for as long as the very same word of the provider.
    fn vouched_jwt(&self, permit: &Permit, identity: &Arc<Identity>, now: Timestamp) -> Result<Bytes, DenyReason> {
        let key = self.keyring.signing_key(&permit.mint().namespace, now).ok_or(DenyReason::KeysUnavailable)?;
        if let Some(jwt) = self.vouched.kept(identity, permit.mint(), &key, now) {
            self.stats.reuses.inc();
            return Ok(jwt);
        }
        let minted = self.keyring.mint(permit, now).map_err(|error| match unsigned(&error) {
            DenyReason::ExpiredSession => DenyReason::ExpiredCredential,
            reason => reason,
        })?;
        self.stats.mints.inc();
        Ok(self.vouched.keep(identity, permit.mint(), minted))
    }

    /// What [`Self::render`] would refuse this permit with, for those who explain and use nothing.
    pub fn refusal(&self, permit: &Permit, now: Timestamp) -> Option<Denial> {
        match reason(&self.keyring.check(permit, now).err()?) {
            DenyReason::ExpiredSession => Some(match permit.holder() {
                Holder::Session(session) => ending(permit, session, now),
                Holder::Identity(_) => denial(permit, DenyReason::ExpiredCredential),
            }),
            reason => Some(denial(permit, reason)),
        }
    }
}

fn unsigned(error: &MintError) -> DenyReason {
    if let MintError::Signing(_) = error {
        tracing::error!(error = error as &dyn std::error::Error, "session JWT not signed");
    }
    reason(error)
}

fn reason(error: &MintError) -> DenyReason {
    match error {
        MintError::NoKey => DenyReason::KeysUnavailable,
        MintError::SessionEnding => DenyReason::ExpiredSession,
        MintError::TooLarge(..) => DenyReason::JwtTooLarge,
        MintError::Signing(_) => DenyReason::Internal,
    }
}

fn refused(permit: &Permit, reason: DenyReason) -> Verdict {
    Verdict::Deny(denial(permit, reason))
}

/// A session whose life is too short for a JWT of whole seconds. At its absolute end it looks like one that is over (P37): the
/// cookie is taken back. At its idle end it may live on, so the cookie stays.
fn ending(permit: &Permit, session: &Session, now: Timestamp) -> Denial {
    let expire_cookie = match permit.carrier() {
        Carrier::Cookie(name) if session.absolute_end.as_secs() <= now.as_secs() => Some(Arc::clone(name)),
        _ => None,
    };
    Denial { expire_cookie, ..denial(permit, DenyReason::ExpiredSession) }
}

fn denial(permit: &Permit, reason: DenyReason) -> Denial {
    let provider = match permit.holder() {
        Holder::Session(_) => None,
        Holder::Identity(identity) => Some(identity.provider.clone()),
    };
    Denial { rule: Some(Arc::clone(permit.rule())), provider, ..Denial::bare(reason) }
}

#[cfg(test)]
mod tests;
