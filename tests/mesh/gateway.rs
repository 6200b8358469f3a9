//! A shared gate that guards a Gateway of the Gateway API, with TLS between them.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use cloakroom::wiring::{Gateway, Shape, Site};
use e2e::istio::{Istio, Proxy, Role, Workload, namespace};
use e2e::kube::{ApiServer, ApiServerOptions};
use e2e::sloppy::Sloppy;
use e2e::tools::EnvoyVersion;
use serde_json::json;

use crate::town::{CHECK, PATIENCE, answer, claims, counted, has_filter, objects, patiently, providers, send};
use crate::{on_istio, shared_gate};

on_istio! {
    p30_a_gateway_asks_the_shared_gate_by_its_certificate => shared(Newest);
    p30_a_gateway_asks_the_shared_gate_by_its_certificate_by_the_middle_envoy => shared(Middle);
}

/// Where the gateway takes requests.
const INGRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8081);

fn site() -> Site {
    let gateway = Gateway { namespace: "infra".to_owned(), name: "public".to_owned() };
    Site { gateways: vec![gateway], ..Site::new("cloakroom-system", Shape::Shared) }
}

async fn shared(version: EnvoyVersion) -> Result<()> {
    shared_gate::address()?;
    let server = ApiServer::spawn(ApiServerOptions::default()).await?;
    let site = site();
    let istio = Istio::spawn(&server, &providers(&site, true)?).await?;
    let shop = Sloppy::answering(answer).await?;
    for name in ["a-stranger", "infra", "shop", "cloakroom-system"] {
        server.apply(&namespace(name)).await?;
    }
    // Somebody declared the host of the gate's Service before there was one.
    let stranger = std::net::TcpListener::bind("127.0.0.1:0")?;
    stranger.set_nonblocking(true)?;
    server.apply(&squat(&site.gate_host(), stranger.local_addr()?.port())).await?;

    let shared = shared_gate::spawn(&server, "infra").await?;
    server.apply(&around(shop.address())).await?;
    server.apply(&patiently(&objects(&site)?)).await?;
    let workload = Workload {
        role: Role::Gateway,
        namespace: "infra".to_owned(),
        name: "public".to_owned(),
        // istiod looks for the account that it would have made.
        account: "public-istio".to_owned(),
        labels: json!({ "gateway.networking.k8s.io/gateway-name": "public" }),
        counted: counted(&site)?,
    };
    let proxy = Proxy::spawn(&istio, &server, version, &workload).await?;
    has_filter(&istio, &proxy, "8081", CHECK).await?;

    let refused = async || send(INGRESS, "GET", "/x", &[]).await.is_ok_and(|it| it.status() == 401);
    let waited = proxy.process().wait_until(PATIENCE, "401", refused).await;
    waited.with_context(|| istio.output().tail(40))?;
    let session = shared.gate.create_session(&json!({ "subject": "ada" })).await?;
    let cookie = format!("Cookie: __Host-session={}", session.token);
    shop.take();
    let answer = send(INGRESS, "GET", "/x", &[&cookie, "x_session_jwt: forged", "X.Session.Jwt: forged"]).await?;
    ensure!(answer.status() == 200, "{answer:?}");
    let seen = shop.take();
    ensure!(seen.len() == 1 && claims(&seen[0])?["sub"] == "ada" && !seen[0].contains("forged"), "{seen:?}");
    send(INGRESS, "GET", "/open", &["x-session-jwt: forged", "x_session_jwt: forged"]).await?;
    let seen = shop.take();
    ensure!(seen.len() == 1 && seen[0].header_readings("x-session-jwt").is_empty(), "{seen:?}");

    let answer = send(INGRESS, "POST", "/login", &[]).await?;
    let cookies = answer.header("set-cookie");
    ensure!(cookies.len() == 3 && answer.header("x-session-create").is_empty(), "{answer:?}");
    for path in ["/cart/careless", "/careless"] {
        let answer = send(INGRESS, "GET", path, &[&cookie]).await?;
        let head = String::from_utf8_lossy(&answer.head).to_ascii_lowercase();
        ensure!(answer.status() == 200 && !head.contains("session"), "{path}: {head}");
    }
    ensure!(istio.refused().is_none());
    // A Service of Kubernetes comes before a ServiceEntry of that name, and else TLS would know them for strangers.
    let reached = stranger.accept();
    ensure!(reached.as_ref().is_err_and(|it| it.kind() == std::io::ErrorKind::WouldBlock), "{reached:?}");
    shared_gate::is_known_by(&proxy, &site.gate_name()).await?;
    Ok(())
}

/// A ServiceEntry of somebody's for that host.
fn squat(host: &str, port: u16) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: squat, namespace: a-stranger }}
spec:
  hosts: [{host}]
  exportTo: ['*']
  resolution: STATIC
  ports: [{{ number: 9443, name: grpc, protocol: GRPC }}]
  endpoints: [{{ address: 127.0.0.1, ports: {{ grpc: {port} }} }}]
"
    )
}

/// The gate's Service, the shop, the Gateway and its route.
fn around(shop: SocketAddr) -> String {
    let (gate, port) = (shared_gate::service(), shop.port());
    format!(
        "{gate}---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: shop, namespace: shop }}
spec:
  hosts: [shop.internal]
  resolution: STATIC
  ports: [{{ number: 80, name: http, protocol: HTTP }}]
  endpoints: [{{ address: 127.0.0.1, ports: {{ http: {port} }} }}]
---
apiVersion: v1
kind: Service
metadata: {{ name: public, namespace: infra }}
spec:
  selector: {{ gateway.networking.k8s.io/gateway-name: public }}
  ports: [{{ name: http, port: 8081 }}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{ name: public, namespace: infra }}
spec:
  gatewayClassName: istio
  addresses: [{{ type: Hostname, value: public.infra.svc.cluster.local }}]
  listeners: [{{ name: http, port: 8081, protocol: HTTP, allowedRoutes: {{ namespaces: {{ from: All }} }} }}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: shop, namespace: shop }}
spec:
  parentRefs: [{{ name: public, namespace: infra }}]
  rules:
  - backendRefs: [{{ group: networking.istio.io, kind: Hostname, name: shop.internal, port: 80 }}]
"
    )
}
