//! `session.exchange` of a rule: which JWT of a service becomes a session. As users write it; bounds are checked when policies
//! are compiled.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::auth_policy::Nothing;
use super::validation;

/// A JWT that the service puts into its response becomes a session, and the opaque token takes its place. Exactly one of
/// `header`, `cookie` and `bodyField`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = validation::EXCHANGE))]
pub struct Exchange {
    /// The response header that holds the JWT and nothing else; 1 to 255 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = validation::TOKEN))]
    pub header: Option<String>,
    /// The cookie that the response sets to the JWT; 1 to 255 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = validation::TOKEN))]
    pub cookie: Option<String>,
    /// The member of the JSON body that is the JWT: 1 to 4 names from the outside in, with dots between them, each of 1 to 63
    /// letters, digits, `_` and `-`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = validation::BODY_FIELD))]
    pub body_field: Option<String>,
    /// The only `iss` that is accepted, byte for byte; 1 to 1,024 bytes.
    #[schemars(length(min = 1, max = 1024))]
    pub issuer: String,
    /// The JWT's `aud` must name one of these; 1 to 16, each of 1 to 255 bytes.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 255)), extend("x-kubernetes-list-type" = "atomic"))]
    pub audiences: Vec<String>,
    /// The algorithms that the JWT may be signed with; at least one, and no default.
    #[schemars(length(min = 1, max = 5), extend("x-kubernetes-list-type" = "set"))]
    pub algorithms: Vec<JwtAlgorithm>,
    /// The JWT's `typ`, with or without `application/` before it; 1 to 127 bytes. Unless told, a JWT with no `typ` or with `JWT`
    /// is accepted, and one that says what else it was made for is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127), extend("x-kubernetes-validations" = validation::MEDIA_TYPE))]
    pub typ: Option<String>,
    /// The issuer's public keys.
    #[serde(deserialize_with = "unquoted")]
    pub jwks: Jwks,
    /// Which of the JWT's claims mean what. The standard names unless told.
    #[serde(default)]
    pub claims: ExchangeClaims,
}

/// An algorithm that a JWT of somebody else may be signed with (RFC 7518 §3.1, RFC 8037 §3.1). All are asymmetric: there is no
/// `none` and no HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum JwtAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// ECDSA on P-384 with SHA-384.
    #[serde(rename = "ES384")]
    Es384,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// RSASSA-PSS with SHA-256.
    #[serde(rename = "PS256")]
    Ps256,
}

impl JwtAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 5] = [Self::Es256, Self::Es384, Self::EdDsa, Self::Rs256, Self::Ps256];

    /// The `alg` value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
        }
    }

    /// The algorithm with this `alg` value.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// An issuer's keys: exactly one of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = validation::JWKS))]
pub struct Jwks {
    /// The key set itself (RFC 7517 §5), as the issuer publishes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<JwkSet>,
    /// Where the issuer publishes it: an `https` URL of 1 to 2,048 bytes. Not in a rule's `exchange`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), extend("x-kubernetes-validations" = validation::URL))]
    pub uri: Option<String>,
    /// Where the issuer publishes it is what its discovery document says (OpenID Connect Discovery 1.0 §4). The document must name
    /// the same `issuer`, byte for byte. Not in a rule's `exchange`.
    #[serde(default, deserialize_with = "nothing", skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Nothing>,
}

/// Reads `{}`, for the reason that [`unquoted`] has.
fn nothing<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Nothing>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::Object(members) if members.is_empty() => Ok(Some(Nothing {})),
        _ => Err(serde::de::Error::custom("has no fields: write `discovery: {}`")),
    }
}

/// Reads an object. By hand, since serde's words for a wrong type quote the value, and a pasted text may be a private key.
pub(super) fn unquoted<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Jwks, D::Error> {
    match Value::deserialize(deserializer)? {
        object @ Value::Object(_) => serde_json::from_value(object).map_err(serde::de::Error::custom),
        _ => Err(serde::de::Error::custom("an object is needed, like `inline: {keys: [{kty: EC, …}]}`")),
    }
}

/// A JWK Set (RFC 7517 §5) of 1 to 16 public keys. Members that we have no use for are ignored, as the RFC wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value")]
#[schemars(!try_from)]
pub struct JwkSet {
    /// The public keys (RFC 7517 §4), 1 to 16. Members that are not told of here are ignored, as the RFC wants.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-validations" = validation::JWK_KIDS, "x-kubernetes-list-type" = "atomic"))]
    pub keys: Vec<Jwk>,
}

