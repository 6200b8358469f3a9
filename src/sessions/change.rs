//! Changing what a session says: compare and set, and the claims by JSON merge patch (RFC 7396).

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{SessionChange, SessionError, Sessions, bounds, in_time};
use crate::authz::session::{Claims, Realm, Session, SessionId, Timestamp};
use crate::store::Changed;

/// How often a change without `if_version` is merged again because others were faster.
const MAX_TRIES: usize = 8;

impl Sessions {
    /// Changes a session; with `if_version` only when that is still its version, else merged again on a conflict. A change
    /// that changes nothing leaves the version alone.
    ///
    /// # Errors
    /// When there is no such session, its version is another one, a value is out of bounds, the session JWT would be too
    /// large, or the store fails.
    pub async fn update(
        &self,
        realm: &Realm,
        sid: SessionId,
        change: &SessionChange,
        if_version: Option<u64>,
        now: Timestamp,
    ) -> Result<Arc<Session>, SessionError> {
        let mut current = self.load_live(realm, sid, now).await?;
        for _ in 0..MAX_TRIES {
            if if_version.is_some_and(|version| version != current.version) {
                break;
            }
            let wanted = merged(&current, change)?;
            if is_same(&current, &wanted) {
                return Ok(Arc::new(current));
            }
            self.fits(&wanted)?;
            let expected = current.version;
            let (store, view) = (Arc::clone(&self.store), Arc::clone(&self.view));
            let changed = self
                .to_the_end(async move {
                    let changed = in_time(store.update(expected, wanted)).await;
                    view.changed(sid);
                    Ok(changed?)
                })
                .await?;
            match changed {
                Changed::Done(session) => return Ok(Arc::new(*session)),
                Changed::Conflict(session) => current = *session,
                Changed::Gone(_) => return Err(SessionError::NotFound),
            }
        }
        Err(SessionError::VersionMismatch(current.version))
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

fn patched(claims: &Claims, patch: &Value) -> Result<Claims, SessionError> {
    let object = match patch {
        // RFC 7396 §2: null takes the member away; a session without claims has none in them.
        Value::Null => Map::new(),
        Value::Object(_) => {
            let mut whole = Value::Object(claims.to_object());
            json_patch::merge(&mut whole, patch);
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
