//! The sidecar in the pods of enrolled namespaces.

use std::collections::BTreeMap;

use serde_json::Value;

use super::finding::{Check, Finding};
use super::install::CONTROLLER;
use super::scene::{Kind, Mesh, Scene, Sight, label, list, name_of, text};
use crate::api::meta::is_subdomain;

const SIDECAR: &str = "cloakroom";
/// The label that the injector sets.
const INJECTED: &str = "cloakroom.dev/injected";

/// What a pod should be and is not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// It has none, since it was made before its namespace was enrolled or while the webhook was away.
    Without,
    /// The same, beside a proxy of Istio's, which then asks nobody.
    Open,
    /// It has one, and not the label by which Istio's objects find it.
    Unlabelled,
    /// It has that of another version.
    Image(String),
    /// It does not start.
    Waits(String),
}

pub(super) fn judge(scene: &Scene) -> Vec<Finding> {
    if !scene.has_sidecars() {
        return Vec::new();
    }
    let image = image(scene);
    scene.namespaces.iter().flat_map(|namespace| namespace_of(scene, namespace, image.as_deref())).collect()
}

/// The image that pods get now.
fn image(scene: &Scene) -> Option<String> {
    let file = scene.controller_file();
    let configured = text(&file, "/controller/sidecars/image");
    if !configured.is_empty() {
        return Some(configured.to_owned());
    }
    let Sight::There(deployment) = scene.find(Kind::Deployment, &scene.install, CONTROLLER) else { return None };
    let image = text(deployment, "/spec/template/spec/containers/0/image");
    (!image.is_empty()).then(|| image.to_owned())
}

fn namespace_of(scene: &Scene, namespace: &str, image: Option<&str>) -> Vec<Finding> {
    let mut faults: BTreeMap<(Workload, Fault), usize> = BTreeMap::new();
    let mut guarded = 0;
    for pod in scene.within(Kind::Pod, namespace).filter(|pod| is_guarded(pod)) {
        guarded += 1;
        if let Some(fault) = fault(pod, image, scene.meshes.contains(&Mesh::Istio)) {
            *faults.entry((Workload::of(pod), fault)).or_default() += 1;
        }
    }
    let about = |workload: &Workload| workload.called(namespace);
    let mut findings: Vec<_> = faults
        .iter()
        .map(|((workload, fault), count)| {
            let cure = workload.restart(namespace);
            let pods = if *count == 1 { "1 pod".to_owned() } else { format!("{count} pods") };
            match fault {
                Fault::Without => Finding::problem(
                    Check::Sidecars,
                    about(workload),
                    format!("{pods} without the sidecar: made before the namespace was enrolled, or while no controller answered"),
                    cure,
                ),
                Fault::Open => Finding::problem(
                    Check::Sidecars,
                    about(workload),
                    format!(
                        "{pods} with Istio's proxy and without the sidecar: every request to it is let in unchecked. Made before the \
                         namespace was enrolled, or while no controller answered"
                    ),
                    cure,
                ),
                Fault::Unlabelled => Finding::problem(
                    Check::Sidecars,
                    about(workload),
                    format!(
                        "{pods} with the sidecar and without the label {INJECTED}=true, by which Istio's objects find it: every request \
                         to it is let in unchecked"
                    ),
                    cure,
                ),
                Fault::Image(other) => Finding::warning(
                    Check::Sidecars,
                    about(workload),
                    format!("{pods} with the sidecar {other}, and new pods get {}", image.unwrap_or_default()),
                    cure,
                ),
                Fault::Waits(why) => Finding::problem(
                    Check::Sidecars,
                    about(workload),
                    format!("{pods} whose sidecar does not run: {why}"),
                    format!("read why: kubectl -n {namespace} logs -c {SIDECAR} POD; kubectl -n {namespace} describe pod POD"),
                ),
            }
        })
        .collect();
    if findings.is_empty() && scene.sees(Kind::Pod, namespace) {
        let seen = match guarded {
            0 => "has no pods that should have a sidecar".to_owned(),
            guarded => format!("every pod that should have the sidecar has it ({guarded})"),
        };
        findings.push(Finding::ok(Check::Sidecars, format!("Namespace {namespace}"), seen));
    }
    findings
}

