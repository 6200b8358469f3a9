//! Which policy has which target: the oldest of those whose target is there and consents (GEP-713).

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use super::super::compile::{Formed, conflict};
use super::super::form::Form;
use super::super::install::ObjectName;
use super::super::objects::PolicyObjects;
use super::super::problem::{PolicyProblem, ProblemKind};
use super::super::targets::SERVICE;
use super::name_of;
use super::routes::Route;
use crate::api::auth_policy::TargetRef;
use crate::api::gateway::{GROUP, ReferenceGrant};
use crate::api::read::listed;
use crate::authz::matching::HostPattern;

/// Something that at most one policy judges.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum TargetKey {
    /// A host pattern of `spec.hosts`.
    Host(HostPattern),
    /// What comes to the own pod for this host pattern, by a selector with or without labels.
    Pod { labelled: bool, host: HostPattern },
    /// An object of this kind, or a section of it.
    Object { kind: String, name: ObjectName, section: Option<String> },
}

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(f, "host `{host}`"),
            Self::Pod { labelled, host } => {
                f.write_str(if *labelled { "this pod by its labels" } else { "this pod by its namespace" })?;
                if *host == HostPattern::Any { Ok(()) } else { write!(f, " for host `{host}`") }
            }
            Self::Object { kind, name: (namespace, name), section } => {
                write!(f, "{kind} `{namespace}/{name}`")?;
                section.iter().try_for_each(|section| write!(f, " section `{section}`"))
            }
        }
    }
}

impl TargetKey {
    fn of(target: &TargetRef, policy_namespace: &str) -> Self {
        let namespace = target.namespace.as_deref().unwrap_or(policy_namespace).to_owned();
        Self::Object {
            kind: target.kind.clone(),
            name: (namespace, target.name.clone()),
            section: target.section_name.clone(),
        }
    }

    fn object(kind: &str, name: &ObjectName, section: Option<&str>) -> Self {
        Self::Object { kind: kind.to_owned(), name: name.clone(), section: section.map(str::to_owned) }
    }
}

/// The policy of each target, and the `targetRefs` entry that names it.
pub(super) struct Winners<'a> {
    by_target: HashMap<TargetKey, (&'a Formed, usize)>,
    has_services: bool,
}

impl<'a> Winners<'a> {
    pub(super) fn find(
        objects: &PolicyObjects,
        routes: &[Arc<Route>],
        forms: &'a [Formed],
        problems: &mut Vec<PolicyProblem>,
    ) -> Self {
        let mut sections: HashMap<(&str, &ObjectName), Vec<&str>> = HashMap::new();
        let gateways: Vec<_> =
            objects.gateways.iter().map(|it| (name_of(&it.object.metadata), &it.object.spec.listeners)).collect();
        for (gateway, listeners) in &gateways {
            sections.insert(("Gateway", gateway), listeners.iter().map(|listener| listener.name.as_str()).collect());
        }
        for route in routes {
            let names = route.rules.iter().filter_map(|rule| rule.name());
            sections.insert((route.kind, &route.name), names.collect());
            // A Service is there when a route leads to it: whether it has pods is the proxy's concern.
            for service in route.services() {
                sections.entry((SERVICE, service)).or_default();
            }
        }
        let mut winners = Self { by_target: HashMap::new(), has_services: false };
        for formed in forms {
            for (i, target) in formed.form.target_refs.iter().enumerate() {
                winners.add(objects, &sections, formed, i, target, problems);
            }
        }
        winners
    }

    fn add(
        &mut self,
        objects: &PolicyObjects,
        sections: &HashMap<(&str, &ObjectName), Vec<&str>>,
        formed: &'a Formed,
        i: usize,
        target: &TargetRef,
        problems: &mut Vec<PolicyProblem>,
    ) {
        let policy = &formed.form.name;
        let at = format!("spec.targetRefs[{i}]");
        let key = TargetKey::of(target, &policy.namespace);
        let TargetKey::Object { kind, name, section } = &key else { return };
        let mut problem = |kind, words: String| {
            problems.push(PolicyProblem::of_policy(&formed.origin, policy, at.as_str(), kind, words));
        };
        let is_foreign = name.0 != *policy.namespace;
        match sections.get(&(kind.as_str(), name)) {
            // A stranger learns nothing about what there is: consent is asked before existence.
            _ if is_foreign && !policy_may(&objects.reference_grants, &policy.namespace, target, &name.0) => problem(
                ProblemKind::RefNotPermitted,
                format!(
                    "{key} is in another namespace, which did not consent: a ReferenceGrant there must name AuthPolicy of `{}`",
                    policy.namespace
                ),
            ),
            None if kind == SERVICE => problem(
                ProblemKind::TargetNotFound,
                format!("no route leads to {key}: name it in `backendRefs` of an HTTPRoute or GRPCRoute"),
            ),
            None => problem(ProblemKind::TargetNotFound, format!("there is no {key}")),
            Some(names) if section.as_deref().is_some_and(|section| !names.contains(&section)) => {
                problem(ProblemKind::TargetNotFound, format!("there is no {key}; its sections are {}", listed(names)));
            }
            Some(_) => match self.by_target.get(&key) {
                Some((older, _)) => problems.push(conflict(formed, at, &key, &older.form.name)),
                None => {
                    self.has_services |= kind == SERVICE;
                    self.by_target.insert(key, (formed, i));
                }
            },
        }
    }

