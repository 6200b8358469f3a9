//! Istio, a gate, and a shop behind a proxy that istiod configures, in a network of their own.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use cloakroom::wiring::{self, Mesh, Site};
use e2e::gate::{Cloakroom, GateOptions, Listen};
use e2e::http1::{self, Message};
use e2e::istio::{Istio, Proxy, Role, Workload, namespace};
use e2e::kube::{ApiServer, ApiServerOptions};
use e2e::sloppy::{SeenRequest, Sloppy, ok};
use e2e::tools::{self, EnvoyVersion};
use serde_json::{Value, json};

/// Where the sidecar takes requests for the shop.
pub(crate) const INGRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
/// Where it takes what it does not read as HTTP.
pub(crate) const TCP_INGRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8090);
/// The host of every request.
pub(crate) const HOST: &str = "shop.example";

/// What the gate is told.
pub(crate) const POLICY: &str = r"
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: shop, namespace: shop }
spec:
  hosts: [shop.example]
  rules:
  - { name: open, matches: [{ path: { type: PathPrefix, value: /open } }], access: Public }
  - { name: login, matches: [{ path: { type: PathPrefix, value: /login } }], access: Public, session: { create: true } }
  - { name: logout, matches: [{ path: { type: Exact, value: /logout }, method: POST }], session: { end: true } }
  - { name: cart, matches: [{ path: { type: PathPrefix, value: /cart } }], session: { writableClaims: [cart] } }
";

/// What must be there before a network of its own begins, where nothing can be downloaded.
pub(crate) fn prepare() -> Result<()> {
    tools::etcd()?;
    tools::kube_apiserver()?;
    tools::gateway_api_crds()?;
    tools::istio_crds()?;
    tools::pilot_discovery()?;
    for version in EnvoyVersion::ALL {
        tools::envoy(version)?;
    }
    Ok(())
}

/// All of it. The fields end in this order.
pub(crate) struct Town {
    pub(crate) proxy: Proxy,
    pub(crate) istio: Istio,
    pub(crate) server: ApiServer,
    pub(crate) gate: Cloakroom,
    pub(crate) shop: Sloppy,
}

impl Town {
    /// Istio with nothing of ours, and a shop whose pod has a proxy and a gate.
    pub(crate) async fn without_wiring(version: EnvoyVersion) -> Result<Self> {
        let server = ApiServer::spawn(ApiServerOptions::default()).await?;
        let istio = Istio::spawn(&server, &json!([])).await?;
        let shop = Sloppy::answering(answer).await?;
        let mut options = GateOptions { listen: Listen::Loopback, ..GateOptions::new(env!("CARGO_BIN_EXE_cloakroom")) };
        options = options.policy("shop.yaml", POLICY);
        // In a pod the gate has this port; so it has here.
        options.config = json!({ "listen": { "grpc": "127.0.0.1:9443" } });
        let gate = Cloakroom::spawn(options).await?;
        server.apply(&format!("{}\n---\n{}", namespace("shop"), inbound(shop.address()))).await?;
        let workload = Workload {
            role: Role::Sidecar,
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            account: "default".to_owned(),
            labels: json!({ "app": "web", "cloakroom.dev/injected": "true" }),
            counted: counted(&site())?,
        };
        let proxy = Proxy::spawn(&istio, &server, version, &workload).await?;
        Ok(Self { proxy, istio, server, gate, shop })
    }

    /// With all that the chart renders for a gate in each pod, in force. `patient`: a busy machine is not taken for a fault.
    pub(crate) async fn wired(version: EnvoyVersion, patient: bool) -> Result<Self> {
        let town = Self::without_wiring(version).await?;
        town.provide(patient).await?;
        town.apply(&objects(&site())?, patient).await?;
        town.proxy_has(CHECK).await?;
        Ok(town)
    }

    /// Tells istiod of the provider.
    pub(crate) async fn provide(&self, patient: bool) -> Result<()> {
        self.istio.providers(&self.server, &providers(&site(), patient)?).await
    }

    /// Applies objects.
    pub(crate) async fn apply(&self, objects: &str, patient: bool) -> Result<()> {
        self.server.apply(&if patient { patiently(objects) } else { objects.to_owned() }).await?;
        Ok(())
    }

    /// Waits until the proxy's inbound listener has this filter, and everything that was sent was taken.
    pub(crate) async fn proxy_has(&self, filter: &str) -> Result<()> {
        has_filter(&self.istio, &self.proxy, "8080", filter).await
    }

    /// A session of ada's; the cookie to show.
    pub(crate) async fn log_in(&self) -> Result<String> {
        let session = self.gate.create_session(&json!({ "subject": "ada", "roles": ["admin"] })).await?;
        Ok(format!("__Host-session={}", session.token))
    }

    /// `GET` or another method with these header lines, sent to the proxy.
    pub(crate) async fn send(&self, method: &str, path: &str, lines: &[&str]) -> Result<Message> {
        send(INGRESS, method, path, lines).await
    }

    /// The one request that has reached the shop since the last question.
    pub(crate) fn arrived(&self) -> Result<SeenRequest> {
        let mut seen = self.shop.take();
        ensure!(seen.len() == 1, "{} requests have reached the shop", seen.len());
        Ok(seen.remove(0))
    }
}

