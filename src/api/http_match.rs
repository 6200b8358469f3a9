//! `HTTPRouteMatch` of the Gateway API (v1, `apis/v1/httproute_types.go`), word for word: an AuthPolicy's rules use it too.

use serde::{Deserialize, Serialize};

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

/// One match: all that is given must hold. An empty one matches every request (its path is the prefix `/`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRouteMatch {
    /// The path; the prefix `/` unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPathMatch>,
    /// Header fields, at most 16; of two with one name the first counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HttpNameMatch>,
    /// Query parameters, at most 16; of two with one name the first counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query_params: Vec<HttpNameMatch>,
    /// The method, in capitals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

/// How a path is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpPathMatch {
    /// `PathPrefix` unless told.
    #[serde(default, rename = "type")]
    pub kind: PathMatchType,
    /// 1 to 1,024 bytes; begins with `/` unless it is a regular expression.
    #[serde(default = "root")]
    pub value: String,
}

fn root() -> String {
    "/".to_owned()
}

/// See [`HttpPathMatch::kind`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathMatchType {
    /// The whole path, byte for byte.
    Exact,
    /// Whole segments from the left; a `/` at its end does not count.
    #[default]
    PathPrefix,
    /// An expression that must match the whole path.
    RegularExpression,
}

/// A header or a query parameter and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpNameMatch {
    /// `Exact` unless told.
    #[serde(default, rename = "type")]
    pub kind: ValueMatchType,
    /// 1 to 256 bytes; header names are compared without regard to case.
    pub name: String,
    /// 1 to 4,096 bytes for a header, 1 to 1,024 for a query parameter.
    pub value: String,
}

/// See [`HttpNameMatch::kind`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueMatchType {
    /// Byte for byte.
    #[default]
    Exact,
    /// An expression that must match the whole value.
    RegularExpression,
}
