//! Routes with the Gateway API's own filter `ExternalAuth`.

use serde_json::Value;

use super::conditions;
use super::finding::{Check, Finding};
use super::scene::{Kind, Scene, called, list, name_of, namespace_of, text};

/// The Service of a shared gate.
const GATE: &str = "cloakroom-gate";

pub(super) fn judge(scene: &Scene) -> Vec<Finding> {
    let mut findings = Vec::new();
    for route in scene.all(Kind::HTTPRoute) {
        let filters: Vec<_> = list(route, "/spec/rules").iter().flat_map(|it| list(it, "/filters")).collect();
        let ours: Vec<_> = filters.into_iter().filter_map(ours).collect();
        if !ours.is_empty() {
            findings.push(one(scene, route, &ours));
        }
    }
    if findings.is_empty() {
        if !scene.is_told || scene.gaps.iter().any(|gap| gap.kind == Kind::HTTPRoute) {
            return Vec::new();
        }
        let cure = "add it to the rules that are to be checked: cloakroom snippet gateway-api prints it";
        let seen = "none has a filter ExternalAuth that asks cloakroom: no request is checked";
        return vec![Finding::problem(Check::RouteFilters, "every HTTPRoute", seen, cure)];
    }
    findings.extend(tls(scene));
    findings
}

/// What a filter asks, if that is us.
fn ours(filter: &Value) -> Option<&Value> {
    let asks = filter.get("externalAuth").filter(|_| text(filter, "/type") == "ExternalAuth")?;
    text(asks, "/backendRef/name").starts_with("cloakroom").then_some(asks)
}

fn one(scene: &Scene, route: &Value, filters: &[&Value]) -> Finding {
    let about = called(Kind::HTTPRoute, route);
    let kind = Check::RouteFilters;
    let problem = |seen: String, cure: String| Finding::problem(kind, about.clone(), seen, cure);
    for asks in filters {
        if text(asks, "/protocol") != "GRPC" {
            let seen = "asks cloakroom by HTTP, which it does not speak".to_owned();
            return problem(seen, "set protocol: GRPC in the filter".to_owned());
        }
        if !list(asks, "/grpc/allowedHeaders").is_empty() {
            let seen = "sends some headers alone to the check (allowedHeaders): a rule that looks at another one never matches, and a \
                        looser rule judges"
                .to_owned();
            return problem(seen, "leave grpc.allowedHeaders out: all headers are sent then".to_owned());
        }
        let (namespace, name) = (text(asks, "/backendRef/namespace"), text(asks, "/backendRef/name"));
        let is_foreign = !namespace.is_empty() && namespace != namespace_of(route);
        if is_foreign && scene.sees(Kind::ReferenceGrant, namespace) && !is_granted(scene, route, namespace, name) {
            let seen = format!("asks {namespace}/{name}, and no ReferenceGrant there lets it: every request gets 500");
            let cure = format!(
                "apply one in {namespace}, from HTTPRoute in {} to Service {name}: cloakroom snippet gateway-api prints it",
                namespace_of(route)
            );
            return problem(seen, cure);
        }
    }
    let describe = || {
        let (namespace, name) = (namespace_of(route), name_of(route));
        format!("change what the reason names; kubectl -n {namespace} describe httproute {name} says it in full")
    };
    for condition in ["Accepted", "ResolvedRefs"] {
        if let Some(why) = conditions::refusal(route, condition) {
            return problem(format!("is not {condition}: {why}"), describe());
        }
    }
    if conditions::of(route, "Accepted").is_empty() {
        let seen = "has no status: no Gateway has taken it".to_owned();
        return problem(seen, "see that its parentRefs name a Gateway that is there, with a controller".to_owned());
    }
    Finding::ok(kind, about, "asks cloakroom, and is accepted")
}

fn is_granted(scene: &Scene, route: &Value, namespace: &str, name: &str) -> bool {
    scene.within(Kind::ReferenceGrant, namespace).any(|grant| {
        let from = list(grant, "/spec/from").iter();
        let to = list(grant, "/spec/to").iter();
        from.into_iter().any(|it| text(it, "/kind") == "HTTPRoute" && text(it, "/namespace") == namespace_of(route))
            && to.into_iter().any(|it| text(it, "/kind") == "Service" && ["", name].contains(&text(it, "/name")))
    })
}

/// A shared gate answers none but TLS with a certificate that it knows.
fn tls(scene: &Scene) -> Option<Finding> {
    if scene.gaps.iter().any(|gap| gap.kind == Kind::BackendTLSPolicy) {
        return None;
    }
    let names_gate = |it: &&Value| list(it, "/spec/targetRefs").iter().any(|it| text(it, "/name") == GATE);
    let about = format!("Service {}/{GATE}", scene.install);
    let Some(policy) = scene.within(Kind::BackendTLSPolicy, &scene.install).find(names_gate) else {
        let seen =
            "has no BackendTLSPolicy: proxies that speak to it without TLS get no answer, and every request is refused";
        return Some(Finding::problem(
            Check::RouteFilters,
            about,
            seen,
            "apply it: cloakroom snippet gateway-api prints it",
        ));
    };
    let about = called(Kind::BackendTLSPolicy, policy);
    if let Some(why) = conditions::refusal(policy, "Accepted") {
        let cure = "change what the reason names; not every implementation knows this kind";
        return Some(Finding::problem(Check::RouteFilters, about, format!("is not accepted: {why}"), cure));
    }
    Some(Finding::ok(Check::RouteFilters, about, "lets proxies speak TLS to the gate"))
}
