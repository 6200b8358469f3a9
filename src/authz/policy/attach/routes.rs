//! HTTPRoutes and GRPCRoutes, as one: what they match and where they want to be.

use std::sync::Arc;

use super::super::PolicyName;
use super::super::compile::{Seniority, time};
use super::super::form::Form;
use super::super::install::{Install, ObjectName};
use super::super::objects::{Origin, PolicyObjects};
use super::super::problem::{PolicyProblem, ProblemKind};
use super::super::targets::SERVICE;
use super::Kept;
use super::admits::Admits;
use super::rewriting::may_rewrite;
use crate::api::auth_policy::Salvage;
use crate::api::gateway::{BackendRef, GROUP, GrpcRoute, GrpcRouteMatch, HttpRoute, Listener, ParentRef, RouteFilter};
use crate::api::http_match::{HttpPathMatch, HttpRouteMatch, PathMatchType, ValueMatchType};
use crate::api::meta::ObjectMeta;
use crate::api::route_status::RouteStatus;
use crate::authz::matching::{HostPattern, RouteMatch};

/// More than the Gateway API itself admits, which is 16 and 64.
const MAX_RULES: usize = 64;
const MAX_MATCHES: usize = 128;
const MAX_HOSTNAMES: usize = 64;

/// A route.
#[derive(Debug)]
pub(super) struct Route {
    source: Source,
    pub(super) kind: &'static str,
    pub(super) name: ObjectName,
    pub(super) namespace: Arc<str>,
    /// `HTTPRoute shop/shop`.
    pub(super) label: Arc<str>,
    /// `shop/shop`: who its sessions' JWTs are for, unless a rule says otherwise.
    pub(super) audience: Arc<str>,
    created: Option<jiff::Timestamp>,
    /// The Gateways that it names.
    pub(super) parents: Vec<ParentRef>,
    /// `None` admits every host of the listener.
    hostnames: Option<Vec<HostPattern>>,
    pub(super) rules: Vec<RouteRule>,
    /// What is wrong with it: fields and words.
    problems: Vec<(String, String)>,
}

/// What a route was read from.
#[derive(Clone, Debug, PartialEq)]
enum Source {
    Http(Arc<HttpRoute>),
    Grpc(Arc<GrpcRoute>),
}

/// A rule of a route.
#[derive(Debug)]
pub(super) struct RouteRule {
    pub(super) serves: Serves,
    pub(super) matches: Vec<Arc<RouteMatch>>,
    /// It only redirects.
    pub(super) redirects: bool,
    /// Everything that it may send requests to, copies included.
    pub(super) backends: Vec<Backend>,
    /// What judges in its place where it leads to a Service of another namespace that has a policy: it may make another request of the
    /// one that was judged.
    pub(super) rewrites: Option<Arc<Form>>,
}

/// What a rule may send requests to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    Service(ObjectName),
    /// Something that no policy can name.
    Other,
}

/// Whose requests a rule's are.
#[derive(Debug)]
pub(super) enum Serves {
    /// The route's.
    Unnamed,
    /// Those of this section of the route.
    Named(Arc<str>),
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

/// A route's rule, of either kind.
struct Written<'a> {
    name: Option<&'a String>,
    matches: Vec<HttpRouteMatch>,
    filters: &'a [RouteFilter],
    backends: &'a [BackendRef],
}

impl Route {
    /// All routes, the oldest first: that order breaks ties between their matches. Unchanged ones are those of before.
    pub(super) fn all(
        objects: &PolicyObjects,
        install: &Install,
        kept: Option<&Kept>,
        problems: &mut Vec<PolicyProblem>,
    ) -> Vec<Arc<Self>> {
        let mut routes = Vec::with_capacity(objects.http_routes.len() + objects.grpc_routes.len());
        let mut add = |source: Source, origin: &Origin| {
            let (kind, meta) = source.head();
            let before = kept.and_then(|kept| kept.route(kind, &meta.namespace, &meta.name));
            let route = match before.filter(|before| before.source == source) {
                Some(before) => before.clone(),
                None => Arc::new(Self::read(source, install)),
            };
            problems.extend(route.problems.iter().map(|(path, words)| PolicyProblem {
                origin: origin.clone(),
                object: route.label.to_string(),
                path: path.clone(),
                kind: ProblemKind::Invalid,
                words: words.clone(),
            }));
            routes.push(route);
        };
        for route in &objects.http_routes {
            add(Source::Http(route.object.clone()), &route.origin);
        }
        for route in &objects.grpc_routes {
            add(Source::Grpc(route.object.clone()), &route.origin);
        }
        routes.sort_by(|one, two| one.seniority().cmp(&two.seniority()));
        routes
    }

