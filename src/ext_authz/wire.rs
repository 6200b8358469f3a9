//! The parts of `envoy.service.auth.v3` that we read, by their field numbers.
//!
//! This is the only reading of a check: there is no full decode beside it. Fields that we do not name are skipped without
//! being looked into, and texts are slices of the message, so that a check costs no copy and no hash map. It differs from a
//! full decode in three ways, all of them on messages that Envoy does not send (`tests::properties` keeps the rest equal):
//!
//! - texts may be other than UTF-8 (they are bytes here; the decision judges them);
//! - fields that we skip are not checked inside;
//! - a map that names a key twice keeps both, and [`super::request`] refuses it, where a full decode keeps the last.

use std::fmt;

use bytes::Bytes;
use prost::Message;

/// `envoy.service.auth.v3.CheckRequest`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct CheckRequest {
    /// Who asks for what.
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<AttributeContext>,
}

/// `envoy.service.auth.v3.AttributeContext`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct AttributeContext {
    /// The request under judgement.
    #[prost(message, optional, tag = "4")]
    pub request: Option<Request>,
    /// What the proxy's configuration says about the route.
    #[prost(message, repeated, tag = "10")]
    pub context_extensions: Vec<Entry>,
}

/// `envoy.service.auth.v3.AttributeContext.Request`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Request {
    /// The HTTP request; absent for the network filter, which we do not serve.
    #[prost(message, optional, tag = "2")]
    pub http: Option<HttpRequest>,
}

/// `envoy.service.auth.v3.AttributeContext.HttpRequest`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HttpRequest {
    /// The proxy's id for the request's stream.
    #[prost(bytes = "bytes", tag = "1")]
    pub id: Bytes,
    /// The method.
    #[prost(bytes = "bytes", tag = "2")]
    pub method: Bytes,
    /// The headers as a map: names in lower case, repeated ones joined by `,`.
    #[prost(message, repeated, tag = "3")]
    pub headers: Vec<Entry>,
    /// Path and query.
    #[prost(bytes = "bytes", tag = "4")]
    pub path: Bytes,
    /// `:authority`.
    #[prost(bytes = "bytes", tag = "5")]
    pub host: Bytes,
    /// `:scheme`.
    #[prost(bytes = "bytes", tag = "6")]
    pub scheme: Bytes,
    /// `HTTP/1.1`, `HTTP/2`, …
    #[prost(bytes = "bytes", tag = "10")]
    pub protocol: Bytes,
    /// The headers as a list (`encode_raw_headers`): repeated ones apart, values as sent.
    #[prost(message, optional, tag = "13")]
    pub header_map: Option<HeaderMap>,
}

/// One entry of a `map<string, string>`, which is a repeated message on the wire.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Entry {
    /// Its key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Its value.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// `envoy.config.core.v3.HeaderMap`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HeaderMap {
    /// The headers, in the order received.
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<HeaderValue>,
}

/// `envoy.config.core.v3.HeaderValue`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HeaderValue {
    /// Its name.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Its value, when `raw_value` is not set.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// Its value.
    #[prost(bytes = "bytes", tag = "3")]
    pub raw_value: Bytes,
}

/// Every one of these holds cookies of users: none of them shows a byte (P31).
macro_rules! redacted {
    ($($name:ident),*) => { $(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    )* };
}

redacted!(CheckRequest, AttributeContext, Request, HttpRequest, Entry, HeaderMap, HeaderValue);

#[cfg(test)]
mod tests;