/// A JWK (RFC 7517 §4) as written. The values of private members are dropped while it is read, so that a private key that
/// somebody pasted is in no memory, error or output of ours: only its names are left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Jwk(BTreeMap<String, Value>);

impl Jwk {
    /// The members that only the owner of a private or secret key has (RFC 7518 §6.2.2, §6.3.2, §6.4.1; RFC 8037 §2).
    const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

    /// Its public member `name`, when that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Its public member `name`.
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The name of a private member that it was written with.
    pub fn private_member(&self) -> Option<&'static str> {
        Self::PRIVATE.into_iter().find(|name| self.0.contains_key(*name))
    }
}

impl JsonSchema for Jwk {
    fn schema_name() -> Cow<'static, str> {
        "Jwk".into()
    }

    /// The members that are looked at, and two that must not be there. Others (`x5c`, `x5t`) are kept and ignored.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let text =
            |longest: usize, what: &str| json_schema!({ "type": "string", "maxLength": longest, "description": what });
        json_schema!({
            "type": "object",
            "required": ["kty"],
            "maxProperties": 64,
            "x-kubernetes-preserve-unknown-fields": true,
            "x-kubernetes-validations": validation::JWK,
            "properties": {
                "kty": {
                    "type": "string",
                    "enum": ["EC", "OKP", "RSA"],
                    "description": "The type of the key: `EC` with the curves P-256 and P-384, `OKP` with Ed25519, or `RSA` with                                     2,048 to 8,192 bits.",
                },
                "crv": text(32, "The curve of an EC or OKP key: `P-256`, `P-384` or `Ed25519`."),
                "x": text(128, "The x coordinate of an EC key, or an OKP key itself: base64url without padding."),
                "y": text(128, "The y coordinate of an EC key: base64url without padding."),
                "n": text(1366, "The modulus of an RSA key: base64url without padding, of at most 8,192 bits."),
                "e": text(6, "The exponent of an RSA key: base64url without padding, like `AQAB`."),
                "kid": text(255, "The key's id, of 1 to 255 bytes, by which JWTs name it; needed where several keys have one algorithm."),
                "alg": text(32, "The only algorithm that the key is for; every algorithm of its type unless told."),
                "use": { "type": "string", "enum": ["sig"], "description": "What the key is for: signatures, and nothing else." },
                "key_ops": {
                    "type": "array",
                    "maxItems": 16,
                    "items": { "type": "string", "maxLength": 64 },
                    "x-kubernetes-list-type": "atomic",
                    "description": "What the key may do; `verify` must be among it.",
                },
                "d": text(4096, "A member of private keys, which is refused: nobody but the issuer may have one."),
                "k": text(4096, "The member of secret keys, which is refused: nobody but the issuer may have one."),
            },
        })
    }
}

impl TryFrom<Value> for JwkSet {
    type Error = String;

    /// By hand, for the reason that `unquoted` has.
    fn try_from(mut set: Value) -> Result<Self, String> {
        let Some(Value::Array(keys)) = set.get_mut("keys").map(Value::take) else {
            return Err("is not a JWK Set: an object like `{keys: [{kty: EC, …}]}` is needed (RFC 7517)".to_owned());
        };
        let keys = keys.into_iter().enumerate().map(|(i, key)| match key {
            Value::Object(members) => {
                let public = |name: &String| !Jwk::PRIVATE.contains(&name.as_str());
                let kept = |(name, value)| if public(&name) { (name, value) } else { (name, Value::Null) };
                Ok(Jwk(members.into_iter().map(kept).collect()))
            }
            _ => Err(format!("`keys[{i}]` is not a JWK: an object like `{{kty: EC, …}}` is needed (RFC 7517)")),
        });
        Ok(Self { keys: keys.collect::<Result<_, _>>()? })
    }
}

