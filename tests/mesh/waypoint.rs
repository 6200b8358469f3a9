//! A shared gate that guards an ambient waypoint: requests come through ztunnel's tunnel, and leave to the service.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use cloakroom::wiring::site::Account;
use cloakroom::wiring::{Gateway, Shape, Site};
use e2e::istio::{Istio, Journey, Proxy, Role, Secrets, Workload, Ztunnel};
use e2e::kube::{ApiServer, ApiServerOptions};
use e2e::sloppy::{SeenRequest, Sloppy};
use e2e::tls::Authority;
use e2e::tools::EnvoyVersion;
use serde_json::json;

use crate::shared_gate::SharedGate;
use crate::town::{CHECK, PATIENCE, SPELLINGS, answer, claims, counted, objects, patiently, providers, send};
use crate::{on_istio, shared_gate};

on_istio! {
    p07_p30_a_waypoint_asks_the_shared_gate_by_its_certificate => guarded(Newest);
    p07_p30_a_waypoint_asks_the_shared_gate_by_its_certificate_by_the_middle_envoy => guarded(Middle);
    p11_the_way_back_through_a_waypoint_changes_sessions_and_shows_nothing => way_back(Newest);
}

/// Where a client's connections are taken into the mesh.
const CLIENTS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8082);
/// The address of the shop's Service.
const SHOP: &str = "10.97.0.9:80";
/// What the waypoint calls what it does for the shop.
const CHAIN: &str = "inbound-vip|80|http|shop.internal";

/// All of it. The fields end in this order.
struct Street {
    ztunnel: Ztunnel,
    proxy: Proxy,
    istio: Istio,
    _secrets: Secrets,
    shared: SharedGate,
    shop: Sloppy,
    server: ApiServer,
}

fn site() -> Site {
    let gateway = Gateway { namespace: "shop".to_owned(), name: "waypoint".to_owned() };
    let mut site = Site::new("cloakroom-system", Shape::Shared);
    site.istio.accounts = vec![Account { gateway: gateway.clone(), name: "waypoint".to_owned() }];
    site.gateways = vec![gateway];
    site
}

impl Street {
    async fn build(version: EnvoyVersion) -> Result<Self> {
        shared_gate::address()?;
        let server = ApiServer::spawn(ApiServerOptions::default()).await?;
        let site = site();
        let istio = Istio::ambient(&server, &providers(&site, true)?).await?;
        let shop = Sloppy::answering(answer).await?;
        server.apply(&around(shop.address())).await?;
        let shared = shared_gate::spawn(&server, "shop").await?;
        server.apply(&format!("{}\n---\n{}", shared_gate::service(), patiently(&objects(&site)?))).await?;
        let path = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/gateways/waypoint";
        let has_address = async || {
            let found = server.api(http::Method::GET, path, None).await;
            found.is_ok_and(|(_, it)| it["status"]["addresses"].as_array().is_some_and(|it| !it.is_empty()))
        };
        let waited = istio.process().wait_until(PATIENCE, "address of the waypoint", has_address).await;
        waited.with_context(|| istio.output().tail(40))?;

        let authority = Authority::make()?;
        let identity = "spiffe://cluster.local/ns/shop/sa/waypoint";
        let secrets = Secrets::serve(&authority, identity).await?;
        let workload = Workload {
            role: Role::Waypoint(secrets.address()),
            namespace: "shop".to_owned(),
            name: "waypoint".to_owned(),
            account: "waypoint".to_owned(),
            labels: json!({ "gateway.networking.k8s.io/gateway-name": "waypoint" }),
            counted: counted(&site)?,
        };
        let proxy = Proxy::spawn(&istio, &server, version, &workload).await?;
        let journey = Journey {
            from: CLIENTS,
            client: "spiffe://cluster.local/ns/shop/sa/client",
            waypoint: identity,
            to: SHOP.parse()?,
        };
        let ztunnel = Ztunnel::spawn(&authority, &journey).await?;
        let street = Self { ztunnel, proxy, istio, _secrets: secrets, shared, shop, server };
        let refused = async || send(CLIENTS, "GET", "/x", &[]).await.is_ok_and(|it| it.status() == 401);
        let waited = street.proxy.process().wait_until(PATIENCE, "401", refused).await;
        waited.with_context(|| {
            let ztunnel = street.ztunnel.process().output().tail(10);
            format!("{}\n{ztunnel}\n{}", street.proxy.output().tail(20), street.istio.output().tail(40))
        })?;
        street.istio.in_step().await?;
        Ok(street)
    }

