//! Namespaces of Istio's ambient mode, where only a waypoint or a gateway can ask anybody.

use super::custom::Custom;
use super::finding::{Check, Finding};
use super::scene::{Kind, Scene, label, text};

const CURE: &str = "give the namespace a waypoint (istioctl waypoint apply) and name it, or the Service, in targetRefs; the gate must be the \
                    shared one (shape: shared)";

pub(super) fn judge(scene: &Scene, ours: &str) -> Vec<Finding> {
    let is_ambient = |namespace: &str| {
        let object = scene.find(Kind::Namespace, "", namespace).object();
        object.and_then(|it| label(it, "istio.io/dataplane-mode")) == Some("ambient")
    };
    let policies = Custom::all(scene);
    let ours: Vec<_> = policies.iter().filter(|it| it.provider == ours).collect();
    let mut findings: Vec<_> =
        ours.iter().filter(|it| is_ambient(it.namespace)).map(|policy| one(scene, policy)).collect();
    // One of the root namespace counts everywhere, and a waypoint passes it over just as well.
    let Some(root) = ours.iter().find(|it| it.namespace == scene.istio_root && it.targets().is_empty()) else {
        return findings;
    };
    for namespace in scene.namespaces.iter().filter(|namespace| is_ambient(namespace)) {
        if !ours.iter().any(|it| it.namespace == namespace) {
            let seen = format!("is ambient, and {} selects workloads by labels: nobody is asked", root.about());
            findings.push(Finding::problem(Check::IstioAmbient, format!("Namespace {namespace}"), seen, CURE));
        }
    }
    findings
}

fn one(scene: &Scene, policy: &Custom<'_>) -> Finding {
    let about = policy.about();
    let targets = policy.targets();
    if targets.is_empty() {
        let seen = "selects workloads of an ambient namespace by labels: ztunnel does not know CUSTOM and a waypoint passes such a \
                    policy over, so that nobody is asked";
        return Finding::problem(Check::IstioAmbient, about, seen, CURE);
    }
    let namespace = scene.find(Kind::Namespace, "", policy.namespace).object();
    let has_waypoint = namespace.and_then(|it| label(it, "istio.io/use-waypoint")).is_some();
    let service = targets.iter().find(|it| text(it, "/kind") == "Service");
    if let Some(service) = service
        && !has_waypoint
        && scene.sees(Kind::Service, policy.namespace)
    {
        let name = text(service, "/name");
        let object = scene.find(Kind::Service, policy.namespace, name).object();
        if object.and_then(|it| label(it, "istio.io/use-waypoint")).is_none() {
            let seen = format!("names the Service {name}, which uses no waypoint: nobody is asked");
            let cure = format!("kubectl label namespace {} istio.io/use-waypoint=waypoint", policy.namespace);
            return Finding::problem(Check::IstioAmbient, about, seen, cure);
        }
    }
    Finding::ok(Check::IstioAmbient, about, "names what a waypoint or a gateway serves")
}
