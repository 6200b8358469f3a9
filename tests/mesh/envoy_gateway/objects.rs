//! The objects: what a user has, what the chart renders, and what a controller would have made.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use e2e::chart::Helm;
use e2e::tls::Certificates;
use e2e::tools;

/// The name in the gate's certificate.
pub(super) const GATE: &str = "cloakroom-gate.cloakroom-system.svc";
/// Where the Gateway listens; Envoy Gateway itself has 8081 and others.
pub(super) const PORT: u16 = 8888;

/// A Gateway, and routes of another namespace: one that is checked, and one whose own SecurityPolicy takes the place of the
/// Gateway's. `{SHOP}` is where the service is.
const USER: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: public, namespace: infra }
spec:
  gatewayClassName: envoy
  listeners: [{ name: http, protocol: HTTP, port: 8888, allowedRoutes: { namespaces: { from: All } } }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: shop, namespace: shop }
spec:
  parentRefs: [{ name: public, namespace: infra }]
  hostnames: [shop.example]
  rules:
  - matches: [{ path: { type: PathPrefix, value: / } }]
    backendRefs: [{ group: gateway.envoyproxy.io, kind: Backend, name: shop }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: unchecked, namespace: shop }
spec:
  parentRefs: [{ name: public, namespace: infra }]
  hostnames: [shop.example]
  rules:
  - matches: [{ path: { type: PathPrefix, value: /unchecked } }]
    backendRefs: [{ group: gateway.envoyproxy.io, kind: Backend, name: shop }]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: { name: unchecked, namespace: shop }
spec:
  targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: unchecked }]
  cors: { allowOrigins: ['https://other.example'] }
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: { name: shop, namespace: shop }
spec: { endpoints: [{ ip: {SHOP} }] }
";

/// What the gate is told: the routes as they are, and a policy for the one.
pub(super) fn policies() -> String {
    let routes: Vec<&str> = USER.split("\n---\n").take(3).collect();
    format!(
        "{}\n---\n{}",
        routes.join("\n---\n"),
        "
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: shop, namespace: shop }
spec:
  targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop }]
  rules:
  - { name: open, matches: [{ path: { type: PathPrefix, value: /open } }], access: Public }
  - { name: login, matches: [{ path: { type: PathPrefix, value: /login } }], access: Public, session: { create: true } }
  - { name: logout, matches: [{ path: { type: Exact, value: /logout }, method: POST }], session: { end: true } }
  - { name: cart, matches: [{ path: { type: PathPrefix, value: /cart } }], session: { writableClaims: [cart] } }
"
    )
}

/// The user's objects, with the service at this place.
pub(super) fn user(address: &str, port: u16) -> String {
    USER.replace("{SHOP}", &format!("{{ address: {address}, port: {port} }}"))
}

/// The wiring as Helm renders it, for the Gateway `infra/public`.
pub(super) fn rendered(values: &[&str]) -> Result<String> {
    let all = ["mesh=envoyGateway", "gateways[0].namespace=infra", "gateways[0].name=public"];
    let sets = all.iter().chain(values).flat_map(|value| ["--set", value]);
    let arguments: Vec<_> = ["--show-only", "templates/wiring/envoy-gateway.yaml"].into_iter().chain(sets).collect();
    Helm::new(tools::helm()?)?.render(&arguments)
}

/// The values by which trailers are cleaned, too.
pub(super) const TRAILERS: [&str; 3] = [
    "envoyGateway.patchPolicy.listeners[0].namespace=infra",
    "envoyGateway.patchPolicy.listeners[0].gateway=public",
    "envoyGateway.patchPolicy.listeners[0].listener=http",
];

/// What the controller makes in the namespace of the Gateway.
pub(super) fn certificates(of: &Certificates) -> Result<String> {
    let read = |path: &std::path::Path| std::fs::read(path).with_context(|| path.display().to_string());
    let ca = String::from_utf8(read(&of.ca)?)?;
    Ok(format!(
        "
apiVersion: v1
kind: ConfigMap
metadata: {{ name: cloakroom-ca, namespace: infra }}
data: {{ ca.crt: {ca:?} }}
---
apiVersion: v1
kind: Secret
metadata: {{ name: cloakroom-proxy-tls, namespace: infra }}
type: kubernetes.io/tls
data: {{ tls.crt: {}, tls.key: {}, ca.crt: {} }}
",
        BASE64_STANDARD.encode(read(&of.client.certificate)?),
        BASE64_STANDARD.encode(read(&of.client.key)?),
        BASE64_STANDARD.encode(&ca),
    ))
}

/// Puts `to` in the place of `from`, which must be there: the chart and these tests are not to part.
pub(super) fn exchange(objects: &str, from: &str, to: &str) -> Result<String> {
    ensure!(objects.contains(from), "the chart does not render `{from}`:\n{objects}");
    Ok(objects.replace(from, to))
}
