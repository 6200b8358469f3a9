//! `HTTPRouteMatch` of the Gateway API (v1, `apis/v1/httproute_types.go`), word for word: an AuthPolicy's rules use it too.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::validation;

/// Header and query matches in one match.
pub const MAX_NAMES: usize = 16;
/// Bytes of a path.
pub const MAX_PATH: usize = 1024;
/// Bytes of a header's or query parameter's name.
pub const MAX_NAME: usize = 256;
/// Bytes of a header's value.
pub const MAX_HEADER_VALUE: usize = 4096;
/// Bytes of a query parameter's value.
pub const MAX_QUERY_VALUE: usize = 1024;

/// The methods that a match may name (`HTTPMethod`).
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// One match: all that is given must hold. An empty one matches every request (its path is the prefix `/`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRouteMatch {
    /// The path of the request, without its query; the prefix `/` unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPathMatch>,
    /// Header fields that the request must have; at most 16. Of two with one name the first counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = MAX_NAMES),
        transform = validation::names_are_tokens,
        transform = validation::entries(validation::HEADER_MATCH),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub headers: Vec<HttpNameMatch>,
    /// Query parameters that the request must have, with values of at most 1,024 bytes; at most 16. Of two with one name the first
    /// counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = MAX_NAMES),
        transform = validation::values_up_to(MAX_QUERY_VALUE),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub query_params: Vec<HttpNameMatch>,
    /// The method of the request, in capitals. A rule for GET also judges HEAD when no rule names HEAD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = METHODS))]
    pub method: Option<String>,
}

/// How a path is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = validation::PATH))]
pub struct HttpPathMatch {
    /// How the path is compared with `value`.
    #[serde(default, rename = "type")]
    pub kind: PathMatchType,
    /// What the path is compared with; 1 to 1,024 bytes. It begins with `/` unless it is a regular expression.
    #[serde(default = "root")]
    #[schemars(length(min = 1, max = MAX_PATH))]
    pub value: String,
}

fn root() -> String {
    "/".to_owned()
}

/// How a path is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PathMatchType {
    /// The whole path must be the value, byte for byte.
    Exact,
    /// The path must begin with the value by whole segments; a `/` at its end does not count.
    #[default]
    PathPrefix,
    /// The value is a regular expression (RE2 syntax) that must match the whole path.
    RegularExpression,
}

/// A header or a query parameter and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpNameMatch {
    /// How the value is compared with `value`.
    #[serde(default, rename = "type")]
    pub kind: ValueMatchType,
    /// The name of the header or the query parameter; 1 to 256 bytes. Header names are compared without regard to case.
    #[schemars(length(min = 1, max = MAX_NAME))]
    pub name: String,
    /// What the value is compared with: 1 to 4,096 bytes for a header, 1 to 1,024 for a query parameter.
    #[schemars(length(min = 1, max = MAX_HEADER_VALUE))]
    pub value: String,
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ValueMatchType {
    /// They must be equal, byte for byte.
    #[default]
    Exact,
    /// It is a regular expression (RE2 syntax) that must match the whole value.
    RegularExpression,
}
