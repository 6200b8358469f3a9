//! The whole scene of the demo: Envoy with TLS, cloakroom with the embedded store, the log-in service and the shop.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::envoy::{Envoy, EnvoyConfig};
use crate::gate::{Cloakroom, GateOptions, ISSUER, Store};
use crate::issuer::Issuer;
use crate::services::identity::Verifier;
use crate::services::login;
use crate::services::shop::Shop;
use crate::services::{ANY_PORT, Service};
use crate::tls::Certificates;
use crate::tools::{self, EnvoyVersion};

/// The host of the demo. Browsers, curl and systemd send every `*.localhost` to loopback (RFC 6761 §6.3).
pub const HOST: &str = "shop.localhost";

/// All that runs; it ends when this is dropped.
pub struct Stage {
    /// The proxy, where clients connect.
    pub envoy: Envoy,
    /// cloakroom.
    pub gate: Cloakroom,
    /// The service behind it.
    pub shop: Shop,
    /// The CA that clients trust.
    pub certificates: Certificates,
    _login: Service,
}

impl Stage {
    /// Sets it up with the shipped example files. Envoy listens on `port` of loopback; 0 lets the kernel choose.
    ///
    /// # Errors
    /// When a part does not come up.
    pub async fn set(cloakroom: PathBuf, version: EnvoyVersion, port: u16) -> Result<Self> {
        let mut options = GateOptions { store: Store::Embedded, ..GateOptions::new(cloakroom) };
        let issuer = Issuer::new(login::ISSUER)?;
        options.policies = example_policies_trusting(&issuer)?;
        let gate = Cloakroom::spawn(options).await?;
        let shop =
            Shop::spawn(ANY_PORT, Verifier::new(&gate.jwks_url(), &format!("{ISSUER}/ns/shop"), "shop")?).await?;
        let login = login::spawn(ANY_PORT, issuer).await?;
        let certificates = Certificates::make(gate.folder(), &[HOST, "localhost"])?;
        let mut config = EnvoyConfig::shipped()?;
        config.port(port)?.patient()?.gate(&gate.grpc()?)?.tls(&certificates.server)?;
        config.service("shop", shop.address())?.service("login", login.address())?;
        let envoy = Envoy::spawn(version, &config).await?;
        Ok(Self { envoy, gate, shop, certificates, _login: login })
    }

    /// `https://shop.localhost:PORT`
    pub fn origin(&self) -> String {
        format!("https://{HOST}:{}", self.address().port())
    }

    /// Where Envoy listens.
    pub fn address(&self) -> SocketAddr {
        self.envoy.address()
    }

    /// A client that trusts the demo's CA; see [`Certificates::client`].
    ///
    /// # Errors
    /// When the CA's file is gone.
    pub fn client(&self) -> Result<reqwest::Client> {
        self.certificates.client(HOST, self.address())
    }
}

/// The files of `examples/policies`, with this issuer's key where an `exchange` trusts one.
///
/// # Errors
/// When they cannot be read, or trust nobody.
pub fn example_policies_trusting(issuer: &Issuer) -> Result<Vec<(String, String)>> {
    let mut policies = example_policies()?;
    let own = &issuer.jwks()["keys"][0];
    let mut trusting = 0;
    for (name, content) in &mut policies {
        let policy: Value = serde_saphyr::from_str(content).with_context(|| name.clone())?;
        let rules = policy.pointer("/spec/rules").and_then(Value::as_array);
        let exchanges = rules.into_iter().flatten().filter_map(|rule| rule.pointer("/session/exchange"));
        for example in exchanges.map(|exchange| &exchange["jwks"]["inline"]["keys"][0]) {
            // In the text: its comments are for those who edit it while the demo runs.
            for member in ["kid", "x", "y"] {
                let values = example[member].as_str().zip(own[member].as_str());
                let (example, own) = values.with_context(|| format!("{name}: a key without `{member}`"))?;
                *content = content.replace(example, own);
            }
            trusting += 1;
        }
    }
    ensure!(trusting > 0, "no example policy exchanges a JWT");
    Ok(policies)
}

/// The files of `examples/policies`.
///
/// # Errors
/// When they cannot be read.
pub fn example_policies() -> Result<Vec<(String, String)>> {
    let folder = tools::workspace().join("examples/policies");
    let mut policies = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "yaml") {
            let name = path.file_name().context("a file has a name")?.to_string_lossy().into_owned();
            policies.push((name, std::fs::read_to_string(path)?));
        }
    }
    policies.sort();
    Ok(policies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_policies_trust_whom_they_are_told() {
        let issuer = Issuer::new(login::ISSUER).expect("a key");
        let policies = example_policies_trusting(&issuer).expect("an exchange");
        let keys = issuer.jwks();
        let trusting = |(_, content): &(String, String)| {
            let policy: Value = serde_saphyr::from_str(content).expect("YAML");
            let mut rules = policy["spec"]["rules"].as_array().expect("rules").iter();
            content.contains('#') && rules.any(|rule| rule["session"]["exchange"]["jwks"]["inline"] == keys)
        };
        assert!(policies.iter().any(trusting));
    }
}
