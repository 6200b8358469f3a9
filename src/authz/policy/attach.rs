//! Which routes hang on which listeners, and which policies on either (Gateway API v1, GEP-713).

mod admits;
mod attached;
mod rewriting;
mod routes;
mod told;
mod winners;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use self::admits::{Admits, Labels};
use self::attached::Attached;
use self::routes::{Route, Serves};
pub(super) use self::winners::TargetKey;
use self::winners::Winners;
use super::acceptance::Acceptance;
use super::bind::{Binder, Bounds, Place, Same, Target, Voice};
use super::compile::{Formed, seniority};
use super::form::Form;
use super::install::{Install, ObjectName};
use super::objects::{PolicyObjects, Sourced};
use super::port::{Port, Ports};
use super::problem::{PolicyProblem, ProblemKind};
use super::routed::{NamedRoutes, RouteEntry, RouteHit, RouteTable};
use crate::api::gateway::{Gateway, Listener};
use crate::authz::matching::{HostPattern, HostTable, MatchTable, RouteMatch};

/// The tables of all listeners that the gate serves.
pub(super) struct Attachments {
    pub(super) ports: Ports,
    pub(super) named: NamedRoutes,
    pub(super) kept: Kept,
}

/// What the next compilation takes over where nothing changed: it is the same by address, so that what was made of it is, too.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) bounds: Bounds,
    routes: HashMap<&'static str, HashMap<ObjectName, Arc<Attached>>>,
    tables: HashMap<TableKey, Table>,
}

/// What a route table is made of; equal ones are made once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TableKey {
    /// The oldest first, each with what is told of it here.
    routes: Vec<(Same<Attached>, Acceptance)>,
    of_gateway: Option<Same<Form>>,
    of_listener: Option<Same<Form>>,
}

impl TableKey {
    /// Whether a route of another namespace may be there: then one that the proxy has refused gives way.
    fn has_another_namespace(&self, route: &Route) -> bool {
        let is_there = |acceptance: Acceptance| acceptance != Acceptance::Refused;
        self.routes.iter().any(|(it, acceptance)| is_there(*acceptance) && it.0.route.namespace != route.namespace)
    }
}

/// A table and the Gateway for which it was made: the oldest of those that have it.
#[derive(Clone, Debug)]
struct Table {
    gateway: ObjectName,
    table: Arc<RouteTable>,
}

/// A listener's hostname, and its routes by host.
type Listening = (HostPattern, HashMap<HostPattern, Arc<RouteTable>>);

