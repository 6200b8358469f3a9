//! What is told of policies, written into their `status`: by the leader, on change, over the version that it was made for.

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Client, Error};
use serde_json::{Value, json};

use super::FIELD_MANAGER;
use super::objects::Record;
use crate::api::status::{AncestorStatus, CONTROLLER_NAME, ConditionStatus, MAX_ANCESTORS};
use crate::authz::policy::ObjectName;
use crate::authz::policy::conditions::ACCEPTED;
use crate::k8s::kind::Kind;
use crate::k8s::version::ResourceVersion;

/// The entries of a status: ours, and those of other controllers as they are.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) ours: Vec<AncestorStatus>,
    others: Vec<Value>,
}

impl Entries {
    /// Takes a status apart. An entry of ours that does not read is written anew.
    pub(super) fn of(status: &Value) -> Self {
        let entries = status.get("ancestors").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let (ours, others): (Vec<&Value>, Vec<&Value>) =
            entries.iter().partition(|entry| entry.get("controllerName").is_some_and(|name| name == CONTROLLER_NAME));
        Self {
            ours: ours.into_iter().filter_map(|entry| serde_json::from_value(entry.clone()).ok()).collect(),
            others: others.into_iter().cloned().collect(),
        }
    }

    /// What has to be written so that `told` is said, or `None` when it is said already. Entries of other controllers keep
    /// their place in the list, which has an end.
    pub(super) fn change(&self, mut told: Vec<AncestorStatus>) -> Option<Change> {
        told.truncate(MAX_ANCESTORS.saturating_sub(self.others.len()));
        (told != self.ours).then(|| {
            let ours = told.iter().map(|entry| json!(entry));
            let ancestors = ours.chain(self.others.iter().cloned()).collect();
            Change { turn: Turn::of(&self.ours, &told), ancestors }
        })
    }
}

/// A status that has to be written.
#[derive(Debug)]
pub(super) struct Change {
    ancestors: Value,
    pub(super) turn: Option<Turn>,
}

/// A policy that has become bad, or good again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Why, in a word and in words.
    Bad(String, String),
    Good,
}

impl Turn {
    fn of(before: &[AncestorStatus], now: &[AncestorStatus]) -> Option<Self> {
        match (refusal(before), refusal(now)) {
            // The same reason in other words, or another generation, is no news.
            (Some((before, _)), Some((now, _))) if before == now => None,
            (_, Some((reason, message))) => Some(Self::Bad(reason, message)),
            (Some(_), None) => Some(Self::Good),
            (None, None) => None,
        }
    }
}

/// Why a policy does not count for all of its targets, in a word and in words.
pub(super) fn refusal(entries: &[AncestorStatus]) -> Option<(String, String)> {
    let conditions = entries.iter().flat_map(|entry| &entry.conditions);
    let mut refused = conditions.filter(|it| it.kind == ACCEPTED && it.status == ConditionStatus::False);
    refused.next().map(|it| (it.reason.clone(), it.message.clone()))
}

/// The kind that the API server calls AuthPolicy.
pub(super) fn policies() -> ApiResource {
    let kind = Kind::AuthPolicy;
    let (group, version) = (kind.group(), kind.versions()[0]);
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: format!("{group}/{version}"),
        kind: kind.name().to_owned(),
        plural: kind.plural().to_owned(),
    }
}

/// Writes the status, if the policy is still the one that it was made for, and gives the policy as it is then. The API server
/// answers 409 when it is not.
pub(super) async fn write(
    client: &Client,
    name: &ObjectName,
    record: &Record,
    change: &Change,
) -> Result<Record, Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &name.0, &policies());
    let patch = json!({
        "metadata": { "resourceVersion": record.version.as_ref().map(ResourceVersion::as_str), "uid": record.uid },
        "status": { "ancestors": change.ancestors },
    });
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let written = api.patch_status(&name.1, &params, &Patch::Merge(&patch)).await?;
    Ok(Record {
        version: written.metadata.resource_version.as_deref().and_then(ResourceVersion::new),
        status: written.data.get("status").cloned().unwrap_or_default(),
        ..record.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::{AncestorRef, Condition};

    fn entry(name: &str, status: ConditionStatus, reason: &str) -> AncestorStatus {
        AncestorStatus {
            ancestor_ref: AncestorRef {
                group: "gateway.networking.k8s.io".to_owned(),
                kind: "HTTPRoute".to_owned(),
                namespace: Some("shop".to_owned()),
                name: name.to_owned(),
                section_name: None,
                port: None,
            },
            controller_name: CONTROLLER_NAME.to_owned(),
            conditions: vec![Condition {
                kind: ACCEPTED.to_owned(),
                status,
                observed_generation: Some(1),
                last_transition_time: "2026-01-01T00:00:00Z".to_owned(),
                reason: reason.to_owned(),
                message: "words".to_owned(),
            }],
        }
    }

    #[test]
    fn entries_of_others_stay_byte_for_byte() {
        let other = json!({ "controllerName": "example.com/other", "ancestorRef": { "name": "edge" }, "unknown": [1, { "a": null }] });
        let good = entry("shop", ConditionStatus::True, "Accepted");
        let entries = Entries::of(&json!({ "ancestors": [other, good] }));
        assert!(entries.change(vec![good.clone()]).is_none(), "their order is nothing to write about");
        let bad = entry("shop", ConditionStatus::False, "TargetNotFound");
        let change = entries.change(vec![bad.clone()]).unwrap();
        assert_eq!(change.ancestors, json!([bad, other]));
        assert_eq!(entries.change(Vec::new()).unwrap().ancestors, json!([other]));
    }

    #[test]
    fn the_list_has_an_end() {
        let other = json!({ "controllerName": "example.com/other" });
        let entries = Entries::of(&json!({ "ancestors": vec![other; 15] }));
        let told = (0..3).map(|i| entry(&format!("r{i}"), ConditionStatus::True, "Accepted")).collect();
        assert_eq!(entries.change(told).unwrap().ancestors.as_array().unwrap().len(), MAX_ANCESTORS);
    }

    #[test]
    fn only_a_turn_is_an_event() {
        let good = || vec![entry("shop", ConditionStatus::True, "Accepted")];
        let bad = |reason: &str| vec![entry("shop", ConditionStatus::False, reason)];
        let turned_bad = |reason: &str| Some(Turn::Bad(reason.to_owned(), "words".to_owned()));
        for (before, now, want) in [
            (Vec::new(), good(), None),
            (Vec::new(), bad("Invalid"), turned_bad("Invalid")),
            (good(), bad("Invalid"), turned_bad("Invalid")),
            (bad("TargetNotFound"), bad("Invalid"), turned_bad("Invalid")),
            (bad("Invalid"), bad("Invalid"), None),
            (bad("Invalid"), good(), Some(Turn::Good)),
            (good(), good(), None),
        ] {
            assert_eq!(Turn::of(&before, &now), want);
        }
    }
}
