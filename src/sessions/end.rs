//! Ending sessions. When one of these has answered, no `resolve` of this process finds the session alive (P17, P19).
//!
//! A session that two of them end at once is over in the store by the first, and the second may not learn from the store that
//! it was there. So the end of a subject's sessions is answered only when every end that had begun before has told the view.

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
        let (realm, ending) = (realm.clone(), Arc::clone(&self.ending));
        self.to_the_end(async move {
            let _under_way = ending.read().await;
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
        let (realm, subject, ending) = (realm.clone(), subject.to_owned(), Arc::clone(&self.ending));
        self.to_the_end(async move {
            let under_way = ending.read().await;
            let ended = match in_time(store.revoke_subject(&realm, &subject)).await {
                Ok(ended) => {
                    view.end_subject(&realm, &subject, &ended, clock.now()).await;
                    Ok(ended.len())
                }
                Err(error) => {
                    // Which sessions it would have been is not known here.
                    view.changed_subject(&realm, &subject);
                    Err(error.into())
                }
            };
            drop(under_way);
            // Fair: it waits for those that hold it now and for none that comes later.
            drop(ending.write().await);
            ended
        })
        .await
    }
}
