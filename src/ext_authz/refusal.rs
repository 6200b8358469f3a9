//! A denial as the client sees it (DESIGN 8). Its class fixes all of it: what the reason behind it was stays in our records, so
//! that an unknown, an expired and a revoked token look alike (P37).

pub mod body;
pub mod challenge;

use std::borrow::Cow;
use std::fmt::Write as _;

use http::StatusCode;

use self::challenge::Challenger;
use super::client::Client;
use super::request::Hints;
use crate::authz::reason::RefusalClass;
use crate::authz::session::Realm;
use crate::authz::verdict::Denial;
use crate::sessions::cookie::{CookieValue, set_cookie};

/// After how many seconds a client may ask again when something was missing (`Retry-After`, RFC 9110 §10.2.3).
const RETRY_AFTER: &str = "1";

/// What the answer depends on. It is not stored anyway; caches that ignore that must at least not mix clients up.
const VARY: &str = "accept, authorization, cookie, sec-fetch-mode";

/// The response to a refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, names in lower case, values without controls.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// Its body; the whole `grpc-message` of a gRPC client.
    pub body: &'static str,
}

/// Renders denials.
#[derive(Clone, Debug)]
pub struct Renderer {
    challenger: Challenger,
}

impl Renderer {
    /// A renderer that names `realm` in its challenges.
    pub fn new(realm: &Realm) -> Self {
        Self { challenger: Challenger::new(realm) }
    }

    /// The response to a request with these hints.
    pub fn render(&self, denial: &Denial, hints: &Hints) -> Refusal {
        let class = denial.reason.class();
        let mut headers: Vec<(&'static str, Cow<'static, str>)> = Vec::with_capacity(9);
        headers.push(("cache-control", "no-store".into()));
        headers.push(("vary", VARY.into()));
        if let Some(name) = &denial.expire_cookie {
            headers.push(("set-cookie", set_cookie(name, &CookieValue::Expired).to_string().into()));
        }
        if class == RefusalClass::Unavailable {
            headers.push(("retry-after", RETRY_AFTER.into()));
        }
        if let Some(location) = redirect(denial) {
            headers.push(("location", location.into()));
            // 303 sends the browser on with GET whatever it came with; after a GET or HEAD, 302 is what everybody expects.
            let follows = matches!(hints.method.as_ref(), b"GET" | b"HEAD");
            let status = if follows { StatusCode::FOUND } else { StatusCode::SEE_OTHER };
            return Refusal { status, headers, body: "" };
        }
        if let Some(challenge) = self.challenger.challenge(denial) {
            headers.push(("www-authenticate", challenge.into()));
        }
        let body = match hints.client {
            Client::Api => {
                headers.push(("content-type", "application/problem+json".into()));
                headers.push(("x-content-type-options", "nosniff".into()));
                body::problem(class)
            }
            Client::Browser => {
                headers.push(("content-type", "text/html; charset=utf-8".into()));
                headers.push(("x-content-type-options", "nosniff".into()));
                headers.push(("content-security-policy", body::CONTENT_SECURITY_POLICY.into()));
                headers.push(("referrer-policy", "no-referrer".into()));
                body::page(class)
            }
            // Envoy turns its local reply to a gRPC request into trailers by itself: 200, `application/grpc`, the body as
            // `grpc-message`. It keeps a `grpc-status` that is there already; its own choice for 400 is INTERNAL.
            Client::Grpc => {
                headers.push(("grpc-status", grpc_status(class).into()));
                body::detail(class)
            }
        };
        Refusal { status: class.status(), headers, body }
    }
}

/// `google.rpc.Code` for the client.
const fn grpc_status(class: RefusalClass) -> &'static str {
    match class {
        RefusalClass::BadRequest => "3",                                  // INVALID_ARGUMENT
        RefusalClass::Unauthorized | RefusalClass::StepUp => "16",        // UNAUTHENTICATED
        RefusalClass::Forbidden | RefusalClass::InsufficientScope => "7", // PERMISSION_DENIED
        RefusalClass::Unavailable => "14",                                // UNAVAILABLE
    }
}

/// Where a person is sent instead. That a person waits has been judged by whoever made the denial; here it is only seen to that
/// no redirect answers what signing in does not cure.
fn redirect(denial: &Denial) -> Option<String> {
    let cured = matches!(denial.reason.class(), RefusalClass::Unauthorized | RefusalClass::StepUp);
    let target = denial.redirect_to.as_deref().filter(|_| cured)?;
    // The policy's bounds have seen to this already; a header with a line break in it would be worth a second look.
    (!target.is_empty() && target.bytes().all(|byte| byte.is_ascii_graphic())).then(|| target.to_owned())
}

/// Writes a parameter as `name="value"` (RFC 9110 §11.2) after a comma, quoting what must be quoted.
fn quoted_parameter(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, ", {name}=\""); // a `String` takes every write
    for char in value.chars() {
        if matches!(char, '"' | '\\') {
            out.push('\\');
        }
        out.push(char);
    }
    out.push('"');
}

#[cfg(test)]
mod tests;
