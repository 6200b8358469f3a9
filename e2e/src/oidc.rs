//! An OpenID provider that others wrote: the certified `oidc-provider`, in JavaScript. Programs get access tokens of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::port::Port;
use crate::process::{Process, wait_until};
use crate::tools;

/// How long it may take to start on a busy machine.
const START: Duration = Duration::from_secs(60);

/// The running provider; it ends when this is dropped.
pub struct OidcProvider {
    _process: Process,
    port: Port,
    client: reqwest::Client,
}

impl OidcProvider {
    /// Starts it, on a port of its own.
    ///
    /// # Errors
    /// When Node.js or the package cannot be installed, or it does not come up.
    pub async fn spawn() -> Result<Self> {
        let port = Port::reserve()?;
        let script = tools::workspace().join("e2e/tools/oidc-provider/serve.mjs");
        let arguments =
            [script.into_os_string(), tools::oidc_provider()?.into(), port.address().port().to_string().into()];
        let process = Process::spawn("oidc-provider", &tools::node()?, arguments)?;
        let provider = Self { _process: process, port, client: reqwest::Client::builder().no_proxy().build()? };
        let document = provider.url("/.well-known/openid-configuration");
        let is_up = async || provider.client.get(&document).send().await.is_ok();
        wait_until(START, "OpenID provider", is_up).await?;
        Ok(provider)
    }

    /// Its issuer, with this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.port.address())
    }

    /// An access token of the client `program`: opaque for the resource `urn:opaque`, a JWT for `urn:jwt`.
    ///
    /// # Errors
    /// When it gives none.
    pub async fn token(&self, resource: &str, scope: &str) -> Result<String> {
        let form = [("grant_type", "client_credentials"), ("resource", resource), ("scope", scope)];
        let answer: Value = self.post("/token", &form).await?.json().await?;
        Ok(answer["access_token"].as_str().with_context(|| format!("no token: {answer}"))?.to_owned())
    }

    /// Takes a token back (RFC 7009).
    ///
    /// # Errors
    /// When it says that it did not.
    pub async fn revoke(&self, token: &str) -> Result<()> {
        let answer = self.post("/token/revocation", &[("token", token)]).await?;
        ensure!(answer.status().is_success(), "{}", answer.status());
        Ok(())
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Result<reqwest::Response> {
        let request = self.client.post(self.url(path)).basic_auth("program", Some("program-secret"));
        Ok(request.form(form).send().await?)
    }
}
