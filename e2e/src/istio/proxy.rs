//! A stock Envoy in the place of Istio's.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Istio, XDS};
use crate::kube::ApiServer;
use crate::process::{Output, Process};
use crate::tools::{self, EnvoyVersion};

const START: Duration = Duration::from_secs(60);

/// What the proxy is.
#[derive(Clone, Debug)]
pub enum Role {
    /// Of a pod.
    Sidecar,
    /// Of a gateway.
    Gateway,
    /// Of a waypoint, whose certificates are served there.
    Waypoint(SocketAddr),
}

/// Whose proxy it is.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What the proxy is.
    pub role: Role,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its service account.
    pub account: String,
    /// The pod's labels.
    pub labels: Value,
    /// What it counts beside what Istio always has counted: `proxyStatsMatcher.inclusionRegexps` of the mesh's configuration.
    pub counted: Vec<String>,
}

/// A running proxy.
pub struct Proxy {
    process: Process,
    admin: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Proxy {
    /// Starts one with a token of its service account, and waits until it has what istiod sent.
    ///
    /// # Errors
    /// When it does not come up, or refuses something.
    pub async fn spawn(istio: &Istio, server: &ApiServer, version: EnvoyVersion, workload: &Workload) -> Result<Self> {
        let token = token(server, &workload.namespace, &workload.account).await?;
        let binary = tools::envoy(version)?;
        let folder = tempfile::Builder::new().prefix("proxy-").tempdir()?;
        let (file, admin_file) = (folder.path().join("envoy.json"), folder.path().join("admin"));
        std::fs::write(&file, format!("{:#}", bootstrap(workload, &token)))?;
        let mut arguments = vec!["-c".into(), file.into_os_string()];
        arguments.extend(["--admin-address-path".into(), admin_file.clone().into_os_string()]);
        arguments.extend(["--disable-hot-restart", "--concurrency", "2", "--log-level", "warn"].map(Into::into));
        let process = Process::spawn(&format!("proxy {}", workload.name), &binary, arguments)?;

        let address = || std::fs::read_to_string(&admin_file).ok()?.trim().parse::<SocketAddr>().ok();
        process.wait_until(START, "admin address", async || address().is_some()).await?;
        let admin = address().context("the admin address of Envoy")?;
        let proxy = Self { process, admin, _folder: folder };
        let ready = async || proxy.admin("/ready").await.is_ok_and(|answer| answer.contains("LIVE"));
        let waited = proxy.process.wait_until(START, "readiness", ready).await;
        waited.with_context(|| istio.output().tail(30))?;
        istio.in_step().await?;
        Ok(proxy)
    }

    /// What the admin interface says under a path, as text.
    ///
    /// # Errors
    /// When it does not answer 200.
    pub async fn admin(&self, path: &str) -> Result<String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        let answer = crate::http1::exchange(self.admin, request.as_bytes()).await?;
        ensure!(answer.status() == 200, "{path}: {}", answer.text());
        Ok(answer.text())
    }

    /// The names of the HTTP filters of every connection manager whose listener's name contains `listener`.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn filters(&self, listener: &str) -> Result<Vec<Vec<String>>> {
        let dump: Value = serde_json::from_str(&self.admin("/config_dump?resource=dynamic_listeners").await?)?;
        let mut found = Vec::new();
        for it in dump["configs"].as_array().into_iter().flatten() {
            if it["name"].as_str().is_some_and(|name| name.contains(listener)) {
                gather_filters(it, &mut found);
            }
        }
        Ok(found)
    }

    /// Its output.
    pub fn output(&self) -> Output {
        self.process.output()
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

fn gather_filters(it: &Value, found: &mut Vec<Vec<String>>) {
    match it {
        Value::Array(items) => items.iter().for_each(|it| gather_filters(it, found)),
        Value::Object(fields) => {
            if let Some(filters) = fields.get("http_filters").and_then(Value::as_array) {
                found.push(filters.iter().filter_map(|it| Some(it["name"].as_str()?.to_owned())).collect());
            }
            fields.values().for_each(|it| gather_filters(it, found));
        }
        _ => {}
    }
}

/// A token by which a proxy tells istiod who it is.
async fn token(server: &ApiServer, namespace: &str, name: &str) -> Result<String> {
    let account =
        format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{ name: {name}, namespace: {namespace} }}\n");
    server.apply(&account).await?;
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
    let request = json!({ "spec": { "audiences": ["istio-ca"], "expirationSeconds": 3600 } });
    let (status, answer) = server.api(http::Method::POST, &path, Some(&request)).await?;
    ensure!(status == 201, "{path}: {status} {answer}");
    Ok(answer["status"]["token"].as_str().context("an answer without a token")?.to_owned())
}

