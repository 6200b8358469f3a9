//! What Envoy Gateway makes of the objects, as egctl tells it: every condition is `True`, and the proxies get what is meant.

use anyhow::{Context as _, Result, ensure};
use e2e::envoy_gateway::{Translated, translate};
use e2e::tls::Certificates;
use serde_json::{Value, json};

use super::objects::{self, GATE};

const OWN: &str = "x[^a-z0-9]session[^a-z0-9].*";

fn translated(values: &[&str]) -> Result<Translated> {
    translate(&format!("{}---\n{}---\n{}", user(), certificates()?, objects::rendered(values)?))
}

/// With a stand-in: egctl takes no loopback addresses.
fn user() -> String {
    objects::user("192.0.2.1", 80)
}

fn certificates() -> Result<String> {
    let folder = tempfile::tempdir()?;
    objects::certificates(&Certificates::make(folder.path(), &[GATE])?)
}

/// Every route, by the start of its paths.
fn routes(of: &Translated) -> Vec<(String, &Value)> {
    let routes = of.typed(".RouteConfiguration").into_iter().flat_map(|it| it["virtualHosts"].as_array());
    let routes = routes.flatten().flat_map(|it| it["routes"].as_array()).flatten();
    let start = |it: &Value, by: &str| it["match"][by].as_str().map(str::to_owned);
    routes
        .map(|it| (start(it, "prefix").or_else(|| start(it, "pathSeparatedPrefix")).unwrap_or_default(), it))
        .collect()
}

/// The filters of the Gateway's listener, each with the first part of its name.
fn filters(of: &Translated) -> Result<Vec<(String, Value)>> {
    // Envoy Gateway's own have no routes from elsewhere: for metrics, and for readiness.
    let manager = of.typed(".HttpConnectionManager").into_iter().find(|it| it["rds"].is_object());
    let filters = manager.and_then(|it| it["httpFilters"].as_array()).context("a listener")?;
    let named = |it: &Value| {
        let name = it["name"].as_str().unwrap_or_default();
        (name.split('/').next().unwrap_or_default().to_owned(), it.clone())
    };
    Ok(filters.iter().map(named).collect())
}

fn typed(filters: &[(String, Value)], name: &str) -> Result<Value> {
    let found = filters.iter().find(|(it, _)| it == name);
    Ok(found.with_context(|| format!("no {name}"))?.1["typedConfig"].clone())
}

#[test]
fn every_object_is_accepted() {
    for values in [&objects::TRAILERS[..], &["shape=sidecar", "sidecar.listen=socket"]] {
        let translated = translated(values).unwrap();
        assert_eq!(translated.doubts(), Vec::<String>::new());
        assert!(translated.assents() > 5, "{}", translated.assents());
    }
}

#[test]
fn p07_the_filters_are_those_that_are_meant() {
    the_filters_are_those_that_are_meant().unwrap();
}

fn the_filters_are_those_that_are_meant() -> Result<()> {
    let translated = translated(&objects::TRAILERS)?;
    let filters = filters(&translated)?;
    let names: Vec<&str> = filters.iter().map(|(name, _)| &**name).collect();
    let order = [
        "cloakroom.trailers",
        "envoy.filters.http.cors",
        "envoy.filters.http.header_mutation",
        "envoy.filters.http.ext_authz",
        "envoy.filters.http.ext_proc",
        "envoy.filters.http.router",
    ];
    ensure!(names == order, "{names:?}");

    let check = typed(&filters, "envoy.filters.http.ext_authz")?;
    ensure!(check["grpcService"]["timeout"] == "0.250s", "{check:#}");
    ensure!(check["statusOnError"]["code"] == "ServiceUnavailable", "{check:#}");
    ensure!(check["routeMetadataContextNamespaces"] == json!(["envoy-gateway"]), "{check:#}");
    for absent in ["failureModeAllow", "allowedHeaders", "disallowedHeaders", "withRequestBody", "clearRouteCache"] {
        ensure!(check[absent].is_null(), "{check:#}");
    }

    let back = typed(&filters, "envoy.filters.http.ext_proc")?;
    ensure!(
        back["processingMode"]
            == json!({ "requestHeaderMode": "SKIP", "responseHeaderMode": "SEND", "requestTrailerMode": "SKIP", "responseTrailerMode": "SKIP" }),
        "{back:#}"
    );
    ensure!(back["messageTimeout"] == "1.250s" && back["statusOnError"]["code"] == "ServiceUnavailable", "{back:#}");
    ensure!(back["metadataOptions"]["forwardingNamespaces"]["untyped"] == json!(["envoy.filters.http.ext_authz"]));
    for absent in ["failureModeAllow", "allowModeOverride", "mutationRules", "observabilityMode"] {
        ensure!(back[absent].is_null(), "{back:#}");
    }

    let early = translated.typed(".early_header_mutation.header_mutation.v3.HeaderMutation");
    ensure!(!early.is_empty());
    for early in early {
        ensure!(patterns(early)[0] == OWN, "{early:#}");
    }
    let late = typed(&filters, "envoy.filters.http.header_mutation")?;
    ensure!(patterns(&late["mutations"]["responseMutations"]) == [OWN], "{late:#}");
    let trailers = typed(&filters, "cloakroom.trailers")?;
    ensure!(patterns(&trailers["mutations"]["requestTrailersMutations"]) == [OWN], "{trailers:#}");
    ensure!(
        patterns(&trailers["mutations"]["responseTrailersMutations"]) == [format!("{OWN}|x[^a-z0-9]login[^a-z0-9]jwt")],
        "{trailers:#}"
    );
    Ok(())
}

