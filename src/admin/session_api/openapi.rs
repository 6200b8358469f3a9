//! The API's own description (OpenAPI 3.1), generated from its types and routes.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi};

use crate::admin::problem::ProblemDocument;

/// What every route may refuse with.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "read by the macro alone")]
pub enum Refusals {
    /// The request cannot be read.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(ProblemDocument),
    /// No caller's credential that counts.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(ProblemDocument),
    /// The caller may not do this here, or a page of another origin sent it.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(ProblemDocument),
    /// A value is out of bounds; `field` names it.
    #[response(status = 422, content_type = "application/problem+json")]
    OutOfBounds(ProblemDocument),
    /// Something that the server needs is missing; try again after `Retry-After` seconds.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(ProblemDocument),
}

/// What routes with a session's id may refuse with.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "read by the macro alone")]
pub enum SessionRefusals {
    /// No such session in this realm, or it is over.
    #[response(status = 404, content_type = "application/problem+json")]
    NoSuchSession(ProblemDocument),
}

/// What routes with a body may refuse with.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "read by the macro alone")]
pub enum BodyRefusals {
    /// The body did not arrive in time.
    #[response(status = 408, content_type = "application/problem+json")]
    Slow(ProblemDocument),
    /// The body is over 64 KiB.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(ProblemDocument),
    /// The body is of another media type.
    #[response(status = 415, content_type = "application/problem+json")]
    UnsupportedMediaType(ProblemDocument),
}

/// The document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "cloakroom sessions",
        description = "Makes, reads, changes and ends the sessions behind opaque access tokens.",
    ),
    paths(
        super::create, super::list, super::read, super::update, super::revoke, super::rotate, super::revoke_subject,
        document,
    ),
    modifiers(&BearerToken),
    security(("adminToken" = [])),
    tags((name = "sessions", description = "Sessions")),
)]
pub struct SessionApiDocument;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An admin token.")).build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("adminToken", SecurityScheme::Http(scheme));
    }
}

static DOCUMENT: LazyLock<Bytes> =
    LazyLock::new(|| serde_json::to_vec(&SessionApiDocument::openapi()).unwrap_or_default().into());

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "sessions", security(()),
    responses((status = 200, description = "OpenAPI 3.1.", body = Object))
)]
pub async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}
