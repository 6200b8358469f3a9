//! Policies as the decision uses them: compiled once from `api` objects into one immutable index.

use std::fmt;
use std::sync::Arc;

use super::session::Realm;

/// A policy's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyName {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A rule's address, for records, metrics and `explain`: `shop/shop`, `admin`.
pub type RuleRef = Arc<RuleName>;

/// See [`RuleRef`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleName {
    /// The policy.
    pub policy: PolicyName,
    /// The rule's name, `rules[3]` when it has none, or `default`.
    pub rule: Arc<str>,
}

/// What to put into a session JWT: the same for every request that one rule allows, so that a minted JWT can be reused.
/// Equal values are equal JWTs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MintSpec {
    /// `iss`: `<issuer>/ns/<namespace>`.
    pub namespace: Arc<str>,
    /// `aud`.
    pub audience: Arc<str>,
    /// Which claims go along.
    pub claims: ForwardClaims,
}

/// Which of the session's claims a service sees.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ForwardClaims {
    /// All of them, as they are.
    All,
    /// These: the name in the JWT's `claims`, and where its value comes from.
    Chosen(Arc<[(String, ClaimPath)]>),
}

/// A plain path to a value of the session: `session.subject`, `session.acr`, `session.claims.tenant.id`, …
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClaimPath {
    /// `session.subject`
    Subject,
    /// `session.sid`
    Sid,
    /// `session.realm`
    Realm,
    /// `session.acr`
    Acr,
    /// `session.amr`
    Amr,
    /// `session.scopes`
    Scopes,
    /// `session.roles`
    Roles,
    /// `session.claims.a.b`: members by name, from the outside in.
    Claim(Vec<String>),
}

/// Which session JWTs a rule accepts as a credential (`authenticate: [{sessionJwt: …}]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionJwtRule {
    /// The audiences it accepts; never empty.
    pub audiences: Arc<[String]>,
    /// The namespaces whose keys count; never empty.
    pub namespaces: Arc<[String]>,
}

/// All policies, compiled: what one check reads.
#[derive(Debug)]
pub struct PolicyIndex {
    /// The install's realm, for policies that name none.
    pub default_realm: Realm,
}
