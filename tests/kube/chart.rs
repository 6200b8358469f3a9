//! The Helm chart on a real API server: taken as it is rendered, installed, upgraded and taken away. No controllers run here, so
//! nothing starts; what is asked is what the API server says to each object, and what Helm leaves behind.

mod controller;
mod life;
mod taken;

use std::path::PathBuf;

use anyhow::Result;
use e2e::chart::{self, Helm};
use e2e::kube::{ADMIN, ApiServer, ApiServerOptions};
use e2e::tools;
use serde_json::Value;

/// The groups of meshes and monitoring, whose definitions are not installed here: the tests of each have them.
const FOREIGN: &[&str] = &["istio.io", "gateway.envoyproxy.io", "monitoring.coreos.com"];

/// An API server with the namespaces that the scenarios of `ci/` name; that of the chart takes only pods that meet Pod Security
/// `restricted`, and warns of whatever would make others.
async fn server(options: ApiServerOptions) -> Result<ApiServer> {
    let server = ApiServer::spawn(options).await?;
    server.apply_folder(&tools::gateway_api_crds()?.join("experimental")).await?;
    for namespace in ["infra", "shop", "edge", "back", "istio-system", "envoy-gateway-system", "proxies"] {
        server.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}")).await?;
    }
    let restricted = "
apiVersion: v1
kind: Namespace
metadata:
  name: cloakroom-system
  labels: { pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/warn: restricted }
";
    server.apply(restricted).await?;
    Ok(server)
}

/// A Helm that works on the server.
fn helm(program: PathBuf, server: &ApiServer) -> Result<Helm> {
    Helm::on(&server.kubeconfig(ADMIN)?, program)
}

/// What an install of this chart with these arguments would be, as objects.
fn render(helm: &Helm, arguments: &[&str]) -> Result<Vec<Value>> {
    chart::objects(&helm.render(arguments)?)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn is_foreign(object: &Value) -> bool {
    let group = text(object, "/apiVersion").split('/').next().unwrap_or_default();
    FOREIGN.iter().any(|it| group.ends_with(it))
}
