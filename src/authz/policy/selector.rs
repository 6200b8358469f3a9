//! `spec.selector`: the pods with a sidecar that a policy judges.

use super::PolicyName;
use super::install::OwnPod;
use super::problem::Findings;
use crate::api::auth_policy::LabelSelector;
use crate::api::meta::is_subdomain;

const MAX_LABELS: usize = 16;

/// Checks `spec.selector`. A label that no pod can have would make a policy that guards nothing.
pub(super) fn check(selector: &LabelSelector, findings: &mut Findings) {
    let labels = &selector.match_labels;
    if labels.len() > MAX_LABELS {
        findings.add("spec.selector.matchLabels", format!("{} labels, the most is {MAX_LABELS}", labels.len()));
    }
    for (key, value) in labels.iter().take(MAX_LABELS) {
        let (prefix, name) = key.rsplit_once('/').unwrap_or(("a", key));
        let at = "spec.selector.matchLabels";
        if !is_subdomain(prefix) || !is_label_text(name) || name.is_empty() {
            findings.add(at, format!("{key:?} is not a label's name, like `app` or `app.kubernetes.io/name`"));
        }
        if !is_label_text(value) {
            let words =
                "is not a label's value: at most 63 letters, digits, `-`, `_` and `.`, the ends letters or digits";
            findings.add(format!("{at}.{key}"), format!("{value:?} {words}"));
        }
    }
}

fn is_label_text(text: &str) -> bool {
    let ends = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let bytes = text.as_bytes();
    bytes.len() <= 63 && bytes.iter().copied().all(inner) && ends(bytes.first()) && ends(bytes.last())
}

/// Whether a selector of `policy` selects the pod: never one of another namespace (P27).
pub(super) fn selects(selector: &LabelSelector, policy: &PolicyName, pod: &OwnPod) -> bool {
    *policy.namespace == *pod.namespace
        && selector.match_labels.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
}
