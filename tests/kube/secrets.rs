//! API keys that lie in Secrets of the cluster.

use anyhow::{Context as _, Result, ensure};
use e2e::envoy::{Envoy, EnvoyConfig};
use e2e::gate::Cloakroom;
use e2e::http1::exchange;
use e2e::kube::ApiServer;
use e2e::process::wait_until;
use e2e::sloppy::Sloppy;
use e2e::tools::{self, EnvoyVersion};
use serde_json::json;

use crate::house::{self, PATIENCE};

const OBJECTS: &str = r"
apiVersion: v1
kind: Namespace
metadata: { name: other }
---
apiVersion: cloakroom.dev/v1alpha1
kind: IdentityProvider
metadata: { name: partners, namespace: shop }
spec: { apiKeys: { selector: { matchLabels: { for: partners } } } }
---
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: shop, namespace: shop }
spec:
  hosts: [shop.localhost]
  rules: [{ authenticate: [{ provider: { name: partners } }] }]
";

/// A Secret with a key, and whether gates may read it.
fn secret(name: &str, namespace: &str, key: &str, readable: bool) -> String {
    let label = if readable { r#", cloakroom.dev/provider-secret: "true""# } else { "" };
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{ name: {name}, namespace: {namespace}, labels: {{ for: partners{label} }} }}\n\
         stringData: {{ key: {key}, subject: {name} }}\n"
    )
}

async fn status(envoy: &Envoy, key: &str) -> Result<u16> {
    let request =
        format!("GET /cart HTTP/1.1\r\nHost: shop.localhost\r\nX-Api-Key: {key}\r\nConnection: close\r\n\r\n");
    Ok(exchange(envoy.address(), request.as_bytes()).await?.status())
}

async fn comes_to(envoy: &Envoy, key: &str, want: u16) -> Result<()> {
    let is_so = async || status(envoy, key).await.is_ok_and(|it| it == want);
    wait_until(PATIENCE, &format!("{want} for a key"), is_so).await
}

async fn delete(server: &ApiServer, name: &str) -> Result<()> {
    let path = format!("/api/v1/namespaces/shop/secrets/{name}");
    let (status, answer) = server.api(http::Method::DELETE, &path, None).await?;
    ensure!(status == 200, "{status}: {answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p27_p31_a_gate_reads_the_secrets_that_are_marked_and_keeps_none() -> Result<()> {
    let server = house::bare_server().await?;
    server.apply_folder(&tools::workspace().join("crds")).await?;
    server.apply(house::GRANT).await?;
    server.apply(OBJECTS).await?;
    server.apply(&secret("marked", "shop", "key-that-is-marked-1", true)).await?;
    server.apply(&secret("unmarked", "shop", "key-without-a-mark-2", false)).await?;
    server.apply(&secret("foreign", "other", "key-of-another-one-3", true)).await?;

    let mut options = house::options(&server)?;
    options.config["policies"]["kubernetes"]["secrets"] = json!(true);
    let mut gate = Cloakroom::begin(options).await?;
    let shop = Sloppy::spawn().await?;
    let mut config = EnvoyConfig::shipped()?;
    config.plain()?.patient()?.gate(&gate.grpc()?)?.service("shop", shop.address())?;
    let envoy = Envoy::spawn(EnvoyVersion::Newest, &config).await?;

    // Without the right all else is in force, and a key that is not known is not a wrong key.
    house::says(&gate, "secrets is forbidden", 1).await?;
    wait_until(PATIENCE, "readiness", async || gate.is_ready().await).await?;
    ensure!(status(&envoy, "key-that-is-marked-1").await? == 503);

    server.apply(house::GRANT_SECRETS).await?;
    comes_to(&envoy, "key-that-is-marked-1", 200).await.with_context(|| gate.output().tail(20))?;
    for wrong in ["key-without-a-mark-2", "key-of-another-one-3", "key-of-nobody-at-all"] {
        ensure!(status(&envoy, wrong).await? == 401, "{wrong}");
    }
    // What is told of a Secret is felt like what is told of a policy.
    server.apply(&secret("second", "shop", "key-that-comes-later-4", true)).await?;
    comes_to(&envoy, "key-that-comes-later-4", 200).await?;
    delete(&server, "second").await?;
    comes_to(&envoy, "key-that-comes-later-4", 401).await?;

    // The snapshot has the policy and no key. A gate that knows no Secret any more calls no key wrong.
    let snapshot = gate.folder().join("policies.snapshot");
    let written = async || std::fs::read_to_string(&snapshot).is_ok_and(|it| it.contains("shop.localhost"));
    wait_until(PATIENCE, "snapshot", written).await?;
    server.kill()?;
    gate.crash_and_restart().await?;
    let kept = std::fs::read_to_string(&snapshot)?;
    ensure!(!kept.contains("marked") && !kept.contains("a2V5"), "a Secret is in the snapshot");
    ensure!(status(&envoy, "key-that-is-marked-1").await? == 503);
    ensure!(!gate.output().lines().iter().any(|line| line.contains("key-that")), "a key is in the log");
    Ok(())
}
