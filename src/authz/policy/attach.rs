//! Which routes hang on which listeners, and which policies on either (Gateway API v1, GEP-713).

mod routes;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use self::routes::{Route, Serves};
use super::compile::{Binder, Formed, conflict, seniority};
use super::form::Form;
use super::install::{Install, ObjectName};
use super::objects::{PolicyObjects, Sourced};
use super::port::Port;
use super::problem::{PolicyProblem, ProblemKind};
use super::scope::{Bound, Chain, RouteEntry, RouteHit, RouteTable, Target};
use crate::api::auth_policy::TargetRef;
use crate::api::gateway::{Gateway, Listener};
use crate::authz::matching::{HostPattern, HostTable, MatchTable};

/// Something that at most one policy judges.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum TargetKey {
    /// A host pattern of `spec.hosts`.
    Host(HostPattern),
    /// An object of this kind, or a section of it.
    Object { kind: String, name: ObjectName, section: Option<String> },
}

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(f, "host `{host}`"),
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

/// The tables of all listeners that the gate serves.
pub(super) struct Attachments {
    pub(super) ports: Vec<Port>,
}

/// A listener's hostname, and its routes by host.
type Listening = (HostPattern, HashMap<HostPattern, Arc<RouteTable>>);

/// What a route table was made of; equal ones are made once.
type TableKey = (Vec<usize>, Option<*const Form>, Option<*const Form>);

impl Attachments {
    pub(super) fn resolve(
        objects: &PolicyObjects,
        install: &Install,
        forms: &[Formed],
        binder: &mut Binder,
        problems: &mut Vec<PolicyProblem>,
    ) -> Self {
        let routes = Route::all(objects, install, problems);
        let mut gateways: Vec<&Sourced<Gateway>> = objects.gateways.iter().collect();
        gateways.sort_by_cached_key(|gateway| seniority(&gateway.object.metadata));
        let winners = winners(objects, &routes, forms, problems);
        let mut attaching = Attaching { routes: &routes, winners: &winners, binder, tables: HashMap::new() };
        let mut attached = vec![false; routes.len()];
        let mut ports: Vec<Vec<Listening>> = Vec::new();
        for gateway in gateways {
            let name = name_of(&gateway.object.metadata);
            if !install.serves(&name) {
                continue;
            }
            let mut of_gateway: Vec<(u16, Vec<Listening>)> = Vec::new();
            for listener in &gateway.object.spec.listeners {
                let (hostname, hosts) = admitted(&routes, &name, listener, gateway, &mut attached, problems);
                let tables = attaching.listener(&name, listener, hosts);
                if tables.is_empty() {
                    continue;
                }
                match of_gateway.iter_mut().find(|(port, _)| *port == listener.port) {
                    Some((_, listening)) => listening.push((hostname, tables)),
                    None => of_gateway.push((listener.port, vec![(hostname, tables)])),
                }
            }
            // Ports that say the same twice (HTTP beside HTTPS) cost one look-up.
            for (_, port) in of_gateway {
                if !ports.iter().any(|known| same_port(known, &port)) {
                    ports.push(port);
                }
            }
        }
        advise(&routes, &attached, &winners, problems);
        let built = |port: Vec<Listening>| Port {
            listeners: port.into_iter().map(|(hostname, tables)| (hostname, HostTable::build(tables))).collect(),
        };
        Self { ports: ports.into_iter().map(built).collect() }
    }
}

fn same_port(one: &[Listening], two: &[Listening]) -> bool {
    // What the hostname of a listener is matters beside others only.
    let same = |(one, two): (&Listening, &Listening)| same_tables(&one.1, &two.1);
    one.len() == two.len()
        && one.iter().zip(two).all(same)
        && (one.len() == 1 || one.iter().zip(two).all(|(one, two)| one.0 == two.0))
}

fn same_tables(one: &HashMap<HostPattern, Arc<RouteTable>>, two: &HashMap<HostPattern, Arc<RouteTable>>) -> bool {
    one.len() == two.len()
        && one.iter().all(|(host, table)| two.get(host).is_some_and(|other| Arc::ptr_eq(table, other)))
}

pub(super) fn name_of(meta: &crate::api::meta::ObjectMeta) -> ObjectName {
    (meta.namespace.clone(), meta.name.clone())
}

