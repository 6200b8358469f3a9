//! HTTPRoutes and GRPCRoutes, as one: what they match and where they want to be.

use std::fmt;
use std::sync::Arc;

use super::super::PolicyName;
use super::super::compile::{Seniority, seniority};
use super::super::form::Form;
use super::super::install::{Install, ObjectName};
use super::super::objects::{Origin, PolicyObjects};
use super::super::problem::{PolicyProblem, ProblemKind};
use super::name_of;
use crate::api::auth_policy::Salvage;
use crate::api::gateway::{FromNamespaces, GROUP, GrpcRouteMatch, Listener, ParentRef};
use crate::api::http_match::{HttpPathMatch, HttpRouteMatch, PathMatchType, ValueMatchType};
use crate::api::meta::ObjectMeta;
use crate::authz::matching::{HostPattern, RouteMatch};

/// More than the Gateway API itself admits, which is 16 and 64.
const MAX_RULES: usize = 64;
const MAX_MATCHES: usize = 128;
const MAX_HOSTNAMES: usize = 64;

/// A route.
pub(super) struct Route {
    pub(super) kind: &'static str,
    pub(super) name: ObjectName,
    parents: Vec<ParentRef>,
    /// `None` admits every host of the listener.
    hostnames: Option<Vec<HostPattern>>,
    pub(super) rules: Vec<RouteRule>,
}

/// A rule of a route.
pub(super) struct RouteRule {
    pub(super) serves: Serves,
    pub(super) matches: Vec<RouteMatch>,
    /// It only redirects.
    pub(super) redirects: bool,
}

/// Whose requests a rule's are.
pub(super) enum Serves {
    /// The route's.
    Unnamed,
    /// Those of this section of the route.
    Named(String),
    /// A match cannot be told, so that any request of the route's hosts could be meant: judged by this closed form.
    Unknown(Arc<Form>),
}

impl RouteRule {
    pub(super) fn name(&self) -> Option<&str> {
        match &self.serves {
            Serves::Named(name) => Some(name),
            Serves::Unnamed | Serves::Unknown(_) => None,
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.name.0, self.name.1)
    }
}

/// A route's rule, of either kind.
struct Written<'a> {
    name: Option<&'a String>,
    matches: Vec<HttpRouteMatch>,
    redirects: bool,
}

impl Route {
    /// All routes, the oldest first: that order breaks ties between their matches.
    pub(super) fn all(objects: &PolicyObjects, install: &Install, problems: &mut Vec<PolicyProblem>) -> Vec<Self> {
        let mut routes = Vec::new();
        for route in &objects.http_routes {
            let spec = &route.object.spec;
            let rules = spec.rules.iter().map(|rule| Written {
                name: rule.name.as_ref(),
                matches: rule.matches.clone(),
                redirects: rule.filters.iter().any(|filter| filter.kind == "RequestRedirect"),
            });
            let read =
                Reading { kind: "HTTPRoute", meta: &route.object.metadata, origin: &route.origin, install, problems };
            routes.push(read.route(&spec.parent_refs, &spec.hostnames, rules));
        }
        for route in &objects.grpc_routes {
            let spec = &route.object.spec;
            let rules = spec.rules.iter().map(|rule| Written {
                name: rule.name.as_ref(),
                // A call of gRPC is a POST; a rule without matches takes every call.
                matches: match rule.matches.as_slice() {
                    [] => vec![of_grpc(&GrpcRouteMatch::default())],
                    matches => matches.iter().map(of_grpc).collect(),
                },
                redirects: false,
            });
            let read =
                Reading { kind: "GRPCRoute", meta: &route.object.metadata, origin: &route.origin, install, problems };
            routes.push(read.route(&spec.parent_refs, &spec.hostnames, rules));
        }
        routes.sort_by(|(one, _), (two, _)| one.cmp(two));
        routes.into_iter().map(|(_, route)| route).collect()
    }

    /// Whether it names this listener as a parent.
    pub(super) fn wants(&self, gateway: &ObjectName, listener: &Listener) -> bool {
        self.parents.iter().any(|parent| {
            parent.group == GROUP
                && parent.kind == "Gateway"
                && parent.namespace.as_ref().unwrap_or(&self.name.0) == &gateway.0
                && parent.name == gateway.1
                && parent.section_name.as_ref().is_none_or(|section| *section == listener.name)
                && parent.port.is_none_or(|port| port == listener.port)
        })
    }

    /// Whether the listener lets it in.
    pub(super) fn is_admitted(&self, gateway: &ObjectName, listener: &Listener) -> bool {
        let allowed = &listener.allowed_routes;
        let kind =
            allowed.kinds.is_empty() || allowed.kinds.iter().any(|kind| kind.group == GROUP && kind.kind == self.kind);
        kind && match allowed.namespaces.from {
            FromNamespaces::Same => self.name.0 == gateway.0,
            FromNamespaces::All => true,
            FromNamespaces::Selector | FromNamespaces::None => false,
        }
    }

    /// The hosts that both it and the listener are for.
    pub(super) fn hosts_on(&self, listener: &HostPattern) -> Vec<HostPattern> {
        match &self.hostnames {
            None => vec![listener.clone()],
            Some(names) => names.iter().filter_map(|name| name.intersect(listener)).collect(),
        }
    }
}

