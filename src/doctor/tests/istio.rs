use super::*;
use crate::doctor::istio;

const PROVIDER: &str = "{name: cloakroom, envoyExtAuthzGrpc: {service: istio-system/cloakroom.sidecar.internal, port: 19443, timeout: 0.25s, failOpen: false, statusOnError: '503'}}";

const ENTRY: &str = "
---
kind: ServiceEntry
metadata: {name: cloakroom, namespace: istio-system}
spec: {hosts: [cloakroom.sidecar.internal], exportTo: ['*'], resolution: STATIC, ports: [{number: 19443, name: grpc, protocol: GRPC}], endpoints: [{address: 127.0.0.1, ports: {grpc: 9443}}]}
";

fn mesh_config(providers: &str) -> String {
    format!(
        "
---
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    extensionProviders: [{providers}]
"
    )
}

fn custom(name: &str, namespace: &str, provider: &str, spec: &str) -> String {
    format!(
        "\n---\n{{kind: AuthorizationPolicy, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{action: CUSTOM, provider: {{name: {provider}}}, {spec}}}}}\n"
    )
}

fn filter() -> String {
    "
---
kind: EnvoyFilter
metadata: {name: cloakroom, namespace: shop}
spec:
  configPatches:
  - {applyTo: CLUSTER}
  - applyTo: NETWORK_FILTER
    patch: {value: {typed_config: {early_header_mutation_extensions: [{typed_config: {mutations: [
      {remove_on_match: {key_matcher: {safe_regex: {regex: 'x[^a-z0-9]session[^a-z0-9](jwt|end)'}}}}]}}]}}}
"
    .to_owned()
}

fn judged(objects: &str) -> Vec<Finding> {
    istio::judge(&mesh(scene(objects), Mesh::Istio))
}

#[test]
fn good_wiring_is_well() {
    let all = format!("{}{ENTRY}{}{}", mesh_config(PROVIDER), custom("cloakroom", "shop", "cloakroom", ""), filter());
    let findings = judged(&all);
    assert!(findings.iter().all(|it| it.level == Level::Ok), "{findings:#?}");
    expect(
        &findings,
        Check::IstioProvider,
        &[(Level::Ok, "has the provider `cloakroom`, which waits 0.25s and fails closed")],
    );
    expect(&findings, Check::IstioPolicies, &[(Level::Ok, "1 of 1 with the action CUSTOM ask cloakroom")]);
    expect(&findings, Check::IstioFilter, &[(Level::Ok, "EnvoyFilter shop/cloakroom takes our headers off")]);
}

#[test]
fn the_provider_is_there_and_bounded() {
    for (from, to, level, seen) in [
        (
            "timeout: 0.25s, ",
            "",
            Level::Problem,
            "sets no timeout for `cloakroom`: a gate that hangs holds every request for 600 s",
        ),
        ("0.25s", "600s", Level::Warning, "waits 600s"),
        ("0.25s", "1.5s", Level::Warning, "waits 1.5s"),
        ("0.25s", "1000ms", Level::Ok, "waits 1000ms"),
        ("0.25s", "soon", Level::Problem, "which is no duration"),
        ("failOpen: false", "failOpen: true", Level::Problem, "every request passes unchecked"),
        ("'503'", "'403'", Level::Warning, "an outage looks like a refusal"),
        ("envoyExtAuthzGrpc", "envoyExtAuthzHttp", Level::Problem, "by HTTP"),
        (
            "port: 19443",
            "port: 9000",
            Level::Problem,
            "at port 9000, which ServiceEntry istio-system/cloakroom does not have",
        ),
        ("/cloakroom.sidecar", "/other.sidecar", Level::Problem, "no ServiceEntry has that host"),
        ("service: istio-system/cloakroom.", "service: cloakroom.", Level::Ok, "waits 0.25s"),
        (
            "istio-system/cloakroom.sidecar.internal",
            "cloakroom-gate.cloakroom-system.svc.cluster.local",
            Level::Problem,
            "asks the Service cloakroom-system/cloakroom-gate, which is not there",
        ),
        ("name: cloakroom", "name: other", Level::Problem, "has no extension provider `cloakroom`"),
    ] {
        let provider = PROVIDER.replacen(from, to, 1);
        // A policy asks, so that the wiring is ours.
        let mut all = format!("{}{ENTRY}{}{}", mesh_config(&provider), custom("a", "shop", "cloakroom", ""), filter());
        if to == "name: other" {
            all = all.replace("cloakroom.sidecar.internal, port", "elsewhere.example, port");
        }
        expect(&judged(&all), Check::IstioProvider, &[(level, seen)]);
    }
    for (from, to, seen) in [
        ("exportTo: ['*']", "exportTo: ['.']", "shows to some namespaces alone"),
        ("address: 127.0.0.1", "address: 10.0.0.1", "leads elsewhere than to the pod itself"),
        ("address: 127.0.0.1", "address: 127.evil.example", "leads elsewhere than to the pod itself"),
        ("endpoints: [{address: 127.0.0.1, ports: {grpc: 9443}}]", "endpoints: []", "leads elsewhere"),
        ("endpoints: [", "endpoints: [{address: 127.0.0.2}, ", "leads elsewhere"),
        ("namespace: istio-system", "namespace: other", "is not the install's own"),
    ] {
        let all = format!("{}{}", mesh_config(PROVIDER), ENTRY.replace(from, to));
        expect(&judged(&all), Check::IstioProvider, &[(Level::Problem, seen)]);
    }
    let squat = ENTRY.replace("namespace: istio-system", "namespace: other");
    let all = format!("{}{ENTRY}{squat}", mesh_config(PROVIDER));
    let seen = "declared by ServiceEntry istio-system/cloakroom, ServiceEntry other/cloakroom";
    expect(&judged(&all), Check::IstioProvider, &[(Level::Problem, seen)]);
    let broken = "{kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, data: {mesh: '{'}}";
    let mut told = mesh(scene(broken), Mesh::Istio);
    told.is_told = true;
    expect(&istio::judge(&told), Check::IstioProvider, &[(Level::Problem, "does not read")]);
    told.objects.clear();
    expect(&istio::judge(&told), Check::IstioProvider, &[(Level::Problem, "is not there")]);
}

