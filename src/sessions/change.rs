//! Changing what a session says: compare and set, and the claims by JSON merge patch (RFC 7396).
//!
//! The changes of one session take turns in this process, so that they do not beat one another: what waits is merged, change
//! by change and each checked apart, into one compare-and-set. Against other processes it is merged again until it is through
//! or its time is over. Every change is answered: made, refused for a reason of its own, or `Contended`.

mod queue;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

pub(super) use self::queue::{Changes, Made};
use super::keyring::KeyRing;
use super::{SessionChange, SessionError, Sessions, bounds};
use crate::authz::session::{Claims, Realm, Session, SessionId, Timestamp};

impl Sessions {
    /// Changes a session; with `if_version` only when that is still its version, else merged again on a conflict. A change
    /// that changes nothing leaves the version alone; changes that were made as one share a version. Begun, it is done to its
    /// end, whether or not the caller still waits.
    ///
    /// # Errors
    /// When there is no such session, its version is another one, a value is out of bounds, the session JWT would be too
    /// large, others kept changing it for too long, or the store fails.
    pub async fn update(
        &self,
        realm: &Realm,
        sid: SessionId,
        change: &SessionChange,
        if_version: Option<u64>,
        now: Timestamp,
    ) -> Result<Arc<Session>, SessionError> {
        Ok(self.change(realm, sid, change.clone(), if_version, now).await?.session)
    }

    /// As [`Self::update`]; also says whether it changed anything.
    pub(super) async fn change(
        &self,
        realm: &Realm,
        sid: SessionId,
        change: SessionChange,
        if_version: Option<u64>,
        now: Timestamp,
    ) -> Result<Made, SessionError> {
        self.changes.make(realm, sid, Asked { change, if_version, now }).await
    }
}

/// A change that somebody wants.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) change: SessionChange,
    /// The version that it is for; any unless told.
    pub(super) if_version: Option<u64>,
    /// When it was asked for: a session that is over by then is not changed.
    pub(super) now: Timestamp,
}

impl Asked {
    /// What it makes of the session; `None` when that is what it is already.
    fn applied(&self, session: &Session, keyring: &KeyRing) -> Result<Option<Session>, SessionError> {
        if self.now >= session.ends() {
            return Err(SessionError::NotFound);
        }
        if self.if_version.is_some_and(|version| version != session.version) {
            return Err(SessionError::VersionMismatch(session.version));
        }
        let wanted = merged(session, &self.change)?;
        if is_same(session, &wanted) {
            return Ok(None);
        }
        bounds::jwt(keyring, &wanted)?;
        Ok(Some(wanted))
    }
}

/// The session as the change would have it, within all bounds.
fn merged(session: &Session, change: &SessionChange) -> Result<Session, SessionError> {
    let mut wanted = session.clone();
    if let Some(acr) = &change.acr {
        wanted.acr.clone_from(acr);
    }
    if let Some(amr) = &change.amr {
        wanted.amr.clone_from(amr);
    }
    if let Some(scopes) = &change.scopes {
        wanted.scopes.clone_from(scopes);
    }
    if let Some(roles) = &change.roles {
        wanted.roles.clone_from(roles);
    }
    if let Some(device) = &change.device {
        wanted.device.clone_from(device);
    }
    if let Some(patch) = &change.claims {
        wanted.claims = patched(&session.claims, patch)?;
    }
    if let Some(idle) = change.idle {
        bounds::idle(idle, session.absolute_end.since(session.created))?;
        wanted.idle = idle;
    }
    bounds::session(&wanted)?;
    Ok(wanted)
}

fn patched(claims: &Claims, patch: &RawValue) -> Result<Claims, SessionError> {
    let patch = serde_json::from_str(patch.get()).map_err(|_| bounds::out("claims", "must be JSON".to_owned()))?;
    let object = match patch {
        // RFC 7396 §2: null takes the member away; a session without claims has none in them.
        Value::Null => Map::new(),
        Value::Object(_) => {
            let mut whole = Value::Object(claims.to_object());
            json_patch::merge(&mut whole, &patch);
            match whole {
                Value::Object(object) => object,
                _ => return Err(bounds::out("claims", "must be a JSON object".to_owned())),
            }
        }
        _ => return Err(bounds::out("claims", "must be a JSON object".to_owned())),
    };
    Claims::from_object(&object)
        .ok_or_else(|| bounds::out("claims", format!("would be larger than {} bytes", Claims::MAX_BYTES)))
}

/// Whether nothing that a change may set is different.
fn is_same(one: &Session, other: &Session) -> bool {
    one.acr == other.acr
        && one.amr == other.amr
        && one.scopes == other.scopes
        && one.roles == other.roles
        && one.device == other.device
        && one.idle == other.idle
        && one.claims.to_object() == other.claims.to_object()
}
