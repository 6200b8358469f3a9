//! The install itself: the definitions, the controller and its Lease.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::finding::{Check, Finding};
use super::scene::{Kind, Scene, Sight, label, list, named, text};
use crate::k8s::crds;

/// The name of the controller's Deployment, and of its Service.
pub(super) const CONTROLLER: &str = "cloakroom-controller";
/// The same of the shared gate.
pub(super) const GATE: &str = "cloakroom-gate";
/// The Secret by which the gate knows the proxies of a namespace.
pub(super) const PROXIES: &str = "cloakroom-proxy-tls";

const APPLY: &str = "cloakroom crds | kubectl apply --server-side -f -";

pub(super) fn judge(scene: &Scene) -> Vec<Finding> {
    let mut findings: Vec<_> = crds::all().iter().filter_map(|crd| definition(scene, &crd.name, &crd.object)).collect();
    let controller = scene.find(Kind::Deployment, &scene.install, CONTROLLER);
    findings.extend(deployment(&scene.install, CONTROLLER, controller));
    // Without a controller nobody holds it, and that has been said.
    if !matches!(controller, Sight::Missing) {
        findings.extend(lease(scene));
    }
    let gate = scene.find(Kind::Deployment, &scene.install, GATE);
    if gate.object().is_some() || scene.controller_file().pointer("/controller/certificates/gate").is_some() {
        findings.extend(deployment(&scene.install, GATE, gate));
        findings.extend(scene.proxy_namespaces().iter().filter_map(|namespace| certificate(scene, namespace)));
    }
    findings
}

/// What the proxies of a namespace show to the shared gate.
fn certificate(scene: &Scene, namespace: &str) -> Option<Finding> {
    let about = named(Kind::Secret, namespace, PROXIES);
    let cure = format!("read why: kubectl -n {} logs deployment/{CONTROLLER}", scene.install);
    let problem = |seen: &str| Some(Finding::problem(Check::Controller, about.clone(), seen, cure.clone()));
    match scene.find(Kind::Secret, namespace, PROXIES) {
        Sight::Missing => problem("is not there: the gate answers no proxy of this namespace, and requests get 503"),
        Sight::There(found) if label(found, "app.kubernetes.io/managed-by") != Some(CONTROLLER) => {
            problem("is somebody else's: the controller never writes to it, and the gate need not know who shows it")
        }
        Sight::There(_) | Sight::Unseen => None,
    }
}

fn definition(scene: &Scene, name: &str, ours: &Value) -> Option<Finding> {
    let about = named(Kind::CustomResourceDefinition, "", name);
    let found = match scene.find(Kind::CustomResourceDefinition, "", name) {
        Sight::There(found) => found,
        Sight::Missing => {
            let seen = "is not there: the API server knows no such objects, and gates are never ready";
            return Some(Finding::problem(Check::Definitions, about, seen, format!("apply it: {APPLY}")));
        }
        Sight::Unseen => return None,
    };
    let conditions = list(found, "/status/conditions");
    let is_served = conditions.iter().any(|it| it["type"] == "Established" && it["status"] == "True");
    if !is_served {
        let seen = "is there and not served";
        let cure = format!("read why: kubectl describe crd {name}");
        return Some(Finding::problem(Check::Definitions, about, seen, cure));
    }
    let schema = |object: &Value| object.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned();
    let version = env!("CARGO_PKG_VERSION");
    if schema(found) != schema(ours) {
        let seen = format!(
            "has another schema than version {version} of this command: fields that one version knows are refused or dropped by the other"
        );
        let cure =
            format!("if the install is of version {version}: {APPLY}; else use the command of the install's version");
        return Some(Finding::warning(Check::Definitions, about, seen, cure));
    }
    Some(Finding::ok(Check::Definitions, about, format!("is served, as version {version} has it")))
}

fn deployment(install: &str, name: &str, sight: Sight<'_>) -> Option<Finding> {
    let about = named(Kind::Deployment, install, name);
    let (away, waits) = match name {
        GATE => ("no proxy gets an answer, and requests get 503", "requests get 503"),
        _ => ("nobody keeps keys, certificates and statuses", "new pods and policies wait"),
    };
    let found = match sight {
        Sight::There(found) => found,
        Sight::Missing => {
            let seen = format!("is not there: {away}");
            let cure = "install the chart, or say where it is with --install-namespace";
            return Some(Finding::problem(Check::Controller, about, seen, cure));
        }
        Sight::Unseen => return None,
    };
    let wanted = found.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
    let ready = found.pointer("/status/readyReplicas").and_then(Value::as_u64).unwrap_or(0);
    let seen = format!("{ready} of {wanted} replicas are ready");
    let cure = format!(
        "read why: kubectl -n {install} describe pods -l app.kubernetes.io/name=cloakroom; kubectl -n {install} logs deployment/{name}"
    );
    Some(match ready {
        0 => Finding::problem(Check::Controller, about, format!("{seen}: {waits}"), cure),
        ready if ready < wanted => Finding::warning(Check::Controller, about, seen, cure),
        _ => Finding::ok(Check::Controller, about, seen),
    })
}

fn lease(scene: &Scene) -> Option<Finding> {
    let file = scene.controller_file();
    let name = match text(&file, "/controller/lease/name") {
        "" => CONTROLLER,
        name => name,
    };
    let about = named(Kind::Lease, &scene.install, name);
    let cure = format!("read why: kubectl -n {} logs deployment/{CONTROLLER}", scene.install);
    let found = match scene.find(Kind::Lease, &scene.install, name) {
        Sight::There(found) => found,
        Sight::Missing => {
            let seen = "is not there: no controller was ever elected, and so none writes";
            return Some(Finding::problem(Check::Lease, about, seen, cure));
        }
        Sight::Unseen => return None,
    };
    let holder = text(found, "/spec/holderIdentity");
    if holder.is_empty() {
        return Some(Finding::problem(Check::Lease, about, "is held by nobody, and so no controller writes", cure));
    }
    let renewed: Option<Timestamp> = text(found, "/spec/renewTime").parse().ok();
    let seconds = found.pointer("/spec/leaseDurationSeconds").and_then(Value::as_i64).unwrap_or(15);
    let age = renewed.map(|renewed| scene.now.duration_since(renewed));
    // Twice: our clock and the controller's need not agree to the second.
    if age.is_none_or(|age| age > SignedDuration::from_secs(seconds.saturating_mul(2))) {
        let since = match age {
            Some(age) => format!("{} s ago", age.as_secs()),
            None => "at no known time".to_owned(),
        };
        let seen = format!("is held by {holder}, who renewed it {since}: no controller writes");
        return Some(Finding::problem(Check::Lease, about, seen, cure));
    }
    Some(Finding::ok(Check::Lease, about, format!("is held by {holder}")))
}
