//! What Helm makes of the files of Envoy Gateway, the Gateway API and plain Envoy below `wiring/` is what `cloakroom snippet` prints.

use cloakroom::wiring::{self, Gateway, Headers, Listener, Mesh, Shape, Site};
use serde_json::Value;

use crate::house::{printed, wired};

/// What Helm renders of one template with these values.
fn rendered(template: &str, values: &[&str]) -> Vec<Value> {
    wired(template, &values.iter().flat_map(|value| ["--set", value]).collect::<Vec<_>>()).unwrap()
}

fn filled(mesh: Mesh, site: &Site) -> Vec<Value> {
    printed(mesh, site).unwrap()
}

fn gateway(name: &str) -> Gateway {
    Gateway { namespace: "infra".into(), name: name.into() }
}

const GATEWAYS: [&str; 4] = [
    "gateways[0].namespace=infra",
    "gateways[0].name=public",
    "gateways[1].namespace=infra",
    "gateways[1].name=internal",
];
const RENAMED: [&str; 3] = [
    "jwt.header=X-User-JWT",
    "wiring.exchangeHeaders={x-login-jwt,x-other-jwt}",
    "config.token.carriers[0].header=X-Ticket",
];

fn shared() -> Site {
    Site { gateways: vec![gateway("public"), gateway("internal")], ..Site::new("cloakroom-system", Shape::Shared) }
}

fn renamed() -> Headers {
    Headers {
        jwt: "x-user-jwt".into(),
        credentials: vec!["x-api-key".into(), "x-ticket".into()],
        exchanges: vec!["x-login-jwt".into(), "x-other-jwt".into()],
    }
}

#[test]
fn envoy_gateway_is_wired_alike_by_the_chart_and_the_program() {
    let template = "envoy-gateway.yaml";
    let listener = Listener { gateway: gateway("public"), name: "https".into() };
    let patched = [
        "envoyGateway.patchPolicy.listeners[0].namespace=infra",
        "envoyGateway.patchPolicy.listeners[0].gateway=public",
        "envoyGateway.patchPolicy.listeners[0].listener=https",
    ];
    let values = |more: &[&'static str]| [&["mesh=envoyGateway"][..], &GATEWAYS, more].concat();
    assert_eq!(rendered(template, &values(&[])), filled(Mesh::EnvoyGateway, &shared()));
    let site = Site { headers: renamed(), patched: vec![listener], ..shared() };
    assert_eq!(rendered(template, &values(&[&patched[..], &RENAMED].concat())), filled(Mesh::EnvoyGateway, &site));
    let site = Site { shape: Shape::Sidecar, ..shared() };
    let beside = ["shape=sidecar", "sidecar.listen=socket"];
    assert_eq!(rendered(template, &values(&beside)), filled(Mesh::EnvoyGateway, &site));
}

#[test]
fn the_gateway_api_is_wired_alike() {
    let values = [&["mesh=gatewayApi", "gatewayApi.routeNamespaces={shop,blog}"][..], &GATEWAYS].concat();
    let site = Site { namespaces: vec!["shop".into(), "blog".into()], ..shared() };
    assert_eq!(rendered("gateway-api.yaml", &values), filled(Mesh::GatewayApi, &site));
}

#[test]
fn a_plain_envoy_is_wired_alike() {
    let template = "envoy.yaml";
    let site = |shape| {
        let mut site = Site::new("cloakroom-system", shape);
        site.envoy.config_map = Some(("shop".into(), "cloakroom-envoy".into()));
        site
    };
    let same = |values: &[&str], site: &Site| {
        let (mut rendered, mut filled) = (rendered(template, values), filled(Mesh::Envoy, site));
        // Helm ends the last key with an empty line more or less.
        for object in rendered.iter_mut().chain(&mut filled) {
            for (_, text) in object["data"].as_object_mut().unwrap() {
                *text = text.as_str().unwrap().trim_end().into();
            }
        }
        assert_eq!(rendered, filled);
    };
    same(&["envoy.namespaces={shop}"], &site(Shape::Sidecar));
    let mut socket = site(Shape::Sidecar);
    socket.envoy.gate = wiring::GateAt::Socket("/run/cloakroom/gate/gate.sock".into());
    socket.headers = renamed();
    socket.envoy.listen = "[::]:8000".parse().unwrap();
    socket.envoy.upstreams[0].port = 9000;
    let values =
        ["envoy.namespaces={shop}", "sidecar.listen=socket", "envoy.listen=[::]:8000", "envoy.upstreamPort=9000"];
    same(&[&values[..], &RENAMED].concat(), &socket);
    let mut elsewhere = site(Shape::Shared);
    let values = ["envoy.namespaces={shop}", "shape=shared", "proxyNamespaces={shop}", "envoy.upstreamPort=80"];
    for host in ["shop.shop.svc.cluster.local", "10.0.0.7"] {
        elsewhere.envoy.upstreams[0].host = host.into();
        elsewhere.envoy.upstreams[0].port = 80;
        same(&[&values[..], &[&format!("envoy.upstreamHost={host}")]].concat(), &elsewhere);
    }
}