/// The oldest policy of each target that exists and consents.
fn winners<'a>(
    objects: &PolicyObjects,
    routes: &[Route],
    forms: &'a [Formed],
    problems: &mut Vec<PolicyProblem>,
) -> HashMap<TargetKey, &'a Formed> {
    let mut sections: HashMap<(&str, ObjectName), Vec<&str>> = HashMap::new();
    for gateway in &objects.gateways {
        let listeners = gateway.object.spec.listeners.iter().map(|listener| listener.name.as_str());
        sections.insert(("Gateway", name_of(&gateway.object.metadata)), listeners.collect());
    }
    for route in routes {
        let names = route.rules.iter().filter_map(|rule| rule.name());
        sections.insert((route.kind, route.name.clone()), names.collect());
    }
    let mut winners: HashMap<TargetKey, &Formed> = HashMap::new();
    for formed in forms {
        let policy = &formed.form.name;
        for (i, target) in formed.form.target_refs.iter().enumerate() {
            let at = format!("spec.targetRefs[{i}]");
            let key = TargetKey::of(target, &policy.namespace);
            let TargetKey::Object { kind, name, section } = &key else { continue };
            let mut problem = |kind, words: String| {
                problems.push(PolicyProblem::of_policy(&formed.origin, policy, at.as_str(), kind, words));
            };
            match sections.get(&(kind.as_str(), name.clone())) {
                // A stranger learns nothing about what there is: consent is asked before existence.
                _ if name.0 != *policy.namespace && !granted(objects, policy, target, &name.0) => problem(
                    ProblemKind::RefNotPermitted,
                    format!(
                        "{key} is in another namespace, which did not consent: a ReferenceGrant there must name AuthPolicy of `{}`",
                        policy.namespace
                    ),
                ),
                None => problem(ProblemKind::TargetNotFound, format!("there is no {key}")),
                Some(names) if section.as_deref().is_some_and(|section| !names.contains(&section)) => problem(
                    ProblemKind::TargetNotFound,
                    format!("there is no {key}; its sections are {}", crate::api::read::listed(names)),
                ),
                Some(_) => match winners.get(&key) {
                    Some(older) => problems.push(conflict(formed, at, &key, &older.form.name)),
                    None => {
                        winners.insert(key, formed);
                    }
                },
            }
        }
    }
    winners
}

fn granted(objects: &PolicyObjects, policy: &super::PolicyName, target: &TargetRef, namespace: &str) -> bool {
    objects.reference_grants.iter().map(|grant| &grant.object).any(|grant| {
        grant.metadata.namespace == namespace
            && grant.spec.from.iter().any(|from| {
                from.group == "cloakroom.dev" && from.kind == "AuthPolicy" && *from.namespace == *policy.namespace
            })
            && grant.spec.to.iter().any(|to| {
                to.group == target.group
                    && to.kind == target.kind
                    && to.name.as_ref().is_none_or(|name| *name == target.name)
            })
    })
}

/// A listener's hostname, and the routes that it admits by host, the oldest first.
fn admitted(
    routes: &[Route],
    gateway: &ObjectName,
    listener: &Listener,
    source: &Sourced<Gateway>,
    attached: &mut [bool],
    problems: &mut Vec<PolicyProblem>,
) -> (HostPattern, HashMap<HostPattern, Vec<usize>>) {
    let mut hosts: HashMap<HostPattern, Vec<usize>> = HashMap::new();
    let mut note = |path: &str, words: String| {
        problems.push(PolicyProblem {
            origin: source.origin.clone(),
            object: format!("Gateway {}/{}", gateway.0, gateway.1),
            path: format!("spec.listeners[{}].{path}", listener.name),
            kind: ProblemKind::Invalid,
            words,
        });
    };
    let of_listener = match listener.hostname.as_deref().filter(|name| !name.is_empty()).map(HostPattern::parse) {
        None => HostPattern::Any,
        Some(Ok(pattern)) => pattern,
        Some(Err(error)) => {
            note("hostname", error.to_string());
            return (HostPattern::Any, hosts);
        }
    };
    if !matches!(listener.protocol.as_str(), "HTTP" | "HTTPS") {
        return (of_listener, hosts);
    }
    if listener.allowed_routes.namespaces.from == crate::api::gateway::FromNamespaces::Selector {
        note("allowedRoutes.namespaces.from", "`Selector` needs the labels of namespaces, and there are none here, so it admits no route: write `Same` or `All`".to_owned());
    }
    for (i, route) in routes.iter().enumerate() {
        if !route.wants(gateway, listener) || !route.is_admitted(gateway, listener) {
            continue;
        }
        for host in route.hosts_on(&of_listener) {
            let routes = hosts.entry(host).or_default();
            if routes.last() != Some(&i) {
                routes.push(i);
            }
            attached[i] = true;
        }
    }
    (of_listener, hosts)
}

