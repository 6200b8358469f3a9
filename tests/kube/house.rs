//! An API server that knows our kinds, and gates that follow it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::checker::Checker;
use e2e::gate::{Cloakroom, GateOptions};
use e2e::kube::{ApiServer, ApiServerOptions};
use e2e::process::wait_until;
use e2e::tools;
use serde_json::{Value, json};

/// How long a test waits for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The user that gates are.
pub(crate) const GATE: &str = "gate";

/// Our kinds, without their schema: what is told here is told by objects that no schema has looked at.
pub(crate) const OUR_KINDS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: authpolicies.cloakroom.dev }
spec:
  group: cloakroom.dev
  scope: Namespaced
  names: { kind: AuthPolicy, listKind: AuthPolicyList, plural: authpolicies, singular: authpolicy }
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
";

/// What a gate must be granted: the example's roles, and the user of these tests bound to the first.
pub(crate) const GRANT: &str = concat!(
    include_str!("../../examples/kubernetes/gate.yaml"),
    "
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: cloakroom-gate }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cloakroom-gate }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: gate }]
"
);

/// What it must be granted beside to read the Secrets of providers.
pub(crate) const GRANT_SECRETS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: cloakroom-gate-secrets }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cloakroom-gate-secrets }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: gate }]
";

/// An API server that knows [`GATE`] and the Gateway API, and has the namespace `shop`.
pub(crate) async fn bare_server() -> Result<ApiServer> {
    let server = ApiServer::spawn(ApiServerOptions::default().user(GATE, &[])).await?;
    server.apply_folder(&tools::gateway_api_crds()?.join("standard")).await?;
    server.apply("apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n").await?;
    Ok(server)
}

/// One that knows our kinds as well, and has granted the gate what it needs.
pub(crate) async fn server() -> Result<ApiServer> {
    let server = bare_server().await?;
    server.apply(OUR_KINDS).await?;
    server.apply(GRANT).await?;
    Ok(server)
}

/// How to run a gate that follows this server, with a snapshot in its folder.
pub(crate) fn options(server: &ApiServer) -> Result<GateOptions> {
    Ok(following(server.kubeconfig(GATE)?))
}

/// How to run a gate that follows the server of a kubeconfig.
pub(crate) fn following(kubeconfig: PathBuf) -> GateOptions {
    let kubernetes = json!({
        "kubeconfig": kubeconfig,
        "gateways": ["shop/web"],
        "installNamespace": "shop",
        "snapshot": "policies.snapshot",
    });
    let mut options = GateOptions::new(env!("CARGO_BIN_EXE_cloakroom"));
    options.config = json!({ "policies": { "dir": null, "kubernetes": kubernetes } });
    options
}

/// A policy in the namespace `shop` for `<name>.example`, with these rules in YAML.
pub(crate) fn policy(name: &str, rules: &str) -> String {
    format!(
        "
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: {{ name: {name}, namespace: shop }}
spec:
  hosts: [{name}.example]
  rules: {rules}
"
    )
}

/// A policy for `<name>.example` with one public rule.
pub(crate) fn public(name: &str) -> String {
    policy(name, "[{ access: Public }]")
}

/// A policy for `<name>.example` with one rule that refuses.
pub(crate) fn closed(name: &str) -> String {
    policy(name, "[{ access: Deny }]")
}

/// Deletes a policy.
pub(crate) async fn delete(server: &ApiServer, name: &str) -> Result<()> {
    let path = format!("/apis/cloakroom.dev/v1alpha1/namespaces/shop/authpolicies/{name}");
    let (status, answer) = server.api(http::Method::DELETE, &path, None).await?;
    anyhow::ensure!(status == 200, "{status}: {answer}");
    Ok(())
}

/// The status that the gate's check gives to `GET <host>/`, by a token of nobody's.
pub(crate) async fn status(gate: &Cloakroom, host: &str) -> Result<u16> {
    Ok(Checker::connect(&gate.grpc()?).await?.get(host, "/", "x").await?.status)
}

/// Waits until the gate gives this status to `GET <host>/`.
pub(crate) async fn comes_to(gate: &Cloakroom, host: &str, want: u16) -> Result<()> {
    let is_so = async || status(gate, host).await.is_ok_and(|status| status == want);
    let waited = wait_until(PATIENCE, &format!("{want} for {host}"), is_so).await;
    waited.with_context(|| gate.output().tail(30))
}

/// Waits until the gate's log has this text so many times.
pub(crate) async fn says(gate: &Cloakroom, text: &str, times: usize) -> Result<()> {
    let heard = || gate.output().lines().iter().filter(|line| line.contains(text)).count();
    let waited = wait_until(PATIENCE, text, async || heard() >= times).await;
    waited.with_context(|| gate.output().tail(30))
}

/// What `/readyz` answers.
pub(crate) async fn readyz(gate: &Cloakroom) -> Result<Value> {
    let request = b"GET /readyz HTTP/1.1\r\nHost: health\r\nConnection: close\r\n\r\n";
    Ok(serde_json::from_str(&e2e::http1::exchange(gate.health(), request).await?.text())?)
}

/// The number of a metric without labels.
pub(crate) async fn metric(gate: &Cloakroom, name: &str) -> Result<f64> {
    let metrics = gate.metrics().await?;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no metric {name}"))?.trim().parse()?)
}
