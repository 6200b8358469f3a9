//! What the API server checks beyond types and bounds: rules in CEL (`x-kubernetes-validations`), each with words that say what
//! to change. They travel in the CRDs and are not evaluated here: the compile step has the same checks and more. A rule may be
//! looser than that step and never stricter, so that a policy that is good in a folder is good in a cluster too.
//!
//! CEL calls a field `namespace` `__namespace__`, since the word is reserved. `r'…'` is a text without escapes.

use schemars::Schema;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// A rule, and what to tell who breaks it.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Validation {
    rule: &'static str,
    message: &'static str,
    /// The field below, as `.kind`, where the rule is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    field_path: Option<&'static str>,
}

const fn rule(rule: &'static str, message: &'static str) -> Validation {
    Validation { rule, message, field_path: None }
}

impl Validation {
    const fn at(self, field: &'static str) -> Self {
        Self { field_path: Some(field), ..self }
    }
}

const KEY: &str = "x-kubernetes-validations";

/// Puts rules on each entry of a list, so that what breaks one is told by its place.
pub(super) fn entries(rules: &'static [Validation]) -> impl FnMut(&mut Schema) {
    move |schema| below(schema, "items", rules)
}

/// Adds rules to those that the type has.
pub(super) fn and(rules: &'static [Validation]) -> impl FnMut(&mut Schema) {
    move |schema| add(schema.ensure_object(), rules)
}

/// Puts rules on each value of a map.
pub(super) fn values(rules: &'static [Validation]) -> impl FnMut(&mut Schema) {
    move |schema| below(schema, "additionalProperties", rules)
}

fn below(schema: &mut Schema, keyword: &str, rules: &[Validation]) {
    if let Some(Value::Object(inner)) = schema.get_mut(keyword) {
        add(inner, rules);
    }
}

fn add(schema: &mut Map<String, Value>, rules: &[Validation]) {
    let mut all = match schema.remove(KEY) {
        Some(Value::Array(own)) => own,
        _ => Vec::new(),
    };
    all.extend(rules.iter().map(|rule| json!(rule)));
    schema.insert(KEY.to_owned(), Value::Array(all));
}

/// Bounds the names of a map's entries, which no other keyword reaches, and how many there are.
pub(super) fn map_of(most: usize, longest_value: usize) -> impl FnMut(&mut Schema) {
    move |schema| {
        schema.insert("maxProperties".to_owned(), most.into());
        if let Some(Value::Object(value)) = schema.get_mut("additionalProperties") {
            value.insert("maxLength".to_owned(), longest_value.into());
        }
    }
}

/// Holds the `name` of each entry of a list to [`TOKEN`].
pub(super) fn names_are_tokens(schema: &mut Schema) {
    if let Some(Value::Object(name)) = schema.pointer_mut("/items/properties/name") {
        name.insert("pattern".to_owned(), TOKEN.into());
    }
}

/// Bounds the `value` of each entry of a list.
pub(super) fn values_up_to(longest: usize) -> impl FnMut(&mut Schema) {
    move |schema| {
        if let Some(Value::Object(value)) = schema.pointer_mut("/items/properties/value") {
            value.insert("maxLength".to_owned(), longest.into());
        }
    }
}

// AuthPolicy: what it judges.

pub(super) const SPEC: &[Validation] = &[
    rule(
        "has(self.selector) || (has(self.targetRefs) && size(self.targetRefs) > 0) || (has(self.hosts) && size(self.hosts) > 0)",
        "judges nothing: name what it is for in `targetRefs`, `selector` or `hosts`",
    ),
    rule(
        "!has(self.selector) || !has(self.targetRefs) || size(self.targetRefs) == 0",
        "`selector` and `targetRefs` name what a policy judges in two ways: divide it into two policies",
    ),
];

pub(super) const TARGET_REFS: &[Validation] = &[rule(
    "self.all(one, self.exists_one(other, one == other))",
    "names the same target twice: remove one of the two",
)];