#[test]
fn an_unknown_provider_is_found_whoever_names_it() {
    let all = format!("{}{ENTRY}{}", mesh_config(PROVIDER), custom("a", "other", "opa", ""));
    expect(
        &judged(&all),
        Check::IstioPolicies,
        &[(
            Level::Problem,
            "AuthorizationPolicy other/a: names the provider `opa`, which ConfigMap istio-system/istio does not have",
        )],
    );
    // Where Istio is there for something else, nothing of ours is missed.
    let findings = judged(&mesh_config(""));
    expect(&findings, Check::IstioProvider, &[]);
    expect(&findings, Check::IstioPolicies, &[(Level::Ok, "0 of 0")]);
    // Each revision has its own.
    let canary = mesh_config("").replace("name: istio,", "name: istio-canary,");
    let all = format!("{}{ENTRY}{canary}{}", mesh_config(PROVIDER), custom("a", "shop", "cloakroom", ""));
    expect(
        &judged(&all),
        Check::IstioPolicies,
        &[(Level::Problem, "which ConfigMap istio-system/istio-canary does not have")],
    );
}

#[test]
fn two_providers_do_not_meet_on_a_workload() {
    let providers = format!("{PROVIDER}, {{name: opa, envoyExtAuthzGrpc: {{service: opa, port: 1}}}}");
    let selector = |labels: &str| format!("selector: {{matchLabels: {{{labels}}}}}");
    let target = |name: &str| format!("targetRefs: [{{kind: Gateway, group: g, name: {name}}}]");
    let pod = "\n---\n{kind: Pod, metadata: {name: p, namespace: shop, labels: {app: a, tier: b}}}\n";
    for (one, other, namespace, more, want) in [
        (String::new(), String::new(), "shop", "", Some("for workloads of the namespace shop")),
        (String::new(), selector("app: a"), "shop", "", Some("for workloads of the namespace shop")),
        (selector("app: a"), selector("app: b"), "shop", pod, None),
        (selector("app: a"), selector("tier: b"), "shop", "", None),
        (selector("app: a"), selector("tier: b"), "shop", pod, Some("for Pod shop/p")),
        (String::new(), String::new(), "other", "", None),
        (String::new(), String::new(), "istio-system", "", Some("for workloads of the namespace shop")),
        (target("x"), target("x"), "shop", "", Some("for Gateway x")),
        (target("x"), target("y"), "shop", "", None),
        (target("x"), String::new(), "shop", "", None),
    ] {
        let policies = [custom("a", "shop", "cloakroom", &one), custom("b", namespace, "opa", &other)].concat();
        let findings = judged(&format!("{}{ENTRY}{policies}{more}", mesh_config(&providers)));
        let wanted = match want {
            Some(part) => (Level::Problem, part),
            None => (Level::Ok, "1 of 2"),
        };
        expect(&findings, Check::IstioPolicies, &[wanted]);
    }
}

