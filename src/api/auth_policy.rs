//! AuthPolicy (`cloakroom.dev/v1alpha1`), as users write it. Bounds are checked when policies are compiled.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::duration::HumanDuration;
use super::exchange::Exchange;
use super::http_match::HttpRouteMatch;
use super::meta::ObjectMeta;

/// The API group and version of our objects.
pub const API_VERSION: &str = "cloakroom.dev/v1alpha1";

/// Says how requests to its targets are judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthPolicy {
    /// `cloakroom.dev/v1alpha1`.
    pub api_version: String,
    /// `AuthPolicy`.
    pub kind: String,
    /// Name, namespace and what the API server adds.
    pub metadata: ObjectMeta,
    /// What the user wants.
    pub spec: AuthPolicySpec,
    /// What a controller says about it; not read.
    #[serde(default, skip_serializing)]
    pub status: Option<Value>,
}

/// `spec` of an [`AuthPolicy`]. At least one of `targetRefs`, `selector` and `hosts`, and not both of the first two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthPolicySpec {
    /// The Gateways, HTTPRoutes, GRPCRoutes and Services that it judges; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_refs: Vec<TargetRef>,
    /// The hosts that it judges: `shop.example`, `*.shop.example`; at most 1,024. For folders and the install's own namespace; with a
    /// `selector` for everyone, since they only narrow it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The pods with a sidecar that it judges, of its own namespace; with `{}` all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Whether policies on more specific targets replace this one or are checked in addition.
    #[serde(default)]
    pub inheritance: Inheritance,
    /// Whether refusals are refusals.
    #[serde(default)]
    pub mode: Mode,
    /// What a request meets that no rule matches.
    #[serde(default)]
    pub default: DefaultAccess,
    /// Whose sessions count: a realm that the install knows and lets this namespace use; the install's own unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
    /// Whether the services behind tell paths apart that differ in letter case only.
    #[serde(default)]
    pub paths: PathCase,
    /// Origins (`https://app.example`) whose pages may send unsafe requests that our cookie authenticates; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_origins: Vec<String>,
    /// At most 256; of those that match a request, the best by the Gateway API's precedence judges it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// A reference to what a policy judges (GEP-713).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetRef {
    /// `gateway.networking.k8s.io`; for a Service the empty text.
    pub group: String,
    /// `Gateway`, `HTTPRoute`, `GRPCRoute` or `Service`.
    pub kind: String,
    /// The object's name.
    pub name: String,
    /// The object's namespace; the policy's unless told. Another one needs a ReferenceGrant there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// A listener of the Gateway, or a named rule of the route; all of it unless told. A Service has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// Labels that pods must have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// All of these, at most 16; none is every pod.
    #[serde(default)]
    pub match_labels: std::collections::BTreeMap<String, String>,
}

/// See [`AuthPolicySpec::inheritance`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Inheritance {
    /// A policy on a more specific target replaces this one.
    #[default]
    Default,
    /// Policies on more specific targets are checked in addition; they can only narrow.
    Required,
}

/// See [`AuthPolicySpec::mode`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Refuse what the policy refuses.
    #[default]
    Enforce,
    /// Decide and record, but let pass, as anonymous.
    Audit,
}

/// See [`AuthPolicySpec::default`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DefaultAccess {
    /// A live session.
    #[default]
    Session,
    /// Nobody.
    Deny,
}

/// See [`AuthPolicySpec::paths`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathCase {
    /// Not known: a path that would meet another rule in another letter case is refused.
    #[default]
    Unambiguous,
    /// They do.
    CaseSensitive,
}

/// One rule. It matches when any of its matches does, or always when it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// What records, metrics and `explain` call it: 1 to 63 of letters, digits, `-`, `_` and `.`; unique in the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// At most 8, in the Gateway API's own words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<HttpRouteMatch>,
    /// `Public` or `Deny`; without it the request is authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// What counts as a credential, tried by what the request carries; a session unless told. At most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authenticate: Vec<Authenticate>,
    /// What the session must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require: Option<Require>,
    /// What the service is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
    /// What the service may do to sessions by its responses; nothing unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<RuleSession>,
    /// How a refusal looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<DenyResponse>,
}

/// What a service may do to sessions by its responses. On a route that uses it, the proxy asks cloakroom about responses too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleSession {
    /// The claims that `x-session-update` (a JSON merge patch, RFC 7396) may set and remove: names, not paths; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writable_claims: Vec<String>,
    /// Whether `x-session-create` makes a session. Needs `access: Public`.
    #[serde(default)]
    pub create: bool,
    /// Whether `x-session-end: current` and `x-session-end: subject` end sessions.
    #[serde(default)]
    pub end: bool,
    /// A JWT that the service issues, to be swapped for a session's token. Needs `access: Public`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Exchange>,
}