pub(super) const TARGET_REF: &[Validation] = &[
    rule(
        "self.kind in ['Gateway', 'HTTPRoute', 'GRPCRoute', 'Service']",
        "cannot be a target: known are Gateway, HTTPRoute, GRPCRoute and Service",
    )
    .at(".kind"),
    rule(
        "!(self.kind in ['Gateway', 'HTTPRoute', 'GRPCRoute']) || self.group == 'gateway.networking.k8s.io'",
        "Gateway, HTTPRoute and GRPCRoute are of the group `gateway.networking.k8s.io`: write that",
    )
    .at(".group"),
    rule("self.kind != 'Service' || self.group == ''", "a Service is of the core group: write `group: \"\"`")
        .at(".group"),
    rule("self.kind != 'Service' || !has(self.sectionName)", "a Service has no sections: remove it").at(".sectionName"),
];

pub(super) const SUBDOMAIN: &[Validation] = &[rule(
    r"self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
    "is not a name: write 1 to 253 of a-z, 0-9, - and ., with a letter or digit at both ends",
)];

pub(super) const LABEL: &[Validation] = &[rule(
    "self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
    "is not a name: write 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends",
)];

pub(super) const HOST: &[Validation] = &[rule(
    r"self.matches(r'^([*]|([*]\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*)$')",
    "is not a host: write a host name, `*.` and a host name, or `*`, like shop.example or *.shop.example (no port, no address \
     in brackets, no dot at its end)",
)];

pub(super) const ORIGIN: &[Validation] = &[rule(
    r"self.matches(r'^https?://[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*(:[0-9]+)?$')",
    "is not an origin: write scheme and host as a browser sends them, like https://app.example, without a path or `*`",
)];

pub(super) const LABELS: &[Validation] = &[
    rule(
        r"self.all(name, name.matches(r'^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'))",
        "has a name that no label can have: write at most 63 of letters, digits, -, _ and ., like app or \
         app.kubernetes.io/name",
    ),
    rule(
        r"self.all(name, self[name].matches(r'^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'))",
        "has a value that no label can have: write at most 63 of letters, digits, -, _ and ., with a letter or digit at both \
         ends",
    ),
];

// AuthPolicy: rules.

pub(super) const RULES: &[Validation] = &[rule(
    "self.all(one, !has(one.name) || self.exists_one(other, has(other.name) && other.name == one.name))",
    "two rules have the same name: records could not tell them apart, so rename one",
)];

pub(super) const RULE_NAME: &[Validation] = &[
    rule("self.matches(r'^[A-Za-z0-9._-]+$')", "is not a rule's name: write 1 to 63 letters, digits, `-`, `_` and `.`"),
    rule("!(self in ['default', 'broken'])", "is what records call the rule that judges the rest: choose another name"),
];

const ACCESS_ALONE: &str =
    "has no effect with `access: Public` or `access: Deny`, which look at no credential: remove one of the two";

