//! What is written down about responses: a line for each wish that was not done, and a line in the audit log for each change.
//! Names and reasons only; nothing of what a service sent.

use std::fmt;

use prometheus::IntCounter;

use crate::authz::policy::RuleName;
use crate::authz::response::{Command, CommandRefusal, EndScope, RefusalEffect, ResponseScope};
use crate::authz::session::SessionId;
use crate::identity::jwt::JwtRefusal;
use crate::sessions::{NotDone, Responded};
use crate::telemetry::budget::{Budget, Grant};

/// How many lines about refused wishes are written in one second at most (P32): a client may provoke them.
const MAX_PER_SECOND: u64 = 100;

/// More than a reason says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// What is wrong with a JWT.
    Jwt(JwtRefusal),
    /// The JWT verifies, and no session can be made of it.
    Unusable(NotDone),
    /// The field that is out of bounds.
    Field(&'static str),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jwt(refusal) => refusal.fmt(f),
            Self::Unusable(NotDone { refusal, field: None }) => f.write_str(refusal.label()),
            Self::Unusable(NotDone { field: Some(field), .. }) | Self::Field(field) => {
                write!(f, "{field} is out of bounds")
            }
        }
    }
}

/// Writes records.
#[derive(Debug)]
pub(super) struct Records {
    budget: Budget,
    dropped: IntCounter,
}

impl Records {
    pub(super) fn new(dropped: IntCounter) -> Self {
        Self { budget: Budget::new(MAX_PER_SECOND), dropped }
    }

    /// Writes that a wish was not done. `why` says more than the reason, where there is more to say.
    pub(super) fn refused(&self, refusal: CommandRefusal, scope: Option<&ResponseScope>, why: Option<Why>) {
        match self.budget.take() {
            Grant::Within => {}
            Grant::FirstBeyond => {
                tracing::warn!(
                    per_second = MAX_PER_SECOND,
                    "too many refused wishes: some are counted and not written"
                );
                return self.dropped.inc();
            }
            Grant::Beyond => return self.dropped.inc(),
        }
        tracing::warn!(
            reason = refusal.label(),
            why = why.map(tracing::field::display),
            policy = scope.map(|scope| tracing::field::display(&scope.rule.policy)),
            rule = scope.map(|scope| &*scope.rule.rule),
            sid = scope.and_then(|scope| scope.session).map(tracing::field::display),
            "a response's wish about sessions was not done"
        );
    }
}

/// What a service asked for, in the words of the session API's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// `x-session-create`.
    Create,
    /// A session for a JWT of the service.
    Exchange,
    /// `x-session-update`.
    Update,
    /// `x-session-end: current`.
    Revoke,
    /// `x-session-end: subject`.
    RevokeSubject,
}

impl Verb {
    pub(super) const fn of(command: &Command) -> Self {
        match command {
            Command::Create(_) => Self::Create,
            Command::Update(_) => Self::Update,
            Command::End(EndScope::Current) => Self::Revoke,
            Command::End(EndScope::Subject) => Self::RevokeSubject,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Exchange => "exchange",
            Self::Update => "update",
            Self::Revoke => "revoke",
            Self::RevokeSubject => "revokeSubject",
        }
    }
}

/// Writes the audit line of a change, or of one that may have been made all the same; and of the session that a new one took
/// the place of. A service's mistakes are no changes: they have a record of their own.
pub(super) fn asked(scope: &ResponseScope, verb: Verb, came: Result<&Responded, NotDone>) {
    match came {
        Ok(Responded::Created { issued, replaced }) => {
            line(scope, verb, Some(issued.session.id), Some(&issued.session.subject), "ok");
            if *replaced {
                line(scope, Verb::Revoke, scope.session, None, "ok");
            }
        }
        Ok(Responded::Updated | Responded::Ended(1..)) => line(scope, verb, scope.session, whose(scope, verb), "ok"),
        Ok(Responded::Unchanged | Responded::Ended(0)) => {}
        Err(NotDone { refusal, .. }) if refusal.effect() == RefusalEffect::Unavailable => {
            line(scope, verb, scope.session, whose(scope, verb), refusal.label());
        }
        Err(_) => {}
    }
}

/// Whose sessions a change is about, where it is about more than the one.
fn whose(scope: &ResponseScope, verb: Verb) -> Option<&str> {
    scope.subject.as_deref().filter(|_| verb == Verb::RevokeSubject)
}

fn line(scope: &ResponseScope, verb: Verb, sid: Option<SessionId>, subject: Option<&str>, result: &str) {
    tracing::info!(
        target: "audit",
        actor = %Service(&scope.rule),
        verb = verb.name(),
        realm = scope.realm.as_str(),
        sid = sid.map(tracing::field::display),
        subject,
        result,
        "session change"
    );
}

/// The service behind a rule, as the one who asked.
struct Service<'a>(&'a RuleName);

impl fmt::Display for Service<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {}/{}", self.0.policy, self.0.rule)
    }
}
