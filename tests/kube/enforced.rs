//! Policies written with the API of Kubernetes, felt through Envoy.

use anyhow::Result;
use e2e::envoy::{Envoy, EnvoyConfig};
use e2e::gate::Cloakroom;
use e2e::http1::exchange;
use e2e::process::wait_until;
use e2e::sloppy::Sloppy;
use e2e::tools::EnvoyVersion;

use crate::house::{self, PATIENCE};

const ROUTES: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: web, namespace: shop }
spec:
  gatewayClassName: any
  listeners: [{ name: http, port: 80, protocol: HTTP }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: cart, namespace: shop }
spec:
  parentRefs: [{ name: web }]
  hostnames: [shop.localhost]
  rules: [{ matches: [{ path: { type: PathPrefix, value: /cart } }] }]
";

/// A policy of the route, with one rule.
fn of_route(rule: &str) -> String {
    format!(
        "
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: {{ name: cart, namespace: shop }}
spec:
  targetRefs: [{{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: cart }}]
  rules: [{{ {rule} }}]
"
    )
}

/// A policy of the host, with one rule.
fn of_host(rule: &str) -> String {
    house::policy("shop", &format!("[{{ {rule} }}]")).replace("shop.example", "shop.localhost")
}

#[tokio::test(flavor = "multi_thread")]
async fn p29_a_policy_that_is_written_changed_and_deleted_is_felt_through_envoy() -> Result<()> {
    let server = house::server().await?;
    let gate = Cloakroom::spawn(house::options(&server)?).await?;
    let shop = Sloppy::spawn().await?;
    let mut config = EnvoyConfig::shipped()?;
    config.plain()?.patient()?.gate(&gate.grpc()?)?.service("shop", shop.address())?;
    let envoy = Envoy::spawn(EnvoyVersion::Newest, &config).await?;
    let felt = async |path: &str, want: u16| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n");
        let is_so = async || exchange(envoy.address(), request.as_bytes()).await.is_ok_and(|it| it.status() == want);
        wait_until(PATIENCE, &format!("{want} for {path}"), is_so).await
    };

    felt("/", 403).await?;
    server.apply(&of_host("access: Public")).await?;
    felt("/", 200).await?;
    server.apply(&of_host("authenticate: [{ session: {} }]")).await?;
    felt("/", 401).await?;
    felt("/cart", 401).await?;

    server.apply(ROUTES).await?;
    server.apply(&of_route("access: Public")).await?;
    felt("/cart", 200).await?;
    felt("/", 401).await?;
    server.apply(&of_route("access: Deny")).await?;
    felt("/cart", 403).await?;
    house::delete(&server, "cart").await?;
    house::delete(&server, "shop").await?;
    felt("/", 403).await?;
    felt("/cart", 403).await?;
    server.apply(&of_host("access: Public")).await?;
    felt("/", 200).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p27_hosts_are_for_the_install_s_own_namespace_and_selectors_choose() -> Result<()> {
    let server = house::server().await?;
    server.apply("apiVersion: v1\nkind: Namespace\nmetadata: { name: other }\n").await?;
    let mut options = house::options(&server)?;
    options.config["policies"]["kubernetes"]["selector"] = "gate in (a, b)".into();
    let gate = Cloakroom::spawn(options).await?;
    let labelled = |policy: String, label: &str| {
        policy.replace("namespace: shop }", &format!("namespace: shop, labels: {{ gate: {label} }} }}"))
    };

    server.apply(&labelled(house::public("mine"), "a")).await?;
    server.apply(&labelled(house::public("foreign"), "a").replace("namespace: shop", "namespace: other")).await?;
    server.apply(&labelled(house::public("unchosen"), "c")).await?;
    house::comes_to(&gate, "mine.example", 200).await?;
    server.apply(&labelled(house::public("last"), "b")).await?;
    house::comes_to(&gate, "last.example", 200).await?;
    for host in ["foreign.example", "unchosen.example"] {
        assert_eq!(house::status(&gate, host).await?, 403, "{host}");
    }
    house::says(&gate, "AuthPolicy other/foreign", 1).await?;
    // A policy that leaves the selection is gone.
    server.apply(&labelled(house::public("mine"), "c")).await?;
    house::comes_to(&gate, "mine.example", 403).await
}
