//! What a policy says it is for: its targets, hosts and origins, checked one by one.

use std::collections::HashSet;

use super::install::{HostsFrom, Install};
use super::problem::Findings;
use crate::api::auth_policy::{AuthPolicySpec, TargetRef};
use crate::api::gateway::GROUP;
use crate::api::meta::{is_label, is_subdomain};
use crate::api::read::{listed, nearest};
use crate::authz::matching::HostPattern;

pub(super) const MAX_HOSTS: usize = 1024;
pub(super) const MAX_TARGETS: usize = 16;
const MAX_ORIGINS: usize = 32;
const KINDS: [&str; 4] = ["Gateway", "HTTPRoute", "GRPCRoute", SERVICE];

/// The kind of targets whose group is the core group, which is the empty text.
pub(super) const SERVICE: &str = "Service";

/// Whether there could be such a target at all.
pub(super) fn is_possible(target: &TargetRef) -> bool {
    let has_section = target.section_name.is_some();
    KINDS.contains(&target.kind.as_str())
        && target.group == group_of(&target.kind)
        && !(target.kind == SERVICE && has_section)
}

fn group_of(kind: &str) -> &'static str {
    if kind == SERVICE { "" } else { GROUP }
}

/// Checks `spec.targetRefs`, whether or not there is such an object.
pub(super) fn check_refs(refs: &[TargetRef], findings: &mut Findings) {
    if refs.len() > MAX_TARGETS {
        findings.add("spec.targetRefs", format!("{} entries, the most is {MAX_TARGETS}", refs.len()));
    }
    for (i, target) in refs.iter().take(MAX_TARGETS).enumerate() {
        let at = format!("spec.targetRefs[{i}]");
        if refs[..i].contains(target) {
            findings.add(&at, "the same target twice");
        }
        let group = group_of(&target.kind);
        if !KINDS.contains(&target.kind.as_str()) {
            let near = nearest(&target.kind, KINDS).map(|near| format!(": did you mean `{near}`?"));
            let words = near.unwrap_or_else(|| format!(": known are {}", listed(&KINDS)));
            findings.add(format!("{at}.kind"), format!("`{}` cannot be a target{words}", target.kind));
        } else if target.group != group {
            let right = if group.is_empty() { "\"\", the core group".to_owned() } else { format!("`{group}`") };
            findings.add(format!("{at}.group"), format!("{:?} has no {}: write {right}", target.group, target.kind));
        } else if target.kind == SERVICE && target.section_name.is_some() {
            findings.add(format!("{at}.sectionName"), "a Service is judged whole, whatever its ports: leave it out");
        }
        if !is_subdomain(&target.name) {
            findings.add(format!("{at}.name"), format!("{:?} is not a name", target.name));
        }
        if target.namespace.as_ref().is_some_and(|namespace| !is_label(namespace)) {
            findings.add(format!("{at}.namespace"), "is not a namespace: 1 to 63 of a-z, 0-9 and -");
        }
        if target.section_name.as_ref().is_some_and(|section| !is_subdomain(section)) {
            findings.add(format!("{at}.sectionName"), "is not the name of a listener or a rule");
        }
    }
}

/// Whether policies of `namespace` may claim hosts.
pub(super) fn hosts_allowed(namespace: &str, install: &Install) -> bool {
    match &install.hosts {
        HostsFrom::Everyone => true,
        HostsFrom::Namespace(own) => own == namespace,
    }
}

/// The host patterns of `spec.hosts`.
pub(super) fn hosts(
    spec: &AuthPolicySpec,
    namespace: &str,
    install: &Install,
    findings: &mut Findings,
) -> Vec<HostPattern> {
    let written = &spec.hosts;
    // Beside a selector they claim nothing: they narrow what comes to the namespace's own pods.
    if !written.is_empty() && spec.selector.is_none() && !hosts_allowed(namespace, install) {
        findings.add(
            "spec.hosts",
            "would claim hosts that no Gateway gave this namespace: name an HTTPRoute in `targetRefs`",
        );
    }
    if written.len() > MAX_HOSTS {
        findings.add("spec.hosts", format!("{} entries, the most is {MAX_HOSTS}", written.len()));
    }
    let mut seen = HashSet::new();
    let mut patterns = Vec::with_capacity(written.len());
    for (i, host) in written.iter().take(MAX_HOSTS).enumerate() {
        let at = format!("spec.hosts[{i}]");
        if let Some(pattern) = findings.catch(&at, HostPattern::parse(host)) {
            if seen.insert(pattern.clone()) {
                patterns.push(pattern);
            } else {
                findings.add(at, format!("`{host}` is there twice"));
            }
        }
    }
    patterns
}

/// The origins of `spec.allowedOrigins`.
pub(super) fn origins(written: &[String], findings: &mut Findings) -> Vec<String> {
    if written.len() > MAX_ORIGINS {
        findings.add("spec.allowedOrigins", format!("{} entries, the most is {MAX_ORIGINS}", written.len()));
    }
    for (i, origin) in written.iter().enumerate() {
        let name = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let is_origin = name.is_some_and(|name| {
            let (host, port) = name.split_once(':').unwrap_or((name, "1"));
            matches!(HostPattern::parse(host), Ok(HostPattern::Exact(canonical)) if canonical == host)
                && port.bytes().all(|b| b.is_ascii_digit())
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if !is_origin {
            findings.add(
                format!("spec.allowedOrigins[{i}]"),
                format!("{origin:?} is not an origin: write scheme and host as a browser sends them, like https://app.example, without a path or `*`"),
            );
        }
    }
    written.to_vec()
}