pub(super) const RULE: &[Validation] = &[
    rule("!has(self.access) || !has(self.authenticate) || size(self.authenticate) == 0", ACCESS_ALONE).at(".authenticate"),
    rule("!has(self.access) || !has(self.require)", ACCESS_ALONE).at(".require"),
    rule("!has(self.access) || !has(self.forward)", ACCESS_ALONE).at(".forward"),
    rule("!has(self.access) || !has(self.deny)", ACCESS_ALONE).at(".deny"),
    rule(
        "!has(self.authenticate) || !self.authenticate.exists(it, has(it.anonymous)) || !has(self.require) || \
         !((has(self.require.roles) && size(self.require.roles) > 0) || \
         (has(self.require.scopes) && size(self.require.scopes) > 0) || \
         (has(self.require.claims) && size(self.require.claims) > 0) || \
         (has(self.require.acr) && size(self.require.acr) > 0) || has(self.require.maxAge))",
        "nobody anonymous has what is required here: remove `anonymous`, or `require`",
    )
    .at(".require"),
    rule(
        "!has(self.session) || !has(self.access) || self.access != 'Deny'",
        "has no effect with `access: Deny`, which lets no request reach a service: remove one of the two",
    )
    .at(".session"),
    rule(
        "!has(self.session) || !has(self.access) || self.access != 'Public' || self.session.create || has(self.session.exchange)",
        "has no effect with `access: Public`, which looks at no session: remove `access`, or make sessions here with `create` or \
         `exchange`",
    )
    .at(".session"),
    rule(
        "!has(self.session) || has(self.access) || (!self.session.create && !has(self.session.exchange))",
        "makes sessions, and such a rule takes none for an identity, so that nobody is locked out of logging in: add `access: \
         Public`",
    )
    .at(".session"),
];

pub(super) const RULE_SESSION: &[Validation] = &[
    rule(
        "self.create || self.end || has(self.exchange) || (has(self.writableClaims) && size(self.writableClaims) > 0)",
        "says nothing: name `writableClaims`, `end`, `create` or `exchange`, or remove it",
    ),
    rule(
        "!has(self.writableClaims) || size(self.writableClaims) == 0 || (!self.create && !has(self.exchange))",
        "has no effect on a rule that makes sessions, where no session is an identity: give the claims when the session is made, \
         or move `writableClaims` to another rule",
    )
    .at(".writableClaims"),
];

pub(super) const CLAIM_NAME: &[Validation] =
    &[rule("!self.startsWith('session.claims.')", "is a claim's name, not a path: leave `session.claims.` out")];

pub(super) const AUTHENTICATE_LIST: &[Validation] = &[
    rule(
        "self.filter(it, has(it.session)).size() < 2 && self.filter(it, has(it.sessionJwt)).size() < 2 && \
         self.filter(it, has(it.anonymous)).size() < 2",
        "has the same way to authenticate twice: write it once, with everything it accepts",
    ),
    rule(
        "self.all(one, !has(one.provider) || self.exists_one(other, has(other.provider) && other.provider.name == one.provider.name))",
        "names the same provider twice: remove one of the two",
    ),
    rule(
        "!self.exists(it, has(it.anonymous)) || self.exists(it, !has(it.anonymous))",
        "`anonymous` alone would refuse everybody who has a session: add `session: {}`, or say `access: Public` instead",
    ),
];

pub(super) const AUTHENTICATE: &[Validation] = &[rule(
    "[has(self.session), has(self.sessionJwt), has(self.anonymous), has(self.provider)].exists_one(it, it)",
    "exactly one of `session`, `sessionJwt`, `anonymous` and `provider` is needed, like `- session: {}`",
)];

pub(super) const CARRIER: &[Validation] = &[rule(
    "[has(self.cookie), has(self.bearer), has(self.header)].exists_one(it, it)",
    "exactly one of `cookie`, `bearer` and `header` is needed, like `- bearer: {}`",
)];

pub(super) const CARRIERS: &[Validation] = &[
    rule(
        "size(self) > 0",
        "an empty list accepts no token: name a carrier, or leave `carriers` out to accept all of the install's",
    ),
    rule("self.all(one, self.exists_one(other, one == other))", "names the same carrier twice: remove one of the two"),
];

pub(super) const SCOPE: &[Validation] = &[rule(
    r"self.matches(r'^[\x21\x23-\x5b\x5d-\x7e]+$')",
    "is not one scope: visible ASCII without quotes, backslashes and spaces; write two scopes as two entries",
)];

pub(super) const EXPRESSIONS: &[Validation] = &[rule(
    "size(self) == 0",
    "expressions are not in this version: say it with `roles`, `scopes`, `claims`, `acr` and `maxAge`",
)];

