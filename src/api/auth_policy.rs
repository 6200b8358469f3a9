//! AuthPolicy (`cloakroom.dev/v1alpha1`), as users write it. Bounds are checked when policies are compiled.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::duration::HumanDuration;
use super::exchange::Exchange;
use super::http_match::HttpRouteMatch;
use super::meta::ObjectMeta;
use super::validation;

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

/// What the policy judges and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = validation::SPEC))]
pub struct AuthPolicySpec {
    /// The Gateways, HTTPRoutes, GRPCRoutes and Services that the policy judges; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = validation::TARGET_REFS, "x-kubernetes-list-type" = "atomic"))]
    pub target_refs: Vec<TargetRef>,
    /// The hosts that the policy judges, like `shop.example`, `*.shop.example` for every host below it, or `*` for all; at most
    /// 1,024. They are for policies in folders and in the namespace of the install: elsewhere they would claim hosts that no
    /// Gateway gave. With a `selector` they are for everyone, since they only narrow it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 1024),
        inner(length(min = 1, max = 255)),
        transform = validation::entries(validation::HOST),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub hosts: Vec<String>,
    /// The pods with a sidecar that the policy judges, of its own namespace; with `{}` all of them. Not beside `targetRefs`.
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
    /// Whose sessions count: the name of a realm that the install knows and lets this namespace use; 1 to 63 of `a-z`, `0-9` and
    /// `-`. The realm of the install unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = validation::LABEL))]
    pub realm: Option<String>,
    /// Whether the services behind tell paths apart that differ in letter case only.
    #[serde(default)]
    pub paths: PathCase,
    /// The origins, like `https://app.example`, whose pages may send unsafe requests that our cookie authenticates; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 512)),
        transform = validation::entries(validation::ORIGIN),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub allowed_origins: Vec<String>,
    /// What requests need, by what they are; at most 256. Of the rules that match a request the best one judges it, by the
    /// precedence of the Gateway API: an exact path, a regular expression, the longest prefix, then a method, more headers, more
    /// query parameters, then the first one. Without rules, everything on the targets is judged by `default`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-validations" = validation::RULES, "x-kubernetes-list-type" = "atomic"))]
    pub rules: Vec<Rule>,
}

/// What a policy judges (GEP-713).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = validation::TARGET_REF))]
pub struct TargetRef {
    /// The API group of the target: `gateway.networking.k8s.io`, or the empty text for a Service.
    #[schemars(length(max = 253))]
    pub group: String,
    /// The kind of the target: `Gateway`, `HTTPRoute`, `GRPCRoute` or `Service`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// The name of the target, 1 to 253 bytes.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = validation::SUBDOMAIN))]
    pub name: String,
    /// The namespace of the target, 1 to 63 bytes; the policy's own unless told. Another one needs a ReferenceGrant there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = validation::LABEL))]
    pub namespace: Option<String>,
    /// A listener of the Gateway, or a named rule of the route, 1 to 253 bytes; all of the target unless told. A Service has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = validation::SUBDOMAIN))]
    pub section_name: Option<String>,
}

/// The labels that objects must have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Names and values of labels, each of which the objects must have; at most 16.
    #[serde(default)]
    #[schemars(transform = validation::map_of(16, 63), extend("x-kubernetes-validations" = validation::LABELS))]
    pub match_labels: std::collections::BTreeMap<String, String>,
}

/// Whether policies on more specific targets replace a policy or are checked in addition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Inheritance {
    /// A policy on a more specific target replaces this one.
    #[default]
    Default,
    /// Policies on more specific targets are checked in addition; they can only narrow.
    Required,
}

/// Whether refusals are refusals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// What the policy refuses is refused.
    #[default]
    Enforce,
    /// The policy decides and records, but lets pass, as anonymous.
    Audit,
}

/// What a request meets that no rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DefaultAccess {
    /// A live session is needed.
    #[default]
    Session,
    /// Nobody passes.
    Deny,
}

