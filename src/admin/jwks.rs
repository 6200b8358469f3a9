//! The public keys and OpenID discovery: what services and meshes need to verify session JWTs with no code of ours.
//!
//! Nothing here is secret, and nothing else is served beside it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::problem::{Problem, ProblemKind};
use crate::authz::session::Realm;
use crate::sessions::clock::Clock;
use crate::sessions::keyring::KeyRing;
use crate::sessions::keyring::timeline::Jwks;

/// What caches may keep. The shortest publication of a key before it signs is measured by it (`ceremony::MIN_PUBLISH`).
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// The path of the key set, below the issuer.
const JWKS_PATH: &str = "/.well-known/jwks.json";

#[derive(Clone, Debug)]
struct Published {
    ring: Arc<KeyRing>,
    clock: Arc<Clock>,
}

/// `/.well-known/jwks.json` and `/.well-known/openid-configuration`, and both below `/ns/{namespace}`; all else is 404, and
/// other methods than GET and HEAD are 405. Where each namespace has keys of its own, the set of all is 503: there is none.
pub fn router(ring: Arc<KeyRing>, clock: Arc<Clock>) -> Router {
    Router::new()
        .route(JWKS_PATH, get(jwks))
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/ns/{namespace}/.well-known/jwks.json", get(namespace_jwks))
        .route("/ns/{namespace}/.well-known/openid-configuration", get(namespace_discovery))
        .method_not_allowed_fallback(|| async {
            ([(ALLOW, "GET, HEAD")], problem(ProblemKind::MethodNotAllowed, "only GET and HEAD are served here"))
        })
        .fallback(|| async { not_found() })
        .with_state(Published { ring, clock })
}

async fn jwks(State(published): State<Published>, request: HeaderMap) -> Response {
    key_set(published.ring.jwks(published.clock.now()), &request)
}

async fn namespace_jwks(
    State(published): State<Published>,
    Path(namespace): Path<String>,
    request: HeaderMap,
) -> Response {
    if Realm::parse(&namespace).is_none() {
        return not_found();
    }
    key_set(published.ring.jwks_of(&namespace, published.clock.now()), &request)
}

fn key_set(keys: Option<Jwks>, request: &HeaderMap) -> Response {
    let Some(Jwks { body, etag, .. }) = keys else { return no_keys() };
    let etag_field = HeaderValue::from_str(&etag).expect("an entity tag of base64url is a header value");
    let headers = [(CACHE_CONTROL, CACHE), (ETAG, etag_field)];
    if request.get_all(IF_NONE_MATCH).iter().any(|field| names_tag(field, &etag)) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(CONTENT_TYPE, "application/json")], body).into_response()
}

async fn discovery(State(published): State<Published>) -> Response {
    let issuer = published.ring.config().issuer.clone();
    describe(published.ring.jwks(published.clock.now()), &issuer, &issuer)
}

async fn namespace_discovery(State(published): State<Published>, Path(namespace): Path<String>) -> Response {
    // A namespace is a DNS label, as a realm is. Which ones exist is not told: every label has an issuer.
    if Realm::parse(&namespace).is_none() {
        return not_found();
    }
    let (ring, now) = (&published.ring, published.clock.now());
    let issuer = ring.config().issuer_of(&namespace);
    let set_below = if ring.is_by_namespace() { &issuer } else { &ring.config().issuer };
    describe(ring.jwks_of(&namespace, now), &issuer, set_below)
}

/// OpenID Connect Discovery 1.0 §3, as far as it concerns whoever only verifies; the Kubernetes API server publishes the same
/// members for its service-account tokens. The key set lies below `set_below`.
fn describe(keys: Option<Jwks>, issuer: &str, set_below: &str) -> Response {
    let Some(Jwks { algorithms, .. }) = keys else { return no_keys() };
    let algorithms: Vec<&str> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
    let document = json!({
        "issuer": issuer,
        "jwks_uri": format!("{set_below}{JWKS_PATH}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
        "claims_supported": [
            "iss", "sub", "aud", "sid", "jti", "iat", "nbf", "exp", "auth_time", "acr", "amr", "scope", "roles", "claims"
        ],
    });
    ([(CACHE_CONTROL, CACHE)], axum::Json(document)).into_response()
}

/// Whether `If-None-Match` names this entity tag; weak comparison (RFC 9110 §13.1.2).
fn names_tag(field: &HeaderValue, etag: &str) -> bool {
    let Ok(field) = field.to_str() else { return false };
    field.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

fn not_found() -> Response {
    problem(ProblemKind::NotFound, "there is nothing here; the key set is at /.well-known/jwks.json")
}

/// An empty set would be cached and believed.
fn no_keys() -> Response {
    ([(RETRY_AFTER, "5")], problem(ProblemKind::Unavailable, "no key is published yet")).into_response()
}

/// A refusal, which no cache keeps.
fn problem(kind: ProblemKind, detail: &str) -> Response {
    ([(CACHE_CONTROL, "no-store")], Problem::new(kind, detail)).into_response()
}

#[cfg(test)]
mod tests;
