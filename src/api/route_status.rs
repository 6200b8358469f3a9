//! What a Gateway's controller says of a route (`status.parents`), as far as it tells whether the proxy has the route.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::gateway::ParentRef;

/// The conditions that are kept of a route; texts and times are not, so that a status that says the same is the same.
const KEPT: [&str; 4] = ["Accepted", "ResolvedRefs", "PartiallyInvalid", "Programmed"];

/// `status` of a route. It says nothing where it does not read: no route is worse for that than one of which nothing is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RouteStatus {
    /// What was told, by parent and controller.
    pub parents: Vec<ParentStatus>,
}

/// What one controller says about one entry of `spec.parentRefs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentStatus {
    /// The entry, as the route has it.
    pub parent_ref: ParentRef,
    /// What holds of it.
    #[serde(default)]
    pub conditions: Vec<RouteCondition>,
}

/// A condition, without its words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteCondition {
    /// `Accepted` and others.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in a word.
    #[serde(default)]
    pub reason: String,
    /// The `metadata.generation` that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl RouteStatus {
    /// Whether nothing is told.
    pub fn is_silent(&self) -> bool {
        self.parents.is_empty()
    }
}

impl<'de> Deserialize<'de> for RouteStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let listed = value.get("parents").and_then(Value::as_array);
        let parents = listed.into_iter().flatten().filter_map(|entry| ParentStatus::deserialize(entry).ok());
        Ok(Self { parents: parents.map(ParentStatus::in_short).collect() })
    }
}

impl ParentStatus {
    /// The condition of this type.
    pub fn condition(&self, kind: &str) -> Option<&RouteCondition> {
        self.conditions.iter().find(|it| it.kind == kind)
    }

    fn in_short(mut self) -> Self {
        self.conditions.retain(|it| KEPT.contains(&it.kind.as_str()));
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_tells_nothing_is_not_kept() {
        let entry = |words: &str, time: &str| {
            json!({ "parents": [
                { "parentRef": 7, "conditions": [] },
                { "parentRef": { "name": "front" }, "controllerName": "istio.io/gateway-controller", "conditions": [
                    { "type": "Accepted", "status": "True", "reason": "Accepted", "observedGeneration": 2,
                      "message": words, "lastTransitionTime": time },
                    { "type": "example.com/Seen", "status": "True", "reason": time, "message": words },
                ] },
            ] })
        };
        let read = |value: Value| RouteStatus::deserialize(value).unwrap();
        let one = read(entry("one", "2026-01-01T00:00:00Z"));
        assert_eq!(one, read(entry("two", "2026-01-02T00:00:00Z")));
        assert_eq!((one.parents.len(), one.parents[0].conditions.len()), (1, 1));
        assert_eq!(one, read(serde_json::to_value(&one).unwrap()), "as it lies in a snapshot");
        for silent in [json!(null), json!(7), json!({}), json!({ "parents": {} }), json!({ "parents": [7] })] {
            assert!(read(silent).is_silent());
        }
    }
}