/// What Istio's agent would write, as far as a stock Envoy goes.
fn bootstrap(workload: &Workload, token: &str) -> Value {
    let Workload { role, namespace, name, account, labels, counted } = workload;
    // From 1.29.2 on, waypoints are told to keep whose tunnel it is in a way that only Istio's build of Envoy has.
    let (kind, release) = match role {
        Role::Sidecar => ("sidecar", "1.30.0"),
        Role::Gateway => ("router", "1.30.0"),
        Role::Waypoint(_) => ("waypoint", "1.29.0"),
    };
    // The address must not be that of an endpoint: the proxy would be taken for it, with labels of its own.
    let id = format!("{kind}~10.1.1.1~{name}.{namespace}~{namespace}.svc.cluster.local");
    let xds = json!({ "ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s" });
    let grpc = json!({
        "envoy_grpc": { "cluster_name": "xds-grpc" },
        "initial_metadata": [{ "key": "authorization", "value": format!("Bearer {token}") }],
    });
    let http2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let loopback = |address: SocketAddr| json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } });
    let cluster = |name: &str, at: SocketAddr| {
        json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": { http2: {
                "@type": format!("type.googleapis.com/{http2}"),
                "explicit_http_config": { "http2_protocol_options": {} },
            }},
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": loopback(at) } }] }],
            },
        })
    };
    let mut clusters = vec![cluster("xds-grpc", XDS)];
    if let Role::Waypoint(secrets) = role {
        clusters.push(cluster("sds-grpc", *secrets));
    }
    let internal = "envoy.extensions.bootstrap.internal_listener.v3.InternalListener";
    json!({
        "node": {
            "id": id,
            "cluster": format!("{name}.{namespace}"),
            "metadata": {
                "NAMESPACE": namespace,
                "LABELS": labels,
                "CLUSTER_ID": "Kubernetes",
                "ISTIO_VERSION": release,
                "SERVICE_ACCOUNT": account,
            },
        },
        "admin": { "address": loopback(SocketAddr::from(([127, 0, 0, 1], 0))) },
        "stats_config": statistics(counted),
        "dynamic_resources": {
            "lds_config": xds,
            "cds_config": xds,
            "ads_config": { "api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [grpc] },
        },
        // What a waypoint hands from one of its listeners to the next.
        "bootstrap_extensions": [{
            "name": "envoy.bootstrap.internal_listener",
            "typed_config": { "@type": format!("type.googleapis.com/{internal}") },
        }],
        "static_resources": { "clusters": clusters },
    })
}

/// What Istio's agent has a proxy count, and under which labels, as far as it matters here: nothing of a check unless told.
fn statistics(counted: &[String]) -> Value {
    let always =
        ["cluster_manager", "listener_manager", "server", "cluster.xds-grpc"].map(|it| json!({ "prefix": it }));
    let told = counted.iter().map(|it| json!({ "safe_regex": { "regex": it } }));
    json!({
        "use_all_default_tags": false,
        "stats_tags": [{ "tag_name": "http_conn_manager_prefix", "regex": "^http\\.(([_.\\w]*);\\.)" }],
        "stats_matcher": { "inclusion_list": { "patterns": always.into_iter().chain(told).collect::<Vec<_>>() } },
    })
}
