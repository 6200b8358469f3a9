//! A cluster without nodes, and controllers in it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::http1::{Message, exchange};
use e2e::kube::{ApiServer, ApiServerOptions};
use e2e::process::{Process, wait_until};
use e2e::tools;
use http::Method;
use serde_json::{Value, json};

pub(super) const PATIENCE: Duration = Duration::from_secs(120);
pub(super) const ISSUER: &str = "https://cloakroom.example";

const RIGHTS: &str = include_str!("../../../examples/kubernetes/controller.yaml");

const DEFINITIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");

/// An API server with everything that the controller looks at, and its service account.
pub(super) struct Cluster {
    pub(super) server: ApiServer,
    token: String,
}

impl Cluster {
    pub(super) async fn spawn() -> Result<Self> {
        Self::with(ApiServerOptions::default()).await
    }

    pub(super) async fn with(options: ApiServerOptions) -> Result<Self> {
        let server = ApiServer::spawn(options).await?;
        server.apply_folder(&tools::gateway_api_crds()?.join("standard")).await?;
        server.apply_folder(Path::new(DEFINITIONS)).await?;
        server.apply(RIGHTS).await?;
        server.apply("apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }").await?;
        let token = server.service_account_token("cloakroom-system", "cloakroom-controller").await?;
        Ok(Self { server, token })
    }

    /// Starts a controller and waits until it has seen everything.
    pub(super) async fn controller(&self) -> Result<Controller> {
        self.controller_with(&json!({})).await
    }

    /// [`Cluster::controller`] with this for `controller` in its configuration, over what the tests have there.
    pub(super) async fn controller_with(&self, settings: &Value) -> Result<Controller> {
        Self::ready(self.controller_not_ready(settings).await?).await
    }

    /// Waits until it has seen everything.
    pub(super) async fn ready(controller: Controller) -> Result<Controller> {
        let ready = async || controller.readyz().await.is_ok_and(|it| it["ready"] == true);
        controller.process.wait_until(PATIENCE, "readiness", ready).await?;
        Ok(controller)
    }

    /// [`Cluster::controller_with`] without the wait until it is ready.
    pub(super) async fn controller_not_ready(&self, settings: &Value) -> Result<Controller> {
        Controller::spawn(&self.config_with(settings)?).await
    }

    /// The configuration of a controller.
    pub(super) fn config_with(&self, settings: &Value) -> Result<Value> {
        let kubeconfig = self.server.kubeconfig_with("cloakroom-controller", &self.token)?;
        let mut controller = json!({ "lease": { "duration": "3s" } });
        for (key, value) in settings.as_object().into_iter().flatten() {
            controller[key] = value.clone();
        }
        Ok(json!({
            "jwt": { "issuer": ISSUER },
            "listen": { "http": "127.0.0.1:0", "health": "127.0.0.1:0" },
            "policies": { "kubernetes": { "kubeconfig": kubeconfig, "installNamespace": "cloakroom-system", "gateways": ["*"] } },
            "controller": controller,
            "shutdown": { "settle": "0s" },
        }))
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        let (status, answer) = self.server.api(Method::GET, path, None).await?;
        ensure!(status == 200, "{path}: {status} {answer}");
        Ok(answer)
    }

    pub(super) async fn delete(&self, path: &str) -> Result<()> {
        let (status, answer) = self.server.api(Method::DELETE, path, None).await?;
        ensure!(status == 200, "{path}: {status} {answer}");
        Ok(())
    }

    pub(super) async fn policy(&self, name: &str) -> Result<Value> {
        self.get(&policy_path(name)).await
    }

    /// Waits until the status of a policy says this, and gives the policy.
    pub(super) async fn says(&self, name: &str, want: &str) -> Result<Value> {
        let said = async || self.policy(name).await.is_ok_and(|policy| said(&policy) == want);
        if let Err(error) = wait_until(PATIENCE, "status", said).await {
            anyhow::bail!("{error}: {name} says\n{}\nand not\n{want}", said_or_nothing(self.policy(name).await));
        }
        self.policy(name).await
    }

    /// Waits until a controller has told of a policy that comes after all others, and so of all others before it.
    pub(super) async fn settled(&self) -> Result<()> {
        let round = format!(
            "zz-{}",
            self.get("/api/v1/namespaces?limit=1").await?["metadata"]["resourceVersion"].as_str().unwrap()
        );
        self.server.apply(&on_route(&format!("zz/{round}"), "nowhere", "")).await?;
        let missing = "HTTPRoute nowhere: Accepted False TargetNotFound 1, ResolvedRefs False TargetNotFound 1, \
                       Programmed False TargetNotFound 1";
        self.says(&format!("zz/{round}"), missing).await?;
        self.delete(&policy_path(&format!("zz/{round}"))).await
    }

