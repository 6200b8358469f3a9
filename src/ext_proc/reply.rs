//! What the proxy is told to change.
//!
//! Answers of ext_proc have encodings of their own, which are not those of ext_authz: a value travels as `raw_value` (a `value`
//! arrives as nothing), and only the deprecated `append` adds a line beside others (with an `append_action` alone, one
//! `Set-Cookie` of ours would take the place of all of the service's). Envoy removes before it sets.

use bytes::Bytes;

use super::wire::{
    Answer, BodyMutation, BoolValue, CommonAnswer, CommonResponse, GrpcStatus, HeaderMap, HeaderMutation, HeaderValue,
    HeaderValueOption, HttpStatus, ImmediateResponse, Phase, TrailersResponse,
};
use crate::authz::attributes::own_headers::OwnHeaders;
use crate::authz::response::CommandRefusal;

/// `HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD`.
const OVERWRITE: i32 = 2;

/// After how many seconds a client may ask again (`Retry-After`, RFC 9110 §10.2.3).
const RETRY_AFTER: &str = "1";

/// Changes of one response's headers or trailers.
#[derive(Debug, Default)]
pub struct Changes(HeaderMutation);

impl Changes {
    /// Takes off every header that is ours, by the name it came with (P7, P11).
    pub fn strip(headers: Option<&HeaderMap>, own: &OwnHeaders) -> Self {
        let mut changes = Self::default();
        for (name, _) in headers.into_iter().flat_map(HeaderMap::iter) {
            if own.owns(name) {
                changes.remove(name);
            }
        }
        changes
    }

    /// Removes every line of a header.
    pub fn remove(&mut self, name: &Bytes) {
        if !self.0.remove_headers.contains(name) {
            self.0.remove_headers.push(name.clone());
        }
    }

    /// Sets a header in the place of all lines of its name.
    pub fn overwrite(&mut self, name: &Bytes, value: Bytes) {
        self.0.set_headers.push(HeaderValueOption { append_action: OVERWRITE, ..header(name.clone(), value) });
    }

    /// Adds a line beside those that are there.
    pub fn add(&mut self, name: &Bytes, value: Bytes) {
        let append = Some(BoolValue { value: true });
        self.0.set_headers.push(HeaderValueOption { append, ..header(name.clone(), value) });
    }

    /// Adds a `Set-Cookie` of ours. Whatever holds it must lie in no cache (P14).
    pub fn set_cookie(&mut self, line: &str) {
        self.add(&Bytes::from_static(SET_COOKIE), Bytes::copy_from_slice(line.as_bytes()));
        self.no_store();
    }

    /// Keeps the response out of caches, whatever the service says of that.
    pub fn no_store(&mut self) {
        let name = Bytes::from_static(CACHE_CONTROL);
        if !self.0.set_headers.iter().any(|it| it.header.as_ref().is_some_and(|header| header.key == name)) {
            self.overwrite(&name, Bytes::from_static(NO_STORE));
            OTHERS_FOR_CACHES.iter().for_each(|name| self.remove(&Bytes::from_static(name)));
        }
    }

    fn into_mutation(self) -> Option<HeaderMutation> {
        (self.0 != HeaderMutation::default()).then_some(self.0)
    }

    /// The answer to a response's headers.
    pub fn into_headers(self) -> Answer {
        Answer::ResponseHeaders(common(self, None))
    }

    /// The answer to a response's body: another one in its place, or none. The headers have waited for it.
    pub fn into_body(self, body: Option<Bytes>) -> Answer {
        Answer::ResponseBody(common(self, body))
    }
}

/// The name of the header that sets cookies.
pub const SET_COOKIE: &[u8] = b"set-cookie";

const CACHE_CONTROL: &[u8] = b"cache-control";
const NO_STORE: &[u8] = b"no-store";

/// What some caches believe before `Cache-Control` (RFC 9213; Edge Architecture), or where they do not know it.
const OTHERS_FOR_CACHES: [&[u8]; 3] = [b"cdn-cache-control", b"surrogate-control", b"expires"];

