//! `cloakroom doctor` on a real API server: a whole install, a broken one, and one that may not be looked at.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test --test kube doctor` writes what it prints anew: read the difference before you commit it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom::wiring::{self, Form, Mesh, Shape, Site};
use e2e::kube::{ADMIN, ApiServer, ApiServerOptions};
use e2e::sloppy::{Sloppy, ok};
use e2e::tls::Certificates;
use http::Method;
use serde_json::{Value, json};

use crate::definitions;

/// Istio's kinds, without their schemas.
const ISTIO: [(&str, &str, &str, &str); 5] = [
    ("security.istio.io", "v1", "AuthorizationPolicy", "authorizationpolicies"),
    ("security.istio.io", "v1", "RequestAuthentication", "requestauthentications"),
    ("networking.istio.io", "v1", "DestinationRule", "destinationrules"),
    ("networking.istio.io", "v1", "ServiceEntry", "serviceentries"),
    ("networking.istio.io", "v1alpha3", "EnvoyFilter", "envoyfilters"),
];

const IMAGE: &str = "registry/cloakroom@sha256:new";

/// Everything that an install has in a cluster whose wiring is good.
const INSTALL: &str = include_str!("doctor/install.yaml");

struct Scene {
    server: ApiServer,
    keys: Sloppy,
}

/// How it ended, and what it wrote.
struct Said {
    status: Option<i32>,
    out: String,
    errors: String,
}

impl Scene {
    /// A whole install with Istio's wiring.
    async fn set() -> Result<Self> {
        let server = ApiServer::spawn(ApiServerOptions::default().user("nobody", &[])).await?;
        definitions::install(&server).await?;
        for (group, version, kind, plural) in ISTIO {
            server.apply(&definition(group, version, kind, plural).to_string()).await?;
        }
        let folder = tempfile::tempdir()?;
        let made = Certificates::make(folder.path(), &["cloakroom-controller.cloakroom-system.svc"])?;
        let base64 = |file: &Path| Ok::<_, std::io::Error>(STANDARD.encode(std::fs::read(file)?));
        let ring = STANDARD.encode("keys: [{kid: one, published: 2022-01-01T00:00:00Z}]");
        let install = INSTALL
            .replace("<RENEWED>", &format!("{:.6}", k8s_openapi::jiff::Timestamp::now()))
            .replace("<AUTHORITY>", &base64(&made.ca)?)
            .replace("<CERTIFICATE>", &base64(&made.server.certificate)?)
            .replace("<KEY>", &base64(&made.server.key)?)
            .replace("<RING>", &ring)
            .replace("<IMAGE>", IMAGE);
        server.apply(&install).await?;
        server.apply(&wiring()?).await?;
        let scene = Self { server, keys: keys("one").await? };
        let deployment = "/apis/apps/v1/namespaces/cloakroom-system/deployments/cloakroom-controller";
        scene.status(deployment, json!({ "replicas": 2, "readyReplicas": 2 })).await?;
        let policy = "/apis/cloakroom.dev/v1alpha1/namespaces/shop/authpolicies/shop";
        scene.status(policy, ancestors("True", "Accepted")).await?;
        Ok(scene)
    }

    /// Writes a status, as its controller would.
    async fn status(&self, path: &str, status: Value) -> Result<()> {
        let (_, mut object) = self.server.api(Method::GET, path, None).await?;
        object["status"] = status;
        let (code, answer) = self.server.api(Method::PUT, &format!("{path}/status"), Some(&object)).await?;
        ensure!(code == 200, "{path}: {code} {answer}");
        Ok(())
    }

    fn doctor(&self, user: &str, more: &[&str]) -> Result<Said> {
        let (kubeconfig, keys) = (self.server.kubeconfig(user)?, format!("http://{}", self.keys.address()));
        let mut arguments = vec!["doctor", "--kubeconfig", kubeconfig.to_str().context("a path")?, "--keys", &keys];
        arguments.extend(more);
        run(&arguments)
    }
}

/// What `cloakroom snippet istio --namespace shop` prints, the lines of the mesh configuration in their ConfigMap.
fn wiring() -> Result<String> {
    let site = Site { namespaces: vec!["shop".to_owned()], ..Site::new("cloakroom-system", Shape::Sidecar) };
    let map = |lines: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": "istio", "namespace": "istio-system" },
            "data": { "mesh": lines },
        })
    };
    let objects = wiring::pieces(Mesh::Istio, &site)?.into_iter().map(|piece| match piece.form {
        Form::Document => piece.yaml,
        Form::Lines => map(&piece.yaml).to_string(),
    });
    Ok(objects.collect::<Vec<_>>().join("\n---\n"))
}

fn run(arguments: &[&str]) -> Result<Said> {
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
    let answer = doctor.args(arguments).env_remove("KUBERNETES_SERVICE_HOST").stdin(Stdio::null()).output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Said { status: answer.status.code(), out: text(answer.stdout), errors: text(answer.stderr) })
}