    fn seniority(&self) -> Seniority<'_> {
        (self.created, &self.name.0, &self.name.1)
    }

    fn read(source: Source, install: &Install) -> Self {
        let (kind, meta) = source.head();
        let reading = Reading { meta, install, problems: Vec::new() };
        let (parents, hostnames, rules, problems) = match &source {
            Source::Http(route) => {
                let rules = route.spec.rules.iter().map(|rule| Written {
                    name: rule.name.as_ref(),
                    matches: rule.matches.clone(),
                    filters: &rule.filters,
                    backends: &rule.backend_refs,
                });
                reading.route(&route.spec.parent_refs, &route.spec.hostnames, rules)
            }
            Source::Grpc(route) => {
                let rules = route.spec.rules.iter().map(|rule| Written {
                    name: rule.name.as_ref(),
                    // A call of gRPC is a POST; a rule without matches takes every call.
                    matches: match rule.matches.as_slice() {
                        [] => vec![of_grpc(&GrpcRouteMatch::default())],
                        matches => matches.iter().map(of_grpc).collect(),
                    },
                    filters: &rule.filters,
                    backends: &rule.backend_refs,
                });
                reading.route(&route.spec.parent_refs, &route.spec.hostnames, rules)
            }
        };
        let audience = format!("{}/{}", meta.namespace, meta.name);
        Self {
            kind,
            name: (meta.namespace.clone(), meta.name.clone()),
            namespace: meta.namespace.as_str().into(),
            label: format!("{kind} {audience}").into(),
            audience: audience.into(),
            created: time(meta.creation_timestamp.as_deref()),
            parents,
            hostnames,
            rules,
            problems,
            source,
        }
    }

    /// The Services that it may send requests to; one may come more than once.
    pub(super) fn services(&self) -> impl Iterator<Item = &ObjectName> {
        self.rules.iter().flat_map(|rule| &rule.backends).filter_map(|backend| match backend {
            Backend::Service(name) => Some(name),
            Backend::Other => None,
        })
    }

    /// Whether it names this listener as a parent.
    pub(super) fn wants(&self, gateway: &ObjectName, listener: &Listener) -> bool {
        self.parents.iter().any(|parent| self.is_parent(parent, gateway, listener))
    }

    /// Whether an entry of its `parentRefs` names this listener.
    pub(super) fn is_parent(&self, parent: &ParentRef, gateway: &ObjectName, listener: &Listener) -> bool {
        parent.group == GROUP
            && parent.kind == "Gateway"
            && parent.namespace.as_ref().unwrap_or(&self.name.0) == &gateway.0
            && parent.name == gateway.1
            && parent.section_name.as_ref().is_none_or(|section| *section == listener.name)
            && parent.port.is_none_or(|port| port == listener.port)
    }

    pub(super) fn status(&self) -> &RouteStatus {
        match &self.source {
            Source::Http(route) => &route.status,
            Source::Grpc(route) => &route.status,
        }
    }

    pub(super) fn generation(&self) -> Option<i64> {
        self.source.head().1.generation
    }

    /// Whether the listener, which admits these namespaces, lets it in.
    pub(super) fn is_admitted(&self, listener: &Listener, namespaces: &Admits<'_>) -> bool {
        let kinds = &listener.allowed_routes.kinds;
        let kind = kinds.is_empty() || kinds.iter().any(|kind| kind.group == GROUP && kind.kind == self.kind);
        kind && namespaces.admits(&self.name.0)
    }

    /// The hosts that both it and the listener are for.
    pub(super) fn hosts_on(&self, listener: &HostPattern) -> Vec<HostPattern> {
        match &self.hostnames {
            None => vec![listener.clone()],
            Some(names) => names.iter().filter_map(|name| name.intersect(listener)).collect(),
        }
    }
}

impl Source {
    fn head(&self) -> (&'static str, &ObjectMeta) {
        match self {
            Self::Http(route) => ("HTTPRoute", &route.metadata),
            Self::Grpc(route) => ("GRPCRoute", &route.metadata),
        }
    }
}

/// Everything of a route that its spec says: parents, hosts, rules, and what is wrong.
type Read = (Vec<ParentRef>, Option<Vec<HostPattern>>, Vec<RouteRule>, Vec<(String, String)>);

