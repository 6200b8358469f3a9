//! Each rendering, and each of its pods, as the API server takes it.

use anyhow::{Context as _, Result, ensure};
use e2e::chart::scenarios;
use e2e::kube::{ApiServer, ApiServerOptions};
use e2e::tools;
use serde_json::{Value, json};

use super::{helm, is_foreign, render, server, text};

/// The pods that the workloads of a rendering would make, and those that stand in it by themselves.
fn pods(objects: &[Value]) -> Vec<Value> {
    let mut pods = Vec::new();
    for object in objects {
        let mut pod = match text(object, "/kind") {
            "Deployment" | "StatefulSet" => object["spec"]["template"].clone(),
            "Pod" => object.clone(),
            _ => continue,
        };
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = object["metadata"]["name"].clone();
        pod["metadata"]["namespace"] = object["metadata"]["namespace"].clone();
        for claim in object["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
            // A claim is made by a controller: here the name is what counts.
            let volume = json!({ "name": claim["metadata"]["name"], "emptyDir": {} });
            pod["spec"]["volumes"].as_array_mut().into_iter().for_each(|volumes| volumes.push(volume.clone()));
        }
        pods.push(pod);
    }
    pods
}

/// Applies objects without keeping them, and returns the server's words.
fn dry_run(server: &ApiServer, verb: &[&str], objects: &[&Value]) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("objects.json");
    std::fs::write(&file, json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string())?;
    let file = file.display().to_string();
    server.kubectl(&[verb, &["--dry-run=server", "--validate=strict", "-f", &file]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_every_rendering_and_every_pod_meets_pod_security() -> Result<()> {
    let server = server(ApiServerOptions::default()).await?;
    super::super::definitions::install(&server).await?;
    // What the scenario `everything` names.
    let named = "
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: { name: high }
value: 1000
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: { name: gvisor }
handler: runsc
";
    server.apply(named).await?;
    let helm = helm(tools::helm()?, &server)?;
    let mut count = 0;
    for (scenario, values) in scenarios()? {
        let objects = render(&helm, &["--values", &values.display().to_string()])?;
        let ours: Vec<_> = objects.iter().filter(|it| !is_foreign(it)).collect();
        let said = dry_run(&server, &["apply", "--server-side", "--force-conflicts"], &ours)
            .with_context(|| scenario.clone())?;
        ensure!(said.matches("serverside-applied").count() == ours.len(), "{scenario}: {said}");
        // The network of the node is what `restricted` is there to refuse; nobody has it who does not ask for it.
        let on_host =
            |it: &Value| it["spec"]["hostNetwork"] == true || it["spec"]["template"]["spec"]["hostNetwork"] == true;
        let is_asked = objects.iter().any(on_host);
        ensure!(is_asked || !said.contains("Warning"), "{scenario}: {said}");

        let pods = pods(&objects);
        ensure!(pods.len() >= 2, "{scenario}: {} pods", pods.len());
        for pod in &pods {
            let name = text(pod, "/metadata/name");
            match dry_run(&server, &["create"], &[pod]) {
                Ok(said) => {
                    ensure!(said.contains("created") && !said.contains("Warning"), "{scenario}: {name}: {said}");
                    ensure!(!on_host(pod), "{scenario}: {name} is on the node's network");
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    ensure!(on_host(pod) && error.contains("violates PodSecurity"), "{scenario}: {name}: {error}");
                }
            }
            count += 1;
        }
    }
    ensure!(count > 20, "{count} pods");
    Ok(())
}