/// What serves a key set with this key.
async fn keys(kid: &'static str) -> Result<Sloppy> {
    Sloppy::answering(move |_| ok("application/json", &json!({ "keys": [{ "kid": kid, "kty": "EC" }] }).to_string()))
        .await
}

fn ancestors(accepted: &str, reason: &str) -> Value {
    json!({ "ancestors": [{
        "ancestorRef": { "group": "cloakroom.dev", "kind": "AuthPolicy", "name": "shop" },
        "controllerName": "cloakroom.dev/controller",
        "conditions": [{
            "type": "Accepted", "status": accepted, "reason": reason, "message": "spec.hosts: as the controller says",
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    }] })
}

fn definition(group: &str, version: &str, kind: &str, plural: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List") },
            "versions": [{ "name": version, "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            } } }],
        },
    })
}

/// Compares what was printed with what was reviewed.
fn reviewed(name: &str, printed: &str) -> Result<()> {
    let file = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kube/doctor")).join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&file, printed)?;
    }
    let wanted = std::fs::read_to_string(&file).unwrap_or_default();
    ensure!(wanted == printed, "{}: UPDATE_SNAPSHOTS=1 writes it anew\n{printed}", file.display());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_is_well_until_something_breaks() -> Result<()> {
    let mut scene = Scene::set().await?;
    let said = scene.doctor(ADMIN, &[])?;
    reviewed("good.txt", &said.out)?;
    ensure!(said.status == Some(0), "{:?} {}", said.status, said.errors);
    // Read, and nothing written.
    let said = scene.doctor(ADMIN, &["-o", "json", "--mesh", "istio", "--namespace", "shop"])?;
    reviewed("good.json", &said.out)?;
    ensure!(said.status == Some(0), "{:?} {}", said.status, said.errors);

    let server = &scene.server;
    server.apply(include_str!("doctor/broken.yaml")).await?;
    let gone = [
        "/api/v1/namespaces/shop/configmaps/cloakroom-gate",
        "/apis/networking.istio.io/v1alpha3/namespaces/istio-system/envoyfilters/cloakroom",
    ];
    for path in gone {
        let (status, answer) = server.api(Method::DELETE, path, None).await?;
        ensure!(status == 200, "{answer}");
    }
    let policy = "/apis/cloakroom.dev/v1alpha1/namespaces/shop/authpolicies/shop";
    scene.status(policy, ancestors("False", "Invalid")).await?;
    scene.keys = keys("another").await?;
    let said = scene.doctor(ADMIN, &[])?;
    reviewed("broken.txt", &said.out)?;
    ensure!(said.status == Some(1), "{:?} {}", said.status, said.errors);
    let said = scene.doctor(ADMIN, &["-o", "json"])?;
    let told: Value = serde_json::from_str(&said.out)?;
    let is_told = told["findings"].as_array().into_iter().flatten().any(|it| {
        it["check"] == "istio-policies"
            && it["level"] == "problem"
            && it["seen"].as_str().is_some_and(|it| it.contains("names the provider `opa`"))
    });
    ensure!(is_told, "{told:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_looked_at_is_unknown_with_the_right_that_is_missing() -> Result<()> {
    let scene = Scene::set().await?;
    let said = scene.doctor("nobody", &["--namespace", "shop"])?;
    ensure!(said.status == Some(2), "{:?} {} {}", said.status, said.out, said.errors);
    for right in [
        "grant get secrets in the namespace shop",
        "grant get customresourcedefinitions.apiextensions.k8s.io in the whole cluster",
        "grant get deployments.apps in the namespace cloakroom-system",
        "grant list authpolicies.cloakroom.dev in the namespace shop",
        "grant get configmaps in the namespace istio-system",
        "grant list authorizationpolicies.security.istio.io in the namespace istio-system",
    ] {
        ensure!(said.out.contains(right), "{right}: {}", said.out);
    }
    ensure!(!said.out.contains("problem  "), "{}", said.out);
    let said = scene.doctor("nobody", &["--namespace", "shop", "--allow-unknown"])?;
    ensure!(said.status == Some(0), "{:?} {}", said.status, said.out);

    // The API server leads to the key sets of a Service, and there is none.
    let kubeconfig = scene.server.kubeconfig(ADMIN)?;
    let said = run(&["doctor", "--kubeconfig", kubeconfig.to_str().unwrap()])?;
    ensure!(said.status == Some(1) && said.out.contains("does not answer, so that no service"), "{}", said.out);

    // Nothing answers at all.
    scene.server.kill()?;
    let said = scene.doctor(ADMIN, &[])?;
    ensure!(said.status == Some(2) && said.errors.contains("does not answer: is that the cluster"), "{}", said.errors);
    let said = run(&["doctor", "--kubeconfig", "/nonexistent"])?;
    ensure!(said.status == Some(2) && said.errors.contains("--kubeconfig"), "{}", said.errors);
    Ok(())
}