/// Whether services tell paths apart that differ in letter case only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PathCase {
    /// Nobody knows: a path that would meet another rule in another letter case is refused.
    #[default]
    Unambiguous,
    /// They do.
    CaseSensitive,
}

/// What some requests need. A rule matches when any of its matches does, or always when it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = validation::RULE))]
pub struct Rule {
    /// What records, metrics and `cloakroom explain` call the rule: 1 to 63 letters, digits, `-`, `_` and `.`; unique in the
    /// policy. The place in the list, like `rules[3]`, unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = validation::RULE_NAME))]
    pub name: Option<String>,
    /// Which requests the rule is for, in the words of the Gateway API; at most 8, of which one is enough. Every request unless
    /// told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub matches: Vec<HttpRouteMatch>,
    /// Lets everybody pass, or nobody, whatever the credentials. Without it the request is authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// What counts as a credential, tried by what the request carries; at most 8. A session unless told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-validations" = validation::AUTHENTICATE_LIST, "x-kubernetes-list-type" = "atomic"))]
    pub authenticate: Vec<Authenticate>,
    /// What the session must have: all that is named here. A value that the session lacks never satisfies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require: Option<Require>,
    /// What the service is told of the session.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = validation::RULE_SESSION))]
pub struct RuleSession {
    /// The claims that the response header `x-session-update` (a JSON merge patch, RFC 7396) may set and remove: names, not
    /// paths, each of 1 to 255 bytes; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 255)),
        transform = validation::entries(validation::CLAIM_NAME),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub writable_claims: Vec<String>,
    /// Whether the response header `x-session-create` makes a session. It needs `access: Public`.
    #[serde(default)]
    pub create: bool,
    /// Whether the response header `x-session-end`, which is `current` or `subject`, ends sessions.
    #[serde(default)]
    pub end: bool,
    /// A JWT that the service issues, to be swapped for a session's token. It needs `access: Public`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Exchange>,
}

/// Who passes, whatever the credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Access {
    /// Everybody passes; credentials are not looked at, yet taken off.
    Public,
    /// Nobody passes.
    Deny,
}

/// One way to authenticate: exactly one of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = validation::AUTHENTICATE))]
pub struct Authenticate {
    /// A session counts, by its opaque token. `session: {}` accepts it wherever the install looks for tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionMethod>,
    /// A session counts, by the JWT that another service of the mesh was given for it and passes on as a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_jwt: Option<SessionJwtMethod>,
    /// No credential at all will do: `anonymous: {}`. A credential that is present and bad is still refused. It stands beside
    /// another way, and never beside `require`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<Nothing>,
    /// A credential counts that an IdentityProvider of the policy's namespace accepts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderMethod>,
}

/// How a session's opaque token may travel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionMethod {
    /// Where the token may travel: some of the install's carriers (`token.carriers`), at most 16; all of them unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = validation::CARRIERS, "x-kubernetes-list-type" = "atomic"))]
    pub carriers: Option<Vec<CarrierRef>>,
}

/// Where a credential travels: exactly one of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = validation::CARRIER))]
pub struct CarrierRef {
    /// A cookie of this name, 1 to 255 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = validation::TOKEN))]
    pub cookie: Option<String>,
    /// The header `Authorization` with the scheme `Bearer`: `bearer: {}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Nothing>,
    /// A header of this name, 1 to 255 bytes, that holds the credential and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = validation::TOKEN))]
    pub header: Option<String>,
}

/// An object without fields: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Which session JWTs count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionJwtMethod {
    /// The audiences that the JWT may have been minted for, each of 1 to 255 bytes; 1 to 16.
    #[serde(default)]
    #[schemars(!default, length(min = 1, max = 16), inner(length(min = 1, max = 255)), extend("x-kubernetes-list-type" = "atomic"))]
    pub audiences: Vec<String>,
    /// The namespaces whose keys may have signed the JWT, each of 1 to 63 bytes; 1 to 16.
    #[serde(default)]
    #[schemars(
        !default,
        length(min = 1, max = 16),
        inner(length(min = 1, max = 63)),
        transform = validation::entries(validation::LABEL),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub namespaces: Vec<String>,
}

