//! Policies as the decision uses them: compiled once from `api` objects into one immutable index.

mod acceptance;
mod attach;
mod bind;
mod chain;
mod compile;
pub mod conditions;
mod dispute;
pub mod exchange;
mod form;
mod gather;
mod grants;
mod hosts;
mod install;
mod objects;
mod port;
mod problem;
pub mod provider;
mod redirect;
mod require;
mod routed;
mod rule;
mod scope;
mod selector;
mod standing;
mod summary;
mod targets;
#[cfg(test)]
pub(super) mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use self::attach::Kept;
use self::chain::Chain;
use self::form::Form;
pub(super) use self::form::{Access, AuthRule};
pub use self::gather::{ObjectHeader, PolicyInput, Unusable};
pub use self::grants::{Fingerprint, Grants};
pub use self::install::{HostsFrom, Install, Namespaces, ObjectName, OwnPod, RealmRights, RouteIdentity};
pub use self::objects::{Origin, PolicyObject, PolicyObjects, ProviderObject, Sourced, Unreadable};
use self::port::Ports;
pub use self::problem::{PolicyProblem, ProblemKind};
pub(super) use self::provider::RuleProvider;
use self::provider::{IdentityProvider, ProviderName, Providers};
pub(super) use self::require::Refusal;
use self::routed::NamedRoutes;
pub(super) use self::rule::carrier_text;
pub(super) use self::scope::{Judge, Located};
pub use self::summary::PolicySummary;
use super::attributes::RequestAttributes;
use super::attributes::own_headers::OwnHeaders;
use super::credential::{Carrier, Carriers, TakeOff};
use super::matching::HostTable;
use super::session::Realm;
use crate::api::auth_policy::AuthPolicy;
use crate::api::identity_provider as api;

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

/// All policies, compiled: what one check reads. Immutable; a change of any object makes a new one, which readers swap whole
/// (P29).
#[derive(Debug)]
pub struct PolicyIndex {
    /// Where tokens travel.
    pub(super) carriers: Carriers,
    /// The headers that are ours.
    pub(super) own_headers: OwnHeaders,
    /// Whether any policies have been compiled; before that every request is refused as [`super::reason::DenyReason::NotReady`].
    pub(super) ready: bool,
    /// Policies by `spec.hosts`.
    hosts: HostTable<Arc<Chain>>,
    /// Policies that select the own pod, by host.
    pod: HostTable<Arc<Chain>>,
    /// What the proxy's word about a route is worth.
    route_identity: RouteIdentity,
    /// The routes on all listeners, by name.
    named: NamedRoutes,
    /// Policies by the routes of each port's listeners; equal ports are one.
    ports: Ports,
    /// The last good form of each policy there is.
    good: HashMap<PolicyName, Arc<Form>>,
    /// The identity providers in force.
    providers: Providers,
    /// The closed form of each policy that never had a good one.
    closed: HashMap<PolicyName, Arc<Form>>,
    /// How many rules there are.
    rules: usize,
    /// What the next compilation takes over.
    kept: Kept,
}

impl PolicyIndex {
    /// The index before any policies have been loaded: it refuses everything, with 503.
    pub fn not_ready(install: &Install) -> Self {
        Self {
            carriers: install.carriers.clone(),
            own_headers: install.own_headers.clone(),
            ready: false,
            hosts: HostTable::default(),
            pod: HostTable::default(),
            route_identity: install.route_identity,
            named: NamedRoutes::default(),
            ports: Ports::default(),
            good: HashMap::new(),
            providers: Providers::default(),
            closed: HashMap::new(),
            rules: 0,
            kept: Kept::default(),
        }
    }

    /// What the service behind `rule` may do to sessions by its responses, and to those of which realm; by the form that its
    /// policy has now.
    pub fn grants(&self, rule: &RuleName) -> Option<(&Realm, &Arc<Grants>)> {
        let form = self.good.get(&rule.policy)?;
        let grants = form.rules.iter().find(|it| it.name.rule == rule.rule)?.grants.as_ref()?;
        Some((&form.realm, grants))
    }

    /// Whether any policies have been compiled into it, be it none at all.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// The policy of this name as it was when it last had a good form.
    pub fn last_good(&self, policy: &PolicyName) -> Option<&Arc<AuthPolicy>> {
        self.good.get(policy)?.source.as_ref()
    }

    /// The provider of this name as it was when it last had a good form.
    pub fn last_good_provider(&self, name: &ProviderName) -> Option<&Arc<api::IdentityProvider>> {
        Some(&self.providers.namespace(&name.namespace).get(&name.name)?.source)
    }

    /// How many policies are in force.
    pub fn policies(&self) -> usize {
        self.good.len()
    }

    /// How many rules they have in all.
    pub fn rules(&self) -> usize {
        self.rules
    }

    /// The identity providers that rules name, each as often as it is named.
    pub fn named_providers(&self) -> impl Iterator<Item = &Arc<IdentityProvider>> {
        let rules = self.good.values().flat_map(|form| &form.rules);
        rules.flat_map(form::CompiledRule::providers).filter_map(RuleProvider::known)
    }

    /// What must be taken off the request for its service (P7, P11): what is ours, and what is in the places where the rules that
    /// judge it look for credentials of others.
    pub(super) fn take_off(&self, request: &RequestAttributes<'_>, places: &[Carrier]) -> TakeOff {
        self.carriers.take_off(request, &self.own_headers, places)
    }
}
