//! The audit log: one line for each change that was asked for, whatever became of it. `target: "audit"`, fields only, no
//! token and no claims.

use std::fmt;

use axum::extract::FromRequestParts;
use http::HeaderName;
use http::request::Parts;

use crate::admin::caller::Grant;
use crate::admin::problem::{Problem, ProblemKind};

/// The header in which a request's id comes and goes.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What ties an answer to its line in the log: the caller's own id when it sent a plain one, else a random one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// The id of this request: the one sent when it is 1 to 64 letters, digits and hyphens (which no token of ours is).
    pub fn of(parts: &Parts) -> Self {
        let plain =
            |id: &&str| (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        match parts.headers.get(REQUEST_ID).and_then(|it| it.to_str().ok()).filter(plain) {
            Some(id) => Self(id.to_owned()),
            None => {
                let mut bytes = [0; 16];
                // Without the system's randomness nothing works; an id of zeros is then the least of it.
                let _ = aws_lc_rs::rand::fill(&mut bytes);
                Self(format!("{:032x}", u128::from_be_bytes(bytes)))
            }
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        // The layer around the router has put it there.
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(|| Self::of(parts)))
    }
}

/// What a change is about.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// The session, once it is known.
    pub sid: Option<String>,
    /// The subject, where the change names one.
    pub subject: Option<String>,
}

/// Writes the line of one change. `outcome` is `ok`, or the problem that the caller was answered.
pub fn record(grant: &Grant, request: &RequestId, target: &Target, outcome: Result<(), &Problem>) {
    let result = outcome.map_or_else(|problem| problem.kind().code(), |()| "ok");
    tracing::info!(
        target: "audit",
        actor = grant.caller().name,
        verb = grant.verb().name(),
        realm = grant.realm().as_str(),
        sid = target.sid,
        subject = target.subject,
        result,
        request_id = %request,
        "session change"
    );
}

/// Writes the line of a change that its caller has no right to.
pub fn refused(actor: &str, verb: &str, realm: &str, request: &RequestId) {
    let result = ProblemKind::NotAllowed.code();
    tracing::info!(target: "audit", actor, verb, realm, result, request_id = %request, "session change");
}