#[test]
fn no_provider_is_called_like_the_beginning_of_another() {
    let providers = format!("{PROVIDER}, {{name: cloakroom-x, envoyExtAuthzGrpc: {{service: x, port: 1}}}}");
    let policies = [custom("a", "shop", "cloakroom", ""), custom("b", "other", "cloakroom-x", "")].concat();
    let all = format!("{}{ENTRY}{policies}", mesh_config(&providers));
    expect(&judged(&all), Check::IstioPolicies, &[(Level::Warning, "has the providers `cloakroom` and `cloakroom-x`")]);
}

#[test]
fn ambient_needs_a_waypoint() {
    let namespace = |more: &str| {
        format!(
            "{{kind: Namespace, metadata: {{name: shop, labels: {{cloakroom.dev/enrolled: 'true', istio.io/dataplane-mode: ambient, {more}}}}}}}"
        )
    };
    let service = "targetRefs: [{kind: Service, group: '', name: web}]";
    let gateway = "targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: waypoint}]";
    for (labels, spec, level, seen) in [
        ("", "selector: {matchLabels: {app: web}}", Level::Problem, "ztunnel does not know CUSTOM"),
        ("", service, Level::Problem, "the Service web, which uses no waypoint"),
        ("istio.io/use-waypoint: waypoint", service, Level::Ok, "names what a waypoint"),
        ("", gateway, Level::Ok, "names what a waypoint"),
    ] {
        let all =
            format!("{}{}{ENTRY}{}", namespace(labels), mesh_config(PROVIDER), custom("a", "shop", "cloakroom", spec));
        expect(&judged(&all), Check::IstioAmbient, &[(level, seen)]);
    }
}

#[test]
fn a_policy_of_the_root_namespace_asks_nobody_in_ambient() {
    let namespace = "{kind: Namespace, metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}}";
    let root = custom("a", "istio-system", "cloakroom", "selector: {matchLabels: {cloakroom.dev/injected: 'true'}}");
    let all = format!("{namespace}{}{ENTRY}{root}", mesh_config(PROVIDER));
    let seen = "Namespace shop: is ambient, and AuthorizationPolicy istio-system/a selects workloads";
    expect(&judged(&all), Check::IstioAmbient, &[(Level::Problem, seen)]);
}

#[test]
fn a_missing_filter_is_found() {
    let all = format!("{}{ENTRY}{}", mesh_config(PROVIDER), custom("a", "shop", "cloakroom", ""));
    expect(&judged(&all), Check::IstioFilter, &[(Level::Problem, "a forged x-session-jwt reaches services")]);
    let named = filter().replace("applyTo: CLUSTER", "applyTo: ROUTE_CONFIGURATION");
    let seen = "has no cluster of its own for the check";
    expect(&judged(&format!("{all}{named}")), Check::IstioFilter, &[(Level::Problem, seen)]);
    // One of the root namespace is for all.
    let root = filter().replace("namespace: shop", "namespace: istio-system");
    expect(&judged(&format!("{all}{root}")), Check::IstioFilter, &[(Level::Ok, "EnvoyFilter istio-system/cloakroom")]);
}

