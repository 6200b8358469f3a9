//! Which policies judge a request: those of its host and of the route that it takes.

use std::sync::Arc;

use super::form::{CompiledRule, Form, Hit};
use super::{MintSpec, PolicyIndex, PolicyName};
use crate::api::auth_policy::Inheritance;
use crate::api::http_match::HttpRouteMatch;
use crate::authz::attributes::host::Host;
use crate::authz::attributes::{LetterCase, RequestAttributes};
use crate::authz::matching::{HostPattern, MatchTable};
use crate::authz::reason::DenyReason;

/// A policy at one of its targets.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) form: Arc<Form>,
    pub(super) target: Target,
    /// The namespace of the target, whose keys sign.
    pub(super) namespace: Arc<str>,
    /// By rule: what to mint where it lets a session pass.
    pub(super) mints: Box<[Option<Arc<MintSpec>>]>,
}

/// What a policy is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// Its hosts, all as one: they share their audience.
    Hosts,
    /// An object: `HTTPRoute shop/shop`.
    Object(String),
}

/// The policies at a target and above it.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// The `Required` ones, the outermost first.
    required: Vec<Arc<Bound>>,
    /// The most specific one, unless it is among them.
    specific: Option<Arc<Bound>>,
}

impl Chain {
    /// The chain of these policies, the outermost first: each `Required` one, and of the others the most specific, if
    /// nothing is more specific still.
    pub(super) fn of(levels: &[Arc<Bound>]) -> Self {
        let is_required = |bound: &&Arc<Bound>| bound.form.inheritance == Inheritance::Required;
        Self {
            required: levels.iter().filter(is_required).cloned().collect(),
            specific: levels.last().filter(|bound| !is_required(bound)).cloned(),
        }
    }

    fn is_empty(&self) -> bool {
        self.required.is_empty() && self.specific.is_none()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Bound>> {
        self.required.iter().chain(&self.specific)
    }

    fn has(&self, name: &PolicyName) -> bool {
        self.all().any(|bound| bound.form.name == *name)
    }

    /// Chains with equal keys judge alike.
    pub(super) fn key(&self) -> Vec<*const Bound> {
        self.all().map(Arc::as_ptr).collect()
    }

    /// Whether both judge every request alike.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.required.len() == other.required.len()
            && self.specific.is_some() == other.specific.is_some()
            && self.all().zip(other.all()).all(|(one, two)| Arc::ptr_eq(one, two))
    }
}

/// The rules of all routes that a listener has for one host.
#[derive(Debug)]
pub(super) struct RouteTable {
    pub(super) matches: MatchTable<RouteHit>,
    pub(super) routes: Vec<RouteEntry>,
}

/// A match of a route. Two matches that lead to the same policies are equal.
#[derive(Clone, Copy, Debug)]
pub(super) struct RouteHit {
    pub(super) route: usize,
    /// Routes with one number have the same policies.
    pub(super) alike: usize,
}

impl PartialEq for RouteHit {
    fn eq(&self, other: &Self) -> bool {
        self.alike == other.alike
    }
}

/// A rule of a route on a listener.
#[derive(Debug)]
pub(super) struct RouteEntry {
    /// `HTTPRoute shop/shop rules[0]`.
    pub(super) name: Arc<str>,
    pub(super) chain: Arc<Chain>,
    /// It only redirects, so no service is behind it.
    pub(super) redirects: bool,
}

/// The policies that judge a request, each with the rule that does.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    /// Policies further out that must let it pass too, the outermost first.
    pub(crate) outer: Vec<Judge>,
    /// The most specific policy.
    pub(crate) inner: Judge,
    pub(crate) selected: Selected,
}

/// How the policies were found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selected {
    /// The route that the request takes, if one was looked for and found.
    pub(crate) route: Option<Arc<str>>,
}

/// A policy's rule for a request.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    pub(crate) bound: Arc<Bound>,
    pub(crate) hit: Hit,
}

impl Judge {
    pub(crate) fn form(&self) -> &Form {
        &self.bound.form
    }

    pub(crate) fn rule(&self) -> &CompiledRule {
        &self.bound.form.rules[self.hit.rule]
    }

    /// What to mint for a session that the rule lets pass.
    pub(crate) fn mint(&self) -> Option<&Arc<MintSpec>> {
        self.bound.mints[self.hit.rule].as_ref()
    }

    /// Whether requests log in here: what they present is never an identity.
    pub(crate) fn logs_in(&self) -> bool {
        self.rule().grants.as_ref().is_some_and(|grants| grants.is_log_in())
    }

    /// The namespace of what the policy hangs on.
    pub(crate) fn namespace(&self) -> &Arc<str> {
        &self.bound.namespace
    }

    /// What the policy hangs on, for people.
    pub(crate) fn target(&self, host: &Host<'_>) -> String {
        match &self.bound.target {
            Target::Object(name) => name.clone(),
            Target::Hosts => {
                let narrowest = self
                    .form()
                    .hosts
                    .iter()
                    .filter(|pattern| pattern.matches(host))
                    .max_by_key(|pattern| (matches!(pattern, HostPattern::Exact(_)), pattern.to_string().len()));
                narrowest.map_or_else(|| "hosts".to_owned(), |pattern| format!("host {pattern}"))
            }
        }
    }

