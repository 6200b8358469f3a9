//! Envoy Gateway: what it allows, the policies that ask cloakroom, and who takes forged headers off.

use std::time::Duration;

use serde_json::Value;

use super::conditions;
use super::finding::{Check, Finding};
use super::mesh_config::duration;
use super::scene::{Kind, Scene, Sight, called, list, name_of, namespace_of, text};

/// What Envoy Gateway is configured by.
const CONFIG: (&str, &str) = ("envoy-gateway-config", "envoy-gateway.yaml");
const PATIENCE: Duration = Duration::from_secs(1);
/// The check's own; a message of a response may wait longer, since a write to the store is awaited.
const PATIENCE_OF_RESPONSES: Duration = Duration::from_secs(5);

const SNIPPET: &str = "cloakroom snippet envoy-gateway prints it";

pub(super) fn judge(scene: &Scene) -> Vec<Finding> {
    let checks: Vec<_> =
        scene.all(Kind::SecurityPolicy).iter().filter(|it| asks_us(scene, it, "/spec/extAuth/grpc")).collect();
    if checks.is_empty() && !scene.is_told {
        return Vec::new();
    }
    let mut findings: Vec<_> = allowed(scene).into_iter().collect();
    if checks.is_empty() && scene.gaps.iter().all(|gap| gap.kind != Kind::SecurityPolicy) {
        let seen = "none asks cloakroom: no request is checked";
        findings.push(Finding::problem(
            Check::EnvoyGatewayCheck,
            "every SecurityPolicy",
            seen,
            format!("apply one: {SNIPPET}"),
        ));
    }
    findings.extend(checks.iter().map(|it| check(it)));
    let responses = scene.all(Kind::EnvoyExtensionPolicy).iter();
    findings.extend(responses.filter_map(|it| response(scene, it)));
    findings.extend(scene.all(Kind::Backend).iter().filter(|it| is_our_name(name_of(it))).filter_map(backend));
    findings.extend(headers(scene));
    findings
}

fn is_our_name(name: &str) -> bool {
    name == "cloakroom" || name.starts_with("cloakroom-")
}

/// Whether one of the backends at this place is ours.
fn asks_us(scene: &Scene, object: &Value, place: &str) -> bool {
    let Some(place) = object.pointer(place) else { return false };
    let old = place.get("backendRef").into_iter();
    let all = old.chain(list(place, "/backendRefs"));
    all.into_iter().any(|it| is_our_name(text(it, "/name")) || text(it, "/namespace") == scene.install)
}

/// What must be turned on in Envoy Gateway itself.
fn allowed(scene: &Scene) -> Option<Finding> {
    let (name, file) = CONFIG;
    let about = format!("ConfigMap {}/{name}", scene.envoy_gateway_namespace);
    if matches!(scene.find(Kind::ConfigMap, &scene.envoy_gateway_namespace, name), Sight::Unseen) {
        return None;
    }
    let Some(config) = scene.file(&scene.envoy_gateway_namespace, name, file) else {
        let cure = "say which namespace Envoy Gateway is in with --envoy-gateway-namespace";
        return Some(Finding::unknown(Check::EnvoyGateway, about, "is not there, or does not read", cure));
    };
    let is_on = |name: &str| config.pointer(&format!("/extensionApis/{name}")) == Some(&Value::Bool(true));
    let patches = scene.all(Kind::EnvoyPatchPolicy).iter().any(|it| is_our_name(name_of(it)));
    let backends = scene.all(Kind::Backend).iter().any(|it| is_our_name(name_of(it)));
    for (is_needed, option, what) in [
        (backends, "enableBackend", "the Backend by which the gate is reached"),
        (patches, "enableEnvoyPatchPolicy", "the EnvoyPatchPolicy that takes our headers off"),
    ] {
        if is_needed && !is_on(option) {
            let seen = format!("does not say extensionApis.{option}: true: {what} is passed over");
            let cure = format!(
                "set config.envoyGateway.extensionApis.{option}=true in the values of Envoy Gateway's chart, and restart it"
            );
            return Some(Finding::problem(Check::EnvoyGateway, about, seen, cure));
        }
    }
    Some(Finding::ok(Check::EnvoyGateway, about, "allows the kinds that are used"))
}

/// A policy that is not accepted is not in force.
fn refusal(check: Check, kind: Kind, object: &Value) -> Option<Finding> {
    let about = called(kind, object);
    let cure = || {
        let (namespace, name) = (namespace_of(object), name_of(object));
        format!(
            "change what the reason names; kubectl -n {namespace} describe {} {name} says it in full",
            kind.resource()
        )
    };
    if let Some(why) = conditions::refusal(object, "Accepted") {
        return Some(Finding::problem(check, about, format!("is not accepted: {why}"), cure()));
    }
    if conditions::of(object, "Accepted").is_empty() {
        let seen = "has no status: Envoy Gateway has not looked at it";
        let cure =
            "see that its target is there and belongs to a Gateway of Envoy Gateway, and that Envoy Gateway runs";
        return Some(Finding::problem(check, about, seen, cure));
    }
    if let Some(overridden) = conditions::of(object, "Overridden").into_iter().find(|it| text(it, "/status") == "True")
    {
        let seen = format!("is overridden: {}", conditions::words(overridden));
        return Some(Finding::warning(
            check,
            about,
            seen,
            "see that the policy that overrides it asks cloakroom as well",
        ));
    }
    None
}

