//! What a controller says about objects in their `status`: the Gateway API's ancestors (GEP-713) and the conditions of
//! Kubernetes. Nothing here is read to judge a request.

use serde::{Deserialize, Serialize};

/// Who we are in `status.ancestors[].controllerName`: a domain, a slash and a path.
pub const CONTROLLER_NAME: &str = "cloakroom.dev/controller";

/// An object has at most this many ancestors, those that other controllers tell of among them.
pub const MAX_ANCESTORS: usize = 16;

/// `status` of an AuthPolicy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthPolicyStatus {
    /// How the policy fares, for each of its targets; at most 16. Controllers other than ours may add entries of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<AncestorStatus>,
}

/// `status` of an IdentityProvider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IdentityProviderStatus {
    /// `Accepted` and `ResolvedRefs`; at most 8, one of each type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// How a policy fares with one of its targets (GEP-713, `PolicyAncestorStatus`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AncestorStatus {
    /// The target as `spec.targetRefs` names it. The policy itself for what it says in `spec.hosts` or `spec.selector`, which
    /// name no object.
    pub ancestor_ref: AncestorRef,
    /// Who tells this: `cloakroom.dev/controller`. A domain, a slash and a path; 3 to 253 bytes, like
    /// `^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$`.
    pub controller_name: String,
    /// `Accepted`, `ResolvedRefs` and `Programmed`; 1 to 8, one of each type.
    pub conditions: Vec<Condition>,
}

/// Names an object, or a section of it (the Gateway API's `ParentReference`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AncestorRef {
    /// Its group; at most 253 bytes, empty for the core group. `gateway.networking.k8s.io` unless told.
    #[serde(default = "gateway_group")]
    pub group: String,
    /// Its kind; 1 to 63 letters, digits and `-`. `Gateway` unless told.
    #[serde(default = "gateway_kind")]
    pub kind: String,
    /// Its namespace; 1 to 63 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name; 1 to 253 bytes.
    pub name: String,
    /// A listener of the Gateway or a named rule of the route; 1 to 253 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// A port of it, 1 to 65,535. We never write one; other controllers may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

fn gateway_group() -> String {
    super::gateway::GROUP.to_owned()
}

fn gateway_kind() -> String {
    "Gateway".to_owned()
}

/// One thing that is so or is not (`metav1.Condition`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What; 1 to 316 bytes, like `^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether.
    pub status: ConditionStatus,
    /// The `metadata.generation` of the object that this is about; at least 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` last became another (RFC 3339, whole seconds).
    pub last_transition_time: String,
    /// Why, in one word; 1 to 1,024 bytes, like `^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`.
    pub reason: String,
    /// Why, in words; at most 32,768 bytes.
    pub message: String,
}

/// See [`Condition::status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It is so.
    True,
    /// It is not.
    False,
    /// Nobody can tell.
    Unknown,
}
