//! IdentityProvider (`cloakroom.dev/v1alpha1`): where credentials that are not ours are checked. As users write it; bounds are
//! checked when policies are compiled.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::auth_policy::{CarrierRef, LabelSelector};
use super::duration::HumanDuration;
use super::exchange::{ExchangeClaims, Jwks, JwtAlgorithm, unquoted};
use super::meta::ObjectMeta;
use super::validation;

/// Says how credentials of others are checked, for the policies of its own namespace: they name it in
/// `authenticate: [{provider: {name: …}}]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityProvider {
    /// `cloakroom.dev/v1alpha1`.
    pub api_version: String,
    /// `IdentityProvider`.
    pub kind: String,
    /// Name, namespace and what the API server adds.
    pub metadata: ObjectMeta,
    /// What the user wants.
    pub spec: IdentityProviderSpec,
    /// What a controller says about it; not read.
    #[serde(default, skip_serializing)]
    pub status: Option<Value>,
}

/// How the credentials are checked: exactly one of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = validation::PROVIDER))]
pub struct IdentityProviderSpec {
    /// The credentials are JWTs of an issuer, verified with its public keys (RFC 7519, RFC 8725).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtProvider>,
    /// The credentials are opaque tokens of an authorization server, which is asked about each (RFC 7662).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection: Option<IntrospectionProvider>,
    /// The credentials are keys that are handed out by hand and lie in Secrets of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_keys: Option<ApiKeysProvider>,
}

/// JWTs that count when this issuer issued them for one of these audiences.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = validation::JWT_PROVIDER))]
pub struct JwtProvider {
    /// The only `iss` that is accepted, byte for byte; 1 to 1,024 bytes. With `jwks.discovery` it is an `https` URL.
    #[schemars(length(min = 1, max = 1024))]
    pub issuer: String,
    /// The JWT's `aud` must name one of these; 1 to 16, each of 1 to 255 bytes.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 255)), extend("x-kubernetes-list-type" = "atomic"))]
    pub audiences: Vec<String>,
    /// The algorithms that the JWT may be signed with; at least one, and no default.
    #[schemars(length(min = 1, max = 5), extend("x-kubernetes-list-type" = "set"))]
    pub algorithms: Vec<JwtAlgorithm>,
    /// The issuer's public keys.
    #[serde(deserialize_with = "unquoted")]
    pub jwks: Jwks,
    /// The JWT's `typ`, with or without `application/` before it; 1 to 127 bytes. Unless told, a JWT with no `typ` or with `JWT`
    /// is accepted, and one that says what else it was made for is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127), extend("x-kubernetes-validations" = validation::MEDIA_TYPE))]
    pub typ: Option<String>,
    /// Where requests carry it: 1 to 4 places; `Authorization: Bearer` unless told. The cookies and headers named here are taken off
    /// the requests that a rule with this provider judges.
    #[serde(default = "bearer")]
    #[schemars(length(min = 1, max = 4), extend("x-kubernetes-validations" = validation::FROM, "x-kubernetes-list-type" = "atomic"))]
    pub from: Vec<CarrierRef>,
    /// Which of the JWT's claims mean what. The standard names unless told.
    #[serde(default)]
    pub claims: ExchangeClaims,
}

/// Opaque tokens that count when an authorization server calls them active.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IntrospectionProvider {
    /// The server's introspection endpoint: an `https` URL of 1 to 2,048 bytes. It is sent the token in a POST.
    #[schemars(length(min = 1, max = 2048), extend("x-kubernetes-validations" = validation::URL))]
    pub endpoint: String,
    /// Who we are to the server (HTTP Basic, RFC 6749 §2.3.1): 1 to 255 bytes.
    #[schemars(length(min = 1, max = 255))]
    pub client_id: String,
    /// Our secret there, in a Secret of the same namespace.
    pub client_secret_ref: SecretKeyRef,
    /// The answer's `aud` must name one of these; 1 to 16, each of 1 to 255 bytes.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 255)), extend("x-kubernetes-list-type" = "atomic"))]
    pub audiences: Vec<String>,
    /// The only `iss` that an answer may have, byte for byte; 1 to 1,024 bytes. Unless told, an answer's `iss` is not looked at: who
    /// answers is known by the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub issuer: Option<String>,
    /// Where requests carry the token: 1 to 4 places; `Authorization: Bearer` unless told. The cookies and headers named here are
    /// taken off the requests that a rule with this provider judges.
    #[serde(default = "bearer")]
    #[schemars(length(min = 1, max = 4), extend("x-kubernetes-validations" = validation::FROM, "x-kubernetes-list-type" = "atomic"))]
    pub from: Vec<CarrierRef>,
    /// How long an answer that the token is active is believed, and never past the token's `exp`: 0s to 5m, 30s unless told. A token
    /// that the server revokes counts for so long at most.
    #[serde(default = "max_cache")]
    #[schemars(transform = validation::and(validation::MAX_CACHE))]
    pub max_cache: HumanDuration,
    /// How long the server may take to answer: 50ms to 5s, 1s unless told. The check's own bound (`check.timeout` of the
    /// configuration) holds beside it.
    #[serde(default = "timeout")]
    #[schemars(transform = validation::and(validation::TIMEOUT))]
    pub timeout: HumanDuration,
    /// Which members of the answer mean what. The standard names unless told.
    #[serde(default)]
    pub claims: ExchangeClaims,
}

