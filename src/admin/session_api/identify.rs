//! Who sent a request, which session it names, and its id.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;
use http::request::Parts;

use super::SessionApi;
use super::audit::{self, REQUEST_ID, RequestId};
use crate::admin::caller::{Caller, Grant, Tenant, Verb};
use crate::admin::problem::Problem;
use crate::authz::session::{Realm, SessionId};

/// The caller of a request, by its credential.
pub(super) struct Identified {
    caller: Arc<Caller>,
    tenant: Option<Arc<Tenant>>,
    /// The request's id.
    pub(super) request: RequestId,
}

impl FromRequestParts<SessionApi> for Identified {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &SessionApi) -> Result<Self, Problem> {
        let caller = api.0.parts.callers.identify(&parts.headers).await?;
        let Ok(request) = RequestId::from_request_parts(parts, api).await;
        Ok(Self { caller, tenant: api.0.parts.tenant.clone(), request })
    }
}

impl Identified {
    /// The caller's right to `verb` in `realm`; a refusal is in the audit log.
    pub(super) fn grant(&self, verb: Verb, realm: Realm) -> Result<Grant, Problem> {
        Grant::check(Arc::clone(&self.caller), self.tenant.as_deref(), verb, realm.clone())
            .inspect_err(|_| audit::refused(&self.caller.name, verb.name(), realm.as_str(), &self.request))
    }
}

/// Reads the id of a session from the path.
pub(super) struct Sid(pub(super) SessionId);

impl<S: Send + Sync> FromRequestParts<S> for Sid {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let malformed = || Problem::malformed("a session's id is 22 characters of base64url");
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| malformed())?;
        SessionId::parse(&text).map(Self).ok_or_else(malformed)
    }
}

/// Gives every request an id and says it in the answer.
pub(super) async fn request_id(request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let id = RequestId::of(&parts);
    let value = HeaderValue::from_str(&id.to_string());
    parts.extensions.insert(id);
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if let Ok(value) = value {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}
