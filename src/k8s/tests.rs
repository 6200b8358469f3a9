//! What is known, kept and taken up again, without a server. `tests/kube` has the real one.

mod known;
mod snapshot;

use serde_json::{Value, json};

use super::kind::{Kind, Source};
use super::known::{Arrived, Known};
use super::version::ResourceVersion;
use crate::authz::attributes::{RawRequest, RequestAttributes};
use crate::authz::credential::{Carrier, Carriers};
use crate::authz::plan::explain::explain;
use crate::authz::policy::{Install, PolicyIndex};
use crate::authz::session::{Realm, Timestamp};
use crate::policies::Publisher;

const POLICIES: usize = 0;
const ROUTES: usize = 2;
const GATEWAYS: usize = 4;

fn sources() -> Vec<Source> {
    Kind::ALL.map(|kind| Source { kind, namespace: None }).to_vec()
}

fn install() -> Install {
    Install::open(Realm::parse("shop").unwrap(), Carriers::new(vec![Carrier::Bearer]).unwrap())
}

fn version(number: u64) -> ResourceVersion {
    ResourceVersion::new(&number.to_string()).unwrap()
}

/// A policy on `<name>.example` with one public rule of this name.
fn policy(name: &str, rule: &str, version: u64) -> Value {
    json!({
        "apiVersion": "cloakroom.dev/v1alpha1",
        "kind": "AuthPolicy",
        "metadata": { "namespace": "shop", "name": name, "resourceVersion": version.to_string(), "managedFields": [{}] },
        "spec": { "hosts": [format!("{name}.example")], "rules": [{ "name": rule, "access": "Public" }] },
        "status": { "ancestors": [] },
    })
}

/// A route of the Gateway `shop/web` for this path.
fn route(name: &str, host: &str, path: &str, version: u64) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "namespace": "shop", "name": name, "resourceVersion": version.to_string() },
        "spec": {
            "parentRefs": [{ "name": "web" }],
            "hostnames": [host],
            "rules": [{ "matches": [{ "path": { "type": "PathPrefix", "value": path } }] }],
        },
    })
}

fn gateway() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "namespace": "shop", "name": "web", "resourceVersion": "1" },
        "spec": { "gatewayClassName": "any", "listeners": [{ "name": "web", "port": 80, "protocol": "HTTP" }] },
    })
}

/// A policy on an HTTPRoute with one public rule of this name.
fn policy_on(route: &str, rule: &str, version: u64) -> Value {
    let mut policy = policy(route, rule, version);
    policy["spec"]["hosts"].take();
    policy["spec"].as_object_mut().unwrap().remove("hosts");
    policy["spec"]["targetRefs"] =
        json!([{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": route }]);
    policy
}

fn arrived(kind: Kind, value: Value) -> Arrived {
    Arrived::of(kind, kind.versions()[0], value).unwrap()
}

fn arrived_policy(name: &str, rule: &str, version: u64) -> Arrived {
    arrived(Kind::AuthPolicy, policy(name, rule, version))
}

/// The rule that judges `GET <host><path>`, or the reason why none does.
fn judged(index: &PolicyIndex, host: &str, path: &str) -> String {
    let raw = RawRequest { method: b"GET", host: host.as_bytes(), path: path.as_bytes(), ..RawRequest::default() };
    let said = explain(index, &RequestAttributes::read(raw).unwrap(), None, |_| None, Timestamp::from_millis(0));
    said.reason.map(str::to_owned).or(said.rule).unwrap_or_default()
}

/// What is known, published.
struct House {
    known: Known,
    publisher: Publisher,
}

impl House {
    fn new() -> Self {
        Self { known: Known::nothing(&sources()), publisher: Publisher::new(install()) }
    }

    fn publish(&self) -> &Self {
        let found = self.known.found();
        self.publisher.publish(&found.objects, found.notes);
        self
    }

    fn judged(&self, host: &str) -> String {
        self.judged_at(host, "/")
    }

    fn judged_at(&self, host: &str, path: &str) -> String {
        judged(&self.publisher.index().load(), host, path)
    }

    fn problems(&self) -> Vec<String> {
        self.publisher.status().load().problems.iter().map(ToString::to_string).collect()
    }
}