#[test]
fn p27_a_filter_of_a_namespace_does_not_stand_for_the_one_of_the_install() {
    let whole = format!("{}{ENTRY}{}", mesh_config(PROVIDER), custom("a", "shop", "cloakroom", ""));
    let root = filter().replace("namespace: shop", "namespace: istio-system");
    // That of the chart does.
    let chart = include_str!("../../../tests/chart/snapshots/istio-sidecar.yaml");
    let of_chart: String =
        chart.split("\n---").filter(|it| it.contains("kind: EnvoyFilter")).map(|it| format!("\n---{it}\n")).collect();
    let seen = "EnvoyFilter istio-system/cloakroom takes our headers off";
    expect(&judged(&format!("{whole}{of_chart}")), Check::IstioFilter, &[(Level::Ok, seen)]);
    // What only speaks of it does nothing.
    for (from, to) in [
        ("early_header_mutation_extensions", "early_header_mutation_extension"),
        ("NETWORK_FILTER", "LISTENER"),
        ("(jwt|end)", "end"),
        ("'x[^a-z0-9]session", "'(x[^a-z0-9]session"),
        ("'x[^a-z0-9]session[^a-z0-9](jwt|end)'", "''"),
    ] {
        for object in [filter(), root.clone()] {
            let seen = "none takes our headers off";
            let findings = judged(&format!("{whole}{}", object.replace(from, to)));
            expect(&findings, Check::IstioFilter, &[(Level::Problem, seen)]);
        }
    }
    // The root's own is told of first, whatever lies beside it.
    let decoy = root.replace("name: cloakroom", "name: a-decoy");
    expect(&judged(&format!("{whole}{}{decoy}{root}", filter())), Check::IstioFilter, &[(Level::Ok, seen)]);
    // Of a namespace whose pods have sidecars, its own is no proof.
    let enrolled = "\n---\n{kind: MutatingWebhookConfiguration, metadata: {name: cloakroom-injector}}\n\
                    ---\n{kind: Namespace, metadata: {name: shop}}\n";
    let seen = "EnvoyFilter shop/cloakroom takes our headers off, and none of istio-system does";
    let findings = judged(&format!("{whole}{enrolled}{}", filter()));
    expect(&findings, Check::IstioFilter, &[(Level::Warning, seen)]);
    let findings = judged(&format!("{whole}{enrolled}{}{root}", filter()));
    expect(&findings, Check::IstioFilter, &[(Level::Ok, "EnvoyFilter istio-system/cloakroom")]);
}

#[test]
fn enrolled_namespaces_are_asked_about() {
    let injector = "\n---\n{kind: MutatingWebhookConfiguration, metadata: {name: cloakroom-injector}}\n";
    let namespace = "\n---\n{kind: Namespace, metadata: {name: shop}}\n";
    let all = format!("{}{ENTRY}{injector}{namespace}", mesh_config(PROVIDER));
    expect(
        &judged(&all),
        Check::IstioPolicies,
        &[(Level::Ok, "0 of 0"), (Level::Warning, "has no AuthorizationPolicy that asks `cloakroom`")],
    );
}

#[test]
fn istio_verifies_our_jwts_with_the_namespaces_own_keys() {
    let rule = "{issuer: 'https://cloakroom-controller.cloakroom-system.svc/ns/shop', jwksUri: 'http://cloakroom-controller.cloakroom-system.svc.cluster.local:9080/ns/shop/.well-known/jwks.json', fromHeaders: [{name: x-session-jwt}]}";
    for (from, to, level, seen) in [
        ("", "", Level::Ok, "verifies our JWTs"),
        (
            "svc/ns/shop'",
            "svc'",
            Level::Problem,
            "expects the issuer `https://cloakroom-controller.cloakroom-system.svc`",
        ),
        (":9080/ns/shop", ":9080/ns/other", Level::Problem, "fetches the keys of another namespace"),
        ("jwksUri", "nothing", Level::Problem, "names no key set"),
        ("jwksUri", "jwks", Level::Warning, "has the keys written in it"),
    ] {
        let rule = rule.replace(from, if from.is_empty() { "" } else { to });
        let all = format!(
            "{}{ENTRY}\n---\n{{kind: RequestAuthentication, metadata: {{name: a, namespace: shop}}, spec: {{jwtRules: [{rule}]}}}}\n",
            mesh_config(PROVIDER)
        );
        expect(&judged(&all), Check::IstioAuthentication, &[(level, seen)]);
    }
    // Those of others are not ours to judge.
    let other =
        "\n---\n{kind: RequestAuthentication, metadata: {name: a, namespace: shop}, spec: {jwtRules: [{issuer: x}]}}\n";
    expect(&judged(&format!("{}{ENTRY}{other}", mesh_config(PROVIDER))), Check::IstioAuthentication, &[]);
}

#[test]
fn durations_are_read_as_istio_writes_them() {
    use crate::doctor::mesh_config::duration;
    use std::time::Duration;
    for (text, want) in [
        ("0.25s", Some(Duration::from_millis(250))),
        ("250ms", Some(Duration::from_millis(250))),
        ("1m30s", Some(Duration::from_secs(90))),
        ("600s", Some(Duration::from_secs(600))),
        ("10", None),
        ("", None),
        ("s", None),
        ("1d", None),
    ] {
        assert_eq!(duration(text), want, "{text}");
    }
}
