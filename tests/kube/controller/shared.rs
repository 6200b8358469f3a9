//! A shared gate and its proxy with the certificates that the controller makes.

use anyhow::{Result, ensure};
use cloakroom::k8s::controller::certificates::name_of_proxies;
use e2e::envoy::{Envoy, EnvoyConfig};
use e2e::gate::{Cloakroom, GateOptions};
use e2e::http1::exchange;
use e2e::mount::{Mount, files_of};
use e2e::process::wait_until;
use e2e::sloppy::Sloppy;
use e2e::tools::EnvoyVersion;
use http::Method;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::certificates::{BINDING, secret_path, settings};
use super::scene::{Cluster, PATIENCE};

const NAME: &str = "cloakroom-gate.cloakroom-system.svc";
/// How often the proxy has taken up another secret for its connections to the gate.
const UPDATES: &str = "cluster.cloakroom.client_ssl_socket_factory.ssl_context_update_by_sds";
const POLICY: &str = "
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: shop, namespace: shop }
spec:
  hosts: [shop.example]
  rules: [{ name: shop, forward: { audience: shop } }]
";

/// A shared gate with the Secrets as they would be mounted, a proxy before it, and those who follow the Secrets.
pub(super) struct Shared {
    pub(super) gate: Cloakroom,
    pub(super) envoy: Envoy,
    _shop: Sloppy,
    /// One that passes.
    pub(super) request: String,
    mounts: Vec<(String, Mount)>,
}

impl Shared {
    /// The gate lets in the proxies of the namespaces on the list; the proxy is of this one.
    pub(super) async fn of(cluster: &Cluster, list: &[&str], namespace: &str) -> Result<Self> {
        let mut mounts = Vec::new();
        let of_proxy = format!("{namespace}/cloakroom-proxy-tls");
        for secret in ["cloakroom-system/cloakroom-gate-tls", "cloakroom-system/cloakroom-gate-keys", &of_proxy] {
            let there = async || cluster.get(&secret_path(secret)).await.is_ok();
            wait_until(PATIENCE, secret, there).await?;
            mounts.push((secret.to_owned(), Mount::of(&files_of(&cluster.get(&secret_path(secret)).await?)?)?));
        }
        let tls = |name: &str| mounts[0].1.path().join(name);
        let mut options = GateOptions::new(env!("CARGO_BIN_EXE_cloakroom")).policy("shop.yaml", POLICY);
        options.config = json!({
            "listen": {
                "grpc": "0.0.0.0:0",
                "tls": {
                    "certFile": tls("tls.crt"), "keyFile": tls("tls.key"), "clientCaFile": tls("ca.crt"),
                    "clientNames": list.iter().map(|it| name_of_proxies(it)).collect::<Vec<_>>(),
                },
            },
            "jwt": { "keysDir": mounts[1].1.path() },
        });
        let gate = Cloakroom::spawn(options).await?;
        let shop = Sloppy::spawn().await?;
        let mut config = EnvoyConfig::shipped()?;
        config.plain()?.patient()?.gate(&gate.grpc()?)?.service("shop", shop.address())?;
        config.gate_tls(mounts[2].1.path(), NAME, true)?;
        let options = "/static_resources/clusters/0/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        config.at(options)?["common_http_protocol_options"] = json!({ "max_requests_per_connection": 10 });
        let envoy = Envoy::spawn(EnvoyVersion::Newest, &config).await?;
        let token = gate.create_session(&json!({ "subject": "ada" })).await?.token;
        let request = format!("GET / HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer {token}\r\n\r\n");
        Ok(Self { gate, envoy, _shop: shop, request, mounts })
    }