#[test]
fn p02_no_route_is_open_before_there_are_certificates() {
    let translated = translate(&format!("{}---\n{}", user(), objects::rendered(&[]).unwrap())).unwrap();
    let doubts = translated.doubts();
    assert!(
        doubts.iter().any(|it| it.contains("SecurityPolicy") && it.contains("cloakroom-ca not found")),
        "{doubts:?}"
    );
    let routes = routes(&translated);
    assert!(routes.iter().any(|(path, _)| *path == "/"));
    for (_, route) in routes {
        assert_eq!(route["directResponse"]["status"], 500, "{route:#}");
    }
}

#[test]
fn p01_a_routes_own_policy_keeps_the_check_if_it_merges() {
    let (own, merged) = ("  cors: {", "  mergeType: StrategicMerge\n  cors: {");
    for (user, want) in [(user(), false), (objects::exchange(&user(), own, merged).unwrap(), true)] {
        let all = format!("{user}---\n{}---\n{}", certificates().unwrap(), objects::rendered(&[]).unwrap());
        let translated = translate(&all).unwrap();
        for (path, route) in routes(&translated) {
            let filters = route["typedPerFilterConfig"].as_object().unwrap();
            let is_checked = filters.keys().any(|it| it.starts_with("envoy.filters.http.ext_authz/"));
            assert_eq!(is_checked, want || path == "/", "{route:#}");
        }
    }
}

#[test]
fn p30_both_halves_show_a_certificate_and_check_the_name() {
    both_halves_show_a_certificate().unwrap();
}

fn both_halves_show_a_certificate() -> Result<()> {
    let translated = translated(&[])?;
    let clusters: Vec<&Value> = translated
        .typed(".cluster.v3.Cluster")
        .into_iter()
        .filter(|it| it["name"].as_str().is_some_and(|name| name.contains("cloakroom-public")))
        .collect();
    ensure!(clusters.len() == 2, "{clusters:#?}");
    for cluster in clusters {
        let text = cluster.to_string();
        ensure!(!text.contains("allAddressesInSingleEndpoint"), "{cluster:#}");
        for part in [
            &format!("\"sni\":\"{GATE}\""),
            &format!("\"matchTypedSubjectAltNames\":[{{\"matcher\":{{\"exact\":\"{GATE}\"}},\"sanType\":\"DNS\"}}]"),
            "\"name\":\"cloakroom/infra-ca\"",
            "infra/cloakroom-proxy-tls",
            "\"alpnProtocols\":[\"h2\"]",
            "http2ProtocolOptions",
            // Of all addresses that DNS tells, not of the first alone.
            "clusters.dns.v3.DnsCluster",
            "\"dnsRefreshRate\":\"5s\"",
        ] {
            ensure!(text.contains(part), "no {part}: {cluster:#}");
        }
    }
    Ok(())
}

/// Every pattern by which a list of mutations removes, in its order.
fn patterns(of: &Value) -> Vec<String> {
    match of {
        Value::Array(items) => items.iter().flat_map(patterns).collect(),
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match value.as_str() {
                Some(pattern) if name == "regex" => vec![pattern.to_owned()],
                _ => patterns(value),
            })
            .collect(),
        _ => Vec::new(),
    }
}
