//! What is written down about responses: a line for each wish that was not done, and a line in the audit log for each change.
//! Names and reasons only; nothing of what a service sent.

use std::fmt;

use prometheus::IntCounter;

use super::metrics::Outcome;
use crate::authz::policy::RuleName;
use crate::authz::response::{CommandRefusal, ResponseScope};
use crate::authz::session::SessionId;
use crate::telemetry::budget::{Budget, Grant};

/// How many lines about refused wishes are written in one second at most (P32): a client may provoke them.
const MAX_PER_SECOND: u64 = 100;

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
    pub(super) fn refused(&self, refusal: CommandRefusal, scope: Option<&ResponseScope>, why: Option<&'static str>) {
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
            why,
            policy = scope.map(|scope| tracing::field::display(&scope.rule.policy)),
            rule = scope.map(|scope| &*scope.rule.rule),
            sid = scope.and_then(|scope| scope.session).map(tracing::field::display),
            "a response's wish about sessions was not done"
        );
    }
}

/// Writes the audit line of a change. `sid` is the session that changed: the new one of a creation.
pub(super) fn changed(scope: &ResponseScope, outcome: Outcome, sid: Option<SessionId>, subject: Option<&str>) {
    let verb = match outcome {
        Outcome::Created => "create",
        Outcome::Exchanged => "exchange",
        Outcome::Updated => "update",
        Outcome::Ended => "end",
        // Nothing changed.
        Outcome::Stripped | Outcome::Unchanged | Outcome::Refused(_) => return,
    };
    tracing::info!(
        target: "audit",
        actor = %Service(&scope.rule),
        verb,
        realm = scope.realm.as_str(),
        sid = sid.map(tracing::field::display),
        subject,
        result = "ok",
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
