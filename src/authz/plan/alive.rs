//! Whether what a look-up found counts: alive, the one asked for, and within its times. No look-up is trusted with that alone.

use std::sync::Arc;
use std::time::Duration;

use super::Wanted;
use crate::authz::identity::{Facts, Identity};
use crate::authz::policy::Refusal;
use crate::authz::reason::DenyReason;
use crate::authz::session::{Realm, Session, Timestamp};
use crate::authz::verdict::Lookup;

/// How far a session's own times may lie ahead of our clock before we say that the clock is wrong (P23).
pub const CLOCK_LEEWAY: Duration = Duration::from_secs(30);

/// Who it was that was found, alive.
pub(super) enum Alive<'a> {
    Session(&'a Arc<Session>),
    Identity(&'a Arc<Identity>),
}

impl Alive<'_> {
    pub(super) fn facts(&self) -> Facts<'_> {
        match self {
            Self::Session(session) => session.facts(),
            Self::Identity(identity) => identity.facts(),
        }
    }
}

/// The session or the identity found, if it is alive and the one asked for.
pub(super) fn alive<'a>(
    found: &'a Lookup,
    wanted: &Wanted,
    realm: &Realm,
    now: Timestamp,
) -> Result<Alive<'a>, Refusal> {
    let session = match found {
        Lookup::Active(session) => session,
        Lookup::Expired => return Err(DenyReason::ExpiredSession.into()),
        Lookup::Idle => return Err(DenyReason::IdleSession.into()),
        Lookup::Revoked => return Err(DenyReason::RevokedSession.into()),
        Lookup::Unknown => return Err(DenyReason::UnknownSession.into()),
        Lookup::Invalid => {
            return Err(match wanted {
                Wanted::Token(_) => DenyReason::InvalidToken,
                Wanted::SessionJwt(..) => DenyReason::InvalidSessionJwt,
                Wanted::Foreign(..) => DenyReason::InvalidCredential,
            }
            .into());
        }
        Lookup::Vouched(identity) => return is_vouched(identity, wanted, now).map(|()| Alive::Identity(identity)),
        Lookup::Refused(reason) | Lookup::Unavailable(reason) => return Err((*reason).into()),
    };
    is_alive(session, wanted, realm, now)?;
    Ok(Alive::Session(session))
}

/// What no look-up may be trusted with alone: that it was this provider that was asked, and that the credential has not ended.
fn is_vouched(identity: &Identity, wanted: &Wanted, now: Timestamp) -> Result<(), Refusal> {
    if wanted.provider().is_none_or(|provider| provider.name != identity.provider) {
        return Err(DenyReason::Internal.into());
    }
    if identity.ends.is_some_and(|ends| ends <= now) {
        return Err(DenyReason::ExpiredCredential.into());
    }
    Ok(())
}

/// What no look-up may be trusted with alone: that the session is the one asked for, of this realm, and within its times.
fn is_alive(session: &Session, wanted: &Wanted, realm: &Realm, now: Timestamp) -> Result<(), Refusal> {
    let is_other = match wanted {
        Wanted::Token(token) => token.sid() != session.id,
        Wanted::SessionJwt(..) => false,
        Wanted::Foreign(..) => true,
    };
    if is_other || session.realm != *realm {
        return Err(DenyReason::UnknownSession.into());
    }
    if now >= session.absolute_end {
        return Err(DenyReason::ExpiredSession.into());
    }
    // What lies ahead says that our clock is behind, and then no end in the record can be judged (P23).
    if session.created.max(session.auth_time).max(session.last_seen).since(now) > CLOCK_LEEWAY {
        return Err(DenyReason::ClockBehind.into());
    }
    Ok(())
}
