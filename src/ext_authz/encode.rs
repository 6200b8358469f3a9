//! The parts of `envoy.service.auth.v3.CheckResponse` that we say, written straight into one buffer.
//!
//! Each part mirrors its message and is written by the same code that measures it, so a length cannot disagree with what
//! follows it. `tests::properties` decodes the result with the full message types.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::grpc::unary::PREFIX_LEN;

/// `google.rpc.Code`, as far as checks use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// The request passes.
    Ok = 0,
    /// It does not, whoever it comes from.
    PermissionDenied = 7,
    /// It does not, until its sender has signed in.
    Unauthenticated = 16,
}

/// `envoy.config.core.v3.HeaderValueOption.HeaderAppendAction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AppendAction {
    /// Beside what is there.
    AppendIfExistsOrAdd = 0,
    /// Instead of what is there.
    OverwriteIfExistsOrAdd = 2,
    /// Instead of what is there, and else not at all.
    OverwriteIfExists = 3,
}

/// `envoy.config.core.v3.HeaderValueOption`. Its value travels as `value`: a `raw_value` in an ext_authz answer reaches the
/// service as an empty header, in silence. So it must be UTF-8, or the proxy cannot decode the whole answer.
#[derive(Clone, Copy)]
pub(super) struct Header<'a> {
    /// The name.
    pub(super) name: &'a str,
    /// The value.
    pub(super) value: &'a str,
    /// What becomes of headers of the same name.
    pub(super) action: AppendAction,
}

/// `OkHttpResponse`.
pub(super) struct OkResponse<'a> {
    /// Headers of the request for the service.
    pub(super) headers: [Option<Header<'a>>; 2],
    /// Names of headers that the service does not get. The proxy removes after it has set: a name must not be in both.
    pub(super) remove: Vec<&'a str>,
    /// Headers of the response for the client.
    pub(super) response_headers: &'a [Header<'a>],
}

/// `DeniedHttpResponse`.
pub(super) struct DeniedResponse<'a> {
    /// The HTTP status (`envoy.type.v3.HttpStatus`).
    pub(super) status: http::StatusCode,
    /// Headers of the response.
    pub(super) headers: &'a [(&'static str, std::borrow::Cow<'static, str>)],
    /// The body.
    pub(super) body: &'a str,
}

/// A text in pieces, so that joining them needs no allocation.
pub(super) type Pieces<'a> = [&'a str; 5];

/// `CheckResponse`, its `dynamic_metadata` being texts.
pub(super) struct CheckResponse<'a, H> {
    /// `status.code`.
    pub(super) code: Code,
    /// `ok_response` or `denied_response`.
    pub(super) http: H,
    /// Metadata for the proxy's logs and filters.
    pub(super) metadata: &'a [Option<(&'a str, Pieces<'a>)>],
}

/// Where parts are written, or only measured.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);
    fn varint(&mut self, value: u64);
    fn key(&mut self, tag: u32, wire_type: WireType);
}

impl Sink for BytesMut {
    fn put(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }

    fn varint(&mut self, value: u64) {
        encode_varint(value, self);
    }

    fn key(&mut self, tag: u32, wire_type: WireType) {
        encode_key(tag, wire_type, self);
    }
}

/// Counts what would be written.
struct Length(usize);

impl Sink for Length {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn varint(&mut self, value: u64) {
        self.0 += encoded_len_varint(value);
    }

    fn key(&mut self, tag: u32, _: WireType) {
        self.0 += key_len(tag);
    }
}

/// One message of the wire.
pub(super) trait Part {
    fn write<S: Sink>(&self, out: &mut S);
}

fn length(part: &impl Part) -> usize {
    let mut length = Length(0);
    part.write(&mut length);
    length.0
}

fn text<S: Sink>(out: &mut S, tag: u32, text: &str) {
    // proto3: an empty text is not written.
    if !text.is_empty() {
        element(out, tag, text);
    }
}

/// An element of a repeated field is written even when it is empty.
fn element<S: Sink>(out: &mut S, tag: u32, text: &str) {
    out.key(tag, WireType::LengthDelimited);
    out.varint(text.len() as u64);
    out.put(text.as_bytes());
}

fn number<S: Sink>(out: &mut S, tag: u32, value: u64) {
    if value != 0 {
        out.key(tag, WireType::Varint);
        out.varint(value);
    }
}

