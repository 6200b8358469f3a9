//! Credentials that are not ours, judged by identity providers: from the client through Envoy and the gate to the service, against
//! issuers and authorization servers that are good, bad, slow and away.

mod certified;
mod introspection;
mod jwt;
mod keys;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use e2e::envoy::{Envoy, EnvoyConfig};
use e2e::gate::{Cloakroom, GateOptions};
use e2e::http1::{Message, exchange};
use e2e::sloppy::Sloppy;
use e2e::tools::EnvoyVersion;
use serde_json::{Value, json};

use crate::scene::cloakroom;

/// A rule on `shop.localhost` that authenticates so, with what else it says.
fn policy(authenticate: &str, more: &str) -> String {
    format!(
        "
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: {{ name: shop, namespace: shop }}
spec:
  hosts: [shop.localhost]
  rules:
  - {{ name: open, matches: [{{ path: {{ value: /open }} }}], access: Public }}
  - name: partners
    authenticate: {authenticate}
    forward: {{ audience: shop }}
    {more}
"
    )
}

/// An IdentityProvider `shop/NAME`, as a document beside others.
fn provider(name: &str, spec: &Value) -> String {
    object("IdentityProvider", "cloakroom.dev/v1alpha1", "shop", name, "spec", spec)
}

fn object(kind: &str, version: &str, namespace: &str, name: &str, field: &str, value: &Value) -> String {
    let mut object = json!({
        "apiVersion": version, "kind": kind,
        "metadata": { "name": name, "namespace": namespace, "labels": { "for": "partners" } },
    });
    object[field] = value.clone();
    format!("\n---\n{object}\n")
}

fn secret(name: &str, data: &Value) -> String {
    object("Secret", "v1", "shop", name, "stringData", data)
}

/// A gate, an Envoy and a service that shows what it got.
struct Scene {
    gate: Cloakroom,
    envoy: Envoy,
    shop: Sloppy,
}

impl Scene {
    async fn set(version: EnvoyVersion, policies: String) -> Result<Self> {
        let mut options = GateOptions::new(cloakroom()).policy("shop.yaml", policies);
        // Our parts are on this machine, which no provider may be asked on unless the install says so.
        options.config = json!({ "providers": { "networks": ["127.0.0.0/8"] }, "telemetry": { "decisions": "all" } });
        Self::with(version, options).await
    }

    async fn with(version: EnvoyVersion, options: GateOptions) -> Result<Self> {
        let gate = Cloakroom::spawn(options).await?;
        let shop = Sloppy::spawn().await?;
        let mut config = EnvoyConfig::shipped()?;
        config.plain()?.patient()?.gate(&gate.grpc()?)?.service("shop", shop.address())?;
        Ok(Self { envoy: Envoy::spawn(version, &config).await?, gate, shop })
    }

    async fn get(&self, path: &str, lines: &str) -> Result<Message> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop.localhost\r\n{lines}\r\n");
        exchange(self.envoy.address(), request.as_bytes()).await
    }

    /// The answer to a request with this bearer: 200 and the claims of the session JWT that the service got, or the status.
    async fn bearer(&self, token: &str) -> Result<(u16, Value)> {
        self.claims(&format!("Authorization: Bearer {token}\r\n")).await
    }

    async fn claims(&self, lines: &str) -> Result<(u16, Value)> {
        let answer = self.get("/cart", lines).await?;
        let seen = self.shop.take();
        if answer.status() != 200 {
            assert!(seen.is_empty(), "refused, and yet the service was asked: {seen:?}");
            return Ok((answer.status(), Value::Null));
        }
        let jwt = seen.last().context("the service was asked")?.0.header("x-session-jwt");
        Ok((200, payload(jwt.first().context("a JWT reached the service")?)?))
    }

    /// How many decisions there were with this reason.
    async fn denied(&self, reason: &str) -> Result<u64> {
        let series = format!("cloakroom_check_verdicts_total{{reason=\"{reason}\",verdict=\"deny\"}} ");
        let metrics = self.gate.metrics().await?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(&series));
        value.with_context(|| format!("no {series}"))?.parse().context("a count")
    }
}

fn payload(jwt: &str) -> Result<Value> {
    use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
    let payload = jwt.split('.').nth(1).context("a JWT has three parts")?;
    Ok(serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload)?)?)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs())
}
