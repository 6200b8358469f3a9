//! A route with the policies on it, on its sections and on the Services that it leads to.

use std::sync::Arc;

use super::super::bind::{Binder, Bound, Place, Target, Voice};
use super::super::chain::Chain;
use super::super::form::Form;
use super::super::install::ObjectName;
use super::super::objects::PolicyObjects;
use super::super::targets::SERVICE;
use super::routes::{Backend, Route, RouteRule, Serves};
use super::winners::{Winners, route_may};

/// See the module.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) route: Arc<Route>,
    own: Option<Arc<Form>>,
    /// By rule.
    rules: Vec<OfRule>,
}

/// The policies on a rule and behind it.
#[derive(Debug)]
struct OfRule {
    section: Option<Arc<Form>>,
    services: Services,
}

/// The policies on the Services that a rule may send requests to.
#[derive(Debug)]
enum Services {
    /// There are none.
    Without,
    /// The rule leads to this Service of its own namespace and nowhere else: the most specific target.
    Own(ObjectName, Arc<Form>),
    /// It may lead elsewhere as well, or to another namespace: each is checked in addition.
    Each { policies: Vec<(ObjectName, Arc<Form>)>, every_backend_has_one: bool },
}

impl Attached {
    pub(super) fn find(route: &Arc<Route>, winners: &Winners<'_>, objects: &PolicyObjects) -> Self {
        let rule = |rule: &RouteRule| OfRule {
            section: rule.name().and_then(|name| winners.of(route.kind, &route.name, Some(name))).cloned(),
            services: Services::behind(route, rule, winners, objects),
        };
        Self {
            route: route.clone(),
            own: winners.of(route.kind, &route.name, None).cloned(),
            rules: route.rules.iter().map(rule).collect(),
        }
    }

    /// Whether both say the same of the same route.
    pub(super) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.route, &other.route)
            && same_form(self.own.as_ref(), other.own.as_ref())
            && self.rules.iter().zip(&other.rules).all(|(one, two)| {
                same_form(one.section.as_ref(), two.section.as_ref()) && one.services.same(&two.services)
            })
    }

    /// The rules that are closed for what they make of requests to Services of other namespaces: their numbers, and those Services.
    pub(super) fn closed(&self) -> impl Iterator<Item = (usize, &ObjectName)> {
        let rules = self.route.rules.iter().zip(&self.rules).enumerate();
        let closed = rules.filter(|(_, (rule, _))| rule.rewrites.is_some());
        closed.flat_map(|(i, (_, of_rule))| of_rule.services.foreign(&self.route).map(move |name| (i, name)))
    }

    /// The policies of each rule, below those `above`.
    pub(super) fn chains(&self, above: &[(&Arc<Form>, Place)], binder: &mut Binder<'_>) -> Vec<Chain> {
        let route = &self.route;
        let of_route = || Place {
            target: Target::Object(route.label.clone()),
            namespace: route.namespace.clone(),
            audience: route.audience.clone(),
            voice: Voice::Speaks,
        };
        let mut shared: Vec<Arc<Bound>> = above.iter().map(|(form, place)| binder.bind(form, place.clone())).collect();
        shared.extend(self.own.as_ref().map(|form| binder.bind(form, of_route())));
        let mut chains = Vec::with_capacity(self.rules.len());
        for (rule, of_rule) in route.rules.iter().zip(&self.rules) {
            let mut levels = shared.clone();
            levels.extend(of_rule.section.as_ref().map(|form| binder.bind(form, of_route())));
            if let Serves::Unknown(closed) = &rule.serves {
                levels.push(binder.bind(closed, of_route()));
            }
            chains.push(match &of_rule.services {
                Services::Without => Chain::of(&levels),
                Services::Own(name, form) => {
                    let audience = format!("{}/{}", name.0, name.1).into();
                    levels.push(binder.bind(form, Place { target: service(name), audience, ..of_route() }));
                    Chain::of(&levels)
                }
                Services::Each { policies, every_backend_has_one } => {
                    if let Some(closed) = of_rule.services.closed_by(route, rule) {
                        levels.push(binder.bind(closed, of_route()));
                    }
                    let place = |name| Place { target: service(name), voice: Voice::Silent, ..of_route() };
                    let checked = policies.iter().map(|(name, form)| binder.bind(form, place(name))).collect();
                    Chain::of(&levels).and_each(checked, *every_backend_has_one)
                }
            });
        }
        chains
    }
}

fn service(name: &ObjectName) -> Target {
    Target::Object(format!("{SERVICE} {}/{}", name.0, name.1).into())
}

fn same_form(one: Option<&Arc<Form>>, two: Option<&Arc<Form>>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => Arc::ptr_eq(one, two),
        (None, None) => true,
        _ => false,
    }
}

impl Services {
    fn behind(route: &Route, rule: &RouteRule, winners: &Winners<'_>, objects: &PolicyObjects) -> Self {
        let policy = |backend: &Backend| match backend {
            Backend::Service(name) => {
                let form = winners.of_service(name)?;
                // Without consent the proxy does not send anything there, and the Service's owner has no say here.
                let may = route_may(&objects.reference_grants, route.kind, &route.name.0, name);
                may.then(|| (name.clone(), form.clone()))
            }
            Backend::Other => None,
        };
        let policies: Vec<_> = rule.backends.iter().filter_map(policy).collect();
        match (policies.as_slice(), rule.backends.len()) {
            ([], _) => Self::Without,
            ([(name, form)], 1) if name.0 == route.name.0 => Self::Own(name.clone(), form.clone()),
            (some, all) => Self::Each { every_backend_has_one: some.len() == all, policies },
        }
    }

    /// What judges in the place of the route's policies, since the rule may make other requests for another namespace of those that are
    /// judged.
    fn closed_by<'a>(&self, route: &Route, rule: &'a RouteRule) -> Option<&'a Arc<Form>> {
        rule.rewrites.as_ref().filter(|_| self.foreign(route).next().is_some())
    }

    /// The Services of other namespaces, of those that have a policy.
    fn foreign<'a>(&'a self, route: &'a Route) -> impl Iterator<Item = &'a ObjectName> {
        let each = match self {
            Self::Each { policies, .. } => policies.as_slice(),
            Self::Without | Self::Own(..) => &[],
        };
        each.iter().map(|(name, _)| name).filter(|name| name.0 != route.name.0)
    }

    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Without, Self::Without) => true,
            (Self::Own(name, form), Self::Own(other, by)) => name == other && Arc::ptr_eq(form, by),
            (
                Self::Each { policies: one, every_backend_has_one: all },
                Self::Each { policies: two, every_backend_has_one: all_too },
            ) => {
                all == all_too
                    && one.len() == two.len()
                    && one.iter().zip(two).all(|((name, form), (other, by))| name == other && Arc::ptr_eq(form, by))
            }
            _ => false,
        }
    }
}
