use super::*;
use crate::doctor::gateway_api;

const FINE: &str = "[{type: Accepted, status: 'True'}, {type: ResolvedRefs, status: 'True'}]";

fn route(filter: &str, conditions: &str) -> String {
    format!(
        "\n---\n{{kind: HTTPRoute, metadata: {{name: web, namespace: shop}}, spec: {{rules: [{{filters: [{{type: ExternalAuth, externalAuth: {{backendRef: {{name: cloakroom-gate, namespace: cloakroom-system}}, {filter}}}}}]}}]}}, status: {{parents: [{{conditions: {conditions}}}]}}}}\n"
    )
}

const GRANT: &str = "
---
kind: ReferenceGrant
metadata: {name: cloakroom, namespace: cloakroom-system}
spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}], to: [{group: '', kind: Service, name: cloakroom-gate}]}
";

const TLS: &str = "
---
kind: BackendTLSPolicy
metadata: {name: cloakroom, namespace: cloakroom-system}
spec: {targetRefs: [{group: '', kind: Service, name: cloakroom-gate}]}
";

#[test]
fn routes_may_ask_and_do() {
    let check = Check::RouteFilters;
    let ok = (Level::Ok, "lets proxies speak TLS");
    for (all, want) in [
        (
            format!("{}{GRANT}{TLS}", route("protocol: GRPC", FINE)),
            vec![(Level::Ok, "asks cloakroom, and is accepted"), ok],
        ),
        (format!("{}{GRANT}{TLS}", route("protocol: HTTP", FINE)), vec![(Level::Problem, "by HTTP"), ok]),
        (
            format!("{}{TLS}", route("protocol: GRPC", FINE)),
            vec![(Level::Problem, "no ReferenceGrant there lets it"), ok],
        ),
        (
            format!("{}{}{TLS}", route("protocol: GRPC", FINE), GRANT.replace("namespace: shop", "namespace: other")),
            vec![(Level::Problem, "no ReferenceGrant there lets it"), ok],
        ),
        (
            format!("{}{GRANT}{TLS}", route("protocol: GRPC, grpc: {allowedHeaders: [cookie]}", FINE)),
            vec![(Level::Problem, "some headers alone"), ok],
        ),
        (
            format!(
                "{}{GRANT}{TLS}",
                route("protocol: GRPC", "[{type: Accepted, status: 'False', reason: UnsupportedValue}]")
            ),
            vec![(Level::Problem, "is not Accepted: UnsupportedValue"), ok],
        ),
        (format!("{}{GRANT}{TLS}", route("protocol: GRPC", "[]")), vec![(Level::Problem, "has no status"), ok]),
        (
            format!("{}{GRANT}", route("protocol: GRPC", FINE)),
            vec![(Level::Ok, "asks cloakroom"), (Level::Problem, "has no BackendTLSPolicy")],
        ),
        ("{kind: HTTPRoute, metadata: {name: web, namespace: shop}}".to_owned(), vec![]),
    ] {
        expect(&gateway_api::judge(&mesh(scene(&all), Mesh::GatewayApi)), check, &want);
    }
    let mut told = mesh(scene(""), Mesh::GatewayApi);
    told.is_told = true;
    expect(&gateway_api::judge(&told), check, &[(Level::Problem, "none has a filter ExternalAuth")]);
}
