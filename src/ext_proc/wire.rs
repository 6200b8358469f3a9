//! The parts of `envoy.service.ext_proc.v3` that we read and say, by their field numbers.
//!
//! As in the reading of checks, fields that we do not name are skipped without being looked into, and what comes is a slice of
//! the message it came in. Texts are bytes here: Envoy's header values are (`raw_value`), and a name that is not UTF-8 must be
//! told back as it came. `tests::properties` hold both directions against the full types.

use std::fmt;

use bytes::Bytes;
use prost::{Message, Oneof};

/// `envoy.service.ext_proc.v3.ProcessingRequest`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct ProcessingRequest {
    /// What the proxy has come to.
    #[prost(oneof = "Phase", tags = "2, 3, 4, 5, 6, 7")]
    pub phase: Option<Phase>,
    /// The dynamic metadata of the request, as far as the proxy forwards it.
    #[prost(message, optional, tag = "8")]
    pub metadata_context: Option<Metadata>,
    /// No answer is awaited, and none has an effect.
    #[prost(bool, tag = "10")]
    pub observability_mode: bool,
    /// How the proxy will go about it; in the first message of a stream.
    #[prost(message, optional, tag = "11")]
    pub protocol_config: Option<ProtocolConfiguration>,
}

/// `ProcessingRequest.request`.
#[derive(Clone, PartialEq, Oneof)]
#[prost(skip_debug)]
pub enum Phase {
    /// The headers of the request.
    #[prost(message, tag = "2")]
    RequestHeaders(HttpHeaders),
    /// The headers of the response.
    #[prost(message, tag = "3")]
    ResponseHeaders(HttpHeaders),
    /// A part of the request's body, or all of it.
    #[prost(message, tag = "4")]
    RequestBody(HttpBody),
    /// A part of the response's body, or all of it.
    #[prost(message, tag = "5")]
    ResponseBody(HttpBody),
    /// The trailers of the request.
    #[prost(message, tag = "6")]
    RequestTrailers(HttpTrailers),
    /// The trailers of the response.
    #[prost(message, tag = "7")]
    ResponseTrailers(HttpTrailers),
}

/// `envoy.service.ext_proc.v3.ProtocolConfiguration`.
#[derive(Clone, Copy, PartialEq, Message)]
#[prost(skip_debug)]
pub struct ProtocolConfiguration {
    /// `ProcessingMode.response_body_mode`; see [`BUFFERED`].
    #[prost(int32, tag = "2")]
    pub response_body_mode: i32,
}

/// `ProcessingMode.BodySendMode.BUFFERED`: the body comes whole, and the headers wait for it.
pub const BUFFERED: i32 = 2;

/// `envoy.service.ext_proc.v3.HttpHeaders`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HttpHeaders {
    /// The headers.
    #[prost(message, optional, tag = "1")]
    pub headers: Option<HeaderMap>,
    /// There is no body.
    #[prost(bool, tag = "3")]
    pub end_of_stream: bool,
}

/// `envoy.service.ext_proc.v3.HttpBody`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HttpBody {
    /// The bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
    /// It ends with them.
    #[prost(bool, tag = "2")]
    pub end_of_stream: bool,
}

/// `envoy.service.ext_proc.v3.HttpTrailers`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HttpTrailers {
    /// The trailers.
    #[prost(message, optional, tag = "1")]
    pub trailers: Option<HeaderMap>,
}

/// `envoy.config.core.v3.HeaderMap`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HeaderMap {
    /// In the order received.
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<HeaderValue>,
}

/// `envoy.config.core.v3.HeaderValue`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HeaderValue {
    /// The name, in lower case.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// The value as Envoy before 1.27 sent it. In answers it arrives as nothing, so that none is made with it.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// The value.
    #[prost(bytes = "bytes", tag = "3")]
    pub raw_value: Bytes,
}

/// `envoy.config.core.v3.Metadata`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Metadata {
    /// By the filter that made it: a `map<string, google.protobuf.Struct>`.
    #[prost(message, repeated, tag = "1")]
    pub filter_metadata: Vec<FilterMetadata>,
}

/// One entry of `Metadata.filter_metadata`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct FilterMetadata {
    /// The filter.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// What it said.
    #[prost(message, optional, tag = "2")]
    pub value: Option<Struct>,
}

/// `google.protobuf.Struct`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Struct {
    /// A `map<string, Value>`.
    #[prost(message, repeated, tag = "1")]
    pub fields: Vec<Field>,
}

/// One entry of `Struct.fields`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Field {
    /// Its name.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Its value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<Value>,
}

/// `google.protobuf.Value`, of which only texts are read.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Value {
    /// `string_value`.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub string_value: Option<Bytes>,
}

/// `envoy.service.ext_proc.v3.ProcessingResponse`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct ProcessingResponse {
    /// The answer, of the kind of the message that it answers.
    #[prost(oneof = "Answer", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub answer: Option<Answer>,
}

