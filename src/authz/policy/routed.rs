//! The route that a request takes: what a listener has for its host, and what the proxy says.

use std::collections::HashMap;
use std::sync::Arc;

use super::acceptance::Acceptance;
use super::bind::Bound;
use super::chain::Chain;
use super::install::RouteIdentity;
use super::{PolicyIndex, PolicyName};
use crate::authz::attributes::{LetterCase, RequestAttributes, RouteClaim};
use crate::authz::matching::MatchTable;
use crate::authz::reason::DenyReason;

/// The rules of all routes that a listener has for one host.
#[derive(Debug)]
pub(super) struct RouteTable {
    pub(super) matches: MatchTable<RouteHit>,
    pub(super) routes: Vec<Arc<RouteEntry>>,
    /// Whether every request goes where it is found to go, whatever other routes there are: see [`Self::rival`].
    pub(super) is_sure: bool,
    /// Whether the proxy is sure to have the host, since it has one of these routes.
    pub(super) is_there: bool,
    /// Whether the proxy has refused all of its routes.
    pub(super) is_refused: bool,
    /// The namespace of all of its routes that are not refused, if it is one.
    namespace: Option<Box<str>>,
}

/// A match of a route. Two matches that lead to the same policies are equal.
#[derive(Clone, Copy, Debug)]
pub(super) struct RouteHit {
    pub(super) route: usize,
    /// Routes with one number have the same policies.
    pub(super) alike: usize,
    /// Whether the proxy has the route, and reads the match as we do.
    pub(super) is_sure: bool,
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
    /// `HTTPRoute shop/shop`.
    pub(super) route: Arc<str>,
    /// The rule's own name.
    pub(super) section: Option<Arc<str>>,
    pub(super) chain: Arc<Chain>,
    /// It only redirects, so no service is behind it.
    pub(super) redirects: bool,
    /// What is told of the route here.
    pub(super) acceptance: Acceptance,
    /// It stands for matches that we cannot read: any request may meet them.
    pub(super) is_unknown: bool,
}

/// The rules of all routes on served listeners, by route.
#[derive(Debug, Default)]
pub(super) struct NamedRoutes(HashMap<Arc<str>, Vec<Arc<RouteEntry>>>);

/// How a request's route was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundBy {
    /// By host, path, method, headers and query alone.
    Matching,
    /// The proxy named it, and matching agrees.
    Both,
    /// The proxy named it.
    Identity,
}

impl FoundBy {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Matching => "matching",
            Self::Both => "matching and the proxy's word",
            Self::Identity => "the proxy's word",
        }
    }
}

impl NamedRoutes {
    pub(super) fn of<'a>(entries: impl Iterator<Item = &'a Arc<RouteEntry>>) -> Self {
        let mut named: HashMap<Arc<str>, Vec<Arc<RouteEntry>>> = HashMap::new();
        for entry in entries {
            named.entry(entry.route.clone()).or_default().push(entry.clone());
        }
        Self(named)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Arc<RouteEntry>> {
        self.0.values().flatten()
    }

    fn get(&self, claim: &RouteClaim<'_>) -> Option<&[Arc<RouteEntry>]> {
        self.0.get(claim.label().as_str()).map(Vec::as_slice)
    }
}

impl RouteEntry {
    /// The namespace of its route.
    pub(super) fn namespace(&self) -> &str {
        self.route.split_once(' ').and_then(|(_, name)| name.split_once('/')).map_or("", |(namespace, _)| namespace)
    }

    pub(super) fn is_grpc(&self) -> bool {
        self.route.starts_with("GRPCRoute ")
    }

    pub(super) fn is_refused(&self) -> bool {
        self.acceptance == Acceptance::Refused
    }

    fn is(&self, claim: &RouteClaim<'_>) -> bool {
        claim.is(&self.route) && claim.section.is_none_or(|section| self.section.as_deref() == Some(section))
    }
}