/// API keys that lie in Secrets of the same namespace, one in each. A Secret holds `key`, the key itself (16 to 512 visible ASCII
/// characters), or `sha256`, the SHA-256 of the key in 64 hexadecimal digits; `subject`, whose it is; and, if the key has some,
/// `scopes` and `roles`, each with spaces or line ends between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiKeysProvider {
    /// The labels that a Secret must have for its key to count: at least one, at most 16.
    #[schemars(extend("x-kubernetes-validations" = validation::SOME_LABEL))]
    pub selector: LabelSelector,
    /// Where requests carry the key: 1 to 4 places; the header `x-api-key` unless told. The cookies and headers named here are taken
    /// off the requests that a rule with this provider judges.
    #[serde(default = "x_api_key")]
    #[schemars(length(min = 1, max = 4), extend("x-kubernetes-validations" = validation::FROM, "x-kubernetes-list-type" = "atomic"))]
    pub from: Vec<CarrierRef>,
}

/// One value of a Secret of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    /// The name of the Secret, 1 to 253 bytes.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = validation::SUBDOMAIN))]
    pub name: String,
    /// The key in its `data`: 1 to 253 letters, digits, `-`, `_` and `.`.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = validation::DATA_KEY))]
    pub key: String,
}

fn bearer() -> Vec<CarrierRef> {
    vec![CarrierRef { bearer: Some(Default::default()), ..CarrierRef::default() }]
}

fn x_api_key() -> Vec<CarrierRef> {
    vec![CarrierRef { header: Some("x-api-key".to_owned()), ..CarrierRef::default() }]
}

fn max_cache() -> HumanDuration {
    HumanDuration::from_secs(30)
}

fn timeout() -> HumanDuration {
    HumanDuration::from_secs(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::read::read;

    fn provider(spec: Value) -> Result<IdentityProvider, crate::api::read::ReadError> {
        read(json!({
            "apiVersion": "cloakroom.dev/v1alpha1", "kind": "IdentityProvider",
            "metadata": {"name": "partner", "namespace": "shop"}, "spec": spec,
        }))
    }

    #[test]
    fn what_is_left_out_is_what_most_want() {
        let keys = provider(json!({"apiKeys": {"selector": {"matchLabels": {"for": "partners"}}}})).unwrap();
        assert_eq!(keys.spec.api_keys.unwrap().from, x_api_key());
        let asked = provider(json!({"introspection": {
            "endpoint": "https://login.example/introspect", "clientId": "shop", "audiences": ["shop"],
            "clientSecretRef": {"name": "login", "key": "secret"},
        }}));
        let asked = asked.unwrap().spec.introspection.unwrap();
        assert_eq!(
            (asked.from, asked.max_cache.to_string(), asked.timeout.to_string()),
            (bearer(), "30s".into(), "1s".into())
        );
        let jwt = provider(json!({"jwt": {
            "issuer": "https://login.example", "audiences": ["shop"], "algorithms": ["ES256"], "jwks": {"discovery": {}},
        }}));
        let jwt = jwt.unwrap().spec.jwt.unwrap();
        assert!(jwt.jwks.discovery.is_some() && jwt.from == bearer() && jwt.claims.subject == "sub");
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (spec, at, words) in [
            (json!({"jwtt": {}}), "spec", "did you mean `jwt`?"),
            (
                json!({"apiKeys": {"selector": {"matchLabel": {}}}}),
                "spec.apiKeys.selector",
                "did you mean `matchLabels`?",
            ),
            (json!({"apiKeys": {}}), "spec.apiKeys", "missing field `selector`"),
            (json!({"introspection": {"endpoint": 7}}), "spec.introspection.endpoint", "expected a string"),
        ] {
            let error = provider(spec).unwrap_err();
            assert!(error.path == at && error.problem.contains(words), "{error}");
        }
    }
}
