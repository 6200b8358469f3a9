//! The gate: one check from its message to its answer (STYLE 3).
//!
//! Decide, fetch, decide: `plan` and `settle` are pure, and the look-up between them is the only thing that can wait. Whatever
//! goes wrong on the way, a panic or a store that does not answer, ends in a refusal with a reason of its own (P2).

use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt as _;

use super::metrics::CheckMetrics;
use super::record::{Decisions, Records};
use super::refusal::Renderer;
use super::request::Hints;
use super::{answer, request};
use crate::authz;
use crate::authz::attributes::RequestAttributes;
use crate::authz::plan::{Plan, Wanted};
use crate::authz::policy::PolicyIndex;
use crate::authz::reason::DenyReason;
use crate::authz::session::{Realm, SessionId};
use crate::authz::verdict::{Decision, Denial, Verdict};
use crate::grpc::unary::Unreadable;
use crate::identity::Identities;
use crate::sessions::clock::Clock;
use crate::sessions::{Resolved, Sessions};

/// How checks are answered.
#[derive(Clone, Debug)]
pub struct GateConfig {
    /// The install's realm, named in challenges.
    pub realm: Realm,
    /// The header of the session JWT, in lower case.
    pub jwt_header: Box<str>,
    /// How long a check may wait for its session. Shorter than the proxy's own timeout, or the proxy answers instead.
    pub deadline: Duration,
    /// Which decisions leave a record.
    pub decisions: Decisions,
}

/// Answers checks.
pub struct Gate {
    policies: Arc<ArcSwap<PolicyIndex>>,
    sessions: Arc<Sessions>,
    identities: Arc<Identities>,
    clock: Arc<Clock>,
    jwt_header: Box<str>,
    deadline: Duration,
    renderer: Renderer,
    records: Records,
    metrics: CheckMetrics,
    /// What is said when even the answer could not be made.
    last_resort: Bytes,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// A verdict, and the session it was about, for the record.
struct Judged {
    verdict: Verdict,
    sid: Option<SessionId>,
}

impl Judged {
    fn deny(reason: DenyReason) -> Self {
        Self { verdict: Verdict::Deny(Denial::bare(reason)), sid: None }
    }
}

impl Gate {
    /// A gate over these policies, sessions and identities of others. They change under it; it always uses what is there.
    pub fn new(
        config: GateConfig,
        policies: Arc<ArcSwap<PolicyIndex>>,
        sessions: Arc<Sessions>,
        identities: Arc<Identities>,
        clock: Arc<Clock>,
        metrics: CheckMetrics,
    ) -> Self {
        let renderer = Renderer::new(&config.realm);
        let defect = Denial::bare(DenyReason::Internal);
        let last_resort = answer::deny(&defect, &renderer.render(&defect, &Hints::default()));
        Self {
            policies,
            sessions,
            identities,
            clock,
            jwt_header: config.jwt_header,
            deadline: config.deadline,
            renderer,
            records: Records::new(config.decisions, metrics.records_dropped.clone()),
            metrics,
            last_resort,
        }
    }

    /// Answers one check: the bytes of a `CheckResponse` for the bytes of a `CheckRequest`. There is always an answer, of a
    /// message that cannot be read too.
    pub async fn check(&self, message: Result<Bytes, Unreadable>) -> Bytes {
        let in_flight = self.metrics.start();
        let Judged { verdict, sid } = match &message {
            Ok(message) => {
                let asks_provider = AtomicBool::new(false);
                bounded(self.deadline, pin!(self.judge(message, &asks_provider)), &asks_provider).await
            }
            Err(Unreadable::Unfinished) => Judged::deny(DenyReason::Overloaded),
            Err(Unreadable::Malformed | Unreadable::Broken) => Judged::deny(DenyReason::MalformedRequest),
        };
        let message = message.unwrap_or_default();
        // A panic in here leaves nothing half done: the verdict is a value, and the rest is writing it down.
        let answered = catch_unwind(AssertUnwindSafe(|| self.answer(verdict, sid, message)));
        let (verdict, answer) =
            answered.unwrap_or_else(|_| (Verdict::Deny(Denial::bare(DenyReason::Internal)), self.last_resort.clone()));
        in_flight.finish(&verdict);
        answer
    }

