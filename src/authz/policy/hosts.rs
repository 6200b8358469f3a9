//! Policies by host alone: those of `spec.hosts`, and those that select the own pod.

use std::collections::HashMap;
use std::sync::Arc;

use super::PolicyProblem;
use super::attach::TargetKey;
use super::bind::{Binder, Bound, Place, Target, Voice};
use super::chain::Chain;
use super::compile::{Formed, conflict};
use super::install::OwnPod;
use super::selector::selects;
use crate::api::auth_policy::Inheritance;
use crate::authz::matching::{HostPattern, HostTable};

/// By host: which policy it is whose.
type Winners<'a> = HashMap<HostPattern, &'a Formed>;

/// The policies that name hosts, each below those of wider patterns.
pub(super) fn by_hosts(
    forms: &[Formed],
    binder: &mut Binder<'_>,
    problems: &mut Vec<PolicyProblem>,
) -> HostTable<Arc<Chain>> {
    let claims = forms.iter().filter(|it| it.form.selector.is_none());
    let winners = winners(claims, TargetKey::Host, problems);
    table(&[winners], &Target::Hosts, binder)
}

/// The policies that select the pod, narrowed to their hosts; those that name labels are more specific than those for the whole
/// namespace.
pub(super) fn by_pod(
    forms: &[Formed],
    pod: Option<&OwnPod>,
    binder: &mut Binder<'_>,
    problems: &mut Vec<PolicyProblem>,
) -> HostTable<Arc<Chain>> {
    let Some(pod) = pod else { return HostTable::default() };
    let mut level = |labelled: bool| {
        let these = forms.iter().filter(|formed| {
            formed
                .form
                .selector
                .as_ref()
                .is_some_and(|it| it.match_labels.is_empty() != labelled && selects(it, &formed.form.name, pod))
        });
        winners(these, |host| TargetKey::Pod { labelled, host }, problems)
    };
    let levels = [level(false), level(true)];
    table(&levels, &Target::Pod, binder)
}

/// The oldest policy for each host pattern.
fn winners<'a>(
    forms: impl Iterator<Item = &'a Formed>,
    key: impl Fn(HostPattern) -> TargetKey,
    problems: &mut Vec<PolicyProblem>,
) -> Winners<'a> {
    let mut winners = Winners::new();
    for formed in forms {
        let hosts = &formed.form.hosts;
        let all = (hosts.is_empty() && formed.form.selector.is_some()).then_some(&HostPattern::Any);
        for (i, host) in hosts.iter().chain(all).enumerate() {
            match winners.get(host) {
                None => {
                    winners.insert(host.clone(), formed);
                }
                Some(older) => {
                    let path = if all.is_some() { "spec.selector".to_owned() } else { format!("spec.hosts[{i}]") };
                    problems.push(conflict(formed, path, &key(host.clone()), &older.form.name));
                }
            }
        }
    }
    winners
}

/// The chain of each pattern: by level, the least specific first, the policies of the patterns that every host of it is in.
fn table(levels: &[Winners<'_>], target: &Target, binder: &mut Binder<'_>) -> HostTable<Arc<Chain>> {
    let is_wide = levels.iter().flat_map(HashMap::keys).any(|host| !matches!(host, HostPattern::Exact(_)));
    let mut chain = |host: &HostPattern| {
        let patterns = if is_wide { wider(host) } else { vec![host.clone()] };
        let found = levels.iter().flat_map(|level| patterns.iter().filter_map(move |pattern| level.get(pattern)));
        let found: Vec<&Formed> = found.copied().collect();
        let last = found.len().saturating_sub(1);
        let mut bounds: Vec<Arc<Bound>> = Vec::new();
        for (i, formed) in found.into_iter().enumerate() {
            if i != last && formed.form.inheritance == Inheritance::Default {
                continue;
            }
            let name = &formed.form.name;
            let (namespace, audience) = (name.namespace.clone(), name.to_string().into());
            let place = Place { target: target.clone(), namespace, audience, voice: Voice::Speaks };
            let bound = binder.bind(&formed.form, place);
            if !bounds.iter().any(|known| Arc::ptr_eq(known, &bound)) {
                bounds.push(bound);
            }
        }
        Arc::new(Chain::of(&bounds))
    };
    let hosts: std::collections::HashSet<&HostPattern> = levels.iter().flat_map(HashMap::keys).collect();
    let entries: Vec<_> = hosts.into_iter().map(|host| (host.clone(), chain(host))).collect();
    HostTable::build(entries)
}

/// The patterns that every host of `host` is in, the widest first, itself last.
fn wider(host: &HostPattern) -> Vec<HostPattern> {
    let (name, own) = match host {
        HostPattern::Any => return vec![HostPattern::Any],
        HostPattern::Exact(name) => (name, None),
        HostPattern::Below(suffix) => (suffix, Some(suffix)),
    };
    let suffixes = name.match_indices('.').map(|(dot, _)| name[dot + 1..].to_owned());
    let mut patterns: Vec<HostPattern> = suffixes.map(HostPattern::Below).collect();
    patterns.reverse();
    patterns.insert(0, HostPattern::Any);
    patterns.push(match own {
        Some(suffix) => HostPattern::Below(suffix.clone()),
        None => HostPattern::Exact(name.clone()),
    });
    patterns
}