impl RouteTable {
    pub(super) fn new(matches: MatchTable<RouteHit>, routes: Vec<Arc<RouteEntry>>) -> Self {
        let is_mixed = routes.iter().any(|entry| entry.is_grpc()) && routes.iter().any(|entry| !entry.is_grpc());
        let is_refused = routes.iter().all(|entry| entry.is_refused());
        let mut counted =
            routes.iter().filter(|entry| is_refused || !entry.is_refused()).map(|entry| entry.namespace());
        let namespace = counted.next().filter(|first| counted.all(|other| other == *first)).map(Into::into);
        Self {
            is_sure: !is_mixed && matches.values().all(|hit| hit.is_sure),
            is_refused,
            namespace,
            is_there: routes.iter().any(|entry| entry.acceptance == Acceptance::Taken),
            matches,
            routes,
        }
    }

    /// Whether all of its routes that are not refused are of this namespace.
    pub(super) fn is_of(&self, namespace: &str) -> bool {
        self.namespace() == Some(namespace)
    }

    /// The namespace of all of its routes that are not refused, if it is one.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Every policy of every route, at its place; one may come more than once.
    pub(super) fn bounds(&self) -> impl Iterator<Item = &Arc<Bound>> {
        self.routes.iter().flat_map(|entry| entry.chain.all())
    }

    pub(super) fn find(&self, request: &RequestAttributes<'_>) -> Result<Option<&RouteEntry>, DenyReason> {
        let entry = |hit: Option<RouteHit>| hit.map(|hit| &*self.routes[hit.route]);
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

/// The one of both that judges, where listeners may have either.
fn agreed<'a>(found: Option<&'a RouteEntry>, entry: &'a RouteEntry) -> Result<&'a RouteEntry, DenyReason> {
    match found {
        None => Ok(entry),
        Some(other) if other.chain.same(&entry.chain) => Ok(other),
        // Behind a redirect there is no service, so nothing can be said to the wrong one.
        Some(other) if entry.redirects => Ok(other),
        Some(other) if other.redirects => Ok(entry),
        Some(_) => Err(DenyReason::ConflictingRoutes),
    }
}

impl PolicyIndex {
    /// The route that the request takes. We do not know by which listener it came, so all that admit it must agree, or the
    /// proxy must say.
    ///
    /// What the proxy says picks among the routes that we find and never adds one, unless the install trusts it (P30). Where it
    /// names a route that we know and do not find, one of us is wrong, and nothing passes.
    pub(super) fn route(
        &self,
        request: &RequestAttributes<'_>,
        pinned: Option<&PolicyName>,
    ) -> Result<Option<(&RouteEntry, FoundBy)>, DenyReason> {
        let claim = request.route.as_ref();
        let trusted = claim.filter(|_| self.route_identity == RouteIdentity::Trusted);
        if let Some(entry) = trusted.and_then(|claim| self.named_alone(claim)) {
            return Ok(Some((entry, FoundBy::Identity)));
        }
        let mut found: Option<&RouteEntry> = None;
        let (mut is_other, mut is_same) = (false, false);
        for (port, table) in self.ports.looked_into(&request.host) {
            let is_told = claim.is_some() || pinned.is_some();
            let Some(entry) = table.find(request)? else {
                if !is_told {
                    for wider in table.wider(request, port)? {
                        if !table.is_one_tenants(request, port) {
                            return Err(DenyReason::ConflictingRoutes);
                        }
                        found = Some(agreed(found, wider)?);
                    }
                }
                continue;
            };
            if claim.is_some_and(|claim| !entry.is(claim)) {
                is_other = true;
                continue;
            }
            if !is_told && table.rival(request, entry, port)?.is_some() {
                return Err(DenyReason::ConflictingRoutes);
            }
            is_same = true;
            if pinned.is_some_and(|pinned| !entry.chain.has(pinned)) {
                continue;
            }
            found = Some(agreed(found, entry)?);
        }
        match (found, claim) {
            (None, Some(claim)) if !is_same && (is_other || self.named.get(claim).is_some()) => {
                Err(DenyReason::UnknownRoute)
            }
            (found, Some(_)) => Ok(found.map(|entry| (entry, FoundBy::Both))),
            (found, None) => Ok(found.map(|entry| (entry, FoundBy::Matching))),
        }
    }

    /// The route of this name, where all its rules have the same policies on every listener.
    fn named_alone(&self, claim: &RouteClaim<'_>) -> Option<&RouteEntry> {
        let mut entries = self.named.get(claim)?.iter().filter(|entry| entry.is(claim));
        let first = entries.next()?;
        entries.all(|entry| entry.chain.same(&first.chain)).then_some(first)
    }
}
