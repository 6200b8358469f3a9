//! A webhook that does to pods what Istio's injector does, after its templates: the real one needs a mesh around it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use e2e::tls::Certificates;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// One that runs in this process.
pub(crate) struct Injector {
    port: u16,
    task: JoinHandle<()>,
}

impl Injector {
    /// Starts it. Its proxy is a native sidecar, or a container as it always was.
    pub(crate) async fn start(certificates: &Certificates, is_native: bool) -> Result<Self> {
        let chain = CertificateDer::pem_file_iter(&certificates.server.certificate)?.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&certificates.server.key)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let router = Router::new().route("/inject", post(answer)).with_state(is_native);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, router) = (acceptor.clone(), router.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = TowerToHyperService::new(router);
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { port, task })
    }

    /// Its registration, as Istio's chart has it: it is not asked again.
    pub(crate) fn registration(&self, name: &str, ca: &Path) -> Result<String> {
        let bundle = BASE64_STANDARD.encode(std::fs::read(ca).context("the authority")?);
        let webhook = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": name },
            "webhooks": [{
                "name": "namespace.sidecar-injector.istio.io",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "clientConfig": { "url": format!("https://127.0.0.1:{}/inject", self.port), "caBundle": bundle },
                "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] }],
            }],
        });
        Ok(webhook.to_string())
    }

    pub(crate) fn end(self) {
        self.task.abort();
    }
}

async fn answer(State(is_native): State<bool>, Json(review): Json<Value>) -> Json<Value> {
    let request = &review["request"];
    let patch = BASE64_STANDARD.encode(json!(patch(&request["object"], is_native)).to_string());
    Json(json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": { "uid": request["uid"], "allowed": true, "patchType": "JSONPatch", "patch": patch },
    }))
}

/// Its containers first, and the kubelet's questions to others led through its agent.
fn patch(pod: &Value, is_native: bool) -> Vec<Value> {
    let list = |field: &str| pod["spec"][field].as_array().cloned().unwrap_or_default();
    let (mut init, mut containers) = (list("initContainers"), list("containers"));
    for container in init.iter_mut().chain(&mut containers) {
        for (probe, path) in [("startupProbe", "startupz"), ("readinessProbe", "readyz")] {
            if container[probe].is_object() {
                let name = container["name"].as_str().unwrap_or_default();
                container[probe]["httpGet"] = json!({ "path": format!("/app-health/{name}/{path}"), "port": 15020 });
            }
        }
    }
    let annotations = &pod["metadata"]["annotations"];
    let told = annotations["traffic.sidecar.istio.io/excludeInboundPorts"].as_str().unwrap_or_default();
    let left_alone = ["15090", "15021", told].into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(",");
    let mut proxy = json!({
        "name": "istio-proxy",
        "image": "istio/proxyv2",
        "args": ["proxy", "sidecar"],
        "ports": [{ "name": "http-envoy-prom", "containerPort": 15090, "protocol": "TCP" }],
        "readinessProbe": { "httpGet": { "path": "/healthz/ready", "port": 15021 } },
        "securityContext": { "runAsUser": 1337, "runAsGroup": 1337, "runAsNonRoot": true },
        "volumeMounts": [{ "name": "istio-envoy", "mountPath": "/etc/istio/proxy" }],
    });
    if is_native {
        proxy["restartPolicy"] = json!("Always");
        init.insert(0, proxy);
    } else {
        containers.insert(0, proxy);
    }
    let arguments =
        ["istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-i", "*", "-x", "", "-b", "*", "-d"];
    let arguments: Vec<&str> = arguments.into_iter().chain([left_alone.as_str()]).collect();
    init.insert(
        0,
        json!({
            "name": "istio-init",
            "image": "istio/proxyv2",
            "args": arguments,
            "securityContext": { "capabilities": { "add": ["NET_ADMIN", "NET_RAW"] }, "runAsUser": 0, "runAsNonRoot": false },
        }),
    );
    let mut volumes = list("volumes");
    volumes.push(json!({ "name": "istio-envoy", "emptyDir": { "medium": "Memory" } }));
    let put = |path: &str, value: Vec<Value>| json!({ "op": "add", "path": path, "value": value });
    vec![put("/spec/initContainers", init), put("/spec/containers", containers), put("/spec/volumes", volumes)]
}