/// Who accepts the credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderMethod {
    /// The name of the IdentityProvider, 1 to 253 bytes.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = validation::SUBDOMAIN))]
    pub name: String,
}

/// What a session must have: all that is given. A value that the session lacks never satisfies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Require {
    /// The session must have all of these roles, each of 1 to 255 bytes; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 255)), extend("x-kubernetes-list-type" = "atomic"))]
    pub roles: Vec<String>,
    /// The session must have all of these scopes (RFC 6749 §3.3), each of 1 to 255 bytes; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 255)),
        transform = validation::entries(validation::SCOPE),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub scopes: Vec<String>,
    /// The session must have all of these claims; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub claims: Vec<ClaimRequirement>,
    /// Expressions, which are not in this version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        with = "Vec<String>",
        length(max = 32),
        inner(length(max = 1024)),
        extend("x-kubernetes-validations" = validation::EXPRESSIONS, "x-kubernetes-list-type" = "atomic")
    )]
    pub cel: Vec<Value>,
    /// The session must have one of these authentication context classes (`acr`), each of 1 to 255 bytes; at most 16. Else the
    /// answer is 401 and asks for one of them (RFC 9470).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 255)), extend("x-kubernetes-list-type" = "atomic"))]
    pub acr: Vec<String>,
    /// How long ago the session's owner may have proved who they are, at most, as a duration like `15m`; at least `1s`. Else the
    /// answer is 401 and asks for it again (RFC 9470).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = validation::and(validation::MAX_AGE))]
    pub max_age: Option<HumanDuration>,
}

/// A claim and the values that will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimRequirement {
    /// The name of the claim, a member of the session's claims and not a path; 1 to 255 bytes.
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = validation::CLAIM_NAME))]
    pub name: String,
    /// The values of which one will do: texts of at most 1,024 bytes, whole numbers, true or false; 1 to 64. A claim that is a
    /// list has the value when one of its elements is it. Values of different types are never equal: `1` is not `"1"`.
    #[serde(default)]
    #[schemars(!default, length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
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

/// As good as the largest `i64`. The API server keeps bounds as doubles: a larger one overflows where it is compared, and another one
/// near it is not stored as it is written.
const MAX_NUMBER: i64 = 9_223_372_036_854_775_000;

impl JsonSchema for ClaimValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ClaimValue".into()
    }

    /// No type, since a structural schema has no word for one of three. Each keyword holds for values of its own type: together
    /// they leave texts, whole numbers, true, false, and the empty list and object, which the compile step refuses.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-preserve-unknown-fields": true,
            "maxLength": 1024,
            "multipleOf": 1,
            "minimum": -MAX_NUMBER,
            "maximum": MAX_NUMBER,
            "maxItems": 0,
            "maxProperties": 0,
        })
    }
}

/// What the service is told of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Forward {
    /// The session JWT's audience (`aud`), as written; 1 to 255 bytes. `<namespace>/<target>` unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub audience: Option<String>,
    /// The session JWT's `claims`: names of 1 to 255 bytes, each with the plain path of its value, like `session.claims.tenant`,
    /// of at most 512 bytes; at most 32. All of the session's claims unless told, none with `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        transform = validation::map_of(32, 512),
        transform = validation::values(validation::CLAIM_PATH),
        extend("x-kubernetes-validations" = validation::FORWARDED_NAMES)
    )]
    pub claims: Option<std::collections::BTreeMap<String, String>>,
}

/// How a refusal looks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DenyResponse {
    /// Where a browser that asks for a page is sent instead of a 401: an `https://` URL, or a path on the same host; at most 2,048
    /// bytes. It is given the parameter `return_to`, the address that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), extend("x-kubernetes-validations" = validation::REDIRECT))]
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