fn header(key: Bytes, raw_value: Bytes) -> HeaderValueOption {
    HeaderValueOption { header: Some(HeaderValue { key, raw_value, ..Default::default() }), ..Default::default() }
}

fn common(changes: Changes, body: Option<Bytes>) -> CommonAnswer {
    let (header_mutation, body_mutation) =
        (changes.into_mutation(), body.map(|body| BodyMutation { body: Some(body) }));
    let changed = header_mutation.is_some() || body_mutation.is_some();
    CommonAnswer { response: changed.then_some(CommonResponse { header_mutation, body_mutation }) }
}

/// The answer to what holds nothing of ours, or nothing that we look at. What is ours in trailers is taken off; in the headers
/// of a request it was put there by ourselves.
pub fn unchanged(phase: &Phase, own: &OwnHeaders) -> Answer {
    let trailers = |trailers: Option<&HeaderMap>| TrailersResponse {
        header_mutation: Changes::strip(trailers, own).into_mutation(),
    };
    match phase {
        Phase::RequestHeaders(_) => Answer::RequestHeaders(CommonAnswer::default()),
        Phase::ResponseHeaders(it) => Changes::strip(it.headers.as_ref(), own).into_headers(),
        Phase::RequestBody(_) => Answer::RequestBody(CommonAnswer::default()),
        Phase::ResponseBody(_) => Answer::ResponseBody(CommonAnswer::default()),
        Phase::RequestTrailers(it) => Answer::RequestTrailers(trailers(it.trailers.as_ref())),
        Phase::ResponseTrailers(it) => Answer::ResponseTrailers(trailers(it.trailers.as_ref())),
    }
}

/// Which answer takes the place of the service's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// 502: it holds a JWT that must not leave.
    BadGateway,
    /// 503: what it wished could not be done.
    Unavailable,
}

impl Instead {
    const fn status(self) -> http::StatusCode {
        match self {
            Self::BadGateway => http::StatusCode::BAD_GATEWAY,
            Self::Unavailable => http::StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The sentence for whoever reads it.
    const fn detail(self) -> &'static str {
        match self {
            Self::BadGateway => "The answer of the service could not be used.",
            Self::Unavailable => "The session could not be changed at the moment. Please try again.",
        }
    }

    /// Problem details (RFC 9457): the status says it all.
    const fn problem(self) -> &'static str {
        match self {
            Self::BadGateway => {
                r#"{"type":"about:blank","title":"Bad Gateway","status":502,"detail":"The answer of the service could not be used."}"#
            }
            Self::Unavailable => {
                r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"The session could not be changed at the moment. Please try again."}"#
            }
        }
    }

    /// The answer. The reason stays in the proxy's logs (`%RESPONSE_CODE_DETAILS%`); a gRPC client gets UNAVAILABLE.
    pub fn answer(self, refusal: CommandRefusal, grpc: bool) -> Answer {
        let mut headers = Changes::default();
        headers.overwrite(&Bytes::from_static(CACHE_CONTROL), Bytes::from_static(NO_STORE));
        if self == Self::Unavailable {
            headers.overwrite(&Bytes::from_static(b"retry-after"), Bytes::from_static(RETRY_AFTER.as_bytes()));
        }
        let body = if grpc {
            // Envoy makes the trailers of it, and their content type.
            self.detail()
        } else {
            let json = Bytes::from_static(b"application/problem+json");
            headers.overwrite(&Bytes::from_static(b"content-type"), json);
            self.problem()
        };
        Answer::ImmediateResponse(ImmediateResponse {
            status: Some(HttpStatus { code: self.status().as_u16().into() }),
            headers: headers.into_mutation(),
            body: Bytes::from_static(body.as_bytes()),
            grpc_status: grpc.then_some(GrpcStatus { status: 14 }),
            details: format!("cloakroom_{}", refusal.label()).into(),
        })
    }
}

#[cfg(test)]
mod tests;
