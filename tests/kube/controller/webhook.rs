//! The admission webhook of a running controller, as `examples/kubernetes/webhook.yaml` registers it.

use anyhow::{Context as _, Result};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use e2e::process::wait_until;
use e2e::tls::Certificates;
use serde_json::{Value, json};

use super::scene::{Cluster, PATIENCE, on_route};

const REGISTRATION: &str = include_str!("../../../examples/kubernetes/webhook.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn p26_a_controller_refuses_what_can_never_work() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let certificates = Certificates::make(folder.path(), &["127.0.0.1"])?;
    let cluster = Cluster::spawn().await?;
    let webhook = json!({ "webhook": {
        "listen": "127.0.0.1:0",
        "certFile": certificates.server.certificate,
        "keyFile": certificates.server.key,
    } });
    let controller = cluster.controller_with(&webhook).await?;
    let address = controller.webhook().context("no webhook")?;

    // There is no Service on this machine: the address is told instead, and all else is as the example has it.
    let documents: Vec<Value> = serde_saphyr::from_multiple(REGISTRATION)?;
    let registration = documents.iter().find(|it| it["kind"] == "ValidatingWebhookConfiguration");
    let mut registration = registration.context("the example registers nothing")?.clone();
    registration["webhooks"][0]["clientConfig"] = json!({
        "url": format!("https://{address}/validate"),
        "caBundle": BASE64_STANDARD.encode(std::fs::read(&certificates.ca)?),
    });
    cluster.server.apply(&registration.to_string()).await?;

    let bad = on_route("shop/bad", "shop", "realm: nowhere");
    // A registration is taken up in a moment.
    let refused =
        async || cluster.server.apply(&bad).await.is_err_and(|error| format!("{error:#}").contains("no realm"));
    wait_until(PATIENCE, "refusal by the webhook", refused).await?;
    cluster.server.apply(&on_route("shop/good", "shop", "")).await?;

    // Without it the policy is stored, and does nothing but close what it is for; its status says so.
    controller.end()?;
    cluster.server.apply(&bad).await?;
    let _controller = cluster.controller().await?;
    let told =
        "HTTPRoute shop: Accepted False Invalid 1, ResolvedRefs False TargetNotFound 1, Programmed False Invalid 1";
    cluster.says("shop/bad", told).await?;
    Ok(())
}