    /// A session of ada's, as a header.
    async fn log_in(&self) -> Result<String> {
        let session = self.shared.gate.create_session(&json!({ "subject": "ada" })).await?;
        Ok(format!("Cookie: a=1; __Host-session={}", session.token))
    }

    /// The one request that has reached the shop since the last question.
    fn arrived(&self) -> Result<SeenRequest> {
        let mut seen = self.shop.take();
        ensure!(seen.len() == 1, "{} requests have reached the shop", seen.len());
        Ok(seen.remove(0))
    }
}

async fn guarded(version: EnvoyVersion) -> Result<()> {
    let street = Street::build(version).await?;
    ensure!(street.shop.take().is_empty());

    // Every request to the shop, and to a pod by its own address, is first cleaned, then checked, and read on its way back.
    let chains = street.proxy.filters("main_internal").await?;
    for chain in &chains {
        let at = |name: &str| chain.iter().position(|it| it == name);
        let (first, check, back) =
            (at("envoy.filters.http.header_mutation"), at(CHECK), at("envoy.filters.http.ext_proc"));
        ensure!(first == Some(0) && check.is_some() && back == check.map(|it| it + 1), "{chain:?}");
    }
    ensure!(chains.len() >= 2, "{chains:?}");
    let listeners = street.proxy.admin("/config_dump?resource=dynamic_listeners").await?;
    ensure!(listeners.contains(CHAIN), "{listeners}");
    // The tunnel is no request, and is not checked.
    let tunnel = street.proxy.filters("connect_terminate").await?;
    ensure!(tunnel.len() == 1 && !tunnel[0].iter().any(|it| it == CHECK), "{tunnel:?}");

    let cookie = street.log_in().await?;
    let answer = send(CLIENTS, "GET", "/x", &[&cookie]).await?;
    ensure!(answer.status() == 200, "{answer:?}");
    let seen = street.arrived()?;
    ensure!(claims(&seen)?["sub"] == "ada" && claims(&seen)?["iss"] == "https://cloakroom.example/ns/shop", "{seen:?}");
    ensure!(seen.0.header("cookie") == ["a=1"] && !seen.contains("ckr_"), "{seen:?}");

    for name in SPELLINGS {
        let forged = format!("{name}: forged");
        for (path, lines, want) in
            [("/x", &[&*cookie, &forged][..], 1), ("/open", &[&forged], 0), ("/open", &[&*cookie, &forged], 0)]
        {
            let answer = send(CLIENTS, "GET", path, lines).await?;
            ensure!(answer.status() == 200, "{name}: {answer:?}");
            let seen = street.arrived()?;
            ensure!(
                seen.header_readings("x-session-jwt").len() == want && !seen.contains("forged"),
                "{name}: {seen:?}"
            );
        }
        let answer = send(CLIENTS, "GET", "/x", &[&forged]).await?;
        ensure!(answer.status() == 401 && street.shop.take().is_empty(), "{name}: {answer:?}");
    }
    send(CLIENTS, "GET", "/x", &[&cookie, "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example"]).await?;
    ensure!(!street.arrived()?.contains("evil.example"));

    shared_gate::is_known_by(&street.proxy, &site().gate_name()).await?;

    // A Service with a route of its own is guarded as well.
    street.server.apply(ROUTE).await?;
    let routed = async || {
        send(CLIENTS, "GET", "/x", &[&cookie])
            .await
            .is_ok_and(|it| it.status() == 200 && it.header("x-routed") == ["yes"])
    };
    street.proxy.process().wait_until(PATIENCE, "answer by the route", routed).await?;
    street.shop.take();
    let answer = send(CLIENTS, "GET", "/x", &[]).await?;
    ensure!(answer.status() == 401 && street.shop.take().is_empty(), "{answer:?}");
    send(CLIENTS, "GET", "/open", &["x-session-jwt: forged"]).await?;
    ensure!(!street.arrived()?.contains("forged"));
    let answer = send(CLIENTS, "GET", "/careless", &[&cookie]).await?;
    let head = String::from_utf8_lossy(&answer.head).to_ascii_lowercase();
    ensure!(answer.status() == 200 && !head.contains("session"), "{head}");
    ensure!(street.istio.refused().is_none());
    Ok(())
}

