//! What a policy says it is for: its targets, hosts and origins, checked one by one.

use std::collections::HashSet;

use super::install::{HostsFrom, Install};
use super::problem::Findings;
use crate::api::auth_policy::TargetRef;
use crate::api::gateway::GROUP;
use crate::api::meta::{is_label, is_subdomain};
use crate::api::read::nearest;
use crate::authz::matching::HostPattern;

pub(super) const MAX_HOSTS: usize = 1024;
pub(super) const MAX_TARGETS: usize = 16;
const MAX_ORIGINS: usize = 32;
const KINDS: [&str; 3] = ["Gateway", "HTTPRoute", "GRPCRoute"];

/// Whether there could be such a target at all.
pub(super) fn is_possible(target: &TargetRef) -> bool {
    target.group == GROUP && KINDS.contains(&target.kind.as_str())
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
        if target.kind == "Service" {
            findings.add(
                format!("{at}.kind"),
                "a Service is not a target in this version: name the HTTPRoute or GRPCRoute that leads to it",
            );
        } else if !KINDS.contains(&target.kind.as_str()) {
            let near = nearest(&target.kind, KINDS).map(|near| format!(": did you mean `{near}`?"));
            let words = near.unwrap_or_else(|| ": known are Gateway, HTTPRoute and GRPCRoute".to_owned());
            findings.add(format!("{at}.kind"), format!("`{}` cannot be a target{words}", target.kind));
        } else if target.group != GROUP {
            findings.add(format!("{at}.group"), format!("{:?} has no {}: write `{GROUP}`", target.group, target.kind));
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
    written: &[String],
    namespace: &str,
    install: &Install,
    findings: &mut Findings,
) -> Vec<HostPattern> {
    if !written.is_empty() && !hosts_allowed(namespace, install) {
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
