//! Making sessions, and giving their holders the next token.

use std::sync::Arc;

use super::token::new_session_id;
use super::{Issued, NewSession, SessionError, Sessions, bounds, in_time};
use crate::authz::credential::AccessToken;
use crate::authz::session::{PreviousSecret, Realm, SecretAge, Session, SessionId, Timestamp};
use crate::store::{Changed, SecretChange};

impl Sessions {
    /// Makes a session.
    ///
    /// # Errors
    /// When a value is out of bounds, the session JWT with all claims would be too large for any service, or the store fails.
    pub async fn create(&self, new: NewSession, now: Timestamp) -> Result<Issued, SessionError> {
        let absolute = new.absolute.unwrap_or(self.config.absolute);
        bounds::absolute(absolute, self.config.absolute)?;
        // The install's default is for sessions of its default life; a shorter session is never idle before it ends.
        let idle = new.idle.unwrap_or(self.config.idle.min(absolute));
        bounds::idle(idle, absolute)?;
        let auth_time = new.auth_time.unwrap_or(now);
        if auth_time > now || auth_time < Timestamp::from_millis(0) {
            return Err(bounds::out("authTime", "must lie between 1970 and now".to_owned()));
        }
        let id = new_session_id()?;
        let (token, secret) = self.token_keys.mint(&new.realm, id)?;
        let session = Session {
            id,
            realm: new.realm,
            subject: new.subject,
            secret,
            previous: None,
            rotated_at: now,
            created: now,
            auth_time,
            last_seen: now,
            idle,
            absolute_end: now.plus(absolute),
            version: 1,
            // The store's to set.
            epoch: 0,
            acr: new.acr,
            amr: new.amr,
            scopes: new.scopes,
            roles: new.roles,
            claims: new.claims,
            device: new.device,
            provider: new.provider,
        };
        bounds::session(&session)?;
        bounds::jwt(&self.keyring, &session)?;
        let (store, view, realm) = (Arc::clone(&self.store), Arc::clone(&self.view), session.realm.clone());
        let created = self
            .to_the_end(async move {
                let created = in_time(store.create(session)).await;
                view.created(&realm, id);
                Ok(created?)
            })
            .await?;
        match created {
            Changed::Done(session) => Ok(Issued { token, session: Arc::new(*session) }),
            // Nobody else has this id, unless the random source repeats itself; then it is not to be relied on.
            Changed::Conflict(_) | Changed::Gone(_) => Err(SessionError::Keys),
        }
    }

    /// Gives whoever holds the present token of `sid` the next one. The token before counts until the new one is first
    /// presented, and then for the overlap.
    ///
    /// # Errors
    /// `WrongToken` when `present` is not the session's present token (also when it was until a moment ago), `NotFound` when
    /// there is no such session; else when the store fails.
    pub async fn rotate(
        &self,
        realm: &Realm,
        sid: SessionId,
        present: &AccessToken,
        now: Timestamp,
    ) -> Result<Issued, SessionError> {
        if present.sid() != sid || !self.token_keys.verify(realm, present) {
            return Err(SessionError::WrongToken);
        }
        let session = self.load_live(realm, sid, now).await?;
        let secret = super::token::secret_digest(present.secret());
        if session.accepts(&secret, now) != Some(SecretAge::Present) {
            return Err(SessionError::WrongToken);
        }
        let (token, next) = self.token_keys.mint(realm, sid)?;
        let previous = Some(PreviousSecret { digest: secret, ends: None });
        let change = SecretChange { from: secret, to: next, previous, rotated_at: now };
        let (store, view, stats) = (Arc::clone(&self.store), Arc::clone(&self.view), Arc::clone(&self.stats));
        let realm = realm.clone();
        let changed = self
            .to_the_end(async move {
                let changed = in_time(store.rotate(&realm, sid, change)).await;
                view.changed(sid);
                if matches!(changed, Ok(Changed::Done(_))) {
                    stats.rotations.inc()
                } else {
                    stats.rotation_failures.inc()
                }
                Ok(changed?)
            })
            .await?;
        match changed {
            Changed::Done(session) => Ok(Issued { token, session: Arc::new(*session) }),
            Changed::Conflict(_) => Err(SessionError::WrongToken),
            Changed::Gone(_) => Err(SessionError::NotFound),
        }
    }
}
