//! What `cloakroom snippet envoy` prints, run as it is but for addresses.

use anyhow::{Context as _, Result, ensure};
use e2e::envoy::{Envoy, EnvoyConfig, GateAddress, validate};
use e2e::gate::{Cloakroom, GateOptions, Listen};
use e2e::http1::{Message, exchange};
use e2e::sloppy::{Sloppy, ok};
use e2e::tls::Certificates;
use e2e::tools::EnvoyVersion;
use serde_json::{Value, json};

use crate::on_every_envoy;
use crate::scene::cloakroom;

on_every_envoy! {
    p07_p11_with_a_gate_beside_it => beside;
    p30_with_a_gate_elsewhere_it_shows_a_certificate => elsewhere;
    however_many_headers_are_named_it_is_taken => many_names;
}

const POLICY: &str = "
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: shop, namespace: shop }
spec:
  hosts: [shop.example]
  rules:
  - { name: login, matches: [{ path: { type: PathPrefix, value: /login } }], access: Public, session: { create: true } }
";

/// What the command prints.
fn printed(arguments: &[&str]) -> Result<String> {
    let answer = std::process::Command::new(cloakroom()).args(["snippet", "envoy"]).args(arguments).output()?;
    ensure!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    Ok(String::from_utf8(answer.stdout)?)
}

/// A shop that makes a session on every path below `/login`, and says more than it may elsewhere.
async fn shop() -> Result<Sloppy> {
    Sloppy::answering(|request| {
        let said = if request.target() == "/login" {
            "X-Session-Create: {\"subject\":\"ada\"}"
        } else {
            "x_session_jwt: a.b.c"
        };
        let answer = String::from_utf8_lossy(&ok("text/plain", "hello")).into_owned();
        answer.replacen("\r\n", &format!("\r\n{said}\r\n"), 1).into_bytes()
    })
    .await
}

/// A stranger is refused; a log-in makes a session, whose holder gets in; nothing of ours comes in or leaves.
async fn tried(envoy: &Envoy, shop: &Sloppy) -> Result<()> {
    let send = async |method: &str, path: &str, line: &str| -> Result<Message> {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 0\r\n{line}\r\n\r\n");
        exchange(envoy.address(), request.as_bytes()).await
    };
    ensure!(send("GET", "/x", "x.session.jwt: forged").await?.status() == 401);
    ensure!(shop.take().is_empty());
    let answer = send("POST", "/login", "x.session.jwt: forged").await?;
    ensure!(answer.status() == 200 && answer.header("x-session-create").is_empty(), "{answer:?}");
    let cookies = answer.header("set-cookie");
    let cookie = cookies.first().and_then(|it| it.split(';').next()).context("a session")?;
    let answer = send("GET", "/x", &format!("Cookie: {cookie}\r\nx.session.jwt: forged")).await?;
    ensure!(answer.status() == 200, "{answer:?}");
    ensure!(!String::from_utf8_lossy(&answer.head).contains("session"), "{answer:?}");
    let seen = shop.take();
    ensure!(seen.iter().all(|it| !it.contains("forged") && !it.contains("ckr_")), "{seen:?}");
    ensure!(seen[1].header_readings("x-session-jwt").len() == 1, "{seen:?}");
    Ok(())
}

async fn beside(version: EnvoyVersion) -> Result<()> {
    let options = GateOptions { listen: Listen::Loopback, ..GateOptions::new(cloakroom()).policy("shop.yaml", POLICY) };
    let gate = Cloakroom::spawn(options).await?;
    let shop = shop().await?;
    let mut config = EnvoyConfig::written(&printed(&[])?)?;
    config.patient()?.gate(&gate.grpc()?)?.service("app", shop.address())?;
    tried(&Envoy::spawn(version, &config).await?, &shop).await
}

async fn elsewhere(version: EnvoyVersion) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let name = "cloakroom-gate.cloakroom-system.svc";
    let certificates = Certificates::make(folder.path(), &[name])?;
    let mut options = GateOptions::new(cloakroom()).policy("shop.yaml", POLICY);
    options.config = json!({ "listen": { "grpc": "127.0.0.1:0", "tls": {
        "certFile": certificates.server.certificate, "keyFile": certificates.server.key, "clientCaFile": certificates.ca,
    } } });
    let running = Cloakroom::spawn(options).await?;
    let shop = shop().await?;

    // As the ConfigMap and the Secret would be mounted.
    let map = printed(&["--shape", "shared", "--namespace", "shop", "--config-map", "cloakroom-envoy"])?;
    let map: Value = serde_saphyr::from_str(&map)?;
    let here = folder.path().display().to_string();
    let file = |key: &str| -> Result<String> {
        let text = map["data"][key].as_str().with_context(|| key.to_owned())?;
        Ok(text.replace("/etc/envoy/", &format!("{here}/")).replace("/etc/cloakroom-proxy", &here))
    };
    for (of, to) in [
        (&certificates.client.certificate, "tls.crt"),
        (&certificates.client.key, "tls.key"),
        (&certificates.ca, "ca.crt"),
    ] {
        std::fs::copy(of, folder.path().join(to))?;
    }
    for key in ["gate-certificate.yaml", "gate-ca.yaml"] {
        std::fs::write(folder.path().join(key), file(key)?)?;
    }
    let GateAddress::Tcp(gate) = running.grpc()? else { anyhow::bail!("a gate with TLS has an address") };
    let text = file("envoy.yaml")?;
    let address = format!("address: {name}.cluster.local, port_value: 9443");
    ensure!(text.contains(&address), "{text}");
    let text = text.replace(&address, &format!("address: 127.0.0.1, port_value: {}", gate.port()));
    let mut config = EnvoyConfig::written(&text)?;
    config.patient()?.service("app", shop.address())?;
    tried(&Envoy::spawn(version, &config).await?, &shop).await?;

    // Another's certificate is none.
    let stranger = tempfile::tempdir()?;
    let other = Certificates::make(stranger.path(), &[name])?;
    std::fs::copy(&other.client.certificate, folder.path().join("tls.crt"))?;
    std::fs::copy(&other.client.key, folder.path().join("tls.key"))?;
    let answer =
        exchange(Envoy::spawn(version, &config).await?.address(), b"GET /x HTTP/1.1\r\nHost: shop.example\r\n\r\n")
            .await?;
    ensure!(answer.status() == 503 && shop.take().is_empty(), "{answer:?}");
    Ok(())
}

/// Each of these is a longer pattern than Envoy takes by itself.
async fn many_names(version: EnvoyVersion) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let renamed = folder.path().join("cloakroom.yaml");
    std::fs::write(&renamed, "jwt: { issuer: https://id.example, header: x-identity-assertion-token }\n")?;
    let renamed = renamed.display().to_string();
    let names: Vec<String> = (1..=40).map(|number| format!("x-partner-{number}-access-token")).collect();
    let each = |flag: &'static str| names.iter().flat_map(move |name| [flag, name]).collect::<Vec<_>>();
    for arguments in [each("--exchange-header"), each("--credential-header"), vec!["--config", &renamed]] {
        validate(version, &EnvoyConfig::written(&printed(&arguments)?)?)?;
    }
    Ok(())
}