    /// Has the Secrets as they are now, as kubelet would in a minute, and waits until gate and proxy have read them: each turn of
    /// an authority takes far longer than that. `of_proxy` is how many of the proxy's two secrets are others now.
    pub(super) async fn sync(&mut self, cluster: &Cluster, of_proxy: u64) -> Result<()> {
        let reads = || self.gate.output().count("a certificate was read again");
        let (read, updated) = (reads(), self.envoy.stat(UPDATES).await?);
        for (secret, mount) in &mut self.mounts {
            mount.update(&files_of(&cluster.get(&secret_path(secret)).await?)?)?;
        }
        let have_read =
            async || reads() > read && self.envoy.stat(UPDATES).await.is_ok_and(|it| it >= updated + of_proxy);
        wait_until(PATIENCE, "gate and proxy to read their Secrets", have_read).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p30_a_namespace_that_is_taken_off_the_list_is_refused_with_the_certificate_it_has() -> Result<()> {
    let cluster = Cluster::install().await?;
    cluster.server.apply(&BINDING.replace("infra", "edge")).await?;
    let mut settings = settings();
    settings["certificates"]["proxies"] = json!(["edge", "infra"]);
    let _controller = cluster.controller_with(&settings).await?;
    for (list, namespace, want) in [
        (&["edge", "infra"][..], "edge", 200),
        (&["infra"], "edge", 503),
        (&["infra"], "infra", 200),
        (&[], "infra", 503),
    ] {
        let shared = Shared::of(&cluster, list, namespace).await?;
        let status = exchange(shared.envoy.address(), shared.request.as_bytes()).await?.status();
        ensure!(status == want, "{namespace} of {list:?}: {status}");
    }

    // A certificate that does not name its namespace is replaced by itself.
    let (edge, infra) = (secret_path("edge/cloakroom-proxy-tls"), secret_path("infra/cloakroom-proxy-tls"));
    let other = cluster.get(&edge).await?["data"].clone();
    let mut secret = cluster.get(&infra).await?;
    secret["data"] = other.clone();
    let (status, answer) = cluster.server.api(Method::PUT, &infra, Some(&secret)).await?;
    ensure!(status == 200, "{answer}");
    let is_new = async || cluster.get(&infra).await.is_ok_and(|it| it["data"]["tls.crt"] != other["tls.crt"]);
    wait_until(PATIENCE, "certificate of its own", is_new).await?;
    let shared = Shared::of(&cluster, &["infra"], "infra").await?;
    ensure!(exchange(shared.envoy.address(), shared.request.as_bytes()).await?.status() == 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_replica_tells_when_certificates_end() -> Result<()> {
    const DAY: i64 = 86_400;
    let cluster = Cluster::install().await?;
    let theirs = "apiVersion: v1\nkind: Secret\nmetadata: { name: cloakroom-webhook-tls, namespace: cloakroom-system }\n\
                  stringData: { tls.crt: theirs }";
    cluster.server.apply(theirs).await?;
    let mut settings = settings();
    settings.as_object_mut().unwrap().remove("webhook");
    let replicas = [cluster.controller_with(&settings).await?, cluster.controller_with(&settings).await?];
    let now = Timestamp::now().as_second();
    let series = |what: &str, secret: &str| {
        format!("cloakroom_controller_certificate_{what}_timestamp_seconds{{secret=\"{secret}\"}}")
    };
    for replica in &replicas {
        for (secret, renewal, end) in [
            ("infra/cloakroom-proxy-tls", 60, 90),
            ("cloakroom-system/cloakroom-gate-tls", 60, 90),
            ("cloakroom-system/cloakroom-ca", 720, 900),
        ] {
            for (what, days) in [("renewal", renewal), ("expiration", end)] {
                let told = async || replica.metric(&series(what, secret)).await.is_ok_and(|it| it.is_some());
                wait_until(PATIENCE, &series(what, secret), told).await?;
                let told = replica.metric(&series(what, secret)).await?.unwrap();
                ensure!((told - now - days * DAY).abs() < DAY, "{what} of {secret}: {told}");
            }
        }
        // What is somebody's is not ours to renew.
        ensure!(replica.metric(&series("expiration", "cloakroom-system/cloakroom-webhook-tls")).await?.is_none());
    }
    // What becomes somebody's is told of no more.
    let (infra, told) = (secret_path("infra/cloakroom-proxy-tls"), series("expiration", "infra/cloakroom-proxy-tls"));
    let mut foreign = cluster.get(&infra).await?;
    foreign["metadata"]["labels"] = json!({});
    let (status, answer) = cluster.server.api(Method::PUT, &infra, Some(&foreign)).await?;
    ensure!(status == 200, "{answer}");
    for replica in &replicas {
        let is_gone = async || replica.metric(&told).await.is_ok_and(|it| it.is_none());
        wait_until(PATIENCE, "end of a series", is_gone).await?;
    }
    Ok(())
}
