//! Istio: the check as a CUSTOM AuthorizationPolicy, the way back and the removal of our headers as an EnvoyFilter.

use super::{File, Form, Gateway, Piece, Shape, Site, WiringError, chart_file};

const MESH_CONFIG: File = chart_file!("istio/mesh-config.yaml");
const SERVICE_ENTRY: File = chart_file!("istio/service-entry.yaml");
const DESTINATION_RULE: File = chart_file!("istio/destination-rule.yaml");
const AUTHORIZATION_POLICY: File = chart_file!("istio/authorization-policy.yaml");
const ENVOY_FILTER: File = chart_file!("istio/envoy-filter.yaml");
/// The rest of either EnvoyFilter.
const ENVOY_FILTER_PATCHES: File = chart_file!("istio/envoy-filter-patches.yaml");
const GATEWAY_ROLE: File = chart_file!("istio/gateway-role.yaml");
const GATEWAY_ROLE_BINDING: File = chart_file!("istio/gateway-role-binding.yaml");
const GATEWAY_DESTINATION_RULE: File = chart_file!("istio/gateway-destination-rule.yaml");
const GATEWAY_AUTHORIZATION_POLICY: File = chart_file!("istio/gateway-authorization-policy.yaml");
const GATEWAY_ENVOY_FILTER: File = chart_file!("istio/gateway-envoy-filter.yaml");
const REQUEST_AUTHENTICATION: File = chart_file!("istio/request-authentication.yaml");

/// The host by which a proxy finds the gate in its own pod.
const SIDECAR_HOST: &str = "cloakroom.sidecar.internal";

/// All pieces, in the order in which to apply them: what the check needs, then the check.
pub(super) fn pieces(site: &Site) -> Result<Vec<Piece>, WiringError> {
    let mut pieces = vec![mesh_config(site)?];
    match site.shape {
        Shape::Sidecar => pieces.extend(sidecars(site)?),
        Shape::Shared => {
            for gateway in &site.gateways {
                pieces.extend(of_gateway(site, gateway)?);
            }
        }
    }
    for namespace in &site.namespaces {
        pieces.push(request_authentication(site, namespace)?);
    }
    Ok(pieces)
}

/// The extension provider, and what proxies count: lines of the mesh's own configuration, which belongs to whoever installed Istio.
pub fn mesh_config(site: &Site) -> Result<Piece, WiringError> {
    let (service, port) = match site.shape {
        Shape::Sidecar => (format!("{}/{SIDECAR_HOST}", site.istio.root_namespace), "19443"),
        Shape::Shared => (format!("{}/{}", site.install_namespace, site.gate_host()), "9443"),
    };
    let values = [("provider", &*site.istio.provider), ("service", &*service), ("port", port)];
    let about = "Lines for Istio's own configuration (MeshConfig), before the rest: with Helm `meshConfig` in the values of \
                 istiod, else the key `mesh` of the ConfigMap `istio` in its namespace, each into the list or map that may be \
                 there already. The provider needs no restart; proxies count what the last line names from their next start. \
                 Until istiod knows this provider, and the Service that it names, whoever the AuthorizationPolicy below selects answers 403 \
                 (`RBAC: access denied`) to everything.";
    Ok(Piece { form: Form::Lines, ..MESH_CONFIG.document(about, &values)? })
}

fn sidecars(site: &Site) -> Result<Vec<Piece>, WiringError> {
    let root = ("rootNamespace", &*site.istio.root_namespace);
    Ok(vec![
        SERVICE_ENTRY.document("The name by which each proxy finds the gate in its own pod.", &[root])?,
        DESTINATION_RULE.document("How it is reached: in plain text, since it is loopback.", &[root])?,
        Piece {
            about: "In the proxies of pods with a gate: cloakroom's headers are taken off what clients send and what services answer, \
                    and the way back, by which services change sessions."
                .to_owned(),
            yaml: ENVOY_FILTER.filled(&[root])? + &patches(site, "SIDECAR_INBOUND", "cloakroom")?,
            form: Form::Document,
        },
        AUTHORIZATION_POLICY.document(
            "The check: every request to a pod with a gate.",
            &[root, ("provider", &*site.istio.provider)],
        )?,
    ])
}

fn of_gateway(site: &Site, gateway: &Gateway) -> Result<Vec<Piece>, WiringError> {
    let (namespace, name) = (("namespace", &*gateway.namespace), ("gateway", &*gateway.name));
    let (gate_name, host) = (site.gate_name(), site.gate_host());
    let account = site.istio.account(gateway);
    let whose = format!("the Gateway {}/{}", gateway.namespace, gateway.name);
    Ok(vec![
        GATEWAY_ROLE.document(
            format!("istiod may hand the proxies of {whose} the certificate by which the gate knows them."),
            &[namespace, name],
        )?,
        GATEWAY_ROLE_BINDING
            .document(format!("Who these proxies are; change it if {whose} has another account."), &[namespace, name, ("account", &*account)])?,
        GATEWAY_DESTINATION_RULE.document(
            format!("How the proxies of {whose} reach the gate: TLS, both sides with certificates of cloakroom's own authority."),
            &[namespace, name, ("gateHost", &*host), ("gateName", &*gate_name)],
        )?,
        Piece {
            about: format!(
                "In {whose}, or the waypoint of that name: cloakroom's headers are taken off what clients send and what \
                 services answer, and the way back, by which services change sessions."
            ),
            yaml: GATEWAY_ENVOY_FILTER.filled(&[namespace, name])?
                + &patches(site, "ANY", &format!("outbound|9443||{host}"))?,
            form: Form::Document,
        },
        GATEWAY_AUTHORIZATION_POLICY.document(
            format!("The check: every request to {whose}, or the waypoint of that name."),
            &[namespace, name, ("provider", &*site.istio.provider)],
        )?,
    ])
}

/// What either EnvoyFilter does, where `context` says, with the gate as the proxy knows it.
fn patches(site: &Site, context: &str, gate_cluster: &str) -> Result<String, WiringError> {
    let headers = &site.headers;
    ENVOY_FILTER_PATCHES.filled(&[
        ("context", context),
        ("gateCluster", gate_cluster),
        ("jwtHeader", &headers.jwt),
        ("ownHeaders", &headers.own()),
        ("trailerHeaders", &headers.trailers()),
        ("answeredHeaders", &headers.answered()),
    ])
}

fn request_authentication(site: &Site, namespace: &str) -> Result<Piece, WiringError> {
    let controller = site.controller_host();
    let values = [
        ("namespace", namespace),
        ("issuer", &*site.issuer),
        ("controllerHost", &*controller),
        ("jwtHeader", &*site.headers.jwt),
    ];
    REQUEST_AUTHENTICATION.document(
        format!(
            "The proxies of {namespace} verify the session JWT, so that other AuthorizationPolicies may speak of its claims. Apply \
             it when the namespace has its keys (it is enrolled): until istiod has fetched them, every JWT is refused (401)."
        ),
        &values,
    )
}
