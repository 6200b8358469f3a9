//! Istio without a cluster: its real control plane on a real API server, and stock Envoys that it configures.
//!
//! It binds fixed ports and all addresses, as in a pod: run it in [`crate::network::alone`].

mod proxy;
mod secrets;
mod ztunnel;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

pub use self::proxy::{Proxy, Role, Workload};
pub use self::secrets::Secrets;
pub use self::ztunnel::{Journey, Ztunnel};
use crate::kube::{ADMIN, ApiServer};
use crate::process::{Output, Process};
use crate::tools;

/// A start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where proxies get their configuration.
const XDS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 15010);
/// Readiness and what it tells of proxies.
const DEBUG: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 15080);

/// The root namespace.
pub const ROOT_NAMESPACE: &str = "istio-system";

/// What a stock Envoy does not have (its filters for metadata), what needs a node (certificates), and what would need the rest of
/// Istio (webhooks) is off.
const ENVIRONMENT: [(&str, &str); 10] = [
    ("PILOT_ENABLE_METADATA_EXCHANGE", "false"),
    ("PILOT_ENABLE_ALPN_FILTER", "false"),
    ("ENABLE_CA_SERVER", "false"),
    ("PILOT_CERT_PROVIDER", "none"),
    ("INJECTION_WEBHOOK_CONFIG_NAME", ""),
    ("VALIDATION_WEBHOOK_CONFIG_NAME", ""),
    ("POD_NAMESPACE", ROOT_NAMESPACE),
    ("POD_NAME", "istiod"),
    // Proxies say who they are by the token of their service account, though they come without TLS.
    ("XDS_AUTH_PLAINTEXT", "true"),
    ("TOKEN_ISSUER", "https://kubernetes.default.svc"),
];

/// A running istiod.
pub struct Istio {
    process: Process,
}

impl Istio {
    /// Teaches the API server the kinds of Istio and the Gateway API, starts istiod with these extension providers, and waits until
    /// it is ready.
    ///
    /// # Errors
    /// When it does not come up; the error has its output.
    pub async fn spawn(server: &ApiServer, providers: &Value) -> Result<Self> {
        Self::start(server, providers, &[]).await
    }

    /// The same with the ambient mode, and so with waypoints.
    ///
    /// # Errors
    /// When it does not come up; the error has its output.
    pub async fn ambient(server: &ApiServer, providers: &Value) -> Result<Self> {
        Self::start(server, providers, &[("PILOT_ENABLE_AMBIENT", "true")]).await
    }

    async fn start(server: &ApiServer, providers: &Value, more: &[(&str, &str)]) -> Result<Self> {
        server.apply_folder(&tools::gateway_api_crds()?.join("standard")).await?;
        server.apply(&std::fs::read_to_string(tools::istio_crds()?)?).await.context("Istio's kinds")?;
        server.apply(&format!("{}\n---\n{NO_MUTUAL_TLS}", namespace(ROOT_NAMESPACE))).await?;

        server.apply(&mesh_config(providers)).await?;
        let kubeconfig = server.kubeconfig(ADMIN)?;
        let path = |path: &Path| path.display().to_string();
        let arguments = [
            "discovery".to_owned(),
            "--registries=Kubernetes".to_owned(),
            format!("--kubeconfig={}", path(&kubeconfig)),
            format!("--grpcAddr={XDS}"),
            "--secureGRPCAddr=".to_owned(),
            format!("--httpAddr={DEBUG}"),
            "--httpsAddr=".to_owned(),
            "--monitoringAddr=127.0.0.1:15014".to_owned(),
            "--ctrlz_address=127.0.0.1".to_owned(),
            "--ctrlz_port=0".to_owned(),
        ];
        // `env` of coreutils: a process of ours has the environment of this one otherwise.
        let pilot = tools::pilot_discovery()?;
        let environment = ENVIRONMENT.iter().chain(more).map(|(name, value)| format!("{name}={value}"));
        let words = environment.chain([path(&pilot)]).chain(arguments);
        let process = Process::spawn("istiod", Path::new("env"), words)?;
        let istio = Self { process };
        let ready = async || istio.debug("/ready").await.is_ok();
        istio.process.wait_until(PATIENCE, "readiness", ready).await?;
        Ok(istio)
    }

    /// Other extension providers from now on.
    ///
    /// # Errors
    /// When the API server does not take them.
    pub async fn providers(&self, server: &ApiServer, providers: &Value) -> Result<()> {
        server.apply(&mesh_config(providers)).await.map(drop)
    }

    /// What it says under a path of its debug interface, as text.
    ///
    /// # Errors
    /// When it does not answer 200.
    pub async fn debug(&self, path: &str) -> Result<String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: istiod\r\nConnection: close\r\n\r\n");
        let answer = crate::http1::exchange(DEBUG, request.as_bytes()).await?;
        ensure!(answer.status() == 200, "{path}: {}", answer.text());
        Ok(answer.text())
    }

    /// Waits until every proxy has taken all that was sent to it.
    ///
    /// # Errors
    /// When one has not in time, or has refused something: the error says what.
    pub async fn in_step(&self) -> Result<()> {
        let agreed = async || self.refused().is_some() || self.proxies().await.is_ok_and(|told| is_in_step(&told));
        let waited = self.process.wait_until(PATIENCE, "agreement of all proxies", agreed).await;
        if let Some(refused) = self.refused() {
            bail!("a proxy refuses its configuration: {refused}");
        }
        let told = self.proxies().await.unwrap_or_default();
        waited.with_context(|| format!("{told:#}"))
    }

    /// How many times it has told proxies of changes.
    pub fn pushes(&self) -> usize {
        self.process.output().lines().iter().filter(|line| line.contains("XDS: Pushing")).count()
    }

    /// What was sent to each proxy, and what it acknowledged.
    async fn proxies(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.debug("/debug/syncz").await?)?)
    }

    /// The first configuration that a proxy has refused.
    pub fn refused(&self) -> Option<String> {
        self.process.output().lines().into_iter().find(|line| line.contains("ACK ERROR"))
    }

    /// Its log.
    pub fn output(&self) -> Output {
        self.process.output()
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// A proxy that asks for certificates gets none here, and none can check any.
const NO_MUTUAL_TLS: &str = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: DISABLE } }
";

/// A namespace, in YAML.
pub fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {name} }}\n")
}

/// The mesh's configuration, where istiod watches it when it has no file.
fn mesh_config(providers: &Value) -> String {
    let mesh = json!({
        "enableAutoMtls": false,
        "defaultProviders": {},
        "enablePrometheusMerge": false,
        "enableTracing": false,
        "defaultConfig": { "discoveryAddress": XDS.to_string() },
        "extensionProviders": providers,
    });
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "istio", "namespace": ROOT_NAMESPACE },
        "data": { "mesh": format!("{mesh:#}") },
    });
    map.to_string()
}

/// Whether what was sent is what was acknowledged, for every proxy and kind, and there is a proxy.
fn is_in_step(told: &Value) -> bool {
    let proxies = told.as_array().map(Vec::as_slice).unwrap_or_default();
    let agrees = |proxy: &Value| {
        ["cluster", "listener", "route", "endpoint"].iter().all(|kind| {
            proxy[format!("{kind}_sent")].as_str().unwrap_or_default()
                == proxy[format!("{kind}_acked")].as_str().unwrap_or_default()
        })
    };
    !proxies.is_empty() && proxies.iter().all(|proxy| proxy["listener_sent"].is_string() && agrees(proxy))
}