impl Kept {
    pub(super) fn with(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    fn attached(&self, kind: &str, name: &ObjectName) -> Option<&Arc<Attached>> {
        self.routes.get(kind)?.get(name)
    }

    fn route(&self, kind: &str, namespace: &str, name: &str) -> Option<&Arc<Route>> {
        self.attached(kind, &(namespace.to_owned(), name.to_owned())).map(|attached| &attached.route)
    }
}

impl Attachments {
    pub(super) fn resolve(
        objects: &PolicyObjects,
        install: &Install,
        forms: &[Formed],
        kept: Option<&Kept>,
        binder: &mut Binder<'_>,
        problems: &mut Vec<PolicyProblem>,
    ) -> Self {
        let routes = Route::all(objects, install, kept, problems);
        let winners = Winners::find(objects, &routes, forms, problems);
        let mut of_gateway: HashMap<ObjectName, Vec<usize>> = HashMap::new();
        let mut attached = Vec::with_capacity(routes.len());
        let mut known: HashMap<&'static str, HashMap<ObjectName, Arc<Attached>>> = HashMap::new();
        for (i, route) in routes.iter().enumerate() {
            for parent in &route.parents {
                let namespace = parent.namespace.as_ref().unwrap_or(&route.name.0);
                let wanting = of_gateway.entry((namespace.clone(), parent.name.clone())).or_default();
                if wanting.last() != Some(&i) {
                    wanting.push(i);
                }
            }
            let new = Attached::find(route, &winners, objects);
            let before = kept.and_then(|kept| kept.attached(route.kind, &route.name));
            let one = before.filter(|before| before.same(&new)).cloned().unwrap_or_else(|| Arc::new(new));
            known.entry(route.kind).or_default().insert(route.name.clone(), one.clone());
            attached.push(one);
        }
        let mut gateways: Vec<&Sourced<Gateway>> = objects.gateways.iter().collect();
        gateways.sort_by_cached_key(|gateway| {
            let (created, namespace, name) = seniority(&gateway.object.metadata);
            (created, namespace.to_owned(), name.to_owned())
        });
        let labels = Labels::of(objects);
        let mut listeners = Listeners { attached: &attached, winners: &winners, kept, binder, tables: HashMap::new() };
        let mut is_attached = vec![false; routes.len()];
        let mut ports: Vec<Vec<Listening>> = Vec::new();
        for gateway in gateways {
            let name = name_of(&gateway.object.metadata);
            if !install.serves(&name) {
                continue;
            }
            let wanting = of_gateway.get(&name).map(Vec::as_slice).unwrap_or_default();
            let mut of_gateway: Vec<(u16, Vec<Listening>)> = Vec::new();
            for listener in &gateway.object.spec.listeners {
                let (hostname, hosts) =
                    admitted(&routes, wanting, listener, gateway, &labels, &mut is_attached, problems);
                let tables = listeners.tables(&name, listener, hosts);
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
        winners.advise(&routes, &is_attached, problems);
        for (route, acceptance, doubt) in doubtful(listeners.tables.keys()) {
            let effect = match acceptance {
                Acceptance::Refused => "these are found in its place",
                _ => {
                    "a request that one of these matches too, with other policies, is refused (conflicting_routes), unless the proxy \
                     names its route"
                }
            };
            let words = format!("{} {doubt}, and shares a host with routes of other namespaces: {effect}", route.label);
            winners.advise_on_route(route, &words, problems);
        }
        for (attached, _) in attached.iter().zip(&is_attached).filter(|(_, is_attached)| **is_attached) {
            for (i, service) in attached.closed() {
                let words = format!(
                    "{} rules[{i}] has filters that may change path, method, host or identity after the check, and leads to Service \
                     {}/{} of another namespace, which has a policy: what it would send there is refused (broken_policy)",
                    attached.route.label, service.0, service.1
                );
                winners.advise_on_route(&attached.route, &words, problems);
                winners.advise_on_service(service, &words, problems);
            }
        }
        let built = |port: Vec<Listening>| Port {
            listeners: port.into_iter().map(|(hostname, tables)| (hostname, HostTable::build(tables))).collect(),
        };
        Self {
            ports: Ports::of(ports.into_iter().map(built).collect()),
            named: NamedRoutes::of(listeners.tables.values().flat_map(|it| &it.table.routes)),
            kept: Kept { bounds: Bounds::default(), routes: known, tables: listeners.tables },
        }
    }
}

/// The routes that share a host with those of other namespaces and are not taken, each with what is told of it. What has changed a moment
/// ago is not among them.
fn doubtful<'a>(
    tables: impl Iterator<Item = &'a TableKey>,
) -> impl Iterator<Item = (&'a Route, Acceptance, &'static str)> {
    let mut found: BTreeMap<&str, (Acceptance, &Route)> = BTreeMap::new();
    for TableKey { routes, .. } in tables {
        let namespace = |(attached, _): &(Same<Attached>, Acceptance)| attached.0.route.namespace.clone();
        if routes.iter().all(|it| namespace(it) == namespace(&routes[0])) {
            continue;
        }
        for (attached, acceptance) in routes.iter().filter(|(_, it)| *it != Acceptance::Older) {
            let route = &*attached.0.route;
            let worst = found.entry(&route.label).or_insert((*acceptance, route));
            worst.0 = worst.0.max(*acceptance);
        }
    }
    found.into_values().filter_map(|(acceptance, route)| Some((route, acceptance, acceptance.doubt()?)))
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

/// A listener's hostname, and the routes that it admits by host, the oldest first.
fn admitted(
    routes: &[Arc<Route>],
    wanting: &[usize],
    listener: &Listener,
    source: &Sourced<Gateway>,
    labels: &Labels<'_>,
    attached: &mut [bool],
    problems: &mut Vec<PolicyProblem>,
) -> (HostPattern, HashMap<HostPattern, Vec<usize>>) {
    let gateway = name_of(&source.object.metadata);
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
    let (namespaces, problem) = Admits::of(listener, &gateway.0, labels);
    if let Some((path, words)) = problem {
        note(&path, words);
    }
    for &i in wanting {
        let route = &routes[i];
        if !route.wants(&gateway, listener) || !route.is_admitted(listener, &namespaces) {
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

/// Makes the tables of listeners.
struct Listeners<'a, 'b> {
    attached: &'a [Arc<Attached>],
    winners: &'a Winners<'a>,
    kept: Option<&'a Kept>,
    binder: &'a mut Binder<'b>,
    tables: HashMap<TableKey, Table>,
}

impl Listeners<'_, '_> {
    fn tables(
        &mut self,
        gateway: &ObjectName,
        listener: &Listener,
        hosts: HashMap<HostPattern, Vec<usize>>,
    ) -> HashMap<HostPattern, Arc<RouteTable>> {
        let find = |section| self.winners.of("Gateway", gateway, section).cloned().map(Same);
        let (of_gateway, of_listener) = (find(None), find(Some(listener.name.as_str())));
        let mut tables = HashMap::with_capacity(hosts.len());
        for (host, routes) in hosts {
            let of = |i: usize| (Same(self.attached[i].clone()), self.attached[i].route.acceptance(gateway, listener));
            let routes = routes.into_iter().map(of).collect();
            let key = TableKey { routes, of_gateway: of_gateway.clone(), of_listener: of_listener.clone() };
            tables.insert(host, self.table(gateway, key));
        }
        tables
    }

    fn table(&mut self, gateway: &ObjectName, key: TableKey) -> Arc<RouteTable> {
        if let Some(known) = self.tables.get(&key) {
            return known.table.clone();
        }
        // A policy of the Gateway says its name in what it stands for.
        let is_of = |made: &&Table| (key.of_gateway.is_none() && key.of_listener.is_none()) || made.gateway == *gateway;
        let table = match self.kept.and_then(|kept| kept.tables.get(&key)).filter(is_of) {
            Some(before) => {
                before.table.bounds().for_each(|bound| self.binder.keep(bound));
                before.table.clone()
            }
            None => Arc::new(self.make(gateway, &key)),
        };
        self.tables.insert(key, Table { gateway: gateway.clone(), table: table.clone() });
        table
    }

    fn make(&mut self, gateway: &ObjectName, key: &TableKey) -> RouteTable {
        let mut matches = Vec::new();
        // What may match anything comes after what is known to match.
        let mut unknown = Vec::new();
        let mut entries: Vec<Arc<RouteEntry>> = Vec::new();
        let mut alike = HashMap::new();
        let target: Arc<str> = format!("Gateway {}/{}", gateway.0, gateway.1).into();
        let audience: Arc<str> = format!("{}/{}", gateway.0, gateway.1).into();
        for (attached, acceptance) in &key.routes {
            let is_taken = *acceptance == Acceptance::Taken;
            let route = &attached.0.route;
            let is_left_out = *acceptance == Acceptance::Refused && key.has_another_namespace(route);
            let place = Place {
                target: Target::Object(target.clone()),
                namespace: route.namespace.clone(),
                audience: audience.clone(),
                voice: Voice::Speaks,
            };
            let above = [&key.of_gateway, &key.of_listener].into_iter().flatten().map(|form| (&form.0, place.clone()));
            let chains = attached.0.chains(&above.collect::<Vec<_>>(), self.binder);
            for (i, (rule, chain)) in route.rules.iter().zip(chains).enumerate() {
                let first = *alike.entry((chain.key(), rule.redirects)).or_insert(entries.len());
                let chain = entries.get(first).map_or_else(|| Arc::new(chain), |known| known.chain.clone());
                let is_unknown = matches!(rule.serves, Serves::Unknown(_));
                let route_hit = |it: &RouteMatch| RouteHit {
                    route: entries.len(),
                    alike: first,
                    is_sure: is_taken && !is_unknown && !it.has_expression(),
                };
                let hits = rule.matches.iter().map(|it| (it.clone(), route_hit(it)));
                match is_unknown {
                    _ if is_left_out => {}
                    true => unknown.extend(hits),
                    false => matches.extend(hits),
                }
                entries.push(Arc::new(RouteEntry {
                    name: format!("{} rules[{i}]", route.label).into(),
                    route: route.label.clone(),
                    section: match &rule.serves {
                        Serves::Named(name) => Some(name.clone()),
                        Serves::Unnamed | Serves::Unknown(_) => None,
                    },
                    chain,
                    redirects: rule.redirects,
                    acceptance: *acceptance,
                    is_unknown,
                }));
            }
        }
        matches.append(&mut unknown);
        RouteTable::new(MatchTable::build(matches), entries)
    }
}
