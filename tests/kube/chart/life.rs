//! An install from its beginning to its end, by both Helms.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use e2e::chart::{self, NAMESPACE};
use e2e::kube::{ApiServer, ApiServerOptions};
use e2e::tools;
use http::Method;
use serde_json::{Value, json};

use super::{helm, render, server, text};

const INJECTOR: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/cloakroom-injector";
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/cloakroom-policies";
const POLICY: &str = "/apis/cloakroom.dev/v1alpha1/namespaces/shop/authpolicies/shop";

async fn get(server: &ApiServer, path: &str) -> Result<Value> {
    let (status, answer) = server.api(Method::GET, path, None).await?;
    ensure!(status == 200, "{path}: {status} {answer}");
    Ok(answer)
}

/// A pod with nothing special, and the words with which the API server refuses it, if it does.
async fn pod(server: &ApiServer, namespace: &str) -> Result<Option<String>> {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "app" },
        "spec": {
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "app",
                "image": "app",
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
        },
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
    let (status, answer) = server.api(Method::POST, &path, Some(&pod)).await?;
    Ok((status != 201).then(|| text(&answer, "/message").to_owned()))
}

/// What was deleted, in its order, as the API server recorded it.
fn deleted(log: &Path) -> Result<Vec<String>> {
    let mut deleted = Vec::new();
    for line in std::fs::read_to_string(log)?.lines() {
        let event: Value = serde_json::from_str(line)?;
        if event["verb"] == "delete" {
            deleted.push(format!("{}/{}", text(&event, "/objectRef/resource"), text(&event, "/objectRef/name")));
        }
    }
    Ok(deleted)
}

/// `webhooks_go_first`: whether this Helm takes webhooks away before what they call. Helm 3 takes them last.
async fn life(program: PathBuf, webhooks_go_first: bool) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (audit, log) = (folder.path().join("audit.json"), folder.path().join("audit.log"));
    let rules = json!([{ "level": "Metadata", "verbs": ["delete"] }, { "level": "None" }]);
    let policy =
        json!({ "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules });
    std::fs::write(&audit, policy.to_string())?;
    let options = ApiServerOptions::default()
        .argument(format!("--audit-policy-file={}", audit.display()))
        .argument(format!("--audit-log-path={}", log.display()));
    let server = server(options).await?;
    let helm = helm(program, &server)?;
    let chart = chart::folder().display().to_string();

    // Installed with nothing said, and its kinds can be used.
    helm.run(&["install", "cloakroom", &chart])?;
    let objects = render(&helm, &[])?;
    for object in objects.iter().filter(|it| it["metadata"]["annotations"]["helm.sh/hook"].is_null()) {
        get(&server, &server.path_of(object).await?).await?;
    }
    let written = "
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: shop, namespace: shop }
spec:
  selector: { matchLabels: { app: shop } }
";
    server.apply(written).await?;
    // A second install would share names with the first.
    let error = helm.run(&["install", "other", &chart]).expect_err("two installs");
    ensure!(format!("{error:#}").contains("cloakroom"), "{error:#}");

    // While no controller is there the injector refuses pods where it is needed, and nowhere else.
    for namespace in ["shop", NAMESPACE, "kube-system"] {
        let label = ["label", "namespace", namespace, "cloakroom.dev/enrolled=true"];
        server.kubectl(&label)?;
    }
    let told = pod(&server, "shop").await?.context("a pod without its gate was made")?;
    ensure!(told.contains("pods.cloakroom.dev"), "{told}");
    for namespace in ["infra", NAMESPACE, "kube-system"] {
        ensure!(pod(&server, namespace).await?.is_none(), "a pod of {namespace} was refused: P35");
    }

    // What the controller writes stays, whatever an upgrade changes beside it.
    for (kind, path) in [("mutatingwebhookconfiguration", INJECTOR), ("validatingwebhookconfiguration", POLICIES)] {
        let name = path.rsplit('/').next().unwrap_or_default();
        let authority = server_ca(&server)?;
        let patch =
            json!([{ "op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": authority }]).to_string();
        server.kubectl(&["patch", kind, name, "--type=json", "--patch", &patch])?;
    }
    let changed = ["--set", "controller.replicas=3,controller.policyFailurePolicy=Fail,sidecar.timeoutSeconds=9"];
    helm.run(&[&["upgrade", "cloakroom", &chart][..], &changed].concat())?;
    let (injector, policies) = (get(&server, INJECTOR).await?, get(&server, POLICIES).await?);
    ensure!(injector["webhooks"][0]["timeoutSeconds"] == 9, "{injector}");
    ensure!(policies["webhooks"][0]["failurePolicy"] == "Fail", "{policies}");
    for webhook in [&injector, &policies] {
        let kept = text(webhook, "/webhooks/0/clientConfig/caBundle");
        ensure!(kept == server_ca(&server)?, "the upgrade changed caBundle to {kept:?}");
    }
    helm.run(&["rollback", "cloakroom", "1"])?;
    let injector = get(&server, INJECTOR).await?;
    ensure!(injector["webhooks"][0]["timeoutSeconds"] == 5, "{injector}");
    ensure!(text(&injector, "/webhooks/0/clientConfig/caBundle") == server_ca(&server)?, "the rollback lost caBundle");

    // Taken away: everything but what is kept, and first, if Helm knows how, the webhooks.
    helm.run(&["uninstall", "cloakroom"])?;
    let order = deleted(&log)?;
    let at = |name: &str| order.iter().position(|it| it == name).with_context(|| format!("{name} in {order:?}"));
    for webhook in
        ["validatingwebhookconfigurations/cloakroom-policies", "mutatingwebhookconfigurations/cloakroom-injector"]
    {
        let is_first = at(webhook)? < at("services/cloakroom-controller")?.min(at("deployments/cloakroom-controller")?);
        ensure!(is_first == webhooks_go_first, "{webhook} in {order:?}");
    }
    for object in objects.iter().filter(|it| it["metadata"]["annotations"]["helm.sh/hook"].is_null()) {
        let path = server.path_of(object).await?;
        let (status, _) = server.api(Method::GET, &path, None).await?;
        let is_kept = object["kind"] == "CustomResourceDefinition";
        ensure!(status == if is_kept { 200 } else { 404 }, "{path}: {status}");
    }
    get(&server, POLICY).await.context("the policies went with the chart")?;
    for namespace in ["shop", "infra"] {
        ensure!(pod(&server, namespace).await?.is_none(), "a webhook is left that refuses pods of {namespace}");
    }
    let written = written.replace("name: shop, namespace", "name: later, namespace");
    server.apply(&written).await.context("a webhook is left that refuses policies")?;

    // And once more, over what was kept.
    helm.run(&["install", "cloakroom", &chart])?;
    get(&server, POLICY).await?;
    Ok(())
}

/// Some certificate, as `caBundle` has it.
fn server_ca(server: &ApiServer) -> Result<String> {
    use base64::Engine as _;
    Ok(base64::engine::general_purpose::STANDARD.encode(std::fs::read(server.ca())?))
}

#[tokio::test(flavor = "multi_thread")]
async fn p35_an_install_by_helm_4_comes_and_goes_and_leaves_no_webhook() -> Result<()> {
    life(tools::helm()?, true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p35_an_install_by_helm_3_comes_and_goes_and_leaves_no_webhook() -> Result<()> {
    life(tools::helm3()?, false).await
}
