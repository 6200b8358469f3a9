//! The injector as a real API server calls it: who is asked about, what is stored, and who does without.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use cloakroom::injector::{GateAddress, Injection, Resources};
use cloakroom::k8s::admission::{self, Judges};
use cloakroom::tls::{Protocol, Tls, TlsFiles};
use e2e::kube::{ApiServer, ApiServerOptions};
use e2e::process::wait_until;
use e2e::tls::Certificates;
use http::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::istio;
use crate::resources::any_install;

const PATIENCE: Duration = Duration::from_secs(60);
const REGISTRATION: &str = include_str!("../../examples/kubernetes/webhook.yaml");

fn settings(listen: GateAddress) -> Injection {
    Injection {
        image: "registry.example/cloakroom@sha256:0a".to_owned(),
        pull_policy: "IfNotPresent".to_owned(),
        listen,
        proxy_containers: ["envoy", "istio-proxy"].map(str::to_owned).to_vec(),
        resources: Resources {
            requests: [("cpu".to_owned(), "10m".to_owned())].into(),
            limits: [("memory".to_owned(), "256Mi".to_owned())].into(),
        },
        spared: std::collections::BTreeSet::default(),
    }
}

/// An API server and an injector that runs in this process.
struct Scene {
    server: ApiServer,
    certificates: Certificates,
    port: u16,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new(listen: GateAddress) -> Result<Self> {
        let server = ApiServer::spawn(ApiServerOptions::default()).await?;
        let folder = tempfile::tempdir()?;
        let certificates = Certificates::make(folder.path(), &["127.0.0.1"])?;
        let files = TlsFiles {
            certificate: certificates.server.certificate.clone(),
            key: certificates.server.key.clone(),
            client_ca: None,
            client_names: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let stop = CancellationToken::new();
        let judges = Judges { install: any_install(), injection: Some(settings(listen)) };
        let tls = Arc::new(Tls::load(files, Protocol::Http1)?);
        let task = Some(tokio::spawn(admission::serve(listener, tls, judges, stop.clone())));
        Ok(Self { server, certificates, port, stop, task, _folder: folder })
    }

    /// Registers the injector as the example does, and waits until `shop` has it.
    async fn register(&self) -> Result<()> {
        self.server.apply(&registration(self.port, &self.certificates.ca)?).await?;
        // A dry run leaves nothing behind.
        let asked = async || {
            let answer = self.create("shop", &pod("probe"), "?dryRun=All").await;
            answer.is_ok_and(|(_, pod)| is_injected(&pod))
        };
        let waited = wait_until(PATIENCE, "first injection", asked).await;
        let last = self.create("shop", &pod("probe"), "?dryRun=All").await;
        waited.with_context(|| format!("it answers {last:?}"))
    }

    async fn namespace(&self, name: &str, labels: &str) -> Result<()> {
        let namespace =
            format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {name}, labels: {{ {labels} }} }}");
        self.server.apply(&namespace).await?;
        Ok(())
    }

    async fn create(&self, namespace: &str, pod: &Value, query: &str) -> Result<(u16, Value)> {
        let path = format!("/api/v1/namespaces/{namespace}/pods{query}");
        self.server.api(Method::POST, &path, Some(pod)).await
    }

    /// The pod as it is stored.
    async fn stored(&self, namespace: &str, pod: &Value) -> Result<Value> {
        let (status, stored) = self.create(namespace, pod, "").await?;
        ensure!(status == 201, "{namespace}: {status} {stored:#}");
        Ok(stored)
    }

    async fn end_injector(&mut self) -> Result<()> {
        self.stop.cancel();
        self.task.take().context("it has ended")?.await?;
        Ok(())
    }
}

/// The example's registration. There is no Service on this machine: the address is told instead.
pub(crate) fn registration(port: u16, ca: &Path) -> Result<String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(REGISTRATION)?;
    let registration = documents.iter().find(|it| it["kind"] == "MutatingWebhookConfiguration");
    let mut registration = registration.context("the example registers no injector")?.clone();
    registration["webhooks"][0]["clientConfig"] = json!({
        "url": format!("https://127.0.0.1:{port}{}", admission::INJECT_PATH),
        "caBundle": BASE64_STANDARD.encode(std::fs::read(ca)?),
    });
    Ok(registration.to_string())
}

/// A pod that Pod Security `restricted` accepts.
pub(crate) fn pod(name: &str) -> Value {
    let container = |name: &str| {
        json!({
            "name": name,
            "image": name,
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
        })
    };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": "shop" } },
        "spec": {
            // The API server fills it in where the admission plugin `ServiceAccount` is on.
            "serviceAccountName": "default",
            "securityContext": { "runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [container("app"), container("envoy")],
        },
    })
}

fn with(name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = pod(name);
    change(&mut pod);
    pod
}

fn names(containers: &Value) -> Vec<&str> {
    containers.as_array().into_iter().flatten().filter_map(|it| it["name"].as_str()).collect()
}

pub(crate) fn is_injected(pod: &Value) -> bool {
    names(&pod["spec"]["initContainers"]).first() == Some(&"cloakroom")
}