struct Attaching<'a> {
    routes: &'a [Route],
    winners: &'a HashMap<TargetKey, &'a Formed>,
    binder: &'a mut Binder,
    tables: HashMap<TableKey, Arc<RouteTable>>,
}

impl<'a> Attaching<'a> {
    fn listener(
        &mut self,
        gateway: &ObjectName,
        listener: &Listener,
        hosts: HashMap<HostPattern, Vec<usize>>,
    ) -> HashMap<HostPattern, Arc<RouteTable>> {
        let find = |section| self.winners.get(&TargetKey::object("Gateway", gateway, section)).copied();
        let (outer, inner) = (find(None), find(Some(listener.name.as_str())));
        let pointer = |formed: Option<&Formed>| formed.map(|formed| Arc::as_ptr(&formed.form));
        let tables = hosts.into_iter().map(|(host, routes)| {
            let key = (routes, pointer(outer), pointer(inner));
            let table = match self.tables.get(&key) {
                Some(table) => table.clone(),
                None => {
                    let table = Arc::new(self.table(gateway, &key.0, outer, inner));
                    self.tables.insert(key, table.clone());
                    table
                }
            };
            (host, table)
        });
        tables.collect()
    }

    fn table(
        &mut self,
        gateway: &ObjectName,
        routes: &[usize],
        outer: Option<&Formed>,
        inner: Option<&Formed>,
    ) -> RouteTable {
        let mut matches = Vec::new();
        let mut entries: Vec<RouteEntry> = Vec::new();
        let mut alike = HashMap::new();
        let all = self.routes;
        for route in routes.iter().map(|i| &all[*i]) {
            let namespace: Arc<str> = route.name.0.as_str().into();
            let shared: Vec<Arc<Bound>> = [(outer, "Gateway", gateway), (inner, "Gateway", gateway)]
                .into_iter()
                .chain([(self.winner(route, None), route.kind, &route.name)])
                .filter_map(|(formed, kind, name)| Some(self.bind(formed?, kind, name, &namespace)))
                .collect();
            for (i, rule) in route.rules.iter().enumerate() {
                let mut levels = shared.clone();
                match &rule.serves {
                    Serves::Named(name) => {
                        let own = self.winner(route, Some(name));
                        levels.extend(own.map(|formed| self.bind(formed, route.kind, &route.name, &namespace)));
                    }
                    Serves::Unknown(closed) => {
                        levels.push(self.binder.bind(closed, Target::Object(route.to_string()), &namespace, ""))
                    }
                    Serves::Unnamed => {}
                }
                let chain = Chain::of(&levels);
                let first = *alike.entry((chain.key(), rule.redirects)).or_insert(entries.len());
                let chain = entries.get(first).map_or_else(|| Arc::new(chain), |known| known.chain.clone());
                let hit = RouteHit { route: entries.len(), alike: first };
                matches.extend(rule.matches.iter().map(|it| (it.clone(), hit)));
                let name = format!("{route} rules[{i}]").into();
                entries.push(RouteEntry { name, chain, redirects: rule.redirects });
            }
        }
        RouteTable { matches: MatchTable::build(matches), routes: entries }
    }

    fn winner(&self, route: &Route, section: Option<&str>) -> Option<&'a Formed> {
        self.winners.get(&TargetKey::object(route.kind, &route.name, section)).copied()
    }

    fn bind(&mut self, formed: &Formed, kind: &str, name: &ObjectName, namespace: &Arc<str>) -> Arc<Bound> {
        let target = Target::Object(format!("{kind} {}/{}", name.0, name.1));
        self.binder.bind(&formed.form, target, namespace, &format!("{}/{}", name.0, name.1))
    }
}

/// Says which policies judge nothing because no served listener admits their route.
fn advise(
    routes: &[Route],
    attached: &[bool],
    winners: &HashMap<TargetKey, &Formed>,
    problems: &mut Vec<PolicyProblem>,
) {
    for (route, _) in routes.iter().zip(attached).filter(|(_, attached)| !**attached) {
        if let Some(formed) = winners.get(&TargetKey::object(route.kind, &route.name, None)) {
            let words = format!(
                "{route} is on no Gateway that is served and admits it (parentRefs, allowedRoutes, hostnames), so this policy judges nothing there"
            );
            let (origin, name) = (&formed.origin, &formed.form.name);
            problems.push(PolicyProblem::of_policy(origin, name, "spec.targetRefs", ProblemKind::Advice, words));
        }
    }
}
