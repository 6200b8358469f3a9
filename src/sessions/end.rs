//! Ending sessions. When one of these has answered, no `resolve` of this process finds the session alive (P17, P19).

use std::sync::Arc;

use super::view::Ended;
use super::{SessionError, Sessions, in_time};
use crate::authz::session::{Realm, SessionId};

impl Sessions {
    /// Ends a session. Idempotent: answers whether there was one.
    ///
    /// # Errors
    /// When the store fails: the session may or may not be over, and asking again is safe.
    pub async fn revoke(&self, realm: &Realm, sid: SessionId) -> Result<bool, SessionError> {
        let (store, view, clock) = (Arc::clone(&self.store), Arc::clone(&self.view), Arc::clone(&self.clock));
        let realm = realm.clone();
        self.to_the_end(async move {
            match in_time(store.revoke(&realm, sid)).await {
                Ok(there) => {
                    view.end(&realm, sid, Ended::Revoked, clock.now());
                    Ok(there)
                }
                Err(error) => {
                    view.changed(sid);
                    Err(error.into())
                }
            }
        })
        .await
    }

    /// Ends every session of a subject; answers how many were live.
    ///
    /// # Errors
    /// When the store fails: the sessions may or may not be over, and asking again is safe.
    pub async fn revoke_subject(&self, realm: &Realm, subject: &str) -> Result<usize, SessionError> {
        let (store, view, clock) = (Arc::clone(&self.store), Arc::clone(&self.view), Arc::clone(&self.clock));
        let (realm, subject) = (realm.clone(), subject.to_owned());
        self.to_the_end(async move {
            match in_time(store.revoke_subject(&realm, &subject)).await {
                Ok(ended) => {
                    let now = clock.now();
                    for sid in &ended {
                        view.end(&realm, *sid, Ended::Revoked, now);
                    }
                    Ok(ended.len())
                }
                Err(error) => {
                    // Which sessions it would have been is not known here.
                    view.changed_all();
                    Err(error.into())
                }
            }
        })
        .await
    }
}
