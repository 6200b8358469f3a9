//! Doing what a service's response says about sessions (DESIGN 6).
//!
//! Which session it is about comes from the request's scope and from nothing else (P22); what the service may say was judged
//! when the command was read. Whatever is begun is done to its end, whether or not the response still waits for it.

use std::sync::Arc;

use super::{Issued, NewSession, SessionChange, SessionError, Sessions};
use crate::authz::response::{Command, CommandRefusal, EndScope, NewIdentity, ResponseScope};
use crate::authz::session::{Realm, SessionId, Timestamp};
use crate::store::StoreError;

/// What was done for a response. It is durable (P20).
#[derive(Debug)]
pub enum Responded {
    /// A session was made.
    Created {
        /// The session, and the token for its client.
        issued: Issued,
        /// Whether the request's own session was alive, and ended for it (P15).
        replaced: bool,
    },
    /// The session's claims were changed.
    Updated,
    /// They are what they should be already.
    Unchanged,
    /// So many sessions ended that were alive.
    Ended(usize),
}

/// What was not done, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotDone {
    /// The reason.
    pub refusal: CommandRefusal,
    /// The field that is out of bounds, as the session API names it.
    pub field: Option<&'static str>,
}

impl From<CommandRefusal> for NotDone {
    fn from(refusal: CommandRefusal) -> Self {
        Self { refusal, field: None }
    }
}

impl Sessions {
    /// Does what a response says, to the session of its request. `told` hears what came of it, also when the caller has gone
    /// away meanwhile: for the audit log.
    ///
    /// # Errors
    /// Says why nothing was done; with `StoreUnavailable` an end or an update may have been done all the same, and a session
    /// that was made has no token that anyone knows.
    pub async fn respond(
        self: &Arc<Self>,
        scope: &ResponseScope,
        command: Command,
        now: Timestamp,
        told: impl FnOnce(Result<&Responded, NotDone>) + Send + 'static,
    ) -> Result<Responded, NotDone> {
        let (sessions, realm, session) = (Arc::clone(self), scope.realm.clone(), scope.session);
        let subject = scope.subject.clone();
        let done = self.to_the_end(async move {
            let done = match command {
                Command::Create(identity) => sessions.create_anew(realm, *identity, session, now).await,
                Command::Update(patch) => {
                    let sid = session.ok_or(SessionError::NotFound)?;
                    sessions
                        .merge(&realm, sid, SessionChange { claims: Some(patch), ..SessionChange::default() }, now)
                        .await
                }
                Command::End(EndScope::Current) => sessions.end(&realm, session).await,
                Command::End(EndScope::Subject) => sessions.end_all(&realm, subject.as_deref()).await,
            };
            let done = done.map_err(|error| refusal(&error));
            told(done.as_ref().map_err(|refused| *refused));
            Ok(done)
        });
        done.await.unwrap_or_else(|error| Err(refusal(&error)))
    }

    /// Makes a session, and ends the one before it. In this order: a log-in that is refused ends nothing.
    async fn create_anew(
        &self,
        realm: Realm,
        identity: NewIdentity,
        before: Option<SessionId>,
        now: Timestamp,
    ) -> Result<Responded, SessionError> {
        let NewIdentity { subject, auth_time, acr, amr, scopes, roles, claims, device, provider } = identity;
        let new = NewSession {
            realm: realm.clone(),
            subject,
            auth_time,
            idle: None,
            absolute: None,
            acr,
            amr,
            scopes,
            roles,
            claims,
            device,
            provider,
        };
        let issued = self.create(new, now).await?;
        let Some(before) = before else { return Ok(Responded::Created { issued, replaced: false }) };
        match self.revoke(&realm, before).await {
            Ok(replaced) => Ok(Responded::Created { issued, replaced }),
            // Two live sessions are one too many (P15), and nobody is given the new one's token.
            Err(error) => {
                if let Err(error) = self.revoke(&realm, issued.session.id).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, sid = %issued.session.id, "a session that nobody was given stays");
                }
                Err(error)
            }
        }
    }

    async fn merge(
        &self,
        realm: &Realm,
        sid: SessionId,
        change: SessionChange,
        now: Timestamp,
    ) -> Result<Responded, SessionError> {
        let made = self.change(realm, sid, change, None, now).await?;
        Ok(if made.changed { Responded::Updated } else { Responded::Unchanged })
    }

    async fn end(&self, realm: &Realm, session: Option<SessionId>) -> Result<Responded, SessionError> {
        let Some(sid) = session else { return Ok(Responded::Ended(0)) };
        Ok(Responded::Ended(usize::from(self.revoke(realm, sid).await?)))
    }

    /// Also when the request's own session has ended meanwhile: the others of its subject have not.
    async fn end_all(&self, realm: &Realm, subject: Option<&str>) -> Result<Responded, SessionError> {
        let Some(subject) = subject else { return Ok(Responded::Ended(0)) };
        Ok(Responded::Ended(self.revoke_subject(realm, subject).await?))
    }
}

fn refusal(error: &SessionError) -> NotDone {
    let refusal = match error {
        SessionError::OutOfBounds { field, .. } => {
            return NotDone { refusal: CommandRefusal::OutOfBounds, field: Some(field) };
        }
        SessionError::Store(StoreError::TooLarge(_)) => CommandRefusal::OutOfBounds,
        SessionError::NotFound => CommandRefusal::SessionOver,
        SessionError::JwtTooLarge(..) => CommandRefusal::JwtTooLarge,
        SessionError::Contended => CommandRefusal::UpdateConflict,
        SessionError::Store(_) => {
            tracing::debug!(error = error as &dyn std::error::Error, "a response's command was not done");
            CommandRefusal::StoreUnavailable
        }
        SessionError::Keys => CommandRefusal::KeysUnavailable,
        // Nothing here asks for a version, or presents a token.
        SessionError::VersionMismatch(_) | SessionError::WrongToken => CommandRefusal::Internal,
    };
    refusal.into()
}

#[cfg(test)]
mod tests;
