//! The install's own certificates: from nothing to a webhook that the API server calls, and a new authority under a load of
//! reviews and checks while the leader is killed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::http1::{Connection, exchange};
use e2e::mount::files_of;
use e2e::process::wait_until;
use http::Method;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::scene::{Cluster, Controller, PATIENCE, on_route};
use super::shared::Shared;

const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/cloakroom-policies";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/cloakroom-injector";

/// What the controller needs in the namespace of the proxies, which is made with it.
pub(super) const BINDING: &str = "
apiVersion: v1
kind: Namespace
metadata: { name: infra }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: cloakroom-controller-proxies, namespace: infra }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cloakroom-controller-proxies }
subjects:
- { kind: ServiceAccount, name: cloakroom-controller, namespace: cloakroom-system }
";

/// `controller` of an install with everything.
pub(super) fn settings() -> Value {
    json!({
        "webhook": { "listen": "127.0.0.1:0" },
        "certificates": {
            "webhook": {
                "service": "cloakroom-controller",
                "validating": "cloakroom-policies",
                "mutating": "cloakroom-injector",
            },
            "gate": { "service": "cloakroom-gate" },
            "proxies": ["infra"],
        },
        "gateKeys": true,
    })
}

/// The Service and the registrations. This machine has no network of Services: the API server finds the Service's name to be
/// another name of this machine, and calls the port that the registration names.
pub(super) fn registrations(port: u16) -> String {
    let hook = |name: &str, path: &str, resource: &str| {
        json!({
            "name": name,
            "clientConfig": {
                "service": { "namespace": "cloakroom-system", "name": "cloakroom-controller", "path": path, "port": port },
            },
            "rules": [{
                "apiGroups": ["cloakroom.dev"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
                "resources": [resource], "scope": "Namespaced",
            }],
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 10,
        })
    };
    let mut other = hook("other.example.com", "/validate", "nothing");
    other["clientConfig"] = json!({ "url": "https://other.example/" });
    let objects = [
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": "cloakroom-controller", "namespace": "cloakroom-system" },
            "spec": { "type": "ExternalName", "externalName": "localhost" },
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": "cloakroom-policies" },
            "webhooks": [hook("policies.cloakroom.dev", "/validate", "authpolicies"), other],
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": "cloakroom-injector" },
            "webhooks": [hook("injector.cloakroom.dev", "/inject", "nothing")],
        }),
    ];
    objects.map(|it| it.to_string()).join("\n---\n")
}

pub(super) fn secret_path(name: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!("/api/v1/namespaces/{namespace}/secrets/{name}")
}

/// Where `/validate` is answered.
fn port(controller: &Controller) -> Result<u16> {
    Ok(controller.webhook().context("no webhook")?.port())
}

impl Cluster {
    pub(super) async fn install() -> Result<Self> {
        let cluster = Self::spawn().await?;
        cluster.server.apply(BINDING).await?;
        let shop =
            "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { cloakroom.dev/enrolled: 'true' } }";
        cluster.server.apply(shop).await?;
        Ok(cluster)
    }

    async fn file(&self, secret: &str, file: &str) -> Result<String> {
        let mut files = files_of(&self.get(&secret_path(secret)).await?)?;
        files.remove(file).with_context(|| format!("{secret} has no {file}"))
    }

    /// Waits until the Secret of the authority is like this.
    async fn authority(&self, what: &str, is_it: impl Fn(&[String]) -> bool) -> Result<()> {
        let names = async || -> Result<Vec<String>> {
            let files = files_of(&self.get(&secret_path("cloakroom-system/cloakroom-ca")).await?)?;
            Ok(files.into_keys().collect())
        };
        wait_until(PATIENCE, &format!("authority {what}"), async || names().await.is_ok_and(|it| is_it(&it))).await
    }