    /// The policy on an object, or on a section of it.
    pub(super) fn of(&self, kind: &str, name: &ObjectName, section: Option<&str>) -> Option<&'a Arc<Form>> {
        self.by_target.get(&TargetKey::object(kind, name, section)).map(|(formed, _)| &formed.form)
    }

    /// The policy on a Service.
    pub(super) fn of_service(&self, name: &ObjectName) -> Option<&'a Arc<Form>> {
        if self.has_services { self.of(SERVICE, name, None) } else { None }
    }

    /// Says which policies judge nothing because no served listener admits what they name.
    pub(super) fn advise(&self, routes: &[Arc<Route>], attached: &[bool], problems: &mut Vec<PolicyProblem>) {
        let mut led_to: HashSet<&ObjectName> = HashSet::new();
        for (route, attached) in routes.iter().zip(attached) {
            if *attached {
                led_to.extend(route.services().filter(|_| self.has_services));
            } else if let Some((formed, i)) = self.by_target.get(&TargetKey::object(route.kind, &route.name, None)) {
                let words = format!(
                    "{} is on no Gateway that is served and admits it (parentRefs, allowedRoutes, hostnames), so this policy judges nothing there",
                    route.label
                );
                problems.push(advice(formed, *i, words));
            }
        }
        for (key, (formed, i)) in &self.by_target {
            if let TargetKey::Object { kind, name, .. } = key
                && kind == SERVICE
                && !led_to.contains(name)
            {
                let words = format!(
                    "no route that is on a served Gateway leads to {key}, so this policy judges nothing there; for a pod with a sidecar use `selector`"
                );
                problems.push(advice(formed, *i, words));
            }
        }
    }

    /// Says something to the policies on a route.
    pub(super) fn advise_on_route(&self, route: &Route, words: &str, problems: &mut Vec<PolicyProblem>) {
        let sections = route.rules.iter().filter_map(|rule| rule.name()).map(Some);
        for section in std::iter::once(None).chain(sections) {
            self.advise_on(route.kind, &route.name, section, words, problems);
        }
    }

    /// Says something to the policy on a Service.
    pub(super) fn advise_on_service(&self, name: &ObjectName, words: &str, problems: &mut Vec<PolicyProblem>) {
        self.advise_on(SERVICE, name, None, words, problems);
    }

    fn advise_on(
        &self,
        kind: &str,
        name: &ObjectName,
        section: Option<&str>,
        words: &str,
        problems: &mut Vec<PolicyProblem>,
    ) {
        if let Some((formed, i)) = self.by_target.get(&TargetKey::object(kind, name, section)) {
            problems.push(advice(formed, *i, words.to_owned()));
        }
    }
}

fn advice(formed: &Formed, target: usize, words: String) -> PolicyProblem {
    let path = format!("spec.targetRefs[{target}]");
    PolicyProblem::of_policy(&formed.origin, &formed.form.name, path, ProblemKind::Advice, words)
}

fn policy_may(grants: &[super::Sourced<ReferenceGrant>], policy: &str, target: &TargetRef, namespace: &str) -> bool {
    is_granted(grants, ("cloakroom.dev", "AuthPolicy", policy), (&target.group, &target.kind, &target.name), namespace)
}

/// Whether a route of `from` may send requests to a Service of another namespace.
pub(super) fn route_may(grants: &[super::Sourced<ReferenceGrant>], kind: &str, from: &str, to: &ObjectName) -> bool {
    from == to.0 || is_granted(grants, (GROUP, kind, from), ("", SERVICE, &to.1), &to.0)
}

/// Whether a ReferenceGrant of `namespace` lets `from` (group, kind, namespace) refer to `to` (group, kind, name).
fn is_granted(
    grants: &[super::Sourced<ReferenceGrant>],
    from: (&str, &str, &str),
    to: (&str, &str, &str),
    namespace: &str,
) -> bool {
    let mut of_namespace = grants.iter().map(|grant| &grant.object).filter(|it| it.metadata.namespace == namespace);
    of_namespace.any(|grant| {
        grant.spec.from.iter().any(|it| (it.group.as_str(), it.kind.as_str(), it.namespace.as_str()) == from)
            && grant.spec.to.iter().any(|it| {
                (it.group.as_str(), it.kind.as_str()) == (to.0, to.1)
                    && it.name.as_ref().is_none_or(|name| name == to.2)
            })
    })
}
