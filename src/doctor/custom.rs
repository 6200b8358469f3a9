//! AuthorizationPolicies with the action CUSTOM: whom they ask, and what they meet.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::finding::{Check, Finding};
use super::mesh_config::MeshConfig;
use super::scene::{Kind, Scene, called, list, namespace_of, text};

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Custom<'a> {
    pub(super) object: &'a Value,
    pub(super) provider: &'a str,
    pub(super) namespace: &'a str,
}

impl<'a> Custom<'a> {
    /// All of them.
    pub(super) fn all(scene: &'a Scene) -> Vec<Self> {
        let policies = scene.all(Kind::AuthorizationPolicy).iter();
        let custom = policies.filter(|it| text(it, "/spec/action") == "CUSTOM");
        custom
            .map(|object| Self {
                object,
                provider: text(object, "/spec/provider/name"),
                namespace: namespace_of(object),
            })
            .collect()
    }

    pub(super) fn about(&self) -> String {
        called(Kind::AuthorizationPolicy, self.object)
    }

    pub(super) fn targets(&self) -> Vec<&'a Value> {
        let one = self.object.pointer("/spec/targetRef").into_iter();
        one.chain(list(self.object, "/spec/targetRefs")).collect()
    }

    /// The labels that it selects by; none selects all.
    fn selector(&self) -> Map<String, Value> {
        self.object.pointer("/spec/selector/matchLabels").and_then(Value::as_object).cloned().unwrap_or_default()
    }
}

pub(super) fn judge(scene: &Scene, meshes: &[MeshConfig], ours: &str) -> Vec<Finding> {
    let policies = Custom::all(scene);
    let mut findings = unknown_providers(&policies, meshes);
    findings.extend(collisions(scene, &policies));
    findings.extend(prefixes(meshes, &policies));
    if findings.is_empty() && scene.gaps.iter().all(|gap| gap.kind != Kind::AuthorizationPolicy) {
        let asking = policies.iter().filter(|it| it.provider == ours).count();
        let seen = format!(
            "{} of {} with the action CUSTOM ask cloakroom, and each names one that is there",
            asking,
            policies.len()
        );
        findings.push(Finding::ok(Check::IstioPolicies, "every AuthorizationPolicy", seen));
    }
    findings
}

/// A provider that is not there refuses everything, and no status says so.
fn unknown_providers(policies: &[Custom<'_>], meshes: &[MeshConfig]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for policy in policies {
        for mesh in meshes.iter().filter(|mesh| mesh.providers.is_ok() && mesh.provider(policy.provider).is_none()) {
            findings.push(Finding::problem(
                Check::IstioPolicies,
                policy.about(),
                format!(
                    "names the provider `{}`, which {} does not have: every request that it matches is refused (403, `RBAC: access \
                     denied`), and nobody is asked",
                    policy.provider, mesh.about
                ),
                format!(
                    "add the provider to extensionProviders (cloakroom snippet istio prints ours), correct the name, or delete the \
                     policy: kubectl -n {} delete authorizationpolicy {}",
                    policy.namespace,
                    text(policy.object, "/metadata/name")
                ),
            ));
        }
    }
    findings
}

/// Two providers on one workload refuse everything that either policy matches.
fn collisions(scene: &Scene, policies: &[Custom<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, one) in policies.iter().enumerate() {
        for other in policies[at + 1..].iter().filter(|other| other.provider != one.provider) {
            let Some(place) = meet(scene, one, other) else { continue };
            findings.push(Finding::problem(
                Check::IstioPolicies,
                one.about(),
                format!(
                    "asks the provider `{}`, and {} asks `{}`, both {place}: Istio then refuses every request that either matches",
                    one.provider,
                    other.about(),
                    other.provider
                ),
                "let one provider alone judge a workload: narrow one of the two selectors, or delete one policy",
            ));
        }
    }
    findings
}

/// Where both policies count.
fn meet(scene: &Scene, one: &Custom<'_>, other: &Custom<'_>) -> Option<String> {
    let root = scene.istio_root.as_str();
    let (targets, others) = (one.targets(), other.targets());
    if !targets.is_empty() || !others.is_empty() {
        let key = |it: &Value| ["/group", "/kind", "/name"].map(|part| text(it, part).to_owned());
        let shared = targets.iter().find(|it| others.iter().any(|other| key(other) == key(it)))?;
        let [_, kind, name] = key(shared);
        return (one.namespace == other.namespace).then(|| format!("for {kind} {name}"));
    }
    // A policy of the root namespace counts everywhere.
    let namespace = match (one.namespace, other.namespace) {
        (one, other) if one == other => Some(one),
        (one, other) if one == root => Some(other),
        (one, other) if other == root => Some(one),
        _ => return None,
    };
    let (selector, wider) = (one.selector(), other.selector());
    let is_within = |small: &Map<String, Value>, big: &Map<String, Value>| {
        small.iter().all(|(name, value)| big.get(name) == Some(value))
    };
    if is_within(&selector, &wider) || is_within(&wider, &selector) {
        return Some(match namespace {
            Some(namespace) if namespace != root => format!("for workloads of the namespace {namespace}"),
            _ => "for workloads of every namespace".to_owned(),
        });
    }
    let empty = Map::new();
    let pods = scene
        .all(Kind::Pod)
        .iter()
        .filter(|pod| namespace.is_none_or(|namespace| namespace == root || namespace_of(pod) == namespace));
    let labels =
        |pod: &Value| pod.pointer("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or(empty.clone());
    let both = pods
        .map(|pod| (pod, labels(pod)))
        .find(|(_, labels)| is_within(&selector, labels) && is_within(&wider, labels));
    both.map(|(pod, _)| format!("for {}", called(Kind::Pod, pod)))
}

/// Istio tells the policies of two providers apart by the beginning of their names.
fn prefixes(meshes: &[MeshConfig], policies: &[Custom<'_>]) -> Vec<Finding> {
    let used: BTreeSet<&str> = policies.iter().map(|it| it.provider).collect();
    let mut found: BTreeMap<(String, String), String> = BTreeMap::new();
    for mesh in meshes {
        let names: BTreeSet<&str> = mesh.providers.iter().flatten().map(|it| it.name.as_str()).collect();
        for name in names.iter().filter(|name| used.contains(*name)) {
            let longer = names.iter().filter(|it| it.len() > name.len() && it.starts_with(name) && used.contains(*it));
            found.extend(longer.map(|longer| (((*name).to_owned(), (*longer).to_owned()), mesh.about.clone())));
        }
    }
    found
        .into_iter()
        .map(|((name, longer), about)| {
            Finding::warning(
                Check::IstioPolicies,
                about,
                format!(
                    "has the providers `{name}` and `{longer}`, and policies ask both: Istio compares the beginning of the name, so that \
                     what `{longer}` is for is asked of `{name}` as well"
                ),
                "give one of them a name that is not the beginning of the other's",
            )
        })
        .collect()
}