/// Names that a common server takes for the header of the JWT.
pub(crate) const SPELLINGS: [&str; 5] =
    ["x-session-jwt", "X-Session-JWT", "x_session_jwt", "X.Session.Jwt", "x-session_jwt"];
/// How long a test waits for something that must come.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(90);
/// The filter by which Istio asks.
pub(crate) const CHECK: &str = "envoy.filters.http.ext_authz";

/// Waits until the proxy's listener of that name has this filter, and everything that was sent was taken.
pub(crate) async fn has_filter(istio: &Istio, proxy: &Proxy, listener: &str, filter: &str) -> Result<()> {
    let has = async || {
        let chains = proxy.filters(listener).await.unwrap_or_default();
        istio.refused().is_some() || chains.iter().flatten().any(|it| it == filter)
    };
    let waited = proxy.process().wait_until(PATIENCE, filter, has).await;
    waited.with_context(|| istio.output().tail(40))?;
    istio.in_step().await
}

/// What the mesh's configuration has proxies count.
pub(crate) fn counted(site: &Site) -> Result<Vec<String>> {
    let lines: Value = serde_saphyr::from_str(&wiring::istio::mesh_config(site)?.yaml)?;
    let counted =
        lines["defaultConfig"]["proxyStatsMatcher"]["inclusionRegexps"].as_array().context("what they count")?;
    Ok(counted.iter().filter_map(|it| Some(it.as_str()?.to_owned())).collect())
}

/// The extension providers of a site. `patient`: a busy machine is not taken for a fault.
pub(crate) fn providers(site: &Site, patient: bool) -> Result<Value> {
    let mut lines: Value = serde_saphyr::from_str(&wiring::istio::mesh_config(site)?.yaml)?;
    if patient {
        lines["extensionProviders"][0]["envoyExtAuthzGrpc"]["timeout"] = json!("20s");
    }
    Ok(lines["extensionProviders"].take())
}

/// The same for the way back.
pub(crate) fn patiently(objects: &str) -> String {
    objects.replace("message_timeout: 1.25s", "message_timeout: 20s")
}

/// The site of these tests.
pub(crate) fn site() -> Site {
    Site::new("cloakroom-system", wiring::Shape::Sidecar)
}

/// The objects of a site, to apply.
pub(crate) fn objects(site: &Site) -> Result<String> {
    let pieces = wiring::pieces(Mesh::Istio, site)?;
    let objects: Vec<_> = pieces.into_iter().filter(|it| it.form == wiring::Form::Document).map(|it| it.yaml).collect();
    Ok(objects.join("\n---\n"))
}

/// Sends a request and gives the answer.
pub(crate) async fn send(to: SocketAddr, method: &str, path: &str, lines: &[&str]) -> Result<Message> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n");
    for line in lines {
        request += &format!("{line}\r\n");
    }
    if method != "GET" {
        request += "Content-Length: 0\r\n";
    }
    http1::exchange(to, format!("{request}\r\n").as_bytes()).await
}

/// The claims of the one session JWT that a request came with.
pub(crate) fn claims(seen: &SeenRequest) -> Result<Value> {
    let found = seen.header_readings("x-session-jwt");
    ensure!(found.len() == 1, "{found:?}");
    let payload = found[0].split('.').nth(1).context("a JWT has three parts")?;
    Ok(serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload)?)?)
}

/// A port of loopback that the proxy takes requests at, as traffic captured in a pod would come.
fn inbound(shop: SocketAddr) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{ name: web, namespace: shop }}
spec:
  workloadSelector: {{ labels: {{ app: web }} }}
  ingress:
  - port: {{ number: 8080, protocol: HTTP, name: http }}
    bind: 127.0.0.1
    captureMode: NONE
    defaultEndpoint: {shop}
  - port: {{ number: 8090, protocol: TCP, name: tcp }}
    bind: 127.0.0.1
    captureMode: NONE
    defaultEndpoint: {shop}
"
    )
}

/// What the shop answers: an echo, and by the path what it says about sessions.
pub(crate) fn answer(request: &SeenRequest) -> Vec<u8> {
    let said = match request.target().as_str() {
        "/login" => {
            "X-Session-Create: {\"subject\":\"ada\",\"roles\":[\"admin\"]}\r\nSet-Cookie: app=1\r\nSet-Cookie: other=2\r\n"
        }
        "/logout" => "X-Session-End: current\r\n",
        "/cart" => "x-session-update: {\"cart\":[\"tea\"]}\r\n",
        "/cart/careless" | "/open/careless" | "/careless" => {
            "x-session-jwt: a.b.c\r\nX_Session_JWT: a.b.c\r\nx.session.jwt: a.b.c\r\nx_session_update: {}\r\nX-Session-Anything: 1\r\n"
        }
        _ => "",
    };
    if request.target() == "/open/early" {
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nx-session-jwt: a.b.c\r\n\r\n";
        return [interim.as_bytes(), &ok("text/plain", "hello")].concat();
    }
    let answer = String::from_utf8_lossy(&ok("text/plain", "hello")).into_owned();
    answer.replacen("\r\n", &format!("\r\n{said}"), 1).into_bytes()
}