    /// Puts the beginning of the authority's turn far back.
    async fn wait_is_over(&self) -> Result<()> {
        let path = secret_path("cloakroom-system/cloakroom-ca");
        let mut secret = self.get(&path).await?;
        let long_ago = Timestamp::now() - SignedDuration::from_hours(24 * 400);
        secret["data"]["since"] = json!(STANDARD.encode(long_ago.to_string()));
        let (status, answer) = self.server.api(Method::PUT, &path, Some(&secret)).await?;
        ensure!(status == 200, "{answer}");
        Ok(())
    }

    /// Whom the API server trusts when it calls our webhooks, in both registrations.
    async fn told(&self) -> Result<[String; 2]> {
        let bundle = async |path: &str| -> Result<String> {
            let registration = self.get(path).await?;
            let bundle = registration["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap_or_default();
            Ok(String::from_utf8(STANDARD.decode(bundle)?)?)
        };
        Ok([bundle(VALIDATING).await?, bundle(MUTATING).await?])
    }

    /// The words with which a policy is refused that can never work.
    async fn refusal(&self) -> String {
        // In a namespace of its own: it is applied with the policy, and without a label.
        match self.server.apply(&on_route("other/bad", "shop", "realm: nowhere")).await {
            Ok(_) => "it was stored".to_owned(),
            Err(error) => format!("{error:#}"),
        }
    }

    async fn refuses(&self) -> Result<()> {
        let refused = async || self.refusal().await.contains("no realm `nowhere`");
        let waited = wait_until(PATIENCE, "refusal by the webhook", refused).await;
        match waited {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(self.refusal().await)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p26_from_nothing_to_a_webhook_that_the_api_server_calls() -> Result<()> {
    let cluster = Cluster::install().await?;
    // Somebody's object has a name of ours.
    let theirs = "apiVersion: v1\nkind: Secret\nmetadata: { name: cloakroom-gate-tls, namespace: cloakroom-system }\n\
                  stringData: { tls.crt: theirs }";
    cluster.server.apply(theirs).await?;
    let first = cluster.controller_with(&settings()).await?;
    cluster.server.apply(&registrations(port(&first)?)).await?;
    cluster.refuses().await?;
    cluster.server.apply(&on_route("shop/good", "shop", "")).await?;

    // Whom to trust was told to those who are named, where they call us, and nothing else of them was written.
    let trusted = cluster.file("cloakroom-system/cloakroom-ca", "ca.crt").await?;
    let is_told = async || cluster.told().await.is_ok_and(|told| told.iter().all(|it| *it == trusted));
    wait_until(PATIENCE, "trust of both registrations", is_told).await?;
    let registration = cluster.get(VALIDATING).await?;
    ensure!(registration["webhooks"][1]["clientConfig"].get("caBundle").is_none(), "{registration:#}");
    let managers = registration["metadata"]["managedFields"].as_array().context("managed fields")?;
    let written = managers.iter().find(|it| it["manager"] == "cloakroom-controller").context("we wrote it")?;
    ensure!(
        written["fieldsV1"]
            == json!({ "f:webhooks": { "k:{\"name\":\"policies.cloakroom.dev\"}": { "f:clientConfig": { "f:caBundle": {} } } } }),
        "{written:#}"
    );
    for file in ["ca.crt", "tls.crt"] {
        let proxies = cluster.file("infra/cloakroom-proxy-tls", file).await?;
        ensure!(proxies.starts_with("-----BEGIN CERTIFICATE-----"), "{proxies}");
    }
    let map = cluster.get("/api/v1/namespaces/infra/configmaps/cloakroom-ca").await?;
    ensure!(map["data"] == json!({ "ca.crt": trusted }), "{map:#}");
    let secret = cluster.get(&secret_path("infra/cloakroom-proxy-tls")).await?;
    ensure!(secret["type"] == "kubernetes.io/tls", "{}", secret["type"]);
    // The authority's key is nowhere else.
    let key = cluster.file("cloakroom-system/cloakroom-ca", "ca.key").await?;
    for other in ["cloakroom-system/cloakroom-webhook-tls", "infra/cloakroom-proxy-tls"] {
        ensure!(files_of(&cluster.get(&secret_path(other)).await?)?.values().all(|it| *it != key), "{other}");
    }

    // What is somebody's stays, and they are told.
    ensure!(cluster.file("cloakroom-system/cloakroom-gate-tls", "tls.crt").await? == "theirs");
    let told = async || {
        let events = cluster.events("cloakroom-system/cloakroom-gate-tls").await;
        events.is_ok_and(|events| events.iter().any(|it| it.starts_with("Warning NotOurs")))
    };
    wait_until(PATIENCE, "Event about somebody's Secret", told).await?;

    // An upgrade that empties the registration holds nobody up for long.
    let mut emptied = cluster.get(VALIDATING).await?;
    emptied["webhooks"][0]["clientConfig"]["caBundle"] = json!("");
    let (status, answer) = cluster.server.api(Method::PUT, VALIDATING, Some(&emptied)).await?;
    ensure!(status == 200, "{answer}");
    cluster.refuses().await?;

    // Another replica serves as well, and alone.
    let second = cluster.controller_with(&settings()).await?;
    let old = port(&first)?;
    first.end()?;
    ensure!(cluster.refusal().await.contains(&format!(":{old}")), "nobody is there");
    cluster.server.apply(&registrations(port(&second)?)).await?;
    cluster.refuses().await?;
    ensure!(!second.process.output().contains("PRIVATE KEY"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_says_what_its_webhook_waits_for() -> Result<()> {
    let cluster = Cluster::install().await?;
    // Nobody may make a Secret: as where the rights are those of an older release.
    cluster
        .delete("/apis/rbac.authorization.k8s.io/v1/namespaces/cloakroom-system/rolebindings/cloakroom-controller")
        .await?;
    cluster.delete("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/cloakroom-controller-keys").await?;
    let controller = cluster.controller_not_ready(&settings()).await?;
    let words = "Secret cloakroom-system/cloakroom-webhook-tls is not there yet";
    let says = async || controller.readyz().await.is_ok_and(|it| it["reasons"]["webhook"].to_string().contains(words));
    wait_until(PATIENCE, "reason", says).await?;
    ensure!(controller.readyz().await?["checks"]["webhook"] == false);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p30_p33_an_authority_is_replaced_under_load_while_its_leader_is_killed() -> Result<()> {
    let cluster = Cluster::install().await?;
    // It lives 900 days. From twice the life of a certificate before its end on it is replaced: a longer life makes it due.
    let maker = cluster.controller_with(&settings()).await?;
    let mut shared = Shared::of(&cluster, &["infra"], "infra").await?;
    let before = cluster.file("cloakroom-system/cloakroom-ca", "ca.crt").await?;
    maker.end()?;
    let mut settings = settings();
    settings["certificates"]["life"] = json!("14400h");
    let leader = cluster.controller_with(&settings).await?;
    let announced = |files: &[String]| files.contains(&"next.crt".to_owned()) && files.contains(&"since".to_owned());
    let serving = cluster.controller_with(&settings).await?;
    cluster.server.apply(&registrations(port(&serving)?)).await?;
    cluster.refuses().await?;

    let (address, request, log) = (shared.envoy.address(), shared.request.clone(), shared.gate.output());
    ensure!(exchange(address, request.as_bytes()).await?.status() == 200);
    let (checks, reviews, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let checking = async || -> Result<()> {
        let mut connection = Connection::open(address).await?;
        while !over.load(Ordering::Relaxed) {
            connection.send(request.as_bytes()).await?;
            let answer = connection.response(false).await?;
            ensure!(answer.status() == 200, "{answer:?}\n{}", log.tail(5));
            checks.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let reviewing = async || -> Result<()> {
        while !over.load(Ordering::Relaxed) {
            let said = cluster.refusal().await;
            ensure!(said.contains("no realm `nowhere`"), "{said}");
            reviews.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let go_on = async || {
        let before = (checks.load(Ordering::Relaxed), reviews.load(Ordering::Relaxed));
        let more =
            async || checks.load(Ordering::Relaxed) > before.0 + 50 && reviews.load(Ordering::Relaxed) > before.1 + 5;
        wait_until(PATIENCE, "load", more).await
    };
    let rotation = async {
        cluster.authority("announced", announced).await?;
        let [told, _] = cluster.told().await?;
        ensure!(told.starts_with(&before) && told.len() > before.len(), "both are trusted");
        // Whom to trust.
        shared.sync(&cluster, 1).await?;
        go_on().await?;
        // In the middle of it. The next one finds what was written, and goes on.
        leader.process.kill()?;
        cluster.wait_is_over().await?;
        let in_use =
            |files: &[String]| files.contains(&"previous.crt".to_owned()) && files.contains(&"since".to_owned());
        cluster.authority("in use", in_use).await?;
        let after = cluster.file("cloakroom-system/cloakroom-ca", "ca.crt").await?;
        ensure!(after != before);
        // That, and a certificate of the new one.
        shared.sync(&cluster, 2).await?;
        go_on().await?;
        cluster.wait_is_over().await?;
        cluster.authority("alone", |files| files == ["ca.crt", "ca.key"]).await?;
        let only = async || cluster.told().await.is_ok_and(|told| told.iter().all(|it| *it == after));
        wait_until(PATIENCE, "trust of the new one alone", only).await?;
        let only = async || cluster.file("infra/cloakroom-proxy-tls", "ca.crt").await.is_ok_and(|it| it == after);
        wait_until(PATIENCE, "proxies that trust the new one alone", only).await?;
        let only =
            async || cluster.file("cloakroom-system/cloakroom-gate-tls", "ca.crt").await.is_ok_and(|it| it == after);
        wait_until(PATIENCE, "gates that trust the new one alone", only).await?;
        // Whom to trust.
        shared.sync(&cluster, 1).await?;
        go_on().await?;
        over.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    tokio::try_join!(rotation, checking(), checking(), reviewing())?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p27_the_keys_of_all_namespaces_are_kept_together() -> Result<()> {
    let cluster = Cluster::install().await?;
    let settings = json!({ "gateKeys": true });
    let controller = cluster.controller_with(&settings).await?;
    let name = "cloakroom-system/cloakroom-gate-keys";
    let has = async |namespaces: &str| {
        let is_so = async || cluster.file(name, "namespaces").await.is_ok_and(|it| it == namespaces);
        wait_until(PATIENCE, &format!("keys of {namespaces:?}"), is_so).await
    };
    has("shop\n").await?;
    let label = |namespace: &str, value: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {namespace}, labels: {{ cloakroom.dev/enrolled: '{value}' }} }}"
        )
    };
    cluster.server.apply(&label("pay", "true")).await?;
    has("pay\nshop\n").await?;
    let files = files_of(&cluster.get(&secret_path(name)).await?)?;
    for namespace in ["pay", "shop"] {
        let alone = files_of(&cluster.get(&secret_path(&format!("{namespace}/cloakroom-keys"))).await?)?;
        for (file, content) in alone {
            ensure!(files.get(&format!("{namespace}_{file}")) == Some(&content), "{namespace}: {file}");
        }
    }
    cluster.server.apply(&label("shop", "false")).await?;
    has("pay\n").await?;
    // Somebody's is left alone.
    controller.end()?;
    cluster.delete(&secret_path(name)).await?;
    let theirs = "apiVersion: v1\nkind: Secret\nmetadata: { name: cloakroom-gate-keys, namespace: cloakroom-system }\n\
                  stringData: { namespaces: theirs }";
    cluster.server.apply(theirs).await?;
    let controller = cluster.controller_with(&settings).await?;
    let told = async || {
        let events = cluster.events(name).await;
        events.is_ok_and(|events| events.iter().any(|it| it.starts_with("Warning NotOurs")))
    };
    wait_until(PATIENCE, "Event about somebody's Secret", told).await?;
    has("theirs").await?;
    controller.end()
}
