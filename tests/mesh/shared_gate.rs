//! A gate that proxies of gateways ask by its certificate, and its Service.

use std::process::Command;

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use e2e::gate::{Cloakroom, GateOptions, Listen};
use e2e::istio::Proxy;
use e2e::kube::ApiServer;
use e2e::tls::Certificates;
use serde_json::json;

use crate::town::POLICY;

/// The address of the gate's pod: Kubernetes takes no loopback address for an endpoint.
const POD: &str = "10.9.9.9";

/// Gives this network the address of the gate's pod.
pub(crate) fn address() -> Result<()> {
    let added = Command::new("ip").args(["address", "add", &format!("{POD}/32"), "dev", "lo"]).status()?;
    ensure!(added.success(), "ip address add: {added}");
    Ok(())
}

/// A running one, and the folder of its certificates.
pub(crate) struct SharedGate {
    pub(crate) gate: Cloakroom,
    _folder: tempfile::TempDir,
}

/// Starts it, with what the controller would make: certificates, and the Secret of this namespace's proxies.
pub(crate) async fn spawn(server: &ApiServer, namespace: &str) -> Result<SharedGate> {
    let folder = tempfile::tempdir()?;
    let certificates = Certificates::make(folder.path(), &["cloakroom-gate.cloakroom-system.svc"])?;
    let file = |path: &std::path::Path| std::fs::read(path).map(|bytes| BASE64_STANDARD.encode(bytes));
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": { "name": "cloakroom-proxy-tls", "namespace": namespace },
        "data": {
            "tls.crt": file(&certificates.client.certificate)?,
            "tls.key": file(&certificates.client.key)?,
            "ca.crt": file(&certificates.ca)?,
        },
    });
    server.apply(&secret.to_string()).await?;
    let options = GateOptions { listen: Listen::Loopback, ..GateOptions::new(env!("CARGO_BIN_EXE_cloakroom")) };
    let mut options = options.policy("shop.yaml", POLICY);
    options.config = json!({ "listen": { "grpc": format!("{POD}:9443"), "tls": {
        "certFile": certificates.server.certificate,
        "keyFile": certificates.server.key,
        "clientCaFile": certificates.ca,
    }}});
    Ok(SharedGate { gate: Cloakroom::spawn(options).await?, _folder: folder })
}

/// Its Service and its one pod.
pub(crate) fn service() -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{ name: cloakroom-gate, namespace: cloakroom-system }}
spec: {{ ports: [{{ name: grpc, port: 9443 }}] }}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{ name: cloakroom-gate-1, namespace: cloakroom-system, labels: {{ kubernetes.io/service-name: cloakroom-gate }} }}
addressType: IPv4
ports: [{{ name: grpc, port: 9443, protocol: TCP }}]
endpoints: [{{ addresses: [{POD}], conditions: {{ ready: true }} }}]
"
    )
}

/// That the proxy takes nobody for the gate but who has a certificate of that name.
pub(crate) async fn is_known_by(proxy: &Proxy, name: &str) -> Result<()> {
    let clusters = proxy.admin("/config_dump?resource=dynamic_active_clusters&name_regex=.*cloakroom-gate.*").await?;
    let known = clusters.split_once("\"match_subject_alt_names\"").is_some_and(|(_, names)| {
        names.split(']').next().unwrap_or_default().contains(&format!("\"exact\": \"{name}\""))
    });
    ensure!(known, "{clusters}");
    Ok(())
}
