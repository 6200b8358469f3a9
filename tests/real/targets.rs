//! What a policy is for, through a real Envoy: the route that its configuration names, and the pod that the gate stands in.

use anyhow::{Result, ensure};
use e2e::envoy::{Envoy, EnvoyConfig};
use e2e::gate::{Cloakroom, GateOptions};
use e2e::http1::exchange;
use e2e::sloppy::Sloppy;
use e2e::tools::EnvoyVersion;
use serde_json::{Value, json};

use crate::on_each_envoy;
use crate::scene::cloakroom;

on_each_envoy! {
    p30_the_proxys_word_about_a_route_picks_and_adds_none => named_routes;
    p27_a_route_that_the_proxy_left_out_does_not_judge_what_another_is_sent => left_out;
    p27_a_selector_judges_the_own_pod_alone => own_pod;
}

/// Two Gateways with one host. `shop/shop` wants a session, `evil/claim` is open below `/admin`, and `shop/blog` is open on a host of
/// its own.
const POLICIES: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: front, namespace: infra }
spec: { listeners: [{ name: https, port: 443, protocol: HTTPS, allowedRoutes: { namespaces: { from: All } } }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: back, namespace: evil }
spec: { listeners: [{ name: https, port: 443, protocol: HTTPS, allowedRoutes: { namespaces: { from: All } } }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: shop, namespace: shop }
spec: { parentRefs: [{ name: front, namespace: infra }], hostnames: [shop.example] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: blog, namespace: shop }
spec: { parentRefs: [{ name: front, namespace: infra }], hostnames: [blog.example] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: claim, namespace: evil }
spec: { parentRefs: [{ name: back }], hostnames: [shop.example], rules: [{ matches: [{ path: { value: /admin } }] }] }
---
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: shop, namespace: shop }
spec: { targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop }] }
---
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: blog, namespace: shop }
spec: { targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: blog }], rules: [{ access: Public }] }
---
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: open, namespace: evil }
spec: { targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: claim }], rules: [{ access: Public }] }
";

/// Who sends requests to paths below `prefix` to the shop, and says this of their route.
fn saying(prefix: &str, extension: Option<&str>, metadata: Option<Value>) -> Value {
    let mut route = json!({ "match": { "prefix": prefix }, "route": { "cluster": "shop" } });
    if let Some(named) = extension {
        route["typed_per_filter_config"] = json!({ "envoy.filters.http.ext_authz": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
            "check_settings": { "context_extensions": { "cloakroom.route": named } },
        } });
    }
    if let Some(resource) = metadata {
        route["metadata"] = json!({ "filter_metadata": { "envoy-gateway": { "resources": [resource] } } });
    }
    route
}

/// As Envoy Gateway writes it down.
fn resource(namespace: &str, name: &str) -> Option<Value> {
    Some(json!({ "kind": "HTTPRoute", "namespace": namespace, "name": name, "annotations": { "a": "b" } }))
}

/// A path, what the proxy says of it by an extension and by metadata, and the status when that is verified, and when it is trusted.
type Row = (&'static str, Option<&'static str>, Option<Value>, u16, u16);

async fn named_routes(version: EnvoyVersion) -> Result<()> {
    let rows: [Row; 10] = [
        // By matching alone it is one of two.
        ("/admin/none", None, None, 403, 403),
        ("/admin/ours", Some("HTTPRoute/shop/shop"), None, 401, 401),
        ("/admin/claim", Some("HTTPRoute/evil/claim"), None, 200, 200),
        ("/admin/gateway", None, resource("shop", "shop"), 401, 401),
        ("/admin/claimed", None, resource("evil", "claim"), 200, 200),
        ("/admin/agreed", Some("HTTPRoute/shop/shop"), resource("shop", "shop"), 401, 401),
        ("/admin/contradicted", Some("HTTPRoute/evil/claim"), resource("shop", "shop"), 400, 400),
        // A route of another host: never by matching.
        ("/blog", Some("HTTPRoute/shop/blog"), None, 403, 200),
        ("/gateway-blog", None, resource("shop", "blog"), 403, 200),
        ("/nonsense", Some("shop"), None, 400, 400),
    ];
    for (identity, trusted) in [("verified", false), ("trusted", true)] {
        let mut options = GateOptions::new(cloakroom()).policy("all.yaml", POLICIES);
        options.config["proxy"] = json!({ "routeIdentity": identity });
        let gate = Cloakroom::spawn(options).await?;
        let shop = Sloppy::spawn().await?;
        let mut config = EnvoyConfig::shipped()?;
        config.plain()?.patient()?.gate(&gate.grpc()?)?.service("shop", shop.address())?;
        config.at_filter("envoy.filters.http.ext_authz", "")?["route_metadata_context_namespaces"] =
            json!(["envoy-gateway"]);
        for (prefix, extension, metadata, ..) in &rows {
            config.route_first(saying(prefix, *extension, metadata.clone()))?;
        }
        let envoy = Envoy::spawn(version, &config).await?;
        for (path, _, _, when_verified, when_trusted) in &rows {
            // No client can say it.
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: shop.example\r\ncloakroom.route: HTTPRoute/shop/blog\r\n\
                 x-cloakroom-route: HTTPRoute/shop/blog\r\n\r\n"
            );
            let status = exchange(envoy.address(), request.as_bytes()).await?.status();
            let want = if trusted { *when_trusted } else { *when_verified };
            ensure!(status == want, "{identity} {path}: {status} and not {want}");
        }
    }
    Ok(())
}

