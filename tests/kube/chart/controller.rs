//! The real controller, as the chart installs it: its own configuration file, and no rights but those that the chart grants.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::chart::{self, NAMESPACE};
use e2e::kube::{ApiServer, ApiServerOptions};
use e2e::process::Process;
use e2e::tools;
use http::Method;
use serde_json::{Value, json};

use super::{helm, server, text};

const PATIENCE: Duration = Duration::from_secs(120);
const ACCOUNT: &str = "system:serviceaccount:cloakroom-system:cloakroom-controller";
const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1";

/// Starts it as its pod would, but for addresses that every test can have.
async fn controller(server: &ApiServer, folder: &Path) -> Result<Process> {
    let map = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/cloakroom-controller");
    let (status, map) = server.api(Method::GET, &map, None).await?;
    ensure!(status == 200, "no ConfigMap: {map}");
    let mut file: Value = serde_saphyr::from_str(text(&map, "/data/cloakroom.yaml"))?;
    let token = server.service_account_token(NAMESPACE, "cloakroom-controller").await?;
    file["policies"]["kubernetes"]["kubeconfig"] = json!(server.kubeconfig_with("cloakroom-controller", &token)?);
    file["listen"] = json!({ "http": "127.0.0.1:0", "health": "127.0.0.1:0" });
    file["controller"]["webhook"]["listen"] = json!("127.0.0.1:0");
    let config = folder.join("cloakroom.yaml");
    std::fs::write(&config, file.to_string())?;
    if let Some(sidecar) = map["data"]["sidecar.yaml"].as_str() {
        std::fs::write(folder.join("sidecar.yaml"), sidecar)?;
    }
    let arguments = ["controller".as_ref(), "--config".as_ref(), config.as_os_str()];
    Process::spawn("controller", Path::new(env!("CARGO_BIN_EXE_cloakroom")), arguments)
}

/// What of these is not there yet.
async fn missing(server: &ApiServer, paths: &[String]) -> Vec<String> {
    let mut missing = Vec::new();
    for path in paths {
        if !server.api(Method::GET, path, None).await.is_ok_and(|(status, _)| status == 200) {
            missing.push(path.clone());
        }
    }
    missing
}

async fn appears(server: &ApiServer, controller: &Process, paths: &[String]) -> Result<()> {
    let there = async || missing(server, paths).await.is_empty();
    if let Err(error) = controller.wait_until(PATIENCE, "objects", there).await {
        return Err(error.context(format!("not there: {:?}", missing(server, paths).await)));
    }
    Ok(())
}

/// Installs the chart with these values, runs the controller, and waits for what must come of it.
async fn works(values: &[&str], registrations: &[&str], objects: &[&str]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (audit, log) = (folder.path().join("audit.json"), folder.path().join("audit.log"));
    let rules = json!([{ "level": "Metadata", "users": [ACCOUNT] }, { "level": "None" }]);
    let policy =
        json!({ "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules });
    std::fs::write(&audit, policy.to_string())?;
    let options = ApiServerOptions::default()
        .argument(format!("--audit-policy-file={}", audit.display()))
        .argument(format!("--audit-log-path={}", log.display()));
    let server = server(options).await?;
    let helm = helm(tools::helm()?, &server)?;
    let chart = chart::folder().display().to_string();
    helm.run(&[&["install", "cloakroom", &chart][..], values].concat())?;
    server.kubectl(&["label", "namespace", "shop", "cloakroom.dev/enrolled=true"])?;
    let written = "
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: shop, namespace: shop }
spec:
  targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop }]
";
    server.apply(written).await?;

    let controller = controller(&server, folder.path()).await?;
    let paths: Vec<_> = objects.iter().map(|it| format!("/api/v1/namespaces/{it}")).collect();
    appears(&server, &controller, &paths).await?;
    for registration in registrations {
        let path = format!("{WEBHOOKS}/{registration}");
        let trusted = async || {
            let answer = server.api(Method::GET, &path, None).await;
            answer.is_ok_and(|(_, it)| text(&it, "/webhooks/0/clientConfig/caBundle").len() > 100)
        };
        controller.wait_until(PATIENCE, registration, trusted).await?;
    }
    let path = "/apis/cloakroom.dev/v1alpha1/namespaces/shop/authpolicies/shop";
    let told = async || {
        let answer = server.api(Method::GET, path, None).await;
        answer.is_ok_and(|(_, it)| it["status"]["ancestors"].as_array().is_some_and(|all| !all.is_empty()))
    };
    controller.wait_until(PATIENCE, "status", told).await?;

    let refusals = || -> Result<Vec<String>> {
        let log = std::fs::read_to_string(&log)?;
        Ok(log.lines().filter(|line| line.contains("\"code\":403")).map(str::to_owned).collect())
    };
    ensure!(refusals()?.is_empty(), "asked for beyond what the chart grants: {:#?}", refusals()?);

    // The chart goes while the controller still runs: it makes no webhook anew.
    helm.run(&["uninstall", "cloakroom"])?;
    let is_felt = async || refusals().is_ok_and(|it| !it.is_empty());
    controller.wait_until(PATIENCE, "end of its rights", is_felt).await?;
    controller.terminate(PATIENCE)?;
    for registration in registrations {
        let (status, _) = server.api(Method::GET, &format!("{WEBHOOKS}/{registration}"), None).await?;
        ensure!(status == 404, "{registration} is there again");
    }
    let making = std::fs::read_to_string(&log)?;
    let making = making.lines().find(|it| it.contains("admissionregistration") && it.contains("\"verb\":\"create\""));
    ensure!(making.is_none(), "the controller makes a webhook: {making:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_keeps_what_sidecars_need_by_the_charts_own_rights() -> Result<()> {
    let objects = [
        "cloakroom-system/secrets/cloakroom-ca",
        "cloakroom-system/secrets/cloakroom-webhook-tls",
        "cloakroom-system/secrets/cloakroom-token",
        "cloakroom-system/secrets/cloakroom-admin",
        "cloakroom-system/secrets/cloakroom-store",
        "shop/secrets/cloakroom-keys",
        "shop/secrets/cloakroom-gate",
        "shop/configmaps/cloakroom-gate",
    ];
    let registrations =
        ["mutatingwebhookconfigurations/cloakroom-injector", "validatingwebhookconfigurations/cloakroom-policies"];
    works(&[], &registrations, &objects).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_keeps_what_shared_gates_need_by_the_charts_own_rights() -> Result<()> {
    let values = ["--set", "mesh=gatewayApi,gateways[0].namespace=infra,gateways[0].name=web"];
    let objects = [
        "cloakroom-system/secrets/cloakroom-ca",
        "cloakroom-system/secrets/cloakroom-webhook-tls",
        "cloakroom-system/secrets/cloakroom-gate-tls",
        "cloakroom-system/secrets/cloakroom-gate-keys",
        "cloakroom-system/secrets/cloakroom-token",
        "cloakroom-system/secrets/cloakroom-admin",
        "cloakroom-system/secrets/cloakroom-store",
        "infra/secrets/cloakroom-proxy-tls",
        "infra/configmaps/cloakroom-ca",
        "shop/secrets/cloakroom-keys",
    ];
    works(&values, &["validatingwebhookconfigurations/cloakroom-policies"], &objects).await
}