pub(super) const MAX_AGE: &[Validation] = &[rule(
    "!self.matches(r'^([0-9]{1,5}(h|ms|m|s)){1,4}$') || duration(self) >= duration('1s')",
    "no authentication is that young: at least 1s",
)];

// No expression for the whole path: in so many places that would cost more than the API server allows.
pub(super) const CLAIM_PATH: &[Validation] = &[rule(
    r"self in ['session.subject', 'session.sid', 'session.realm', 'session.acr', 'session.amr', 'session.scopes', 'session.roles'] || (self.startsWith('session.claims.') && !self.endsWith('.') && !self.contains('..') && !self.matches(r'[^\w.:/@-]'))",
    "is not a plain path: known are `session.claims.NAME` (and `.NAME` below it), `session.subject`, `session.sid`, \
     `session.realm`, `session.acr`, `session.amr`, `session.scopes` and `session.roles`; expressions are not in this version",
)];

pub(super) const FORWARDED_NAMES: &[Validation] = &[rule(
    "self.all(name, size(name) > 0 && size(name) <= 255)",
    "has a name that is empty or too long: 1 to 255 bytes are needed",
)];

pub(super) const REDIRECT: &[Validation] = &[
    rule(
        "self.matches(r'^(?i)https://[^/?@]+([/?]|$)') || self.matches(r'^/([^/]|$)')",
        "is neither an https:// URL nor a path on the same host: write one, like https://login.example/ or /login",
    ),
    rule("!self.contains('#')", "has a fragment, after which no parameter can be added: remove it"),
    rule(
        r#"self.matches(r'^[\x21-\x7e]*$') && !self.matches(r'[\x22\x5c<>^`{}|]')"#,
        "has characters that a URL cannot have: write them percent-encoded",
    ),
    rule(
        "!self.matches('^[^?]*[?](.*&)?return_to(=|&|$)')",
        "already has the parameter return_to, which is added to it: remove it",
    ),
];

// Matches, in the Gateway API's words.

pub(super) const PATH: &[Validation] = &[
    rule("self.type == 'RegularExpression' || self.value.startsWith('/')", "must begin with `/`").at(".value"),
    rule(
        r"self.type == 'RegularExpression' || self.value.matches(r'^[-A-Za-z0-9._~!$&\x27()*+,;=:@%/]*$')",
        "has a character that may not stand in a path: write it percent-encoded; a query belongs into `queryParams`",
    )
    .at(".value"),
    rule(
        "self.type == 'RegularExpression' || !self.value.contains('//')",
        "`//` cannot be matched, since servers differ in whether they merge it",
    )
    .at(".value"),
    rule(
        r"self.type == 'RegularExpression' || !self.value.matches(r'(^|/)\.{1,2}(/|$)')",
        "has a dot segment, which no request may have",
    )
    .at(".value"),
    rule(
        "self.type == 'RegularExpression' || !self.value.matches('%2[fF]')",
        "`%2F` cannot be matched, since servers differ in whether it separates; end the prefix before it",
    )
    .at(".value"),
];

pub(super) const HEADER_MATCH: &[Validation] =
    &[rule("self.name.lowerAscii() != 'host'", "a match on `host` never holds; use `spec.hosts`").at(".name")];

// Exchange and IdentityProvider.

pub(super) const DURATION: &[Validation] = &[rule(
    "self.matches(r'^([0-9]{1,5}(h|ms|m|s)){1,4}$')",
    "is not a duration: write 1 to 4 numbers of at most 5 digits, each with its unit h, m, s or ms, like 15m, 1h30m or 500ms",
)];

pub(super) const EXCHANGE: &[Validation] = &[
    rule(
        "[has(self.header), has(self.cookie), has(self.bodyField)].exists_one(it, it)",
        "exactly one of `header`, `cookie` and `bodyField` is needed: where the response has the JWT",
    ),
    rule(
        "has(self.jwks.inline)",
        "keys are not fetched here: copy what the issuer publishes into `inline`, like `inline: {keys: [{kty: EC, …}]}`, and again \
         whenever it changes its keys",
    )
    .at(".jwks"),
];