fn message<S: Sink>(out: &mut S, tag: u32, part: &impl Part) {
    out.key(tag, WireType::LengthDelimited);
    out.varint(length(part) as u64);
    part.write(out);
}

impl<H: HttpResponse> CheckResponse<'_, H> {
    /// The response as one message of a gRPC stream, its length before it, in one allocation.
    pub(super) fn to_bytes(&self) -> Bytes {
        let length = length(self);
        let mut out = BytesMut::with_capacity(PREFIX_LEN + length);
        out.put_u8(0); // not compressed
        out.put_u32(
            u32::try_from(length).expect("an answer holds one JWT, one cookie field and a page: far below 4 GiB"),
        );
        self.write(&mut out);
        out.freeze()
    }
}

/// What `CheckResponse.http_response` can be here.
pub(super) trait HttpResponse: Part {
    /// Its field.
    const TAG: u32;
}

impl HttpResponse for OkResponse<'_> {
    const TAG: u32 = 3;
}

impl HttpResponse for DeniedResponse<'_> {
    const TAG: u32 = 2;
}

impl<H: HttpResponse> Part for CheckResponse<'_, H> {
    fn write<S: Sink>(&self, out: &mut S) {
        message(out, 1, &RpcStatus(self.code));
        message(out, H::TAG, &self.http);
        if self.metadata.iter().any(Option::is_some) {
            message(out, 4, &Struct(self.metadata));
        }
    }
}

impl Part for OkResponse<'_> {
    fn write<S: Sink>(&self, out: &mut S) {
        self.headers.iter().flatten().for_each(|header| message(out, 2, header));
        self.remove.iter().for_each(|name| element(out, 5, name));
        self.response_headers.iter().for_each(|header| message(out, 6, header));
    }
}

impl Part for DeniedResponse<'_> {
    fn write<S: Sink>(&self, out: &mut S) {
        message(out, 1, &HttpStatus(self.status));
        for (name, value) in self.headers {
            message(out, 2, &Header { name, value, action: AppendAction::AppendIfExistsOrAdd });
        }
        text(out, 3, self.body);
    }
}

impl Part for Header<'_> {
    fn write<S: Sink>(&self, out: &mut S) {
        message(out, 1, &HeaderValue(self));
        number(out, 3, self.action as u64);
    }
}

/// `envoy.config.core.v3.HeaderValue`.
struct HeaderValue<'a>(&'a Header<'a>);

impl Part for HeaderValue<'_> {
    fn write<S: Sink>(&self, out: &mut S) {
        text(out, 1, self.0.name);
        text(out, 2, self.0.value);
    }
}

/// `google.rpc.Status`.
struct RpcStatus(Code);

impl Part for RpcStatus {
    fn write<S: Sink>(&self, out: &mut S) {
        number(out, 1, self.0 as u64);
    }
}

/// `envoy.type.v3.HttpStatus`.
struct HttpStatus(http::StatusCode);

impl Part for HttpStatus {
    fn write<S: Sink>(&self, out: &mut S) {
        number(out, 1, self.0.as_u16().into());
    }
}

/// `google.protobuf.Struct`: a `map<string, Value>`.
struct Struct<'a>(&'a [Option<(&'a str, Pieces<'a>)>]);

impl Part for Struct<'_> {
    fn write<S: Sink>(&self, out: &mut S) {
        self.0.iter().flatten().for_each(|(key, value)| message(out, 1, &StructEntry(key, value)));
    }
}

struct StructEntry<'a>(&'a str, &'a Pieces<'a>);

impl Part for StructEntry<'_> {
    fn write<S: Sink>(&self, out: &mut S) {
        text(out, 1, self.0);
        message(out, 2, &StringValue(self.1));
    }
}

/// `google.protobuf.Value` with a `string_value`, a member of a oneof and so written even when it is empty.
struct StringValue<'a>(&'a Pieces<'a>);

impl Part for StringValue<'_> {
    fn write<S: Sink>(&self, out: &mut S) {
        out.key(3, WireType::LengthDelimited);
        out.varint(self.0.iter().map(|piece| piece.len()).sum::<usize>() as u64);
        self.0.iter().for_each(|piece| out.put(piece.as_bytes()));
    }
}
