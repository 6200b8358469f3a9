//! Which policies judge a request: those of its host and of the route that it takes.

use std::sync::Arc;

use super::bind::{Bound, Target, Voice};
use super::form::{CompiledRule, Form, Hit};
use super::routed::FoundBy;
use super::{Grants, MintSpec, PolicyIndex};
use crate::api::http_match::HttpRouteMatch;
use crate::authz::attributes::RequestAttributes;
use crate::authz::attributes::host::Host;
use crate::authz::matching::HostPattern;
use crate::authz::reason::DenyReason;

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
    /// The route that the request takes, if one was looked for and found, and how.
    pub(crate) route: Option<(Arc<str>, FoundBy)>,
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
        self.grants().is_some_and(|grants| grants.is_log_in())
    }

    /// What the service that answers may do to sessions. A policy grants nothing where another service than its own may answer.
    pub(crate) fn grants(&self) -> Option<&Arc<Grants>> {
        self.rule().grants.as_ref().filter(|_| self.bound.place.voice == Voice::Speaks)
    }

    /// The namespace of what the policy hangs on.
    pub(crate) fn namespace(&self) -> &Arc<str> {
        &self.bound.place.namespace
    }

    /// What the policy hangs on, for people.
    pub(crate) fn target(&self, host: &Host<'_>) -> String {
        match &self.bound.place.target {
            Target::Object(name) => name.to_string(),
            target @ (Target::Hosts | Target::Pod) => {
                let whole = if *target == Target::Pod { "this pod" } else { "hosts" };
                let narrowest = self
                    .form()
                    .hosts
                    .iter()
                    .filter(|pattern| pattern.matches(host))
                    .max_by_key(|pattern| (matches!(pattern, HostPattern::Exact(_)), pattern.to_string().len()));
                match narrowest {
                    None => whole.to_owned(),
                    Some(pattern) if *target == Target::Pod => format!("{whole}, host {pattern}"),
                    Some(pattern) => format!("host {pattern}"),
                }
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
        let by_pod = self.pod.find(&request.host).map(Arc::as_ref);
        let pinned = request.pinned.as_ref();
        let is_pinned_elsewhere = |name| by_host.into_iter().chain(by_pod).any(|chain| chain.has(name));
        let route = self.route(request, pinned.filter(|name| !is_pinned_elsewhere(name)))?;
        let by_route = route.map(|(route, _)| route.chain.as_ref()).filter(|chain| !chain.is_empty());
        // From the least specific to the most.
        let chains = || by_host.into_iter().chain(by_route).chain(by_pod);
        if pinned.is_some_and(|name| !chains().any(|chain| chain.has(name))) {
            // The proxy may only name a policy that applies anyway (P30).
            return Err(DenyReason::NoPolicy);
        }
        // `Required` policies on the route are checked in addition: they do not stand in for the host's own policy.
        let mut judging = chains().flat_map(|chain| &chain.required).peekable();
        let specific = by_pod.into_iter().chain(by_route).chain(by_host).find_map(|chain| chain.specific.as_ref());
        if by_route.is_some_and(|chain| chain.leaves_some) && judging.peek().is_none() && specific.is_none() {
            // It may be sent to a backend that no policy is for.
            return Err(DenyReason::NoPolicy);
        }
        let mut outer = Vec::new();
        let mut inner = None;
        for bound in by_route.into_iter().flat_map(|chain| &chain.each).chain(judging).chain(specific) {
            outer.extend(inner.replace(Judge::of(bound, request)?));
        }
        let inner = inner.ok_or(DenyReason::NoPolicy)?;
        let route = route.map(|(route, by)| (route.name.clone(), by));
        Ok(Located { outer, inner, selected: Selected { route } })
    }
}