struct Reading<'a> {
    kind: &'static str,
    meta: &'a ObjectMeta,
    origin: &'a Origin,
    install: &'a Install,
    problems: &'a mut Vec<PolicyProblem>,
}

impl Reading<'_> {
    fn route<'w>(
        mut self,
        parents: &[ParentRef],
        hostnames: &[String],
        rules: impl ExactSizeIterator<Item = Written<'w>>,
    ) -> (Seniority, Route) {
        let names: Vec<HostPattern> =
            hostnames.iter().enumerate().filter_map(|(i, name)| self.hostname(i, name)).collect();
        if rules.len() > MAX_RULES || hostnames.len() > MAX_HOSTNAMES {
            self.problem("spec", format!("more than {MAX_RULES} rules or {MAX_HOSTNAMES} hostnames"));
        }
        let mut is_whole = rules.len() <= MAX_RULES;
        let mut rules: Vec<RouteRule> = rules
            .take(MAX_RULES)
            .enumerate()
            .map(|(i, rule)| {
                let (rule, whole) = self.rule(i, rule);
                is_whole &= whole;
                rule
            })
            .collect();
        if !is_whole {
            let name =
                PolicyName { namespace: self.meta.namespace.as_str().into(), name: self.meta.name.as_str().into() };
            let closed = Arc::new(Form::closed(&name, &Salvage::default(), self.install));
            rules.push(RouteRule { serves: Serves::Unknown(closed), matches: everything(), redirects: false });
        }
        let route = Route {
            kind: self.kind,
            name: name_of(self.meta),
            parents: parents.to_vec(),
            // Hostnames of which none reads must not become "every host".
            hostnames: (!hostnames.is_empty()).then_some(names),
            rules,
        };
        (seniority(self.meta), route)
    }

    fn hostname(&mut self, i: usize, name: &str) -> Option<HostPattern> {
        match HostPattern::parse(name) {
            Ok(HostPattern::Any) => {
                self.problem(format!("spec.hostnames[{i}]"), "`*` is not a hostname of a route: leave it out");
                None
            }
            Ok(pattern) => Some(pattern),
            Err(error) => {
                self.problem(format!("spec.hostnames[{i}]"), error.to_string());
                None
            }
        }
    }

    /// The rule, and whether every one of its matches could be told.
    fn rule(&mut self, i: usize, rule: Written<'_>) -> (RouteRule, bool) {
        let mut matches = Vec::new();
        let mut is_whole = rule.matches.len() <= MAX_MATCHES;
        if !is_whole {
            self.problem(format!("spec.rules[{i}].matches"), format!("more than {MAX_MATCHES} matches"));
        }
        for (j, written) in rule.matches.iter().take(MAX_MATCHES).enumerate() {
            match RouteMatch::compile(written) {
                Ok(compiled) => matches.push(compiled),
                Err(error) => {
                    let at = format!("spec.rules[{i}].matches[{j}].{}", error.field);
                    let effect = "until it is right, what no other rule matches on its hosts is refused";
                    self.problem(at, format!("{} ({effect})", error.problem));
                    is_whole = false;
                }
            }
        }
        if rule.matches.is_empty() {
            matches.extend(everything());
        }
        let serves = rule.name.map_or(Serves::Unnamed, |name| Serves::Named(name.clone()));
        (RouteRule { serves, matches, redirects: rule.redirects }, is_whole)
    }

    fn problem(&mut self, path: impl Into<String>, words: impl Into<String>) {
        self.problems.push(PolicyProblem {
            origin: self.origin.clone(),
            object: format!("{} {}/{}", self.kind, self.meta.namespace, self.meta.name),
            path: path.into(),
            kind: ProblemKind::Invalid,
            words: words.into(),
        });
    }
}

fn everything() -> Vec<RouteMatch> {
    RouteMatch::compile(&HttpRouteMatch::default()).into_iter().collect()
}

/// A gRPC call is a POST of `/<service>/<method>`.
fn of_grpc(written: &GrpcRouteMatch) -> HttpRouteMatch {
    let method = written.method.clone().unwrap_or_default();
    let path = |kind, value| Some(HttpPathMatch { kind, value });
    let path = match (method.kind, method.service.as_deref(), method.method.as_deref()) {
        (_, None, None) => None,
        (ValueMatchType::Exact, Some(service), Some(name)) => path(PathMatchType::Exact, format!("/{service}/{name}")),
        (ValueMatchType::Exact, Some(service), None) => path(PathMatchType::PathPrefix, format!("/{service}")),
        (ValueMatchType::Exact, None, Some(name)) => {
            path(PathMatchType::RegularExpression, format!("/[^/]+/{}", regex::escape(name)))
        }
        (ValueMatchType::RegularExpression, service, name) => {
            let (service, name) = (service.unwrap_or("[^/]+"), name.unwrap_or("[^/]+"));
            path(PathMatchType::RegularExpression, format!("/(?:{service})/(?:{name})"))
        }
    };
    HttpRouteMatch { path, headers: written.headers.clone(), query_params: Vec::new(), method: Some("POST".to_owned()) }
}
