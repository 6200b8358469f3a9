//! What enrolled namespaces get beside keys: made, kept right, taken away, and never written over what is somebody else's.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::process::wait_until;
use e2e::tls::Certificates;
use http::Method;
use serde_json::{Value, json};

use super::scene::{Cluster, Controller, PATIENCE, version};
use crate::injection;

const GATE: &str = include_str!("../../../examples/kubernetes/gate.yaml");
pub(super) const SIDECAR: &str = "
jwt: { issuer: 'https://cloakroom.example', keysDir: /etc/cloakroom/keys }
listen: { grpc: '127.0.0.1:9443' }
policies: { kubernetes: { namespace: '${namespace}', installNamespace: cloakroom-system } }
";

fn binding(namespace: &str) -> String {
    format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings/cloakroom-gate")
}

fn config_map(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps/cloakroom-gate")
}

pub(super) fn secret(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets/{name}")
}

fn brought(namespace: &str) -> [String; 3] {
    [binding(namespace), config_map(namespace), secret(namespace, "cloakroom-gate")]
}

pub(super) fn file(secret: &Value, key: &str) -> String {
    let content = STANDARD.decode(secret["data"][key].as_str().unwrap_or_default()).unwrap_or_default();
    String::from_utf8(content).unwrap_or_default()
}

/// A cluster with the roles of gates, and the files of a controller that brings what sidecars need.
pub(super) struct Scene {
    pub(super) cluster: Cluster,
    pub(super) certificates: Certificates,
    folder: tempfile::TempDir,
}

impl Scene {
    pub(super) async fn of(cluster: Cluster) -> Result<Self> {
        // Only the roles: the binding is the controller's to make.
        let documents: Vec<Value> = serde_saphyr::from_multiple(GATE)?;
        for role in documents.iter().filter(|it| it["kind"] == "ClusterRole") {
            cluster.server.apply(&role.to_string()).await?;
        }
        let folder = tempfile::tempdir()?;
        let certificates = Certificates::make(folder.path(), &["127.0.0.1"])?;
        let scene = Self { cluster, certificates, folder };
        scene.write(SIDECAR)?;
        Ok(scene)
    }

    pub(super) fn file(&self) -> PathBuf {
        self.folder.path().join("sidecar.yaml")
    }

    pub(super) fn write(&self, text: &str) -> Result<()> {
        Ok(std::fs::write(self.file(), text)?)
    }

    pub(super) async fn controller(&self) -> Result<Controller> {
        self.controller_beside(&json!({})).await
    }

    /// With more settings, which win.
    pub(super) async fn controller_beside(&self, more: &Value) -> Result<Controller> {
        self.cluster.controller_with(&self.settings_beside(more)).await
    }