/// Which of the JWT's claims mean what: names of its top-level claims, each of 1 to 255 bytes. `acr`, `amr` and `sid` have their
/// standard names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExchangeClaims {
    /// The claim that is the session's subject, a text; 1 to 255 bytes, `sub` unless told. A JWT without it is refused.
    #[schemars(length(min = 1, max = 255))]
    pub subject: String,
    /// The claim that holds the session's scopes, a list or one text with spaces; 1 to 255 bytes, `scope` unless told.
    #[schemars(length(min = 1, max = 255))]
    pub scopes: String,
    /// The claim that holds the session's roles, a list or one text; 1 to 255 bytes, `roles` unless told.
    #[schemars(length(min = 1, max = 255))]
    pub roles: String,
    /// The claim that says when its owner proved who they are, in seconds since 1970; 1 to 255 bytes, `auth_time` unless told. Say `iat` only where each JWT is
    /// issued for a password or the like, and none for a refresh. A JWT without it makes a session for which no `maxAge` holds.
    #[schemars(length(min = 1, max = 255))]
    pub auth_time: String,
    /// The claims that are copied into the session's, each of 1 to 255 bytes; at most 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 255)), extend("x-kubernetes-list-type" = "atomic"))]
    pub keep: Vec<String>,
}

impl Default for ExchangeClaims {
    fn default() -> Self {
        Self {
            subject: "sub".to_owned(),
            scopes: "scope".to_owned(),
            roles: "roles".to_owned(),
            auth_time: "auth_time".to_owned(),
            keep: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p31_a_private_key_is_dropped_as_it_is_read() {
        for keys in [
            serde_json::json!({"keys": [{"kty": "EC", "d": "PRIVATE", "x": "public"}]}),
            serde_json::json!({"keys": [{"kty": "RSA", "p": "PRIVATE", "oth": [{"r": "PRIVATE"}]}]}),
            serde_json::json!({"keys": [{"kty": "oct", "k": "PRIVATE"}]}),
        ] {
            let set: JwkSet = serde_json::from_value(keys).unwrap();
            assert!(set.keys[0].private_member().is_some());
            let shown = format!("{set:?} {}", serde_json::to_string(&set).unwrap());
            assert!(!shown.contains("PRIVATE"), "{shown}");
        }
    }

    #[test]
    fn p31_what_is_no_key_set_is_not_quoted() {
        for set in [
            serde_json::json!("PRIVATE"),
            serde_json::json!(["PRIVATE"]),
            serde_json::json!({"keys": "PRIVATE"}),
            serde_json::json!({"keys": ["PRIVATE"]}),
            serde_json::json!({"d": "PRIVATE"}),
        ] {
            let error = serde_json::from_value::<JwkSet>(set).unwrap_err().to_string();
            assert!(!error.contains("PRIVATE") && error.contains("RFC 7517"), "{error}");
        }
        for jwks in [
            serde_json::json!("PRIVATE"),
            serde_json::json!(["PRIVATE"]),
            serde_json::json!({"inline": "PRIVATE"}),
            serde_json::json!({"keys": ["PRIVATE"]}),
            serde_json::json!({"uri": ["PRIVATE"]}),
            serde_json::json!({"discovery": "PRIVATE"}),
        ] {
            let exchange = serde_json::json!({"issuer": "", "audiences": [], "algorithms": [], "jwks": jwks});
            let error = crate::api::read::read::<Exchange>(exchange).unwrap_err();
            assert!(!error.to_string().contains("PRIVATE") && error.path == "jwks", "{error}");
        }
    }

    #[test]
    fn algorithms_have_one_name() {
        for algorithm in JwtAlgorithm::ALL {
            assert_eq!(serde_json::to_value(algorithm).unwrap(), algorithm.name());
            assert_eq!(JwtAlgorithm::from_name(algorithm.name()), Some(algorithm));
        }
        for name in ["none", "HS256", "es256", "RS512", ""] {
            assert_eq!(JwtAlgorithm::from_name(name), None, "{name}");
            assert!(serde_json::from_value::<JwtAlgorithm>(name.into()).is_err());
        }
    }

    #[test]
    fn claims_have_standard_names_unless_told() {
        let claims: ExchangeClaims = serde_json::from_str(r#"{"roles": "groups"}"#).unwrap();
        assert_eq!(
            (claims.subject.as_str(), claims.scopes.as_str(), claims.roles.as_str()),
            ("sub", "scope", "groups")
        );
        assert!(serde_json::from_str::<ExchangeClaims>(r#"{"role": "groups"}"#).is_err());
    }
}
