//! What a rule asks of a session.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::api::auth_policy::ClaimValue;
use crate::authz::identity::Facts;
use crate::authz::reason::DenyReason;
use crate::authz::session::Timestamp;
use crate::authz::verdict::Challenge;

/// All of it must hold. What a session lacks never satisfies (P6).
#[derive(Clone, Debug, Default)]
pub(crate) struct Requirements {
    pub(super) roles: Vec<String>,
    pub(super) scopes: Vec<String>,
    pub(super) claims: Vec<RequiredClaim>,
    /// Any of these; empty asks nothing.
    pub(super) acr: Vec<String>,
    pub(super) max_age: Option<Duration>,
}

/// A claim that must have one of these values.
#[derive(Clone, Debug)]
pub(crate) struct RequiredClaim {
    pub(super) name: String,
    pub(super) values: Vec<Value>,
}

/// Why a rule refuses, and what its refusal asks for.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: DenyReason,
    pub(crate) challenge: Challenge,
}

impl From<DenyReason> for Refusal {
    fn from(reason: DenyReason) -> Self {
        Self { reason, challenge: Challenge::default() }
    }
}

impl Requirements {
    /// Whether a session that has nothing would do.
    pub(super) fn is_empty(&self) -> bool {
        self.roles.is_empty()
            && self.scopes.is_empty()
            && self.claims.is_empty()
            && self.acr.is_empty()
            && self.max_age.is_none()
    }

    /// Whether a session or an identity has all of it at `now`. What no new log-in can give is asked first, so that nobody is sent to
    /// authenticate again for something they may not do anyway.
    pub(crate) fn check(&self, facts: Facts<'_>, now: Timestamp) -> Result<(), Refusal> {
        if !self.roles.iter().all(|role| facts.roles.contains(role)) {
            return Err(DenyReason::MissingRole.into());
        }
        if !self.claims.is_empty() && !self.claims_hold(facts) {
            return Err(DenyReason::MissingClaim.into());
        }
        if !self.scopes.iter().all(|scope| facts.scopes.contains(scope)) {
            let challenge = Challenge { scopes: self.scopes.clone(), ..Challenge::default() };
            return Err(Refusal { reason: DenyReason::MissingScope, challenge });
        }
        if !self.acr.is_empty() && !facts.acr.is_some_and(|acr| self.acr.iter().any(|known| known == acr)) {
            let challenge = Challenge { acr_values: self.acr.clone(), ..Challenge::default() };
            return Err(Refusal { reason: DenyReason::InsufficientAcr, challenge });
        }
        if let Some(max_age) = self.max_age
            && facts.auth_time.is_none_or(|proved| now.since(proved) > max_age)
        {
            let challenge = Challenge { max_age: Some(max_age), ..Challenge::default() };
            return Err(Refusal { reason: DenyReason::AuthenticationTooOld, challenge });
        }
        Ok(())
    }

    fn claims_hold(&self, facts: Facts<'_>) -> bool {
        // Only the claims that are asked for are parsed. Text that does not parse holds nothing.
        let Ok(claims) = serde_json::from_str::<HashMap<Cow<'_, str>, &RawValue>>(facts.claims.as_json()) else {
            return false;
        };
        self.claims.iter().all(|required| {
            claims
                .get(required.name.as_str())
                .and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok())
                .is_some_and(|actual| required.accepts(&actual))
        })
    }
}

impl RequiredClaim {
    fn accepts(&self, actual: &Value) -> bool {
        match actual {
            Value::Array(elements) => elements.iter().any(|element| self.values.contains(element)),
            value => self.values.contains(value),
        }
    }
}

impl From<&ClaimValue> for Value {
    fn from(value: &ClaimValue) -> Self {
        match value {
            ClaimValue::Bool(value) => (*value).into(),
            ClaimValue::Number(value) => (*value).into(),
            ClaimValue::Text(value) => value.as_str().into(),
        }
    }
}
