//! Envoy Gateway: the check as a SecurityPolicy, the way back as an EnvoyExtensionPolicy, and the removal of our headers as a
//! ClientTrafficPolicy, each on the Gateway.

use super::{File, Gateway, Listener, Piece, Shape, Site, WiringError, chart_file};

const BACKEND: File = chart_file!("envoy-gateway/backend.yaml");
const BACKEND_SOCKET: File = chart_file!("envoy-gateway/backend-socket.yaml");
const CLIENT_TRAFFIC_POLICY: File = chart_file!("envoy-gateway/client-traffic-policy.yaml");
const PATCH_POLICY: File = chart_file!("envoy-gateway/patch-policy.yaml");
const EXTENSION_POLICY: File = chart_file!("envoy-gateway/extension-policy.yaml");
const SECURITY_POLICY: File = chart_file!("envoy-gateway/security-policy.yaml");

/// All pieces, in the order in which to apply them: what the check needs, then the check.
pub(super) fn pieces(site: &Site) -> Result<Vec<Piece>, WiringError> {
    let mut pieces = Vec::new();
    let mut namespaces: Vec<&str> = Vec::new();
    for gateway in &site.gateways {
        if !namespaces.contains(&&*gateway.namespace) {
            namespaces.push(&gateway.namespace);
            pieces.push(backend(site, &gateway.namespace)?);
        }
        pieces.extend(of_gateway(site, gateway)?);
    }
    for listener in &site.patched {
        pieces.push(of_listener(site, listener)?);
    }
    Ok(pieces)
}

fn backend(site: &Site, namespace: &str) -> Result<Piece, WiringError> {
    match site.shape {
        Shape::Shared => BACKEND.document(
            format!(
                "Where the proxies of the Gateways in {namespace} find the gate. Envoy Gateway must be told to know this kind \
                 (`extensionApis.enableBackend: true` in its configuration), or every route of these Gateways answers 500."
            ),
            &[("namespace", namespace), ("gateHost", &site.gate_host()), ("gateName", &site.gate_name())],
        ),
        Shape::Sidecar => BACKEND_SOCKET.document(
            format!(
                "Where the proxies of the Gateways in {namespace} find the gate in their own pods. Envoy Gateway must be told to \
                 know this kind (`extensionApis.enableBackend: true` in its configuration), and to run proxies in the namespaces \
                 of their Gateways (`provider.kubernetes.deploy.type: GatewayNamespace`); that namespace must be enrolled."
            ),
            &[("namespace", namespace)],
        ),
    }
}

fn of_gateway(site: &Site, gateway: &Gateway) -> Result<Vec<Piece>, WiringError> {
    let own = site.headers.own();
    let (namespace, name) = (("namespace", &*gateway.namespace), ("gateway", &*gateway.name));
    let whose = format!("the Gateway {}/{}", gateway.namespace, gateway.name);
    Ok(vec![
        CLIENT_TRAFFIC_POLICY.document(
            format!(
                "On {whose}: cloakroom's headers are taken off what clients send and what services answer. A Gateway has one policy of \
                 this kind: where there is one already, put the `headers` of this one into it."
            ),
            &[namespace, name, ("ownHeaders", &*own)],
        )?,
        EXTENSION_POLICY.document(
            format!("On {whose}: the way back, by which services change sessions."),
            &[namespace, name],
        )?,
        SECURITY_POLICY.document(format!("The check: every request to {whose}."), &[namespace, name])?,
    ])
}

fn of_listener(site: &Site, listener: &Listener) -> Result<Piece, WiringError> {
    let Listener { gateway, name } = listener;
    let (own, trailers) = (site.headers.own(), site.headers.trailers());
    PATCH_POLICY.document(
        format!(
            "On the listener {name} of {}/{}: cloakroom's headers are taken off trailers, too. Envoy Gateway must be told to know \
             this kind (`extensionApis.enableEnvoyPatchPolicy: true` in its configuration).",
            gateway.namespace, gateway.name
        ),
        &[
            ("namespace", &*gateway.namespace),
            ("gateway", &*gateway.name),
            ("listener", &**name),
            ("ownHeaders", &*own),
            ("trailerHeaders", &*trailers),
        ],
    )
}