/// See [`Rule::access`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Everybody; credentials are not looked at, yet taken off.
    Public,
    /// Nobody.
    Deny,
}

/// One way to authenticate: exactly one of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Authenticate {
    /// A session, by its opaque token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionMethod>,
    /// A session, by the JWT that another service of the mesh was given for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_jwt: Option<SessionJwtMethod>,
    /// No credential at all; one that is present and bad is still refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<Nothing>,
    /// An IdentityProvider. Not in this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderMethod>,
}

/// See [`Authenticate::session`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionMethod {
    /// Where the token may travel: some of the install's carriers; all of them unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carriers: Option<Vec<CarrierRef>>,
}

/// Where a token travels: exactly one of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CarrierRef {
    /// A cookie of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Nothing>,
    /// A header of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
}

/// An object without fields: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// See [`Authenticate::session_jwt`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionJwtMethod {
    /// The audiences for which it may have been minted; 1 to 16.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// The namespaces whose keys may have signed it; 1 to 16.
    #[serde(default)]
    pub namespaces: Vec<String>,
}

/// See [`Authenticate::provider`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderMethod {
    /// The IdentityProvider's name.
    pub name: String,
}

/// What a session must have: all that is given. A value that the session lacks never satisfies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Require {
    /// All of these roles; at most 32, each of 1 to 255 bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// All of these scopes (RFC 6749 §3.3); at most 32, each of 1 to 255 bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// All of these claims; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<ClaimRequirement>,
    /// Expressions. Not in this version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cel: Vec<Value>,
    /// Any of these authentication context classes (`acr`); at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acr: Vec<String>,
    /// How long ago the owner may have proved who they are, at most; at least 1 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<HumanDuration>,
}

/// A claim and the values that will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimRequirement {
    /// The claim's name: a member of the session's claims; 1 to 255 bytes. Not a path.
    pub name: String,
    /// Any of these, 1 to 64. A claim that is an array has the value when one of its elements is it.
    #[serde(default)]
    pub values: Vec<ClaimValue>,
}

/// A value of a claim. Values of different types are never equal: `1` is not `"1"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a text, a whole number, or true or false")]
pub enum ClaimValue {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// A text of at most 1,024 bytes.
    Text(String),
}

/// What the service is told of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Forward {
    /// `aud` of the session JWT, as written; `<namespace>/<target>` unless told. 1 to 255 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The JWT's `claims`: a name and the plain path of its value, as `session.claims.tenant`; all of the session's claims
    /// unless told, none with `{}`. At most 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<std::collections::BTreeMap<String, String>>,
}

/// How a refusal looks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DenyResponse {
    /// Where an interactive request is sent instead of a 401: an `https://` URL, or a path on the same host. It is given the
    /// parameter `return_to`, the address that was asked for. At most 2,048 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_to: Option<String>,
}

/// What can be told of a policy whose spec does not read: what it was meant to judge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvage {
    /// `spec.targetRefs`, those that read.
    pub target_refs: Vec<TargetRef>,
    /// `spec.hosts`, those that read.
    pub hosts: Vec<String>,
    /// `spec.selector`.
    pub selector: Option<LabelSelector>,
    /// `spec.inheritance`; `Required` when it is there and does not read, since that closes more.
    pub inheritance: Inheritance,
}

impl Salvage {
    /// What `policy` was meant to judge. `None` when that cannot be told: then nobody knows what to close.
    pub fn from_value(policy: &Value) -> Option<Self> {
        let spec = policy.get("spec")?;
        let each = |field: &str| match spec.get(field) {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(Value::Array(items)) => Some(items.clone()),
            Some(_) => None,
        };
        let target_refs = each("targetRefs")?.into_iter().map(serde_json::from_value).collect::<Result<_, _>>().ok()?;
        let hosts: Vec<String> =
            each("hosts")?.into_iter().map(serde_json::from_value).collect::<Result<_, _>>().ok()?;
        let selector = match spec.get("selector") {
            None | Some(Value::Null) => None,
            // Without it, hosts that it was to narrow would be claimed.
            Some(value) => Some(serde_json::from_value(value.clone()).ok()?),
        };
        let inheritance = match spec.get("inheritance") {
            None => Inheritance::Default,
            Some(value) => serde_json::from_value(value.clone()).unwrap_or(Inheritance::Required),
        };
        let salvage = Self { target_refs, hosts, selector, inheritance };
        let judges = !salvage.target_refs.is_empty() || !salvage.hosts.is_empty() || salvage.selector.is_some();
        judges.then_some(salvage)
    }
}
