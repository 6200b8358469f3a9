//! A cluster of many namespaces under one Gateway.

use std::sync::Arc;

use cloakroom::api::auth_policy::AuthPolicy;
use cloakroom::api::gateway::HttpRoute;
use cloakroom::authz::credential::{Carrier, Carriers};
use cloakroom::authz::policy::{HostsFrom, Install, Origin, PolicyName, PolicyObject, PolicyObjects, Sourced};
use cloakroom::authz::session::Realm;
use serde_json::{Value, json};

/// How many routes and policies a namespace has.
const EACH: usize = 10;

/// See the module.
pub(crate) struct World {
    pub(crate) objects: PolicyObjects,
    pub(crate) install: Install,
}

impl World {
    /// How many rules a policy has.
    pub(crate) const RULES: usize = 4;

    pub(crate) fn of(namespaces: usize) -> anyhow::Result<Self> {
        Self::under(namespaces, false)
    }

    /// Under one Gateway, or each namespace under one of its own.
    pub(crate) fn under(namespaces: usize, gateway_each: bool) -> anyhow::Result<Self> {
        let listener = |name: &str, port: u16, protocol: &str| json!({ "name": name, "port": port, "protocol": protocol, "allowedRoutes": { "namespaces": { "from": "All" } } });
        let gateway = |name: &str| {
            serde_json::from_value(json!({
                "metadata": { "name": name, "namespace": "infra" },
                "spec": { "listeners": [listener("http", 80, "HTTP"), listener("https", 443, "HTTPS")] },
            }))
        };
        let mut objects = PolicyObjects::default();
        if !gateway_each {
            objects.gateways.push(sourced(gateway("front")?));
        }
        for namespace in 0..namespaces {
            let own = format!("front-{namespace}");
            if gateway_each {
                objects.gateways.push(sourced(gateway(&own)?));
            }
            for area in 0..EACH {
                let mut route = route(namespace, area, 0);
                if gateway_each {
                    route["spec"]["parentRefs"][0]["name"] = json!(own);
                }
                objects.http_routes.push(sourced(Arc::new(serde_json::from_value(route)?)));
                objects.policies.push(sourced(policy(namespace, area, 0)?));
            }
        }
        let install = Install {
            hosts: HostsFrom::Namespace("infra".to_owned()),
            ..Install::open(
                Realm::parse("shop").expect("a realm"),
                Carriers::new(vec![Carrier::Cookie("__Host-session".into()), Carrier::Bearer])?,
            )
        };
        Ok(Self { objects, install })
    }

    /// The host of a namespace. The first is the one that `Scene` asks.
    pub(crate) fn host(namespace: usize) -> String {
        if namespace == 0 { "shop.example".to_owned() } else { format!("n{namespace}.example") }
    }

    pub(crate) fn change_policy(&mut self, n: usize) -> anyhow::Result<()> {
        let place = n * 97 % self.objects.policies.len();
        self.objects.policies[place] = sourced(policy(place / EACH, place % EACH, n + 1)?);
        Ok(())
    }

    pub(crate) fn change_route(&mut self, n: usize) -> anyhow::Result<()> {
        let place = n * 89 % self.objects.http_routes.len();
        let route = serde_json::from_value(route(place / EACH, place % EACH, n + 1))?;
        self.objects.http_routes[place] = sourced(Arc::new(route));
        Ok(())
    }

    /// The last policy and its route go, and others come.
    pub(crate) fn add_and_remove(&mut self, n: usize) -> anyhow::Result<()> {
        self.objects.policies.pop();
        self.objects.http_routes.pop();
        let namespace = 1_000_000 + n;
        self.objects.http_routes.push(sourced(Arc::new(serde_json::from_value(route(namespace, 0, 0))?)));
        self.objects.policies.push(sourced(policy(namespace, 0, 0)?));
        Ok(())
    }

    /// Every object anew, as after a list.
    pub(crate) fn relist(&mut self) {
        for route in &mut self.objects.http_routes {
            route.object = Arc::new(HttpRoute::clone(&route.object));
        }
        for policy in &mut self.objects.policies {
            if let Ok(object) = &mut policy.object.body {
                *object = Arc::new(AuthPolicy::clone(object));
            }
        }
    }
}

fn sourced<T>(object: T) -> Sourced<T> {
    Sourced { origin: Origin("bench".into()), object }
}

fn created(place: usize) -> String {
    format!("2026-01-{:02}T{:02}:{:02}:00Z", 1 + place / 1_440 % 28, place / 60 % 24, place % 60)
}

fn route(namespace: usize, area: usize, version: usize) -> Value {
    let matches = if version.is_multiple_of(2) { format!("/area-{area}") } else { format!("/area-{area}/") };
    json!({
        "metadata": { "name": format!("r{area}"), "namespace": format!("n{namespace}"), "creationTimestamp": created(namespace * EACH + area) },
        "spec": {
            "parentRefs": [{ "name": "front", "namespace": "infra" }],
            "hostnames": [World::host(namespace)],
            "rules": [{ "name": "main", "matches": [{ "path": { "value": matches } }], "backendRefs": [{ "name": format!("s{area}"), "port": 80 }] }],
        },
    })
}

fn policy(namespace: usize, area: usize, version: usize) -> anyhow::Result<PolicyObject> {
    let created = created(namespace * EACH + area);
    let (namespace, name) = (format!("n{namespace}"), format!("p{area}"));
    let mut rules = vec![
        json!({ "name": "health", "matches": [{ "path": { "type": "Exact", "value": format!("/area-{area}/healthz") } }], "access": "Public" }),
    ];
    rules.extend((0..World::RULES - 2).map(|rule| {
        json!({
            "name": format!("rule-{rule}"),
            "matches": [{ "path": { "value": format!("/area-{area}/part-{rule}") }, "method": "POST" }],
            "require": { "roles": ["customer"], "scopes": ["orders"] },
        })
    }));
    rules.push(json!({ "name": "rest", "require": { "roles": [if version == 0 { "customer".to_owned() } else { format!("role-{version}") }] } }));
    let object = json!({
        "apiVersion": "cloakroom.dev/v1alpha1",
        "kind": "AuthPolicy",
        "metadata": { "name": name, "namespace": namespace, "creationTimestamp": created },
        "spec": { "targetRefs": [{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": format!("r{area}") }], "rules": rules },
    });
    let body = Ok(Arc::new(serde_json::from_value::<AuthPolicy>(object)?));
    let name = PolicyName { namespace: namespace.into(), name: name.into() };
    Ok(PolicyObject { name, uid: None, created: Some(created), body })
}
