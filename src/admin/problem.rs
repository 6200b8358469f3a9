//! Refusals as problem details (RFC 9457), for every answer of 400 and above, axum's own included.

use std::panic::AssertUnwindSafe;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of a problem (RFC 9457 §3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Declares the set once: the variant, its code and its status.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:ident;)*) => {
        /// What is wrong: a closed set, so that programs can tell one case from another.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemKind { $($(#[$doc])* $name,)* }

        impl ProblemKind {
            /// Every kind, for documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The kind's stable name (`code`).
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }
        }
    };
}

kinds! {
    /// The request cannot be read: not JSON, an unknown or missing field, a wrong type.
    Malformed = "malformed", BAD_REQUEST;
    /// No caller's credential, or none that counts.
    Unauthorized = "unauthorized", UNAUTHORIZED;
    /// A page of another origin sent it.
    ForeignOrigin = "foreign_origin", FORBIDDEN;
    /// The host asked for is not one that this listener answers for.
    ForeignHost = "foreign_host", FORBIDDEN;
    /// The caller may not do this, or not in this realm.
    NotAllowed = "not_allowed", FORBIDDEN;
    /// The token is not the session's present one.
    WrongToken = "wrong_token", FORBIDDEN;
    /// No such session in this realm, or it is over.
    NoSuchSession = "no_such_session", NOT_FOUND;
    /// No such address.
    NotFound = "not_found", NOT_FOUND;
    /// The address has other methods (`Allow`).
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED;
    /// The body did not arrive in time.
    Slow = "request_timeout", REQUEST_TIMEOUT;
    /// `If-Match` names another version.
    VersionMismatch = "version_mismatch", PRECONDITION_FAILED;
    /// The body is too large.
    TooLarge = "content_too_large", PAYLOAD_TOO_LARGE;
    /// The body is of another media type.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE;
    /// A value is out of bounds; `field` names it.
    OutOfBounds = "out_of_bounds", UNPROCESSABLE_ENTITY;
    /// Something we need is missing; try again later.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE;
    /// A defect of ours.
    Internal = "internal_error", INTERNAL_SERVER_ERROR;
}

/// A refusal. Its text never repeats what was sent: a caller may have put a token in the wrong place.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: ProblemKind,
    detail: String,
    field: Option<&'static str>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A refusal of this kind; `detail` says what would be right.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), field: None, header: None }
    }

    /// 400 with this detail.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Malformed, detail)
    }

    /// 422 for this field.
    pub fn out_of_bounds(field: &'static str, detail: impl Into<String>) -> Self {
        Self { field: Some(field), ..Self::new(ProblemKind::OutOfBounds, detail) }
    }

    /// 401 with the challenge of RFC 6750 §3; `error` only when a credential was presented.
    pub fn unauthorized(presented: bool, detail: impl Into<String>) -> Self {
        let challenge = if presented {
            r#"Bearer realm="cloakroom sessions", error="invalid_token""#
        } else {
            r#"Bearer realm="cloakroom sessions""#
        };
        Self::new(ProblemKind::Unauthorized, detail).with_header(WWW_AUTHENTICATE, challenge)
    }

    /// 503 with `Retry-After`.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Unavailable, detail).with_header(RETRY_AFTER, "1")
    }

    /// The same with a header.
    #[must_use]
    pub fn with_header(self, name: HeaderName, value: &'static str) -> Self {
        Self { header: Some((name, HeaderValue::from_static(value))), ..self }
    }

    /// What is wrong.
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }

    fn document(&self) -> ProblemDocument {
        let status = self.kind.status();
        ProblemDocument {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            code: self.kind.code().to_owned(),
            detail: self.detail.clone(),
            field: self.field.map(str::to_owned),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.document()).unwrap_or_default();
        let mut response = (self.kind.status(), [(CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// A refusal as it is written (RFC 9457).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// `about:blank`: the status and `code` say it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Which problem it is, for programs.
    #[schema(example = "out_of_bounds")]
    pub code: String,
    /// What is wrong and what would be right.
    pub detail: String,
    /// The field that is out of bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// The outermost layer of every router: a panic is 500, every answer of 400 and above is a problem, nothing is cached.
pub async fn problems(request: Request, next: Next) -> Response {
    let mut response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => Problem::new(ProblemKind::Internal, "a defect of the server; its log has more").into_response(),
    };
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|it| it.as_bytes().ends_with(b"json"));
    if response.status().as_u16() >= 400 && !is_json {
        response = rewritten(response);
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The same answer as a problem: axum's own refusals are plain text. Its headers stay (`Allow`).
fn rewritten(response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    let problem = match parts.status {
        StatusCode::NOT_FOUND => Problem::new(ProblemKind::NotFound, "no such address; /openapi.json lists them"),
        StatusCode::METHOD_NOT_ALLOWED => {
            Problem::new(ProblemKind::MethodNotAllowed, "the address has other methods: see Allow")
        }
        status if status.is_client_error() => Problem::malformed("the address cannot be read"),
        _ => Problem::new(ProblemKind::Internal, "a defect of the server; its log has more"),
    };
    parts.status = problem.kind.status();
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(serde_json::to_vec(&problem.document()).unwrap_or_default()))
}
