//! What `examples/kubernetes` grants the controller is what it uses: no less, by its work, and no more, by the API server's own
//! record of what was asked.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::kube::ApiServerOptions;
use e2e::process::wait_until;
use serde_json::{Value, json};

use super::scene::{Cluster, GATEWAY, PATIENCE, ROUTE, on_route};
use super::sidecars::Scene;

const ACCOUNT: &str = "system:serviceaccount:cloakroom-system:cloakroom-controller";
const RIGHTS: &str = include_str!("../../../examples/kubernetes/controller.yaml");

/// A group, a resource and a verb.
type Right = (String, String, String);

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What the roles of a file grant.
fn granted() -> Result<BTreeSet<Right>> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(RIGHTS)?;
    let mut granted = BTreeSet::new();
    for rule in objects.iter().flat_map(|object| object["rules"].as_array().into_iter().flatten()) {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                let verbs = texts(&rule["verbs"]).into_iter();
                granted.extend(verbs.map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    Ok(granted)
}

/// What the controller asked for, and what of it was refused.
fn asked(log: &Path) -> Result<(BTreeSet<Right>, Vec<String>)> {
    let (mut used, mut refused) = (BTreeSet::new(), Vec::new());
    for line in std::fs::read_to_string(log).unwrap_or_default().lines() {
        // The last line may not be whole yet.
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let resource = match text("/objectRef/subresource").as_str() {
            "" => text("/objectRef/resource"),
            part => format!("{}/{part}", text("/objectRef/resource")),
        };
        if event.pointer("/responseStatus/code").is_some_and(|code| code == 403) {
            refused.push(format!("{} {}", text("/verb"), text("/requestURI")));
        }
        used.insert((text("/objectRef/apiGroup"), resource, text("/verb")));
    }
    Ok((used, refused))
}

#[tokio::test(flavor = "multi_thread")]
async fn p27_the_controller_uses_every_right_that_it_is_granted_and_asks_for_no_other() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (policy, log) = (folder.path().join("audit.json"), folder.path().join("audit.log"));
    let audit = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{ "level": "Metadata", "users": [ACCOUNT] }, { "level": "None" }],
    });
    std::fs::write(&policy, audit.to_string())?;
    let options = ApiServerOptions::default()
        .argument(format!("--audit-policy-file={}", policy.display()))
        .argument(format!("--audit-log-path={}", log.display()));
    let cluster = Cluster::with(options).await?;
    // Keys that are due, and a namespace that has none yet.
    cluster
        .server
        .apply("apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { cloakroom.dev/enrolled: 'true' } }")
        .await?;
    cluster.server.apply(&super::keys::old_secret("shop", 31 * 86_400)?).await?;
    cluster
        .server
        .apply("apiVersion: v1\nkind: Namespace\nmetadata: { name: new, labels: { cloakroom.dev/enrolled: 'true' } }")
        .await?;
    // Certificates that are there and not right, and those that are not there.
    cluster.server.apply(super::certificates::BINDING).await?;
    let metadata = |name: &str, namespace: &str| {
        json!({
            "name": name,
            "namespace": namespace,
            "labels": { "app.kubernetes.io/managed-by": "cloakroom-controller" },
        })
    };
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata("cloakroom-gate-keys", "cloakroom-system") });
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("cloakroom-ca", "infra") });
    cluster.server.apply(&format!("{secret}\n---\n{map}")).await?;
    let scene = Scene::of(cluster).await?;
    let cluster = &scene.cluster;
    let controller = scene.controller_beside(&super::certificates::settings()).await?;
    let port = controller.webhook().context("no webhook")?.port();
    cluster.server.apply(&super::certificates::registrations(port)).await?;
    cluster.delete("/api/v1/namespaces/infra/configmaps/cloakroom-ca").await?;
    scene.life_of("guarded").await?;
    // A policy that turns bad twice: the second Event of a kind is a count on the first.
    cluster.server.apply(&format!("{GATEWAY}---\n{}", on_route("shop/shop", "shop", ""))).await?;
    let missing = "HTTPRoute shop: Accepted False TargetNotFound 1, ResolvedRefs False TargetNotFound 1, \
                   Programmed False TargetNotFound 1";
    let good =
        "HTTPRoute shop: Accepted True Accepted 1, ResolvedRefs True ResolvedRefs 1, Programmed True Programmed 1";
    for _ in 0..2 {
        cluster.says("shop/shop", missing).await?;
        cluster.server.apply(ROUTE).await?;
        cluster.says("shop/shop", good).await?;
        cluster.delete("/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/shop").await?;
    }
    let granted = granted()?;
    // `bind` is no request: who makes a RoleBinding is asked for it.
    // A server that streams the whole in a watch is not asked for lists; those before Kubernetes 1.34 are.
    let is_followed = |group: &str| group.ends_with("cloakroom.dev") || group.starts_with("gateway");
    let needed: BTreeSet<Right> = granted
        .iter()
        .filter(|(group, _, verb)| verb != "bind" && (verb != "list" || !is_followed(group)))
        .cloned()
        .collect();
    let all_used = async || asked(&log).is_ok_and(|(used, _)| needed.is_subset(&used));
    if let Err(error) = wait_until(PATIENCE, "use of every right", all_used).await {
        let (used, _) = asked(&log)?;
        let unused: Vec<_> = needed.difference(&used).collect();
        anyhow::bail!("{error}: never used are {unused:?}");
    }
    controller.end()?;
    let (used, refused) = asked(&log)?;
    let beyond: Vec<_> = used.difference(&granted).collect();
    ensure!(
        beyond.is_empty() && refused.is_empty(),
        "asked for beyond what is granted: {beyond:?}; refused: {refused:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p27_with_its_namespaces_named_it_needs_no_secret_of_the_whole_cluster() -> Result<()> {
    let cluster = Cluster::spawn().await?;
    cluster.delete("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/cloakroom-controller-keys").await?;
    let binding = "
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: cloakroom-controller-keys, namespace: shop }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cloakroom-controller-keys }
subjects:
- { kind: ServiceAccount, name: cloakroom-controller, namespace: cloakroom-system }
";
    cluster.server.apply(binding).await?;
    let controller = cluster.controller_with(&json!({ "keys": { "enrolled": ["shop"] } })).await?;
    let path = "/api/v1/namespaces/shop/secrets/cloakroom-keys";
    wait_until(PATIENCE, "Secret", async || cluster.get(path).await.is_ok()).await?;
    let serves = async || controller.fetch("/ns/shop/.well-known/jwks.json").await.is_ok_and(|it| it.status() == 200);
    wait_until(PATIENCE, "key set", serves).await?;
    let lines = controller.process.output().lines();
    let refused = lines.iter().find(|line| line.contains("cannot be watched"));
    refused.map_or(Ok(()), |line| Err(anyhow::anyhow!("{line}"))).context("a right is missing")
}