    async fn judge(&self, message: &[u8], asks_provider: &AtomicBool) -> Judged {
        let pending = match self.plan(message) {
            Ok(Plan::Lookup(pending)) => pending,
            Ok(Plan::Settled(decision)) => return Judged { verdict: self.without_session(*decision), sid: None },
            Err(malformed) => return Judged::deny(malformed),
        };
        let now = self.clock.now();
        let resolved = match pending.wanted() {
            Wanted::Foreign(credential, provider) => {
                asks_provider.store(true, Ordering::Relaxed);
                // Boxed: a check of a session must not carry the room for one that asks somebody else.
                Resolved::without(Box::pin(self.identities.resolve(credential, provider, now)).await)
            }
            Wanted::Token(_) | Wanted::SessionJwt(..) => {
                self.sessions.resolve(pending.wanted(), pending.realm(), now).await
            }
        };
        let sid = match pending.wanted() {
            Wanted::Token(token) => Some(token.sid()),
            Wanted::SessionJwt(..) | Wanted::Foreign(..) => None,
        };
        let decision = authz::settle(*pending, &resolved.lookup, now);
        Judged { verdict: self.sessions.render(decision, &resolved, now).await, sid }
    }

    /// The half before the look-up. What is read of the request ends with it and is no part of what waits.
    fn plan(&self, message: &[u8]) -> Result<Plan, DenyReason> {
        let attributes = request::read(message).and_then(RequestAttributes::read)?;
        Ok(authz::plan(&self.policies.load(), &attributes))
    }

    /// The verdict on what needs no session. A permit is made by `settle` alone, so that one without a look-up is a defect.
    fn without_session(&self, decision: Decision) -> Verdict {
        match decision {
            Decision::Anonymous { rule, take_off, audit, scope } => {
                self.sessions.anonymous(rule, take_off, audit, scope.as_deref(), self.clock.now())
            }
            Decision::Deny(denial) => Verdict::Deny(denial),
            Decision::Permit(_) => Verdict::Deny(Denial::bare(DenyReason::Internal)),
        }
    }

    /// Writes the verdict down: the record, if it leaves one, and the answer.
    fn answer(&self, verdict: Verdict, sid: Option<SessionId>, message: Bytes) -> (Verdict, Bytes) {
        let denial = match verdict {
            Verdict::Allow(allow) => match answer::allow(&allow, &self.jwt_header) {
                Ok(answer) => {
                    if self.records.wants(&allow) {
                        self.records.allowed(&allow, sid, &Hints::of(&message));
                    }
                    return (Verdict::Allow(allow), answer);
                }
                Err(answer::Unsayable) => {
                    Denial { rule: Some(allow.rule), ..Denial::bare(DenyReason::MalformedRequest) }
                }
            },
            Verdict::Deny(denial) => denial,
        };
        let hints = Hints::of(&message);
        if self.records.wants_denials() {
            self.records.denied(&denial, sid, &hints);
        }
        let answer = answer::deny(&denial, &self.renderer.render(&denial, &hints));
        (Verdict::Deny(denial), answer)
    }
}

/// Runs a judgement to its end, or to the refusal that takes its place: a panic is a defect of ours, and what waits can only be
/// waiting for the store, or for an identity provider. A cached session never waits, and so costs neither a timer nor the room for one: the server moves a
/// check's future through its layers by value.
async fn bounded(
    deadline: Duration,
    work: Pin<&mut impl Future<Output = Judged>>,
    asks_provider: &AtomicBool,
) -> Judged {
    let mut work = AssertUnwindSafe(work).catch_unwind();
    let defect = |_| Judged::deny(DenyReason::Internal);
    if let Poll::Ready(judged) = poll_fn(|cx| Poll::Ready(work.poll_unpin(cx))).await {
        return judged.unwrap_or_else(defect);
    }
    match Box::pin(tokio::time::timeout(deadline, work)).await {
        Ok(judged) => judged.unwrap_or_else(defect),
        Err(_) if asks_provider.load(Ordering::Relaxed) => Judged::deny(DenyReason::ProviderUnavailable),
        Err(_) => Judged::deny(DenyReason::StoreUnavailable),
    }
}

#[cfg(test)]
mod tests;
