//! The policies in force, in short, for people who look at a running gate.

use serde::Serialize;

use super::PolicyIndex;
use super::form::Form;
use crate::api::auth_policy::{Inheritance, LabelSelector, Mode, TargetRef};

/// A policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicySummary {
    /// `namespace/name`.
    pub name: String,
    /// Its `spec.hosts`.
    pub hosts: Vec<String>,
    /// Its `spec.targetRefs`: `HTTPRoute shop/shop`.
    pub targets: Vec<String>,
    /// Its `spec.selector`, whether or not it selects the own pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// `Default` or `Required`.
    pub inheritance: Inheritance,
    /// `Enforce` or `Audit`.
    pub mode: Mode,
    /// Whose sessions count.
    pub realm: String,
    /// Its rules in the order written; the last is what a request meets that no other one matches.
    pub rules: Vec<String>,
}

impl PolicyIndex {
    /// The last good form of each policy there is, by name.
    pub fn summaries(&self) -> Vec<PolicySummary> {
        let mut summaries: Vec<_> = self.good.values().map(|form| PolicySummary::of(form)).collect();
        summaries.sort_by(|a, b| a.name.cmp(&b.name));
        summaries
    }
}

impl PolicySummary {
    fn of(form: &Form) -> Self {
        let target = |target: &TargetRef| {
            let namespace = target.namespace.as_deref().unwrap_or(&form.name.namespace);
            let section = target.section_name.as_ref().map(|it| format!(" {it}")).unwrap_or_default();
            format!("{} {namespace}/{}{section}", target.kind, target.name)
        };
        Self {
            name: form.name.to_string(),
            hosts: form.hosts.iter().map(ToString::to_string).collect(),
            targets: form.target_refs.iter().map(target).collect(),
            selector: form.selector.clone(),
            inheritance: form.inheritance,
            mode: form.mode,
            realm: form.realm.to_string(),
            rules: form.rules.iter().map(|rule| rule.name.rule.to_string()).collect(),
        }
    }
}
