//! Namespaces of Istio's ambient mode, where only a waypoint or a gateway can ask anybody.

use super::custom::Custom;
use super::finding::{Check, Finding};
use super::scene::{Kind, Scene, label, text};

pub(super) fn judge(scene: &Scene, ours: &str) -> Vec<Finding> {
    let is_ambient = |namespace: &str| {
        let object = scene.find(Kind::Namespace, "", namespace).object();
        object.and_then(|it| label(it, "istio.io/dataplane-mode")) == Some("ambient")
    };
    let policies = Custom::all(scene);
    let here = policies.iter().filter(|it| it.provider == ours && is_ambient(it.namespace));
    here.map(|policy| one(scene, policy)).collect()
}

fn one(scene: &Scene, policy: &Custom<'_>) -> Finding {
    let about = policy.about();
    let targets = policy.targets();
    if targets.is_empty() {
        let seen = "selects workloads of an ambient namespace by labels: ztunnel does not know CUSTOM and a waypoint passes such a \
                    policy over, so that nobody is asked";
        let cure = "give the namespace a waypoint (istioctl waypoint apply) and name it, or the Service, in targetRefs; the gate must \
                    be the shared one (shape: shared)";
        return Finding::problem(Check::IstioAmbient, about, seen, cure);
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