async fn way_back(version: EnvoyVersion) -> Result<()> {
    let street = Street::build(version).await?;
    let answer = send(CLIENTS, "POST", "/login", &[]).await?;
    let cookies = answer.header("set-cookie");
    ensure!(cookies.len() == 3 && answer.header("x-session-create").is_empty(), "{answer:?}");
    let ours = cookies.iter().find(|it| it.starts_with("__Host-session=ckr_"));
    let cookie = format!("Cookie: {}", ours.map_or("", |it| it.split(';').next().unwrap_or_default()));
    street.shop.take();

    let answer = send(CLIENTS, "GET", "/cart", &[&cookie]).await?;
    ensure!(answer.status() == 200 && answer.header("x-session-update").is_empty(), "{answer:?}");
    street.shop.take();
    send(CLIENTS, "GET", "/x", &[&cookie]).await?;
    let claims = claims(&street.arrived()?)?;
    ensure!(claims["claims"]["cart"] == json!(["tea"]), "{claims}");

    for path in ["/cart/careless", "/open/careless", "/careless"] {
        let answer = send(CLIENTS, "GET", path, &[&cookie]).await?;
        let head = String::from_utf8_lossy(&answer.head).to_ascii_lowercase();
        ensure!(answer.status() == 200 && !head.contains("session"), "{path}: {head}");
    }
    let answer = send(CLIENTS, "POST", "/logout", &[&cookie]).await?;
    ensure!(answer.header("set-cookie").iter().any(|it| it.contains("Max-Age=0")), "{answer:?}");
    ensure!(send(CLIENTS, "GET", "/x", &[&cookie]).await?.status() == 401);
    ensure!(street.istio.refused().is_none());
    Ok(())
}

/// A route for the shop's Service.
const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: shop, namespace: shop }
spec:
  parentRefs: [{ group: networking.istio.io, kind: ServiceEntry, name: shop }]
  rules:
  - filters: [{ type: ResponseHeaderModifier, responseHeaderModifier: { set: [{ name: x-routed, value: 'yes' }] } }]
    backendRefs: [{ group: networking.istio.io, kind: Hostname, name: shop.internal, port: 80 }]
";

/// The shop in an ambient namespace, its waypoint, and what of it a stock Envoy does not have.
///
/// The shop is a ServiceEntry, since Kubernetes takes no loopback address for an endpoint.
fn around(shop: SocketAddr) -> String {
    let port = shop.port();
    let (address, _) = SHOP.split_once(':').unwrap_or_default();
    format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{ name: cloakroom-system }}
---
apiVersion: v1
kind: Namespace
metadata: {{ name: shop, labels: {{ istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint }} }}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: shop, namespace: shop }}
spec:
  hosts: [shop.internal]
  addresses: [{address}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{ number: 80, name: http, protocol: HTTP }}]
  endpoints: [{{ address: 127.0.0.1, ports: {{ http: {port} }} }}]
---
apiVersion: v1
kind: Service
metadata:
  name: waypoint
  namespace: shop
  labels: {{ gateway.networking.k8s.io/gateway-name: waypoint, gateway.istio.io/managed: istio.io-mesh-controller }}
spec:
  selector: {{ gateway.networking.k8s.io/gateway-name: waypoint }}
  ports: [{{ name: mesh, port: 15008, appProtocol: all }}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{ name: waypoint-1, namespace: shop, labels: {{ kubernetes.io/service-name: waypoint }} }}
addressType: IPv4
ports: [{{ name: mesh, port: 15008, protocol: TCP }}]
endpoints: [{{ addresses: [10.9.9.8], conditions: {{ ready: true }} }}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{ name: waypoint, namespace: shop }}
spec:
  gatewayClassName: istio-waypoint
  addresses: [{{ type: Hostname, value: waypoint.shop.svc.cluster.local }}]
  listeners: [{{ name: mesh, port: 15008, protocol: HBONE }}]
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{ name: stock, namespace: shop }}
spec:
  targetRefs: [{{ group: gateway.networking.k8s.io, kind: Gateway, name: waypoint }}]
  priority: -100
  configPatches:
  - applyTo: HTTP_FILTER
    match: {{ listener: {{ filterChain: {{ filter: {{ name: envoy.filters.network.http_connection_manager, subFilter: {{ name: waypoint_downstream_peer_metadata }} }} }} }} }}
    patch: {{ operation: REMOVE }}
  - applyTo: HTTP_FILTER
    match: {{ listener: {{ filterChain: {{ filter: {{ name: envoy.filters.network.http_connection_manager, subFilter: {{ name: waypoint_upstream_peer_metadata }} }} }} }} }}
    patch: {{ operation: REMOVE }}
"
    )
}