/// Whether a pod should have a sidecar: it did not opt out and has not ended.
fn is_guarded(pod: &Value) -> bool {
    label(pod, "cloakroom.dev/inject") != Some("false") && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

fn fault(pod: &Value, image: Option<&str>, is_istio: bool) -> Option<Fault> {
    let mut containers = list(pod, "/spec/initContainers").iter().chain(list(pod, "/spec/containers"));
    let is_meshed = is_istio
        && (containers.clone().any(|it| it["name"] == "istio-proxy")
            || label(pod, "sidecar.istio.io/inject") == Some("true")
            || label(pod, "security.istio.io/tlsMode") == Some("istio"));
    let Some(sidecar) = containers.find(|it| it["name"] == SIDECAR) else {
        return Some(if is_meshed { Fault::Open } else { Fault::Without });
    };
    if is_meshed && label(pod, INJECTED) != Some("true") {
        return Some(Fault::Unlabelled);
    }
    let own = text(sidecar, "/image");
    if let Some(image) = image
        && own != image
    {
        return Some(Fault::Image(own.to_owned()));
    }
    let states = list(pod, "/status/initContainerStatuses").iter().chain(list(pod, "/status/containerStatuses"));
    let state = states.clone().find(|it| it["name"] == SIDECAR)?;
    let waiting = state.pointer("/state/waiting")?;
    let reason = text(waiting, "/reason");
    // Every pod passes through these.
    let is_new = matches!(reason, "" | "PodInitializing" | "ContainerCreating");
    (!is_new).then(|| Fault::Waits(reason.to_owned()))
}

/// Whose pod it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Workload {
    kind: String,
    name: String,
}

impl Workload {
    fn of(pod: &Value) -> Self {
        let owner = list(pod, "/metadata/ownerReferences").iter().find(|it| it["controller"] == true);
        let Some(owner) = owner else { return Self { kind: "Pod".to_owned(), name: name_of(pod).to_owned() } };
        let (kind, name) = (text(owner, "/kind"), text(owner, "/name"));
        let hash = label(pod, "pod-template-hash").map(|hash| format!("-{hash}"));
        match hash.and_then(|hash| name.strip_suffix(hash.as_str())) {
            Some(deployment) if kind == "ReplicaSet" => {
                Self { kind: "Deployment".to_owned(), name: deployment.to_owned() }
            }
            _ => Self { kind: kind.to_owned(), name: name.to_owned() },
        }
    }

    /// Who made a pod writes whose it is, and Kubernetes asks of the name only that it is not empty.
    fn is_plausible(&self) -> bool {
        is_subdomain(&self.name) && !self.kind.is_empty() && self.kind.bytes().all(|it| it.is_ascii_alphanumeric())
    }

    fn called(&self, namespace: &str) -> String {
        match self.is_plausible() {
            true => format!("{} {namespace}/{}", self.kind, self.name),
            false => format!("{:?} {namespace}/{:?}", self.kind, self.name),
        }
    }

    fn restart(&self, namespace: &str) -> String {
        if !self.is_plausible() {
            return format!(
                "its pods name an owner that cannot be: whoever makes pods in {namespace} wrote that. Find out who, and make them anew"
            );
        }
        let name = &self.name;
        match self.kind.as_str() {
            "Deployment" | "StatefulSet" | "DaemonSet" => {
                let kind = self.kind.to_lowercase();
                format!("make its pods anew: kubectl -n {namespace} rollout restart {kind}/{name}")
            }
            "Pod" => format!("make it anew: kubectl -n {namespace} delete pod {name}, and apply it again"),
            kind => format!(
                "its next pods get one; to have it now, delete the {kind} {namespace}/{name} and apply it again"
            ),
        }
    }
}