/// The name of a header (RFC 9110 §5.6.2) or a cookie (RFC 6265 §4.1.1). A pattern, since a rule in so many places would cost more
/// than the API server allows.
pub(super) const TOKEN: &str = r"^[-A-Za-z0-9!#$%&'*+.^_`|~]+$";

pub(super) const BODY_FIELD: &[Validation] = &[rule(
    r"self.matches(r'^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63}){0,3}$')",
    "is no member of a JSON body: write 1 to 4 names with dots between them, each of 1 to 63 letters, digits, `_` and `-`, like \
     `access_token` or `data.accessToken`",
)];

pub(super) const MEDIA_TYPE: &[Validation] = &[rule(
    "self.matches(r'^[-A-Za-z0-9!#$%&\\x27*+.^_`|~/]+$')",
    "is not a media type, like `at+jwt` or `application/at+jwt`",
)];

pub(super) const JWKS: &[Validation] = &[rule(
    "[has(self.inline), has(self.uri), has(self.discovery)].exists_one(it, it)",
    "exactly one of `inline`, `uri` and `discovery` is needed: the issuer's public keys, or where they are",
)];

// `http://` is for an install that allows it, which is told where it is asked.
pub(super) const URL: &[Validation] = &[rule(
    "self.matches(r'^(?i)https?://[^/?#@]+([/?][^#]*)?$')",
    "is not an https:// URL, like https://login.example/keys, without user name and fragment",
)];

pub(super) const JWK: &[Validation] = &[rule(
    "!has(self.d) && !has(self.k)",
    "holds a private or secret key: remove the key, and have the issuer replace it, since whoever has seen it can sign with it",
)];

pub(super) const JWK_KIDS: &[Validation] = &[rule(
    "self.all(one, !has(one.kid) || self.exists_one(other, has(other.kid) && other.kid == one.kid))",
    "two keys have the same `kid`: a JWT could not say which signed it",
)];

pub(super) const PROVIDER: &[Validation] = &[rule(
    "[has(self.jwt), has(self.introspection), has(self.apiKeys)].exists_one(it, it)",
    "exactly one of `jwt`, `introspection` and `apiKeys` is needed: how the credentials are checked",
)];

pub(super) const JWT_PROVIDER: &[Validation] = &[rule(
    "!has(self.jwks.discovery) || self.issuer.matches('^(?i)https?://')",
    "must be an https:// URL where its keys are found by `discovery`: the document is looked for below it",
)
.at(".issuer")];

pub(super) const FROM: &[Validation] =
    &[rule("self.all(one, self.exists_one(other, one == other))", "names the same place twice: remove one of the two")];

pub(super) const MAX_CACHE: &[Validation] = &[rule(
    "!self.matches(r'^([0-9]{1,5}(h|ms|m|s)){1,4}$') || duration(self) < duration('5m1s')",
    "is too long, since a token that the server revokes counts for so long: at most 5m",
)];

pub(super) const TIMEOUT: &[Validation] = &[rule(
    "!self.matches(r'^([0-9]{1,5}(h|ms|m|s)){1,4}$') || (duration(self) >= duration('50ms') && duration(self) <= duration('5s'))",
    "is out of bounds: 50ms to 5s",
)];

pub(super) const SOME_LABEL: &[Validation] = &[rule(
    "has(self.matchLabels) && size(self.matchLabels) > 0",
    "would take every Secret for a key: name at least one label in `matchLabels`",
)];

pub(super) const DATA_KEY: &[Validation] = &[rule(
    "self.matches(r'^[-A-Za-z0-9_.]+$')",
    "is not a key of a Secret: write 1 to 253 letters, digits, `-`, `_` and `.`",
)];
