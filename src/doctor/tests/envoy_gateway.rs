use super::*;
use crate::doctor::envoy_gateway;

const ACCEPTED: &str = "{ancestors: [{conditions: [{type: Accepted, status: 'True', reason: Accepted}]}]}";
const REFUSED: &str =
    "{ancestors: [{conditions: [{type: Accepted, status: 'False', reason: Invalid, message: no such target}]}]}";

fn config(text: &str) -> String {
    format!(
        "
---
kind: ConfigMap
metadata: {{name: envoy-gateway-config, namespace: envoy-gateway-system}}
data:
  envoy-gateway.yaml: |
    {text}
"
    )
}

fn security(settings: &str, status: &str) -> String {
    format!(
        "\n---\n{{kind: SecurityPolicy, metadata: {{name: cloakroom, namespace: shop}}, status: {status}, spec: {{extAuth: {{{settings}, grpc: {{backendRefs: [{{kind: Backend, name: cloakroom}}]}}}}}}}}\n"
    )
}

const GOOD: &str = "failOpen: false, statusOnError: 503, timeout: 250ms";
const ON: &str = "{extensionApis: {enableBackend: true, enableEnvoyPatchPolicy: true}}";

fn backend() -> String {
    "\n---\n{kind: Backend, metadata: {name: cloakroom, namespace: shop}, status: {conditions: [{type: Accepted, status: 'True'}]}}\n".to_owned()
}

fn traffic(status: &str) -> String {
    format!(
        "\n---\n{{kind: ClientTrafficPolicy, metadata: {{name: cloakroom, namespace: shop}}, status: {status}, spec: {{headers: {{earlyRequestHeaders: {{remove: [X-Session-JWT]}}}}}}}}\n"
    )
}

fn responses(settings: &str, status: &str) -> String {
    format!(
        "\n---\n{{kind: EnvoyExtensionPolicy, metadata: {{name: cloakroom, namespace: shop}}, status: {status}, spec: {{extProc: [{{backendRefs: [{{name: cloakroom}}], {settings}}}]}}}}\n"
    )
}

const NOTE: &str = "metadata: {accessibleNamespaces: [envoy.filters.http.ext_authz]}";

fn judged(objects: &[String]) -> Vec<Finding> {
    envoy_gateway::judge(&mesh(scene(&objects.concat()), Mesh::EnvoyGateway))
}

#[test]
fn good_wiring_is_well() {
    let findings =
        judged(&[config(ON), security(GOOD, ACCEPTED), backend(), traffic(ACCEPTED), responses(NOTE, ACCEPTED)]);
    assert!(findings.iter().all(|it| it.level == Level::Ok), "{findings:#?}");
    assert_eq!(findings.len(), 4, "{findings:#?}");
}

#[test]
fn each_fault_is_found() {
    let whole = || [config(ON), security(GOOD, ACCEPTED), backend(), traffic(ACCEPTED)];
    let with = |at: usize, text: String| {
        let mut all = whole();
        all[at] = text;
        all
    };
    let security_of = |settings: &str| with(1, security(settings, ACCEPTED));
    for (objects, check, level, seen) in [
        (with(0, config("{}")), Check::EnvoyGateway, Level::Problem, "extensionApis.enableBackend: true"),
        (with(0, String::new()), Check::EnvoyGateway, Level::Unknown, "is not there"),
        (
            with(1, security(GOOD, REFUSED)),
            Check::EnvoyGatewayCheck,
            Level::Problem,
            "is not accepted: Invalid: no such target",
        ),
        (with(1, security(GOOD, "{}")), Check::EnvoyGatewayCheck, Level::Problem, "has no status"),
        (security_of("failOpen: true"), Check::EnvoyGatewayCheck, Level::Problem, "says failOpen: true"),
        (security_of("failOpen: false"), Check::EnvoyGatewayCheck, Level::Problem, "sets no timeout"),
        (security_of("timeout: 10s"), Check::EnvoyGatewayCheck, Level::Warning, "waits 10s"),
        (security_of("timeout: 250ms"), Check::EnvoyGatewayCheck, Level::Warning, "has no statusOnError: 503"),
        (security_of("headersToExtAuth: [cookie]"), Check::EnvoyGatewayCheck, Level::Problem, "some headers alone"),
        (with(3, String::new()), Check::EnvoyGatewayHeaders, Level::Problem, "none takes x-session-jwt off"),
        (with(3, traffic(REFUSED)), Check::EnvoyGatewayHeaders, Level::Problem, "is not accepted"),
    ] {
        expect(&judged(&objects), check, &[(level, seen)]);
    }
    for (settings, status, level, seen) in [
        (format!("failOpen: true, {NOTE}"), ACCEPTED, Level::Problem, "says failOpen: true"),
        (format!("messageTimeout: 10s, {NOTE}"), ACCEPTED, Level::Warning, "waits 10s"),
        ("failOpen: false".to_owned(), ACCEPTED, Level::Problem, "does not pass on"),
        (NOTE.to_owned(), REFUSED, Level::Problem, "is not accepted"),
    ] {
        let mut all = whole().to_vec();
        all.push(responses(&settings, status));
        expect(&judged(&all), Check::EnvoyGatewayResponses, &[(level, seen)]);
    }
}

#[test]
fn what_is_not_ours_is_not_missed() {
    let other = security(GOOD, ACCEPTED).replace("kind: Backend, name: cloakroom", "kind: Service, name: opa");
    assert_eq!(judged(&[config("{}"), other.clone()]), []);
    let mut told = mesh(scene(&other), Mesh::EnvoyGateway);
    told.is_told = true;
    expect(&envoy_gateway::judge(&told), Check::EnvoyGatewayCheck, &[(Level::Problem, "none asks cloakroom")]);
}
