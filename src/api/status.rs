//! What a controller says about objects in their `status`: the Gateway API's ancestors (GEP-713) and the conditions of
//! Kubernetes. Nothing here is read to judge a request.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who we are in `status.ancestors[].controllerName`: a domain, a slash and a path.
pub const CONTROLLER_NAME: &str = "cloakroom.dev/controller";

/// An object has at most this many ancestors, those that other controllers tell of among them.
pub const MAX_ANCESTORS: usize = 16;

// The patterns of the Gateway API and of `metav1`.
const CONTROLLER_PATTERN: &str =
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$";
const CONDITION_PATTERN: &str =
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$";
const REASON_PATTERN: &str = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$";

/// `status` of an AuthPolicy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthPolicyStatus {
    /// How the policy fares, for each of its targets; at most 16. Controllers other than ours may add entries of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_ANCESTORS), extend("x-kubernetes-list-type" = "atomic"))]
    pub ancestors: Vec<AncestorStatus>,
}

/// `status` of an IdentityProvider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IdentityProviderStatus {
    /// What holds of the provider: `Accepted` and `ResolvedRefs`; at most 8, one of each type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// How a policy fares with one of its targets (GEP-713, `PolicyAncestorStatus`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AncestorStatus {
    /// The target as `spec.targetRefs` names it. The policy itself for what it says in `spec.hosts` or `spec.selector`, which
    /// name no object.
    pub ancestor_ref: AncestorRef,
    /// Who tells this: `cloakroom.dev/controller` for us. A domain, a slash and a path; 3 to 253 bytes.
    #[schemars(length(min = 3, max = 253), regex(pattern = CONTROLLER_PATTERN))]
    pub controller_name: String,
    /// What holds of the policy there: `Accepted`, `ResolvedRefs` and `Programmed`; 1 to 8, one of each type.
    #[schemars(
        length(min = 1, max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}

/// Names an object, or a section of it (the Gateway API's `ParentReference`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AncestorRef {
    /// The group of the object; at most 253 bytes, empty for the core group. `gateway.networking.k8s.io` unless told.
    #[serde(default = "gateway_group")]
    #[schemars(length(max = 253))]
    pub group: String,
    /// The kind of the object; 1 to 63 letters, digits and `-`. `Gateway` unless told.
    #[serde(default = "gateway_kind")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// The namespace of the object; 1 to 63 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// The name of the object; 1 to 253 bytes.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// A listener of the Gateway or a named rule of the route; 1 to 253 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
    /// A port of the object, 1 to 65,535. We never write one; other controllers may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<u16>,
}

fn gateway_group() -> String {
    super::gateway::GROUP.to_owned()
}

fn gateway_kind() -> String {
    "Gateway".to_owned()
}

/// One thing that is so or is not (`metav1.Condition`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What this is about, like `Accepted`; 1 to 316 bytes.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316), regex(pattern = CONDITION_PATTERN))]
    pub kind: String,
    /// Whether it is so.
    pub status: ConditionStatus,
    /// The `metadata.generation` of the object that this is about; at least 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: Option<i64>,
    /// When `status` last became another (RFC 3339, whole seconds).
    #[schemars(extend("format" = "date-time"), length(max = 64))]
    pub last_transition_time: String,
    /// Why, in one word; 1 to 1,024 bytes.
    #[schemars(length(min = 1, max = 1024), regex(pattern = REASON_PATTERN))]
    pub reason: String,
    /// Why, in words; at most 32,768 bytes.
    #[schemars(length(max = 32_768))]
    pub message: String,
}

/// Whether something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It is so.
    True,
    /// It is not.
    False,
    /// Nobody can tell.
    Unknown,
}