    /// The Events about a policy: type, reason and note.
    pub(super) async fn events(&self, name: &str) -> Result<Vec<String>> {
        let (namespace, name) = name.split_once('/').context("namespace/name")?;
        let events = self.get(&format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events")).await?;
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let about = events["items"].as_array().into_iter().flatten().filter(|event| event["regarding"]["name"] == name);
        let mut told: Vec<(String, String)> = about
            .map(|it| (text(it, "eventTime"), ["type", "reason", "note"].map(|field| text(it, field)).join(" ")))
            .collect();
        told.sort();
        Ok(told.into_iter().map(|(_, words)| words).collect())
    }
}

pub(super) fn policy_path(name: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!("/apis/cloakroom.dev/v1alpha1/namespaces/{namespace}/authpolicies/{name}")
}

fn said_or_nothing(policy: Result<Value>) -> String {
    policy.map(|policy| format!("{}\n{:#}", said(&policy), policy["status"])).unwrap_or_default()
}

/// `HTTPRoute shop: Accepted True Accepted 1, …; …`
pub(super) fn said(policy: &Value) -> String {
    let conditions = |entry: &Value| {
        let each = entry["conditions"].as_array().into_iter().flatten().map(|it| {
            let text = |field: &str| it[field].as_str().unwrap_or_default();
            format!("{} {} {} {}", text("type"), text("status"), text("reason"), it["observedGeneration"])
        });
        each.collect::<Vec<_>>().join(", ")
    };
    let entries = policy["status"]["ancestors"].as_array().into_iter().flatten().map(|entry| {
        let name = |field: &str| entry["ancestorRef"][field].as_str().unwrap_or_default();
        format!("{} {}: {}", name("kind"), name("name"), conditions(entry))
    });
    entries.collect::<Vec<_>>().join("; ")
}

pub(super) fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default()
}

pub(super) const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: edge, namespace: shop }
spec: { gatewayClassName: any, listeners: [{ name: web, port: 80, protocol: HTTP }] }
";

pub(super) const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: shop, namespace: shop }
spec: { parentRefs: [{ name: edge }], hostnames: [shop.example] }
";

/// A policy on an HTTPRoute of its namespace, or of the one before a slash. The namespace is made with it.
pub(super) fn on_route(policy: &str, route: &str, rest: &str) -> String {
    let target = match route.split_once('/') {
        Some((namespace, name)) => format!("name: {name}, namespace: {namespace}"),
        None => format!("name: {route}"),
    };
    let target = format!("targetRefs: [{{ group: gateway.networking.k8s.io, kind: HTTPRoute, {target} }}]");
    named(policy, &format!("{target}\n{rest}"))
}

/// A policy with this spec. The namespace is made with it.
pub(super) fn named(policy: &str, spec: &str) -> String {
    let (namespace, name) = policy.split_once('/').unwrap();
    let spec = spec.trim().replace('\n', "\n  ");
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {namespace} }}\n---\napiVersion: cloakroom.dev/v1alpha1\n\
         kind: AuthPolicy\nmetadata: {{ name: {name}, namespace: {namespace} }}\nspec:\n  {spec}\n"
    )
}

/// A running controller.
pub(super) struct Controller {
    pub(super) process: Process,
    http: SocketAddr,
    health: SocketAddr,
    webhook: Option<SocketAddr>,
    _folder: tempfile::TempDir,
}

impl Controller {
    pub(super) async fn spawn(config: &Value) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("controller-").tempdir()?;
        let (file, addresses) = (folder.path().join("cloakroom.yaml"), folder.path().join("addresses.json"));
        // JSON is YAML.
        std::fs::write(&file, format!("{config:#}"))?;
        let arguments = [
            "controller".to_owned(),
            "--config".to_owned(),
            file.display().to_string(),
            "--addresses".to_owned(),
            addresses.display().to_string(),
        ];
        let process = Process::spawn("controller", Path::new(env!("CARGO_BIN_EXE_cloakroom")), arguments)?;
        let written = || serde_json::from_slice::<Value>(&std::fs::read(&addresses).ok()?).ok();
        process.wait_until(PATIENCE, "file of addresses", async || written().is_some()).await?;
        let bound = written().context("the addresses of the controller")?;
        let address = |name: &str| bound[name].as_str().unwrap_or_default().parse::<SocketAddr>();
        let (http, health, webhook) = (address("http")?, address("health")?, address("webhook").ok());
        Ok(Self { process, http, health, webhook, _folder: folder })
    }

    /// What `/readyz` answers.
    pub(super) async fn readyz(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.ask(self.health, "/readyz").await?.text())?)
    }

    /// What `/metrics` says of a series, such as `name{label="value"}`.
    pub(super) async fn metric(&self, series: &str) -> Result<Option<i64>> {
        let text = self.ask(self.health, "/metrics").await?.text();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(value.map(str::parse).transpose()?)
    }

    /// Ends it in order: it gives the Lease back.
    pub(super) fn end(self) -> Result<()> {
        let status = self.process.terminate(PATIENCE)?;
        ensure!(status.success(), "it ended with {status}: {}", self.process.output().tail(20));
        Ok(())
    }

    /// Where admission reviews are answered, if they are.
    pub(super) fn webhook(&self) -> Option<SocketAddr> {
        self.webhook
    }

    /// Where key sets are served.
    pub(super) fn http(&self) -> SocketAddr {
        self.http
    }

    pub(super) async fn fetch(&self, path: &str) -> Result<Message> {
        self.ask(self.http, path).await
    }

    async fn ask(&self, address: SocketAddr, path: &str) -> Result<Message> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: controller\r\nConnection: close\r\n\r\n");
        exchange(address, request.as_bytes()).await
    }
}
