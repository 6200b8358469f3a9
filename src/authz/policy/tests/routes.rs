//! Gateways and routes in YAML, and policies on them.

use super::fixture::*;

const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: front, namespace: infra }
spec:
  gatewayClassName: envoy
  listeners:
  - { name: http, port: 80, protocol: HTTP, allowedRoutes: { namespaces: { from: All } } }
  - { name: https, port: 443, protocol: HTTPS, hostname: '*.example', allowedRoutes: { namespaces: { from: All } } }";

pub(super) fn gateway() -> String {
    GATEWAY.trim_start().to_owned()
}

/// A route on `infra/front`, HTTPS only unless `parent` says otherwise.
pub(super) fn route_on(parent: &str, name: &str, rest: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: {name}, namespace: {namespace} }}\nspec:\n  \
         parentRefs: [{parent}]\n  {}",
        rest.replace('\n', "\n  ")
    )
}

pub(super) fn route(name: &str, rest: &str) -> String {
    route_on("{ name: front, namespace: infra, sectionName: https }", name, rest)
}

pub(super) fn on(kind: &str, name: &str) -> String {
    format!("targetRefs: [{{ group: gateway.networking.k8s.io, kind: {kind}, name: {name} }}]")
}

pub(super) fn all(parts: &[String]) -> String {
    parts.join("\n---\n")
}

pub(super) fn kinds(yaml: &str) -> Vec<&'static str> {
    compile(yaml).1.iter().map(|problem| problem.kind.label()).collect()
}

/// `targetRefs` that name a Service.
pub(super) fn on_service(name: &str) -> String {
    format!("targetRefs: [{{ group: '', kind: Service, name: {name} }}]")
}

/// A ReferenceGrant of `to` that lets `kind` of `from` refer to `what`, a kind.
pub(super) fn grant(kind: &str, from: &str, what: &str, to: &str) -> String {
    let group = |kind: &str| match kind {
        "AuthPolicy" => "cloakroom.dev",
        "Service" => "''",
        _ => "gateway.networking.k8s.io",
    };
    format!(
        "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {{ name: {kind}-{from}-{what}, namespace: {to} }}\nspec:\n  \
         from: [{{ group: {}, kind: {kind}, namespace: {from} }}]\n  to: [{{ group: {}, kind: {what} }}]",
        group(kind),
        group(what)
    )
    .replace(&format!("name: {kind}-{from}-{what}"), &format!("name: {}", format!("{kind}-{from}-{what}").to_lowercase()))
}