const ENROLLED: &str = "cloakroom.dev/enrolled: 'true'";
const RESTRICTED: &str = "cloakroom.dev/enrolled: 'true', pod-security.kubernetes.io/enforce: restricted";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p35_enrolled_namespaces_get_the_gate_and_no_other_waits_for_anybody() -> Result<()> {
    let mut scene = Scene::new(GateAddress::Loopback).await?;
    for (name, labels) in [
        ("shop", RESTRICTED),
        ("tools", ENROLLED),
        ("other", ""),
        ("left", "cloakroom.dev/enrolled: 'false'"),
        // By mistake, or by whoever would stop the cluster.
        ("kube-system", ENROLLED),
        ("cloakroom-system", ENROLLED),
    ] {
        scene.namespace(name, labels).await?;
    }
    scene.register().await?;
    let (_, pods) = scene.server.api(Method::GET, "/api/v1/pods", None).await?;
    ensure!(pods["items"] == json!([]), "a dry run has left something: {pods:#}");

    // Pod Security `restricted` judges what is stored.
    let stored = scene.stored("shop", &pod("web")).await?;
    ensure!(is_injected(&stored), "{stored:#}");
    ensure!(stored["spec"]["initContainers"][0]["restartPolicy"] == "Always", "no native sidecar: {stored:#}");
    let generated = with("-", |pod| pod["metadata"] = json!({ "generateName": "web-" }));
    ensure!(is_injected(&scene.stored("shop", &generated).await?), "a pod without a name");
    let job = with("job", |pod| pod["spec"]["restartPolicy"] = json!("Never"));
    ensure!(is_injected(&scene.stored("shop", &job).await?), "a pod of a Job");

    // What was stored, made once more, is the same again.
    let copy = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "copy",
            "labels": stored["metadata"]["labels"],
            "annotations": stored["metadata"]["annotations"],
        },
        "spec": stored["spec"],
    });
    let again = scene.stored("shop", &copy).await?;
    ensure!(again["spec"] == stored["spec"], "{:#}\nis not\n{:#}", again["spec"], stored["spec"]);

    let shared = with("shared", |pod| pod["spec"]["hostNetwork"] = json!(true));
    let (status, refusal) = scene.create("tools", &shared, "").await?;
    let words = refusal["message"].as_str().unwrap_or_default();
    println!("{words}");
    ensure!(
        status == 422 && words.contains("denied the request: spec.hostNetwork: the whole node"),
        "{status} {words}"
    );
    let out = |name: &str| {
        with(name, |pod| {
            pod["spec"]["hostNetwork"] = json!(true);
            pod["metadata"]["labels"]["cloakroom.dev/inject"] = json!("false");
        })
    };
    ensure!(!is_injected(&scene.stored("tools", &out("out")).await?), "it was to be left alone");
    for namespace in ["other", "left", "kube-system", "cloakroom-system"] {
        ensure!(!is_injected(&scene.stored(namespace, &pod("web")).await?), "{namespace} is not enrolled");
    }

    scene.end_injector().await?;
    for namespace in ["other", "left", "kube-system", "cloakroom-system"] {
        scene.stored(namespace, &pod("later")).await.with_context(|| format!("{namespace} waits for the injector"))?;
    }
    scene.stored("tools", &out("out-later")).await.context("a pod that is out waits for the injector")?;
    // Without its gate it would answer 503 for as long as it lives.
    let (status, refused) = scene.create("shop", &pod("later"), "").await?;
    ensure!(status == 500 && refused.to_string().contains("failed calling webhook"), "{status} {refused}");
    Ok(())
}

/// Where Istio's stands in the order of names, its gates, and where its proxy is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p35_beside_istios_injector_in_either_order() -> Result<()> {
    for listen in [GateAddress::Loopback, GateAddress::Socket] {
        let scene = Scene::new(listen).await?;
        scene.namespace("shop", ENROLLED).await?;
        scene.register().await?;
        for is_native in [true, false] {
            let mut specs = Vec::new();
            for name in ["a-sidecar-injector", "istio-sidecar-injector"] {
                let injector = istio::Injector::start(&scene.certificates, is_native).await?;
                scene.server.apply(&injector.registration(name, &scene.certificates.ca)?).await?;
                let path = format!("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{name}");
                let before = with("web", |pod| {
                    pod["spec"]["containers"].as_array_mut().unwrap().truncate(1);
                });
                let has_both = async || {
                    let answer = scene.create("shop", &before, "?dryRun=All").await;
                    answer.is_ok_and(|(_, pod)| names(&pod["spec"]["initContainers"]).contains(&"istio-init"))
                };
                wait_until(PATIENCE, "injection by both", has_both).await?;
                let (status, pod) = scene.create("shop", &before, "?dryRun=All").await?;
                ensure!(status == 201, "{pod:#}");
                let want: &[&str] = match is_native {
                    true => &["cloakroom", "istio-init", "istio-proxy"],
                    false => &["cloakroom", "istio-init"],
                };
                let init = &pod["spec"]["initContainers"];
                ensure!(names(init) == want, "{name}: {:?}", names(init));
                for probe in ["startupProbe", "readinessProbe"] {
                    ensure!(init[0][probe]["httpGet"]["port"] == 9091, "{name}: {:#}", init[0]);
                }
                let args: Vec<String> = serde_json::from_value(init[1]["args"].clone())?;
                ensure!(args.last().is_some_and(|ports| ports.split(',').any(|it| it == "9091")), "{name}: {args:?}");
                let user = if listen == GateAddress::Socket { 1337 } else { 65532 };
                ensure!(init[0]["securityContext"]["runAsUser"] == user, "{name}: {:#}", init[0]);
                specs.push(pod["spec"]["initContainers"].clone());
                let (status, answer) = scene.server.api(Method::DELETE, &path, None).await?;
                ensure!(status == 200, "{answer}");
                let alone = async || {
                    let answer = scene.create("shop", &before, "?dryRun=All").await;
                    answer.is_ok_and(|(_, pod)| names(&pod["spec"]["initContainers"]) == ["cloakroom"])
                };
                wait_until(PATIENCE, "injection by ours alone", alone).await?;
                injector.end();
            }
            ensure!(specs[0] == specs[1], "the order of the two makes a difference: {specs:#?}");
        }
    }
    Ok(())
}
