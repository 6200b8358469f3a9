//! What an enrolled namespace must have, and whom it trusts.

use super::finding::{Check, Finding};
use super::install::CONTROLLER;
use super::scene::{Kind, Scene, Sight, label, named, text};

/// The label by which a namespace is enrolled.
const ENROLLED: &str = "cloakroom.dev/enrolled";
/// The Secret of a shared gate with the key rings of all namespaces.
const SHARED_KEYS: &str = "cloakroom-gate-keys";

pub(super) fn judge(scene: &Scene) -> Vec<Finding> {
    if scene.namespaces.is_empty() {
        if !scene.sees(Kind::Namespace, "") {
            return Vec::new();
        }
        // As after every install.
        let seen = format!(
            "none is enrolled yet: kubectl label namespace NAME {ENROLLED}=true gives one keys, and its pods a sidecar"
        );
        return vec![Finding::ok(Check::Namespaces, "every namespace", seen)];
    }
    let mut findings: Vec<_> = scene.namespaces.iter().flat_map(|namespace| one(scene, namespace)).collect();
    findings.extend(trust(scene));
    findings
}

fn one(scene: &Scene, namespace: &str) -> Vec<Finding> {
    let about = named(Kind::Namespace, "", namespace);
    match scene.find(Kind::Namespace, "", namespace) {
        Sight::Missing => {
            let cure = "name one that is there with --namespace";
            return vec![Finding::problem(Check::Namespaces, about, "is not there", cure)];
        }
        Sight::There(found) if label(found, ENROLLED) != Some("true") => {
            let seen = "is not enrolled: it has no keys, and its pods get no sidecar";
            let cure = format!("kubectl label namespace {namespace} {ENROLLED}=true");
            return vec![Finding::problem(Check::Namespaces, about, seen, cure)];
        }
        Sight::There(_) | Sight::Unseen => {}
    }
    let mut wanted = vec![(Kind::Secret, "cloakroom-keys")];
    if scene.has_sidecars() {
        wanted.extend([Kind::ConfigMap, Kind::Secret, Kind::RoleBinding].map(|kind| (kind, "cloakroom-gate")));
    }
    let mut findings = Vec::new();
    let mut is_whole = true;
    for (kind, name) in wanted {
        let object = match scene.find(kind, namespace, name) {
            Sight::There(object) => object,
            Sight::Missing => {
                findings.push(Finding::problem(
                    Check::Namespaces,
                    named(kind, namespace, name),
                    "is not there, and the controller should have made it: pods of this namespace cannot start",
                    format!("read why: kubectl -n {} logs deployment/{CONTROLLER}", scene.install),
                ));
                continue;
            }
            Sight::Unseen => {
                is_whole = false;
                continue;
            }
        };
        if label(object, "app.kubernetes.io/managed-by") != Some(CONTROLLER) {
            findings.push(Finding::problem(
                Check::Namespaces,
                named(kind, namespace, name),
                "is somebody else's: the controller never writes to what it did not make, and serves no keys from it",
                format!(
                    "delete or rename it, and the controller makes its own: kubectl -n {namespace} delete {} {name}",
                    kind.plural()
                ),
            ));
        }
    }
    if scene.is_shared()
        && let Sight::There(keys) = scene.find(Kind::Secret, &scene.install, SHARED_KEYS)
        && keys["data"].get(format!("{namespace}_keyring.yaml")).is_none()
    {
        findings.push(Finding::problem(
            Check::Namespaces,
            named(Kind::Secret, &scene.install, SHARED_KEYS),
            format!("has no keys of the namespace {namespace}: the shared gate answers 503 for it"),
            format!("read why: kubectl -n {} logs deployment/{CONTROLLER}", scene.install),
        ));
    }
    if findings.is_empty() && is_whole {
        findings.push(Finding::ok(Check::Namespaces, about, "is enrolled, and has what the controller makes for it"));
    }
    findings
}

/// Namespaces whose gates are one user of the store can read and write each other's sessions.
fn trust(scene: &Scene) -> Option<Finding> {
    if !scene.has_sidecars() || scene.namespaces.len() < 2 {
        return None;
    }
    let file = scene.file(&scene.install, CONTROLLER, "sidecar.yaml")?;
    if text(&file, "/sessions/store/kind") != "redis" {
        return None;
    }
    let user = match text(&file, "/sessions/store/redis/username") {
        "" => "default",
        user => user,
    };
    let about = format!("the store's user `{user}`");
    if user.contains("${namespace}") {
        let seen = "is another one for each namespace: none can read another's sessions by it";
        return Some(Finding::ok(Check::Trust, about, seen));
    }
    let seen = format!(
        "is shared by the gates of {}: these namespaces trust each other for the realms that it may use. Whoever can run a pod in one \
         can read and change the sessions of all",
        scene.namespaces.join(", ")
    );
    // As it is meant to be, and to be known.
    Some(Finding::ok(Check::Trust, about, seen))
}