struct Reading<'a> {
    meta: &'a ObjectMeta,
    install: &'a Install,
    problems: Vec<(String, String)>,
}

impl Reading<'_> {
    fn route<'w>(
        mut self,
        parents: &[ParentRef],
        hostnames: &[String],
        rules: impl ExactSizeIterator<Item = Written<'w>>,
    ) -> Read {
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
                let (rule, whole) = self.rule(i, &rule);
                is_whole &= whole;
                rule
            })
            .collect();
        if !is_whole {
            let serves = Serves::Unknown(self.closed());
            rules.push(RouteRule {
                serves,
                matches: everything(),
                redirects: false,
                backends: Vec::new(),
                rewrites: None,
            });
        }
        // Hostnames of which none reads must not become "every host".
        let hostnames = (!hostnames.is_empty()).then_some(names);
        (parents.to_vec(), hostnames, rules, self.problems)
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
    fn rule(&mut self, i: usize, rule: &Written<'_>) -> (RouteRule, bool) {
        let mut matches = Vec::new();
        let mut is_whole = rule.matches.len() <= MAX_MATCHES;
        if !is_whole {
            self.problem(format!("spec.rules[{i}].matches"), format!("more than {MAX_MATCHES} matches"));
        }
        for (j, written) in rule.matches.iter().take(MAX_MATCHES).enumerate() {
            match RouteMatch::of_route(written) {
                Ok(compiled) => matches.push(Arc::new(compiled)),
                Err(error) => {
                    let at = format!("spec.rules[{i}].matches[{j}].{}", error.field);
                    let effect = "until it is right, what no other rule matches on its hosts is refused, and what routes of other \
                                  namespaces match there, since the proxy may read it";
                    self.problem(at, format!("{} ({effect})", error.problem));
                    is_whole = false;
                }
            }
        }
        if rule.matches.is_empty() {
            matches.extend(everything());
        }
        let serves = rule.name.map_or(Serves::Unnamed, |name| Serves::Named(name.as_str().into()));
        let mut backends = Vec::new();
        self.backends(rule.backends, rule.filters, &mut backends);
        let redirects = backends.is_empty() && rule.filters.iter().any(|filter| filter.kind == "RequestRedirect");
        let mut filters = rule.filters.iter().chain(rule.backends.iter().flat_map(|backend| &backend.filters));
        let rewrites = filters.any(|filter| may_rewrite(filter, &self.install.own_headers)).then(|| self.closed());
        (RouteRule { serves, matches, redirects, backends, rewrites }, is_whole)
    }

    fn closed(&self) -> Arc<Form> {
        let name = PolicyName { namespace: self.meta.namespace.as_str().into(), name: self.meta.name.as_str().into() };
        Arc::new(Form::closed(&name, &Salvage::default(), self.install))
    }

    /// Adds what may get requests by these references and filters.
    fn backends(&self, refs: &[BackendRef], filters: &[RouteFilter], found: &mut Vec<Backend>) {
        let mirrors = filters.iter().filter_map(|filter| Some(&filter.request_mirror.as_ref()?.backend_ref));
        for backend in refs.iter().chain(mirrors) {
            let is_service = backend.group.is_empty() && backend.kind == SERVICE;
            let namespace = backend.namespace.as_ref().unwrap_or(&self.meta.namespace);
            let one = match is_service {
                true => Backend::Service((namespace.clone(), backend.name.clone())),
                false => Backend::Other,
            };
            if !found.contains(&one) {
                found.push(one);
            }
            self.backends(&[], &backend.filters, found);
        }
    }

    fn problem(&mut self, path: impl Into<String>, words: impl Into<String>) {
        self.problems.push((path.into(), words.into()));
    }
}

fn everything() -> Vec<Arc<RouteMatch>> {
    RouteMatch::compile(&HttpRouteMatch::default()).into_iter().map(Arc::new).collect()
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
            // Each on its own first: `a)|(?:b` must not become valid between our brackets. What is not stays as it is, and is refused.
            let is_whole = |text: &str| regex::Regex::new(text).is_ok();
            match (is_whole(service), is_whole(name)) {
                (true, true) => path(PathMatchType::RegularExpression, format!("/(?:{service})/(?:{name})")),
                (false, _) => path(PathMatchType::RegularExpression, service.to_owned()),
                (true, false) => path(PathMatchType::RegularExpression, name.to_owned()),
            }
        }
    };
    HttpRouteMatch { path, headers: written.headers.clone(), query_params: Vec::new(), method: Some("POST".to_owned()) }
}