/// A host with two routes: `shop/NAME` wants a session everywhere, and `evil/NAME` (`kind`, with this status) is open below `/admin`.
fn shared_host(name: &str, kind: &str, status: &str) -> String {
    let matches = match kind {
        "GRPCRoute" => "{ method: { service: admin } }",
        _ => "{ path: { value: /admin } }",
    };
    let parents = "parentRefs: [{ name: front, namespace: infra }]";
    let route = |namespace: &str, kind: &str, matches: &str, status: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{ name: {name}, namespace: {namespace}, generation: 2 }}\n\
             spec: {{ {parents}, hostnames: [{name}.example], rules: [{{ matches: [{matches}] }}] }}\n\
             status: {{ parents: [{{ parentRef: {{ name: front, namespace: infra }}, controllerName: istio.io/gateway-controller, conditions: [{status}] }}] }}\n"
        )
    };
    let policy = |namespace: &str, kind: &str, rules: &str| {
        format!(
            "apiVersion: cloakroom.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{ name: {name}, namespace: {namespace} }}\n\
             spec: {{ targetRefs: [{{ group: gateway.networking.k8s.io, kind: {kind}, name: {name} }}], rules: [{rules}] }}\n"
        )
    };
    [
        route("shop", "HTTPRoute", "{ path: { value: / } }", TAKEN),
        policy("shop", "HTTPRoute", ""),
        route("evil", kind, matches, status),
        policy("evil", kind, "{ access: Public }"),
    ]
    .join("---\n")
}

const TAKEN: &str = "{ type: Accepted, status: 'True', reason: Accepted, observedGeneration: 2 }, \
    { type: ResolvedRefs, status: 'True', reason: ResolvedRefs, observedGeneration: 2 }";
/// So Istio says of a route with a filter that it does not know, and makes nothing of it.
const LEFT_OUT: &str = "{ type: Accepted, status: 'True', reason: Accepted, observedGeneration: 2 }, \
    { type: ResolvedRefs, status: 'False', reason: InvalidFilter, observedGeneration: 2 }";
const OLDER: &str = "{ type: Accepted, status: 'True', reason: Accepted, observedGeneration: 1 }";

/// The proxy sends everything to the shop and names no route, as Istio does where it left out the other.
async fn left_out(version: EnvoyVersion) -> Result<()> {
    let hosts = [
        ("taken", "HTTPRoute", TAKEN, 200),
        ("left-out", "HTTPRoute", LEFT_OUT, 403),
        ("older", "HTTPRoute", OLDER, 403),
        ("untold", "HTTPRoute", "", 403),
        ("calls", "GRPCRoute", TAKEN, 403),
    ];
    let gateway = POLICIES.split("---").next().unwrap_or_default().to_owned();
    let routes = hosts.iter().map(|(name, kind, status, _)| shared_host(name, kind, status));
    let policies = std::iter::once(gateway).chain(routes).collect::<Vec<_>>().join("---\n");
    let gate = Cloakroom::spawn(GateOptions::new(cloakroom()).policy("all.yaml", &policies)).await?;
    let shop = Sloppy::spawn().await?;
    let mut config = EnvoyConfig::shipped()?;
    config.plain()?.patient()?.gate(&gate.grpc()?)?.service("shop", shop.address())?;
    let envoy = Envoy::spawn(version, &config).await?;
    for (name, _, _, want) in hosts {
        // What only the shop has is judged by the shop's policy, whatever is told of the other.
        for (path, want) in [("/admin/users", want), ("/", 401)] {
            let request = format!("POST {path} HTTP/1.1\r\nHost: {name}.example\r\nContent-Length: 0\r\n\r\n");
            let status = exchange(envoy.address(), request.as_bytes()).await?.status();
            ensure!(status == want, "{name} {path}: {status} and not {want}");
        }
    }
    Ok(())
}

async fn own_pod(version: EnvoyVersion) -> Result<()> {
    const POD_POLICIES: &str = "
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: cart, namespace: shop }
spec: { selector: { matchLabels: { app: cart } }, hosts: [shop.example], rules: [{ matches: [{ path: { value: /open } }], access: Public }] }
---
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: foreign, namespace: evil }
spec: { selector: {}, rules: [{ access: Public }] }
";
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("namespace"), "shop")?;
    for (labels, statuses) in [
        (Some("app=\"cart\"\ntier=\"web\""), [200, 401, 200, 403]),
        (Some("app=\"other\""), [403, 403, 403, 403]),
        // A shared gate has no pod.
        (None, [403, 403, 403, 403]),
    ] {
        let mut options = GateOptions::new(cloakroom()).policy("all.yaml", POD_POLICIES);
        if let Some(labels) = labels {
            std::fs::write(folder.path().join("labels"), labels)?;
            options.config["policies"] = json!({ "pod": folder.path() });
        }
        let gate = Cloakroom::spawn(options).await?;
        let session = gate.create_session(&json!({ "subject": "bob" })).await?;
        let shop = Sloppy::spawn().await?;
        let mut config = EnvoyConfig::shipped()?;
        config.plain()?.patient()?.gate(&gate.grpc()?)?.service("shop", shop.address())?;
        let envoy = Envoy::spawn(version, &config).await?;
        let bearer = format!("Authorization: Bearer {}\r\n", session.token);
        let rows = [
            ("/open", "shop.example", ""),
            ("/cart", "shop.example", ""),
            ("/cart", "shop.example", &bearer),
            ("/", "other.example", ""),
        ];
        for ((path, host, extra), want) in rows.iter().zip(statuses) {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{extra}\r\n");
            let status = exchange(envoy.address(), request.as_bytes()).await?.status();
            ensure!(status == want, "{labels:?} {host}{path} {}: {status} and not {want}", extra.is_empty());
        }
    }
    Ok(())
}