/// `ProcessingResponse.response`.
#[derive(Clone, PartialEq, Oneof)]
#[prost(skip_debug)]
pub enum Answer {
    /// To [`Phase::RequestHeaders`].
    #[prost(message, tag = "1")]
    RequestHeaders(CommonAnswer),
    /// To [`Phase::ResponseHeaders`].
    #[prost(message, tag = "2")]
    ResponseHeaders(CommonAnswer),
    /// To [`Phase::RequestBody`].
    #[prost(message, tag = "3")]
    RequestBody(CommonAnswer),
    /// To [`Phase::ResponseBody`].
    #[prost(message, tag = "4")]
    ResponseBody(CommonAnswer),
    /// To [`Phase::RequestTrailers`].
    #[prost(message, tag = "5")]
    RequestTrailers(TrailersResponse),
    /// To [`Phase::ResponseTrailers`].
    #[prost(message, tag = "6")]
    ResponseTrailers(TrailersResponse),
    /// Another response in the place of the service's.
    #[prost(message, tag = "7")]
    ImmediateResponse(ImmediateResponse),
}

/// `HeadersResponse` and `BodyResponse`, which are the same on the wire.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct CommonAnswer {
    /// What changes.
    #[prost(message, optional, tag = "1")]
    pub response: Option<CommonResponse>,
}

/// `CommonResponse`. Its status is always `CONTINUE`, which is 0.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct CommonResponse {
    /// Changes of the headers.
    #[prost(message, optional, tag = "2")]
    pub header_mutation: Option<HeaderMutation>,
    /// Another body.
    #[prost(message, optional, tag = "3")]
    pub body_mutation: Option<BodyMutation>,
}

/// `BodyMutation`, of which we only say `body`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct BodyMutation {
    /// The whole new body.
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub body: Option<Bytes>,
}

/// `TrailersResponse`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct TrailersResponse {
    /// Changes of the trailers.
    #[prost(message, optional, tag = "1")]
    pub header_mutation: Option<HeaderMutation>,
}

/// `HeaderMutation`. Envoy removes before it sets.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HeaderMutation {
    /// Headers to add or replace.
    #[prost(message, repeated, tag = "1")]
    pub set_headers: Vec<HeaderValueOption>,
    /// Names of headers to remove, every line of each.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub remove_headers: Vec<Bytes>,
}

/// `envoy.config.core.v3.HeaderValueOption`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HeaderValueOption {
    /// The header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<HeaderValue>,
    /// `append`, the deprecated one: the only way to add a line beside others here.
    #[prost(message, optional, tag = "2")]
    pub append: Option<BoolValue>,
    /// `append_action`; 0, which is to append, is ignored here.
    #[prost(int32, tag = "3")]
    pub append_action: i32,
}

/// `google.protobuf.BoolValue`.
#[derive(Clone, Copy, PartialEq, Message)]
#[prost(skip_debug)]
pub struct BoolValue {
    /// The value.
    #[prost(bool, tag = "1")]
    pub value: bool,
}

/// `ImmediateResponse`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct ImmediateResponse {
    /// The HTTP status.
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    /// Its headers.
    #[prost(message, optional, tag = "2")]
    pub headers: Option<HeaderMutation>,
    /// Its body.
    #[prost(bytes = "bytes", tag = "3")]
    pub body: Bytes,
    /// For gRPC clients.
    #[prost(message, optional, tag = "4")]
    pub grpc_status: Option<GrpcStatus>,
    /// For the proxy's logs (`%RESPONSE_CODE_DETAILS%`).
    #[prost(bytes = "bytes", tag = "5")]
    pub details: Bytes,
}

/// `envoy.type.v3.HttpStatus`.
#[derive(Clone, Copy, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HttpStatus {
    /// The code.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// `envoy.service.ext_proc.v3.GrpcStatus`.
#[derive(Clone, Copy, PartialEq, Message)]
#[prost(skip_debug)]
pub struct GrpcStatus {
    /// `google.rpc.Code`.
    #[prost(uint32, tag = "1")]
    pub status: u32,
}

/// These hold JWTs, tokens and cookies: none of them shows a byte (P31).
macro_rules! redacted {
    ($($name:ident),*) => { $(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    )* };
}

redacted!(
    ProcessingRequest,
    Phase,
    ProtocolConfiguration,
    HttpHeaders,
    HttpBody,
    HttpTrailers,
    HeaderMap,
    HeaderValue,
    Metadata,
    FilterMetadata,
    Struct,
    Field,
    Value,
    ProcessingResponse,
    Answer,
    CommonAnswer,
    CommonResponse,
    BodyMutation,
    TrailersResponse,
    HeaderMutation,
    HeaderValueOption,
    BoolValue,
    ImmediateResponse,
    HttpStatus,
    GrpcStatus
);

impl HeaderMap {
    /// The headers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.headers.iter().map(|header| (&header.key, header.told()))
    }
}

impl HeaderValue {
    /// The value, in whichever field it came.
    fn told(&self) -> &Bytes {
        if self.raw_value.is_empty() { &self.value } else { &self.raw_value }
    }
}

impl Metadata {
    /// The text under this key of this filter. A key that is there twice is not there: readers differ in which they take.
    pub(super) fn text(&self, filter: &str, key: &str) -> Option<&Bytes> {
        let fields = &single(&self.filter_metadata, |entry| &entry.key, filter)?.value.as_ref()?.fields;
        single(fields, |field| &field.key, key)?.value.as_ref()?.string_value.as_ref()
    }
}

fn single<'a, T>(entries: &'a [T], key: impl Fn(&T) -> &Bytes, wanted: &str) -> Option<&'a T> {
    let mut found = entries.iter().filter(|entry| *key(entry) == wanted.as_bytes());
    found.next().filter(|_| found.next().is_none())
}

#[cfg(test)]
mod tests;
