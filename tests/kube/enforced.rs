//! Policies written with the API of Kubernetes, felt through Envoy.

use std::time::Instant;

use anyhow::Result;
use e2e::checker::Checker;
use e2e::envoy::{Envoy, EnvoyConfig};
use e2e::gate::Cloakroom;
use e2e::http1::exchange;
use e2e::measure::Percentiles;
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

/// Prints how long a change takes from the API server's answer to its effect at the gate. What it prints is no assertion.
#[tokio::test(flavor = "multi_thread")]
async fn p29_how_long_a_change_takes_to_be_in_force() -> Result<()> {
    let server = house::server().await?;
    let lists = async || -> Result<u64> {
        let metrics = server.api(http::Method::GET, "/metrics", None).await?.1;
        let lines = metrics.as_str().unwrap_or_default().lines().filter(|line| {
            line.starts_with("apiserver_request_total{") && line.contains("authpolicies") && line.contains("\"LIST\"")
        });
        Ok(lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum())
    };
    let before = lists().await?;
    let gate = Cloakroom::spawn(house::options(&server)?).await?;
    println!("lists of policies beside streamed ones: {}", lists().await? - before);
    let checker = Checker::connect(&gate.grpc()?).await?;
    let (mut changed, mut deleted) = (Vec::new(), Vec::new());
    for round in 0..200 {
        let (times, want) = match round % 4 {
            0 | 2 => (&mut changed, 200),
            1 => (&mut changed, 403),
            _ => (&mut deleted, 403),
        };
        match round % 4 {
            0 | 2 => drop(server.apply(&house::public("timed")).await?),
            1 => drop(server.apply(&house::closed("timed")).await?),
            _ => house::delete(&server, "timed").await?,
        }
        let written = Instant::now();
        let is_so = async || checker.get("timed.example", "/", "x").await.is_ok_and(|answer| answer.status == want);
        wait_until(PATIENCE, "effect", is_so).await?;
        times.push(written.elapsed());
    }
    println!("written to enforced: {:?}", Percentiles::of(changed));
    println!("deleted to enforced: {:?}", Percentiles::of(deleted));
    Ok(())
}
