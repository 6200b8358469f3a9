//! What an explanation says of an identity provider.

use serde::Serialize;

use super::super::Pending;
use crate::authz::identity::Identity;
use crate::authz::session::Timestamp;
use crate::authz::verdict::Lookup;

/// An identity provider, and what it says of the credential.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedProvider {
    /// Its `namespace/name`.
    pub name: String,
    /// `jwt`, `introspection` or `apiKeys`.
    pub kind: &'static str,
    /// `accepted`, `refused` or `unavailable`; nothing when it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<&'static str>,
    /// Whom the credential belongs to.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub facts: Option<IdentityFacts>,
}

/// Facts of whom an identity provider vouches for.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityFacts {
    /// Who it is.
    pub subject: String,
    /// When they proved it, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<Timestamp>,
    /// When the credential ends, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
    /// `acr`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Roles.
    pub roles: Vec<String>,
}

impl ExplainedProvider {
    pub(super) fn of(pending: &Pending, found: Option<&Lookup>) -> Option<Self> {
        let provider = pending.wanted().provider()?;
        let found = found.map(|found| match found {
            Lookup::Vouched(identity) => ("accepted", Some(IdentityFacts::of(identity))),
            Lookup::Unavailable(_) => ("unavailable", None),
            _ => ("refused", None),
        });
        Some(Self {
            name: provider.name.to_string(),
            kind: provider.kind.name(),
            found: found.as_ref().map(|(found, _)| *found),
            facts: found.and_then(|(_, facts)| facts),
        })
    }
}

impl IdentityFacts {
    fn of(identity: &Identity) -> Self {
        Self {
            subject: identity.subject.clone(),
            auth_time: identity.auth_time,
            ends: identity.ends,
            acr: identity.acr.clone(),
            scopes: identity.scopes.clone(),
            roles: identity.roles.clone(),
        }
    }
}