    /// `controller` in its configuration.
    pub(super) fn settings_beside(&self, more: &Value) -> Value {
        let mut settings = json!({
            "webhook": {
                "listen": "127.0.0.1:0",
                "certFile": self.certificates.server.certificate,
                "keyFile": self.certificates.server.key,
            },
            "secrets": ["token", "admin", "store"],
            "sidecars": {
                "configFile": self.file(),
                "image": "registry.example/cloakroom@sha256:0a",
                "store": { "passwordSecret": "cloakroom-store", "sentinelPasswordSecret": "cloakroom-store" },
            },
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            settings[key] = value.clone();
        }
        settings
    }

    /// Has the controller do each thing that it does for sidecars.
    pub(super) async fn life_of(&self, namespace: &str) -> Result<()> {
        self.settled(namespace).await?;
        self.write(&SIDECAR.replace("cloakroom.example", "another.example"))?;
        let mut store = self.cluster.get(&secret("cloakroom-system", "cloakroom-store")).await?;
        store["data"]["password"] = json!(STANDARD.encode("changed"));
        self.put(&secret("cloakroom-system", "cloakroom-store"), &store).await?;
        let mut bound = self.cluster.get(&binding(namespace)).await?;
        bound["subjects"] = json!([]);
        self.put(&binding(namespace), &bound).await?;
        self.becomes(&config_map(namespace), "has the new file", |it| it.to_string().contains("another.example"))
            .await?;
        let gate = secret(namespace, "cloakroom-gate");
        self.becomes(&gate, "has the new password", |it| file(it, "store.password") == "changed").await?;
        self.becomes(&binding(namespace), "is put right", |it| it["subjects"][0].is_object()).await?;
        self.enroll(namespace, false).await?;
        for path in brought(namespace) {
            self.goes(&path).await?;
        }
        Ok(())
    }

    pub(super) async fn enroll(&self, namespace: &str, is_enrolled: bool) -> Result<()> {
        let label = format!("cloakroom.dev/enrolled: '{is_enrolled}'");
        let namespace =
            format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {namespace}, labels: {{ {label} }} }}");
        self.cluster.server.apply(&namespace).await?;
        Ok(())
    }

    /// Waits until an object is like this.
    pub(super) async fn becomes(&self, path: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let seen = async || self.cluster.get(path).await.is_ok_and(|object| is_it(&object));
        wait_until(PATIENCE, &format!("{path} {what}"), seen).await?;
        self.cluster.get(path).await
    }

    async fn goes(&self, path: &str) -> Result<()> {
        let gone =
            async || self.cluster.server.api(Method::GET, path, None).await.is_ok_and(|(status, _)| status == 404);
        wait_until(PATIENCE, &format!("end of {path}"), gone).await
    }

    async fn put(&self, path: &str, object: &Value) -> Result<()> {
        let (status, answer) = self.cluster.server.api(Method::PUT, path, Some(object)).await?;
        ensure!(status == 200, "{path}: {status} {answer}");
        Ok(())
    }

    /// A namespace that is enrolled now has all that it is to get, and so the controller has looked at all before it.
    async fn settled(&self, name: &str) -> Result<()> {
        self.enroll(name, true).await?;
        for path in brought(name) {
            self.becomes(&path, "is made", |_| true).await?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sidecars_find_what_they_need_and_a_restart_changes_nothing() -> Result<()> {
    let scene = Scene::of(Cluster::spawn().await?).await?;
    scene.enroll("shop", true).await?;
    scene.enroll("bank", true).await?;
    let controller = scene.controller().await?;
    let mut versions = Vec::new();
    for path in brought("shop").iter().chain(&brought("bank")) {
        let object = scene.becomes(path, "is made", |_| true).await?;
        ensure!(object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "cloakroom-controller", "{object:#}");
        versions.push((path.clone(), version(&object).to_owned()));
    }
    let map = scene.cluster.get(&config_map("shop")).await?;
    let text = map["data"]["cloakroom.yaml"].as_str().context("no file")?;
    ensure!(text == SIDECAR.replace("${namespace}", "shop"), "{text}");

    let shared = scene.cluster.get(&secret("shop", "cloakroom-gate")).await?;
    let other = scene.cluster.get(&secret("bank", "cloakroom-gate")).await?;
    let of_install = |name: &str| secret("cloakroom-system", name);
    for (name, key, copy) in [
        ("cloakroom-token", "token.key", Some("token.key")),
        ("cloakroom-store", "password", Some("store.password")),
        ("cloakroom-store", "password", Some("sentinel.password")),
        ("cloakroom-admin", "admin.token", None),
    ] {
        let made = scene.cluster.get(&of_install(name)).await?;
        versions.push((of_install(name), version(&made).to_owned()));
        ensure!(file(&made, key).len() == 43, "{name} has no 256 bits: {made:#}");
        if let Some(copy) = copy {
            ensure!(file(&shared, copy) == file(&made, key), "{name} is not copied to shop");
            ensure!(file(&other, copy) == file(&made, key), "{name} is not copied to bank");
        }
    }
    // Who is one namespace's admin is not another's, and handles of one open in no other.
    let admin = file(&shared, "admin.token");
    for own in ["admin.token", "handle.key"] {
        ensure!(file(&shared, own).len() == 43 && file(&shared, own) != file(&other, own), "one {own} for all");
    }

    // The pods' accounts may watch policies there, and nowhere else.
    let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: web, namespace: shop }";
    scene.cluster.server.apply(account).await?;
    let token = scene.cluster.server.service_account_token("shop", "web").await?;
    for (namespace, want) in [("shop", 200), ("bank", 403)] {
        let path = format!("/apis/cloakroom.dev/v1alpha1/namespaces/{namespace}/authpolicies");
        let asked = async || {
            scene.cluster.server.api_as(&token, Method::GET, &path, None).await.is_ok_and(|(status, _)| status == want)
        };
        wait_until(PATIENCE, &format!("{want} in {namespace}"), asked).await?;
    }

    controller.end()?;
    let controller = scene.controller().await?;
    scene.settled("later").await?;
    for (path, before) in versions {
        let after = scene.cluster.get(&path).await?;
        ensure!(version(&after) == before, "written again after a restart: {after:#}");
    }
    let lines = controller.process.output().lines();
    let told = lines.iter().find(|line| line.contains(&admin) || line.contains(&file(&shared, "token.key")));
    ensure!(told.is_none(), "P31: {told:?}");
    controller.end()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_changed_is_copied_on_and_what_was_changed_is_put_right() -> Result<()> {
    let scene = Scene::of(Cluster::spawn().await?).await?;
    scene.enroll("shop", true).await?;
    let mut controller = Some(scene.controller().await?);
    let gate = secret("shop", "cloakroom-gate");
    let before = scene.becomes(&gate, "is made", |_| true).await?;
    scene.becomes(&config_map("shop"), "is made", |_| true).await?;
    scene.becomes(&binding("shop"), "is made", |_| true).await?;
    // Each change is seen by a controller that runs, and by one that was not there when it happened.
    for round in 0..2 {
        let is_away = round == 1;
        if is_away {
            controller.take().into_iter().try_for_each(Controller::end)?;
        }
        let text = SIDECAR.replace("cloakroom.example", &format!("issuer-{round}.example"));
        scene.write(&text)?;
        let mut store = scene.cluster.get(&secret("cloakroom-system", "cloakroom-store")).await?;
        store["data"]["password"] = json!(STANDARD.encode(format!("changed-{round}")));
        scene.put(&secret("cloakroom-system", "cloakroom-store"), &store).await?;
        let mut bound = scene.cluster.get(&binding("shop")).await?;
        bound["subjects"] = json!([{ "kind": "User", "name": "mallory", "apiGroup": "rbac.authorization.k8s.io" }]);
        bound["metadata"]["annotations"] = json!({ "example.com/note": "kept" });
        scene.put(&binding("shop"), &bound).await?;
        if is_away {
            controller = Some(scene.controller().await?);
        }
        let want = text.replace("${namespace}", "shop");
        scene.becomes(&config_map("shop"), "has the new file", |it| it["data"]["cloakroom.yaml"] == want).await?;
        let password = format!("changed-{round}");
        let after = scene.becomes(&gate, "has the new password", |it| file(it, "store.password") == password).await?;
        for own in ["admin.token", "handle.key"] {
            ensure!(file(&after, own) == file(&before, own), "another {own}");
        }
        let group = "system:serviceaccounts:shop";
        let bound = scene.becomes(&binding("shop"), "is put right", |it| it["subjects"][0]["name"] == group).await?;
        ensure!(bound["metadata"]["annotations"]["example.com/note"] == "kept", "{bound:#}");
    }
    // A role that somebody exchanged: it cannot be changed, only made anew.
    scene.cluster.delete(&binding("shop")).await?;
    scene.becomes(&binding("shop"), "is made again", |_| true).await?;

    let controller = controller.context("none runs")?;
    // A file that is no good reaches nobody; the last good one stays.
    let good = scene.cluster.get(&config_map("shop")).await?;
    scene.write("jwt: { issuer: nonsense }")?;
    let complained = async || {
        let lines = controller.process.output().lines();
        lines.iter().any(|line| line.contains("the file of the sidecars is no good") && line.contains("jwt.issuer"))
    };
    wait_until(PATIENCE, "complaint about the file", complained).await?;
    scene.settled("later").await?;
    ensure!(scene.cluster.get(&config_map("shop")).await?["data"] == good["data"], "the bad file was copied");
    controller.end()?;
    let error = scene.controller().await.err().context("it starts with a bad file")?;
    ensure!(format!("{error:#}").contains("controller.sidecars.configFile"), "{error:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_brought_goes_when_a_namespace_is_no_longer_enrolled() -> Result<()> {
    let scene = Scene::of(Cluster::spawn().await?).await?;
    for namespace in ["shop", "bank"] {
        scene.enroll(namespace, true).await?;
    }
    let controller = scene.controller().await?;
    for path in brought("shop").iter().chain(&brought("bank")) {
        scene.becomes(path, "is made", |_| true).await?;
    }
    let keys = scene.becomes(&secret("shop", "cloakroom-keys"), "is made", |_| true).await?;
    scene.enroll("shop", false).await?;
    for path in brought("shop") {
        scene.goes(&path).await?;
    }
    ensure!(scene.cluster.get(&secret("shop", "cloakroom-keys")).await? == keys, "keys are for people to delete");
    // Also by one that was not there.
    controller.end()?;
    scene.enroll("bank", false).await?;
    let controller = scene.controller().await?;
    for path in brought("bank") {
        scene.goes(&path).await?;
    }
    scene.enroll("shop", true).await?;
    for path in brought("shop") {
        scene.becomes(&path, "is made again", |_| true).await?;
    }
    controller.end()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_somebody_elses_is_never_written_to() -> Result<()> {
    let scene = Scene::of(Cluster::spawn().await?).await?;
    let foreign = "
apiVersion: v1
kind: Secret
metadata: { name: cloakroom-gate, namespace: shop }
stringData: { theirs: kept }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: cloakroom-gate, namespace: shop }
data: { theirs: kept }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: cloakroom-gate, namespace: shop }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cloakroom-gate-secrets }
subjects: [{ kind: ServiceAccount, name: web, namespace: shop }]
---
apiVersion: v1
kind: Secret
metadata: { name: cloakroom-admin, namespace: cloakroom-system }
stringData: { admin.token: a-token-that-somebody-has-made-beforehand }
---
apiVersion: v1
kind: Secret
metadata: { name: cloakroom-store, namespace: cloakroom-system }
stringData: { secret: in-another-file }
";
    scene.cluster.server.apply(foreign).await?;
    let theirs = [
        brought("shop").to_vec(),
        ["cloakroom-admin", "cloakroom-store"].map(|name| secret("cloakroom-system", name)).to_vec(),
    ]
    .concat();
    let mut before = Vec::new();
    for path in &theirs {
        before.push(version(&scene.cluster.get(path).await?).to_owned());
    }
    scene.enroll("shop", true).await?;
    let controller = scene.controller().await?;
    for (name, want) in
        [("shop/cloakroom-gate", "Warning NotOurs"), ("cloakroom-system/cloakroom-store", "Warning Incomplete")]
    {
        let told =
            async || scene.cluster.events(name).await.is_ok_and(|events| events.iter().any(|it| it.starts_with(want)));
        wait_until(PATIENCE, &format!("Event on {name}"), told).await?;
    }
    let complaint = async || {
        let lines = controller.process.output().lines();
        lines.iter().any(|line| line.contains("SourceMissing") && line.contains("cloakroom-system/cloakroom-store"))
    };
    wait_until(PATIENCE, "complaint about the store's password", complaint).await?;
    // The cure is felt.
    let store_path = secret("cloakroom-system", "cloakroom-store");
    let mut store = scene.cluster.get(&store_path).await?;
    store["data"]["password"] = json!(STANDARD.encode("given"));
    scene.put(&store_path, &store).await?;
    scene.settled("later").await?;
    let made = scene.cluster.get(&secret("later", "cloakroom-gate")).await?;
    ensure!(file(&made, "store.password") == "given", "{made:#}");
    // Whose it is the label says, also when the namespace is no longer enrolled.
    scene.enroll("shop", false).await?;
    scene.settled("last").await?;
    for (path, before) in theirs.iter().zip(before).filter(|(path, _)| **path != store_path) {
        ensure!(version(&scene.cluster.get(path).await?) == before, "{path} was written to");
    }
    ensure!(scene.cluster.get(&store_path).await?["data"]["secret"] == json!(STANDARD.encode("in-another-file")));
    controller.end()
}

#[tokio::test(flavor = "multi_thread")]
async fn p35_a_controller_injects_its_sidecar() -> Result<()> {
    let scene = Scene::of(Cluster::spawn().await?).await?;
    scene.enroll("shop", true).await?;
    let controller = scene.controller().await?;
    let port = controller.webhook().context("no webhook")?.port();
    scene.cluster.server.apply(&injection::registration(port, &scene.certificates.ca)?).await?;
    let made = async || {
        let path = "/api/v1/namespaces/shop/pods?dryRun=All";
        let answer = scene.cluster.server.api(Method::POST, path, Some(&injection::pod("web"))).await;
        answer.is_ok_and(|(_, pod)| injection::is_injected(&pod))
    };
    wait_until(PATIENCE, "injection", made).await?;
    controller.end()
}