    /// The match that holds, as its author wrote it.
    pub(crate) fn written_match(&self) -> Option<&HttpRouteMatch> {
        let rule = self.form().source.as_ref()?.spec.rules.get(self.hit.rule)?;
        rule.matches.get(self.hit.written?)
    }

    /// Why the rule judges, when it has no match.
    pub(crate) fn because(&self) -> &'static str {
        match (self.hit == self.form().fallback(), &self.form().source) {
            (_, None) => "the policy is broken and never had a good form",
            (true, _) => "no rule matches: spec.default",
            (false, _) => "the rule matches every request",
        }
    }

    fn of(bound: &Arc<Bound>, request: &RequestAttributes<'_>) -> Result<Self, DenyReason> {
        let form = &bound.form;
        let letter_case = form.letter_case.needed(request, form.table.has_capitals());
        let hit = request.judge(letter_case, |reading| form.table.find(reading).map(|hit| hit.copied()))??;
        Ok(Self { bound: bound.clone(), hit: hit.unwrap_or_else(|| form.fallback()) })
    }
}

impl Located {
    /// Every rule that judges, the outermost first.
    pub(crate) fn judges(&self) -> impl Iterator<Item = &Judge> {
        self.outer.iter().chain([&self.inner])
    }
}

impl PolicyIndex {
    /// Finds the policies and rules that judge a request.
    pub(crate) fn locate(&self, request: &RequestAttributes<'_>) -> Result<Located, DenyReason> {
        if !self.ready {
            return Err(DenyReason::NotReady);
        }
        let by_host = self.hosts.find(&request.host).map(Arc::as_ref);
        let route = self.route(request, by_host)?;
        let by_route = route.map(|route| route.chain.as_ref()).filter(|chain| !chain.is_empty());
        if let Some(pinned) = &request.pinned
            && !by_host.into_iter().chain(by_route).any(|chain| chain.has(pinned))
        {
            // The proxy may only name a policy that applies anyway (P30).
            return Err(DenyReason::NoPolicy);
        }
        let required = by_host.into_iter().chain(by_route).flat_map(|chain| &chain.required);
        // `Required` policies on the route are checked in addition: they do not stand in for the host's own policy.
        let specific = by_route.into_iter().chain(by_host).find_map(|chain| chain.specific.as_ref());
        let mut outer = Vec::new();
        let mut inner = None;
        for bound in required.chain(specific) {
            outer.extend(inner.replace(Judge::of(bound, request)?));
        }
        let inner = inner.ok_or(DenyReason::NoPolicy)?;
        Ok(Located { outer, inner, selected: Selected { route: route.map(|route| route.name.clone()) } })
    }

    /// The route that the request takes. We do not know by which listener it came, so all that admit it must agree.
    fn route(
        &self,
        request: &RequestAttributes<'_>,
        by_host: Option<&Chain>,
    ) -> Result<Option<&RouteEntry>, DenyReason> {
        let pinned = request.pinned.as_ref().filter(|pinned| !by_host.is_some_and(|chain| chain.has(pinned)));
        let mut found: Option<&RouteEntry> = None;
        for table in self.ports.iter().flat_map(|port| port.tables(&request.host)) {
            let Some(entry) = table.find(request)? else { continue };
            if pinned.is_some_and(|pinned| !entry.chain.has(pinned)) {
                continue;
            }
            found = match found {
                None => Some(entry),
                Some(other) if other.chain.same(&entry.chain) => Some(other),
                // Behind a redirect there is no service, so nothing can be said to the wrong one.
                Some(other) if entry.redirects => Some(other),
                Some(other) if other.redirects => Some(entry),
                Some(_) => return Err(DenyReason::ConflictingRoutes),
            };
        }
        Ok(found)
    }
}

impl RouteTable {
    fn find(&self, request: &RequestAttributes<'_>) -> Result<Option<&RouteEntry>, DenyReason> {
        let entry = |hit: Option<RouteHit>| hit.map(|hit| &self.routes[hit.route]);
        let judge = |letter_case| {
            request
                .judge(letter_case, |reading| self.matches.find_exact(reading).map(|hit| hit.copied()))
                .and_then(|it| it)
        };
        let found = entry(judge(LetterCase::Sensitive)?);
        // The policies behind the path as it stands say whether letter case may tell it from another.
        let sensitive = found.is_some_and(|found| {
            !found.chain.is_empty() && found.chain.all().all(|bound| bound.form.letter_case == LetterCase::Sensitive)
        });
        if !sensitive && LetterCase::Unambiguous.needed(request, self.matches.has_capitals()) == LetterCase::Unambiguous
        {
            judge(LetterCase::Unambiguous)?;
        }
        Ok(found)
    }
}
