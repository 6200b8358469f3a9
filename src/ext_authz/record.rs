//! Decision records: one line for each denial (and for each allow, if asked), with why and for what, and without a secret.
//!
//! What a client sent is shown escaped, cut, and without anything that looks like a credential (P31). A flood of refused
//! requests must not become a flood of lines (P32): beyond [`MAX_PER_SECOND`] they are counted and not written. The metrics
//! count every decision in any case.

mod shown;

use prometheus::IntCounter;

use self::shown::{Place, Shown};
use super::request::Hints;
use crate::authz::policy::RuleRef;
use crate::authz::policy::provider::ProviderRef;
use crate::authz::reason::{DenyReason, RefusalClass};
use crate::authz::session::SessionId;
use crate::authz::verdict::{Allow, Denial};
use crate::telemetry::budget::{Budget, Grant};

/// The target of decision records: a log filter that names it decides about them apart from all else.
pub const TARGET: &str = "cloakroom::decision";

/// How many records are written in one second at most.
pub const MAX_PER_SECOND: u64 = 100;

/// Which decisions leave a record (`telemetry.decisions`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decisions {
    /// Each denial, and each that an `Audit` policy would have given.
    #[default]
    Denials,
    /// Every decision.
    All,
    /// None.
    None,
}

/// Writes decision records.
#[derive(Debug)]
pub(super) struct Records {
    which: Decisions,
    budget: Budget,
    dropped: IntCounter,
}

impl Records {
    pub(super) fn new(which: Decisions, dropped: IntCounter) -> Self {
        Self { which, budget: Budget::new(MAX_PER_SECOND), dropped }
    }

    /// Whether this allow leaves a record.
    pub(super) fn wants(&self, allow: &Allow) -> bool {
        match self.which {
            Decisions::All => true,
            Decisions::Denials => allow.audit.is_some(),
            Decisions::None => false,
        }
    }

    /// Whether denials leave records.
    pub(super) fn wants_denials(&self) -> bool {
        self.which != Decisions::None
    }

    /// Records an allow that is wanted.
    pub(super) fn allowed(&self, allow: &Allow, sid: Option<SessionId>, hints: &Hints) {
        let verdict = if allow.audit.is_some() { "audit" } else { "allow" };
        self.write(verdict, allow.audit, Some(&allow.rule), allow.provider.as_ref(), sid, hints);
    }

    /// Records a denial.
    pub(super) fn denied(&self, denial: &Denial, sid: Option<SessionId>, hints: &Hints) {
        self.write("deny", Some(denial.reason), denial.rule.as_ref(), denial.provider.as_ref(), sid, hints);
    }

    fn write(
        &self,
        verdict: &'static str,
        reason: Option<DenyReason>,
        rule: Option<&RuleRef>,
        provider: Option<&ProviderRef>,
        sid: Option<SessionId>,
        hints: &Hints,
    ) {
        match self.budget.take() {
            Grant::Within => {}
            Grant::FirstBeyond => {
                tracing::warn!(per_second = MAX_PER_SECOND, "too many decisions: some are counted and not written");
                return self.dropped.inc();
            }
            Grant::Beyond => return self.dropped.inc(),
        }
        tracing::info!(
            target: TARGET,
            verdict,
            reason = reason.map(DenyReason::label),
            class = reason.map(|reason| class_label(reason.class())),
            policy = rule.map(|rule| display(&rule.policy)),
            rule = rule.map(|rule| &*rule.rule),
            provider = provider.map(display),
            sid = sid.map(display),
            method = %Shown(&hints.method, Place::Plain),
            host = %Shown(&hints.host, Place::Plain),
            path = %Shown(&hints.path, Place::Path),
            request_id = %Shown(&hints.request_id, Place::Plain),
            "decision"
        );
    }
}

/// A class's name in records.
const fn class_label(class: RefusalClass) -> &'static str {
    match class {
        RefusalClass::BadRequest => "bad_request",
        RefusalClass::Unauthorized => "unauthorized",
        RefusalClass::StepUp => "step_up",
        RefusalClass::Forbidden => "forbidden",
        RefusalClass::InsufficientScope => "insufficient_scope",
        RefusalClass::Unavailable => "unavailable",
    }
}

#[cfg(test)]
mod tests;
