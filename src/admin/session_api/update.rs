//! Changing a session by a merge patch, and what may come of a change.

use std::sync::Arc;

use super::SessionApi;
use super::read::IfMatch;
use super::request::SessionPatch;
use crate::admin::problem::{Problem, ProblemKind};
use crate::authz::session::{Realm, Session, SessionId};
use crate::sessions::{SessionChange, SessionError};

/// How often a patch that depends on the present device is tried when others change the session meanwhile.
const PATCH_ATTEMPTS: usize = 8;

impl SessionApi {
    pub(super) async fn apply(
        &self,
        realm: &Realm,
        sid: SessionId,
        patch: &SessionPatch,
        mut change: SessionChange,
        if_match: IfMatch,
    ) -> Result<Arc<Session>, SessionError> {
        let asked = match if_match {
            IfMatch::Any => None,
            IfMatch::Version(version) => Some(version),
            // A session that is not there is 404 whatever was asked of its version.
            IfMatch::Never => {
                let session = self.sessions().get(realm, sid, self.now()).await?;
                return Err(SessionError::VersionMismatch(session.version));
            }
        };
        if !matches!(patch.device, Some(Some(_))) {
            return self.sessions().update(realm, sid, &change, asked, self.now()).await;
        }
        // A patch of some of the device's members needs the others as they are when it is written.
        let mut attempt = 1;
        loop {
            let session = self.sessions().get(realm, sid, self.now()).await?;
            let version = asked.unwrap_or(session.version);
            change.device = patch.device_of(session.device.as_ref());
            match self.sessions().update(realm, sid, &change, Some(version), self.now()).await {
                Err(SessionError::VersionMismatch(_)) if asked.is_none() && attempt < PATCH_ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::OutOfBounds { field, problem } => Self::out_of_bounds(field, problem),
            SessionError::NotFound => Self::new(ProblemKind::NoSuchSession, "no such session in this realm"),
            SessionError::VersionMismatch(_) => {
                Self::new(ProblemKind::VersionMismatch, "the session has changed: read it again")
            }
            SessionError::Contended => Self::unavailable(error.to_string()),
            SessionError::WrongToken => {
                Self::new(ProblemKind::WrongToken, "only who holds the session's present token gets the next")
            }
            SessionError::JwtTooLarge(..) => Self::out_of_bounds("claims", error.to_string()),
            SessionError::Store(_) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "session store");
                Self::unavailable("the session store does not answer; nothing is known to have changed")
            }
            SessionError::Keys => {
                tracing::error!(error = &error as &dyn std::error::Error, "no token was made");
                Self::unavailable("no token could be made; the log has more")
            }
        }
    }
}
