//! What became of the policies.

use serde_json::Value;

use super::conditions;
use super::finding::{Check, Finding};
use super::install::CONTROLLER;
use super::scene::{Kind, Scene, called, list, name_of, namespace_of, text};

pub(super) fn judge(scene: &Scene) -> Vec<Finding> {
    let policies = scene.all(Kind::AuthPolicy);
    let mut findings: Vec<_> = policies.iter().filter_map(|policy| one(scene, policy)).collect();
    if findings.is_empty() && scene.gaps.iter().all(|gap| gap.kind != Kind::AuthPolicy) {
        let seen = match policies.len() {
            0 => "there are none: every request that is checked gets 403 no_policy".to_owned(),
            count => format!("all are accepted ({count})"),
        };
        findings.push(Finding::ok(Check::Policies, "every AuthPolicy", seen));
    }
    findings
}

fn one(scene: &Scene, policy: &Value) -> Option<Finding> {
    let about = called(Kind::AuthPolicy, policy);
    let describe =
        || format!("kubectl -n {} describe authpolicy {} says it in full", namespace_of(policy), name_of(policy));
    if let Some(why) = conditions::refusal(policy, "Accepted") {
        let seen = format!("is not accepted: {why}");
        return Some(Finding::problem(
            Check::Policies,
            about,
            seen,
            format!("change what the reason names; {}", describe()),
        ));
    }
    let accepted = conditions::of(policy, "Accepted");
    let generation = policy.pointer("/metadata/generation").and_then(Value::as_i64);
    let is_old = accepted.iter().any(|it| it["observedGeneration"].as_i64() < generation);
    if accepted.is_empty() || is_old {
        let seen = if list(policy, "/status/ancestors").is_empty() {
            "has no status: no controller has looked at it"
        } else {
            "has changed since the controller last looked at it"
        };
        let cure =
            format!("see whether the controller runs: kubectl -n {} logs deployment/{CONTROLLER}", scene.install);
        return Some(Finding::warning(Check::Policies, about, seen, cure));
    }
    if let Some(why) = conditions::refusal(policy, "ResolvedRefs") {
        let seen = format!("names what is not there: {why}");
        return Some(Finding::problem(
            Check::Policies,
            about,
            seen,
            format!("make it, or name another; {}", describe()),
        ));
    }
    let programmed = conditions::of(policy, "Programmed");
    let loose = programmed.iter().find(|it| text(it, "/reason") == "NotAttached")?;
    let seen = format!("judges no request: {}", conditions::words(loose));
    let cure =
        "see that the gate serves the Gateway (policies.kubernetes.gateways), and that its listener admits the route";
    Some(Finding::warning(Check::Policies, about, seen, cure))
}