fn check(policy: &Value) -> Finding {
    let about = called(Kind::SecurityPolicy, policy);
    let kind = Check::EnvoyGatewayCheck;
    if let Some(refused) = refusal(kind, Kind::SecurityPolicy, policy) {
        return refused;
    }
    let settings = &policy["spec"]["extAuth"];
    if settings["failOpen"] == true {
        let seen = "says failOpen: true: while no gate answers, every request passes unchecked";
        return Finding::problem(kind, about, seen, "set spec.extAuth.failOpen: false");
    }
    if !list(settings, "/headersToExtAuth").is_empty() {
        let seen = "sends some headers alone to the check (headersToExtAuth): a rule that looks at another one never matches, and a looser \
                    rule judges";
        return Finding::problem(kind, about, seen, "leave headersToExtAuth out: all headers are sent then");
    }
    match (text(settings, "/timeout"), duration(text(settings, "/timeout"))) {
        ("", _) => {
            let seen = "sets no timeout: a gate that hangs holds every request for 10 s";
            Finding::problem(kind, about, seen, "set spec.extAuth.timeout: 250ms")
        }
        (timeout, long) if long.is_none_or(|long| long > PATIENCE) => {
            let seen = format!("waits {timeout} for the check: a gate that hangs holds every request as long");
            Finding::warning(kind, about, seen, "set spec.extAuth.timeout: 250ms; at most 1s")
        }
        (timeout, _) => {
            if settings["statusOnError"].as_u64() != Some(503) {
                let seen = "has no statusOnError: 503: an outage looks like a refusal (403)";
                return Finding::warning(kind, about, seen, "set spec.extAuth.statusOnError: 503");
            }
            Finding::ok(kind, about, format!("is accepted, waits {timeout} and fails closed"))
        }
    }
}

fn response(scene: &Scene, policy: &Value) -> Option<Finding> {
    let about = called(Kind::EnvoyExtensionPolicy, policy);
    let kind = Check::EnvoyGatewayResponses;
    let ours = list(policy, "/spec/extProc").iter().find(|it| asks_us(scene, it, ""))?;
    if let Some(refused) = refusal(kind, Kind::EnvoyExtensionPolicy, policy) {
        return Some(refused);
    }
    if ours["failOpen"] == true {
        let seen = "says failOpen: true: while no gate answers, responses leave unread, with what services say about sessions in them";
        return Some(Finding::problem(kind, about, seen, "set failOpen: false"));
    }
    let timeout = text(ours, "/messageTimeout");
    if duration(timeout).is_some_and(|long| long > PATIENCE_OF_RESPONSES) {
        let seen = format!("waits {timeout} for each message: a gate that hangs holds every response as long");
        return Some(Finding::warning(kind, about, seen, "set messageTimeout: 1250ms"));
    }
    let shown = list(ours, "/metadata/accessibleNamespaces");
    if !shown.iter().any(|it| it == "envoy.filters.http.ext_authz") {
        let seen = "does not pass on what the check left for it: no response changes a session";
        let cure = "set metadata.accessibleNamespaces: [envoy.filters.http.ext_authz]";
        return Some(Finding::problem(kind, about, seen, cure));
    }
    Some(Finding::ok(kind, about, "is accepted and fails closed"))
}

fn backend(object: &Value) -> Option<Finding> {
    let why = conditions::refusal(object, "Accepted")?;
    let seen = format!("is not accepted: {why}; routes that are checked by it answer 500");
    let cure = "change what the reason names; loopback addresses are refused, socket files and names are not";
    Some(Finding::problem(Check::EnvoyGatewayCheck, called(Kind::Backend, object), seen, cure))
}

/// Who takes a forged header off before the check, and on routes without one.
fn headers(scene: &Scene) -> Vec<Finding> {
    let kind = Check::EnvoyGatewayHeaders;
    if scene.gaps.iter().any(|gap| matches!(gap.kind, Kind::ClientTrafficPolicy | Kind::EnvoyPatchPolicy)) {
        return Vec::new();
    }
    let header = scene.jwt_header();
    let removes = |it: &&Value| {
        let names = list(it, "/spec/headers/earlyRequestHeaders/remove").iter().filter_map(Value::as_str);
        let patterns = list(it, "/spec/headers/earlyRequestHeaders/removeOnMatch").iter();
        let by_name = names.into_iter().any(|it| it.eq_ignore_ascii_case(&header));
        by_name || patterns.into_iter().any(|it| it.to_string().contains("session"))
    };
    let patches = |it: &&Value| it["spec"].to_string().contains("early_header_mutation");
    let traffic = scene.all(Kind::ClientTrafficPolicy).iter().filter(removes).map(|it| (Kind::ClientTrafficPolicy, it));
    let patched = scene.all(Kind::EnvoyPatchPolicy).iter().filter(patches).map(|it| (Kind::EnvoyPatchPolicy, it));
    let all: Vec<_> = traffic.chain(patched).collect();
    if all.is_empty() {
        let seen = format!(
            "none takes {header} off what clients send: a forged one reaches services on routes without a check"
        );
        return vec![Finding::problem(kind, "every ClientTrafficPolicy", seen, format!("apply one: {SNIPPET}"))];
    }
    let told = |(of, object): (Kind, &Value)| {
        let ok = || Finding::ok(kind, called(of, object), "takes our headers off before anything else");
        refusal(kind, of, object).unwrap_or_else(ok)
    };
    all.into_iter().map(told).collect()
}
