//! The Helm chart on a real API server: taken as it is rendered, installed, upgraded and taken away. No controllers run here, so
//! nothing starts; what is asked is what the API server says to each object, and what Helm leaves behind.

mod controller;
mod life;
mod taken;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use e2e::kube::{ADMIN, ApiServer, ApiServerOptions};
use e2e::tools;
use serde_json::Value;

/// The namespace that the chart is installed into.
const NAMESPACE: &str = "cloakroom-system";

/// The groups of meshes and monitoring, whose definitions are not installed here: the tests of each have them.
const FOREIGN: &[&str] = &["istio.io", "gateway.envoyproxy.io", "monitoring.coreos.com"];

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/cloakroom")
}

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

/// A Helm, and where it keeps what it keeps.
struct Helm {
    program: PathBuf,
    home: tempfile::TempDir,
    kubeconfig: PathBuf,
}

impl Helm {
    fn new(program: PathBuf, server: &ApiServer) -> Result<Self> {
        Ok(Self { program, home: tempfile::tempdir()?, kubeconfig: server.kubeconfig(ADMIN)? })
    }

    /// Runs it in the chart's namespace, and returns what it wrote.
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut helm = Command::new(&self.program);
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(variable, self.home.path());
        }
        helm.args(arguments).args(["--namespace", NAMESPACE]).arg("--kubeconfig").arg(&self.kubeconfig);
        let answer = helm.stdin(Stdio::null()).output().context("cannot start Helm")?;
        let words = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
        ensure!(answer.status.success(), "helm {}: {}", arguments.join(" "), words.trim());
        Ok(words)
    }

    /// What an install of this chart with these arguments would be, as objects.
    fn render(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let chart = chart().display().to_string();
        let rendered = self.run(&[&["template", "cloakroom", &chart][..], arguments].concat())?;
        let objects: Vec<Value> = serde_saphyr::from_multiple(&rendered).context("what Helm rendered")?;
        Ok(objects.into_iter().filter(|it| !it.is_null()).collect())
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn is_foreign(object: &Value) -> bool {
    let group = text(object, "/apiVersion").split('/').next().unwrap_or_default();
    FOREIGN.iter().any(|it| group.ends_with(it))
}
