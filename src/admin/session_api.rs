//! The session API (DESIGN 9): HTTP/JSON for the services and people who make, read, change and end sessions.

pub mod audit;
pub mod document;
mod identify;
pub mod openapi;
pub mod read;
pub mod request;
#[cfg(test)]
pub(crate) mod tests;
mod update;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Json, Router, middleware};
use http::StatusCode;
use http::header::{ETAG, LOCATION};
use tokio_util::task::TaskTracker;

use self::audit::{RequestId, Target};
use self::document::{IssuedDocument, Revoked, SessionDocument, SessionPage};
use self::identify::{Identified, Sid, request_id};
use self::read::{IfMatch, JsonBody, Params, PatchBody, cursor_text, read_cursor};
use self::request::{CreateRequest, ListQuery, RealmQuery, RotateRequest, SessionPatch};
use super::caller::{Callers, Grant, Tenant, Verb};
use super::origin::same_origin;
use super::problem::{Problem, ProblemKind, problems};
use crate::authz::credential::AccessToken;
use crate::authz::session::{Realm, Session, SessionId, Timestamp};
use crate::sessions::clock::Clock;
use crate::sessions::{Issued, SessionError, Sessions};

/// How many sessions a page has unless told, and at most.
const PAGE: (usize, usize) = (50, 200);

/// What the API is made of.
#[derive(Debug)]
pub struct ApiParts {
    /// The sessions.
    pub sessions: Arc<Sessions>,
    /// Who may call.
    pub callers: Callers,
    /// The install's realm, for requests that name none.
    pub realm: Realm,
    /// The realms in which sessions are made; elsewhere no policy could ever ask for them.
    pub realms: BTreeSet<Realm>,
    /// The namespace that the gate serves, if it is one.
    pub tenant: Option<Arc<Tenant>>,
    /// The process's clock.
    pub clock: Arc<Clock>,
}

/// The API. Clones share one state.
#[derive(Clone, Debug)]
pub struct SessionApi(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    parts: ApiParts,
    changes: TaskTracker,
}

impl SessionApi {
    /// An API over these parts.
    pub fn new(parts: ApiParts) -> Self {
        Self(Arc::new(Shared { parts, changes: TaskTracker::new() }))
    }

    /// Its routes.
    pub fn router(&self) -> Router {
        routes()
            .into_iter()
            .fold(Router::new(), |router, (path, methods)| router.route(path, methods))
            .layer(middleware::from_fn(same_origin))
            .layer(middleware::from_fn(request_id))
            .layer(middleware::from_fn(problems))
            .with_state(self.clone())
    }

    /// Waits for the changes that have begun: a caller that hangs up does not stop one half-way. Call it once the listener
    /// has ended.
    pub async fn finish(&self) {
        self.0.changes.close();
        self.0.changes.wait().await;
    }

    fn sessions(&self) -> &Sessions {
        &self.0.parts.sessions
    }

    fn now(&self) -> Timestamp {
        self.0.parts.clock.now()
    }

    /// The realm of this name, or the install's.
    fn realm(&self, name: Option<&str>) -> Result<Realm, Problem> {
        match name {
            None => Ok(self.0.parts.realm.clone()),
            Some(name) => Realm::parse(name)
                .ok_or_else(|| Problem::out_of_bounds("realm", "must be 1 to 63 of a-z, 0-9 and -, not at the ends")),
        }
    }

    /// Runs a change in a task of its own, so that it and its audit line come to their end although the caller may hang up.
    async fn change<T: Send + 'static>(
        &self,
        request: RequestId,
        grant: Grant,
        mut target: Target,
        work: impl Future<Output = Result<T, SessionError>> + Send + 'static,
        sid: impl FnOnce(&T) -> Option<SessionId> + Send + 'static,
    ) -> Result<T, Problem> {
        let task = self.0.changes.spawn(async move {
            let outcome = work.await.map_err(Problem::from);
            if let Some(sid) = outcome.as_ref().ok().and_then(sid) {
                target.sid = Some(sid.to_string());
            }
            audit::record(&grant, &request, &target, outcome.as_ref().map(|_| ()));
            outcome
        });
        task.await
            .unwrap_or_else(|_| Err(Problem::new(ProblemKind::Internal, "a defect of the server; its log has more")))
    }
}

/// Every route; a test holds the OpenAPI document against it.
fn routes() -> [(&'static str, MethodRouter<SessionApi>); 5] {
    [
        ("/v1/sessions", post(create).get(list)),
        ("/v1/sessions/{sid}", get(read).patch(update).delete(revoke)),
        ("/v1/sessions/{sid}/rotate", post(rotate)),
        ("/v1/subjects/{subject}/sessions", delete(revoke_subject)),
        ("/openapi.json", get(openapi::document)),
    ]
}

fn etag(session: &Session) -> [(http::HeaderName, String); 1] {
    [(ETAG, format!("\"{}\"", session.version))]
}

fn described(session: &Session) -> Response {
    (etag(session), Json(SessionDocument::from(session))).into_response()
}

fn issued(issued: &Issued) -> Response {
    (etag(&issued.session), Json(IssuedDocument::from(issued))).into_response()
}

/// Makes a session.
///
/// The answer holds the token, this once.
#[utoipa::path(
    post, path = "/v1/sessions", operation_id = "createSession", tag = "sessions", request_body = CreateRequest,
    responses(
        (status = 201, description = "Made.", body = IssuedDocument, headers(
            ("Location" = String, description = "Where it is read."), ("ETag" = String, description = "Its version."))),
        openapi::BodyRefusals, openapi::Refusals,
    )
)]
async fn create(
    State(api): State<SessionApi>,
    caller: Identified,
    JsonBody(body): JsonBody<CreateRequest>,
) -> Result<Response, Problem> {
    let realm = api.realm(body.realm.as_deref())?;
    let grant = caller.grant(Verb::Create, realm.clone())?;
    if !api.0.parts.realms.contains(&realm) {
        return Err(Problem::out_of_bounds("realm", "is not a realm of this install"));
    }
    let new = body.resolve(realm.clone())?;
    let target = Target { sid: None, subject: Some(new.subject.clone()) };
    let (service, now) = (api.clone(), api.now());
    let work = async move { service.sessions().create(new, now).await };
    let made = api.change(caller.request, grant, target, work, |made| Some(made.session.id)).await?;
    let mut location = format!("/v1/sessions/{}", made.session.id);
    if realm != api.0.parts.realm {
        location.push_str("?realm=");
        location.push_str(realm.as_str());
    }
    Ok((StatusCode::CREATED, [(LOCATION, location)], issued(&made)).into_response())
}

/// Reads a session.
#[utoipa::path(
    get, path = "/v1/sessions/{sid}", operation_id = "getSession", tag = "sessions",
    params(("sid" = String, Path, description = "The session."), RealmQuery),
    responses(
        (status = 200, description = "The session.", body = SessionDocument, headers(
            ("ETag" = String, description = "Its version."))),
        openapi::SessionRefusals, openapi::Refusals,
    )
)]
async fn read(
    State(api): State<SessionApi>,
    caller: Identified,
    Sid(sid): Sid,
    Params(query): Params<RealmQuery>,
) -> Result<Response, Problem> {
    let realm = api.realm(query.realm.as_deref())?;
    caller.grant(Verb::Read, realm.clone())?;
    Ok(described(&*api.sessions().get(&realm, sid, api.now()).await?))
}

/// Lists a subject's live sessions.
#[utoipa::path(
    get, path = "/v1/sessions", operation_id = "listSessions", tag = "sessions", params(ListQuery),
    responses((status = 200, description = "A page of them.", body = SessionPage), openapi::Refusals)
)]
async fn list(
    State(api): State<SessionApi>,
    caller: Identified,
    Params(query): Params<ListQuery>,
) -> Result<Response, Problem> {
    let realm = api.realm(query.realm.as_deref())?;
    caller.grant(Verb::Read, realm.clone())?;
    let (default, most) = PAGE;
    let limit = query.limit.map_or(Some(default), |limit| usize::try_from(limit).ok());
    let limit = limit
        .filter(|limit| (1..=most).contains(limit))
        .ok_or_else(|| Problem::out_of_bounds("limit", format!("must be 1 to {most}")))?;
    let after = query.cursor.as_deref().map(read_cursor).transpose()?;
    let (sessions, next) = api.sessions().list(&realm, &query.subject, limit, after, api.now()).await?;
    let page =
        SessionPage { sessions: sessions.iter().map(SessionDocument::from).collect(), cursor: next.map(cursor_text) };
    Ok(Json(page).into_response())
}

/// Changes a session.
///
/// A JSON merge patch (RFC 7396). With `If-Match` only when that is still the session's version.
#[utoipa::path(
    patch, path = "/v1/sessions/{sid}", operation_id = "updateSession", tag = "sessions",
    params(
        ("sid" = String, Path, description = "The session."), RealmQuery,
        ("If-Match" = Option<String>, Header, description = "The version that is to be changed, as in its ETag."),
    ),
    request_body(content((SessionPatch = "application/merge-patch+json"), (SessionPatch = "application/json"))),
    responses(
        (status = 200, description = "Changed.", body = SessionDocument, headers(
            ("ETag" = String, description = "Its version."))),
        (status = 412, description = "It has changed meanwhile.", content_type = "application/problem+json",
            body = super::problem::ProblemDocument),
        openapi::BodyRefusals, openapi::SessionRefusals, openapi::Refusals,
    )
)]
async fn update(
    State(api): State<SessionApi>,
    caller: Identified,
    Sid(sid): Sid,
    Params(query): Params<RealmQuery>,
    if_match: IfMatch,
    PatchBody(patch): PatchBody<SessionPatch>,
) -> Result<Response, Problem> {
    let realm = api.realm(query.realm.as_deref())?;
    let grant = caller.grant(Verb::Update, realm.clone())?;
    // Judged whole before anything is read, so that what can never be is refused at once.
    let change = patch.resolve()?;
    let target = Target { sid: Some(sid.to_string()), subject: None };
    let service = api.clone();
    let work = async move { service.apply(&realm, sid, &patch, change, if_match).await };
    let session = api.change(caller.request, grant, target, work, |_| None).await?;
    Ok(described(&session))
}

/// Replaces a session's token.
///
/// Only who holds the present token gets the next. The answer holds it, this once.
#[utoipa::path(
    post, path = "/v1/sessions/{sid}/rotate", operation_id = "rotateSession", tag = "sessions",
    params(("sid" = String, Path, description = "The session."), RealmQuery),
    request_body = RotateRequest,
    responses(
        (status = 200, description = "The next token.", body = IssuedDocument, headers(
            ("ETag" = String, description = "Its version."))),
        openapi::BodyRefusals, openapi::SessionRefusals, openapi::Refusals,
    )
)]
async fn rotate(
    State(api): State<SessionApi>,
    caller: Identified,
    Sid(sid): Sid,
    Params(query): Params<RealmQuery>,
    JsonBody(body): JsonBody<RotateRequest>,
) -> Result<Response, Problem> {
    let realm = api.realm(query.realm.as_deref())?;
    let grant = caller.grant(Verb::Rotate, realm.clone())?;
    let present = AccessToken::parse(body.token.0.as_bytes())
        .ok_or_else(|| Problem::out_of_bounds("token", "must be an access token"))?;
    let target = Target { sid: Some(sid.to_string()), subject: None };
    let service = api.clone();
    let work = async move { service.sessions().rotate(&realm, sid, &present, service.now()).await };
    let next = api.change(caller.request, grant, target, work, |_| None).await?;
    Ok(issued(&next))
}

/// Ends a session.
///
/// Idempotent: 204 also when there was none.
#[utoipa::path(
    delete, path = "/v1/sessions/{sid}", operation_id = "revokeSession", tag = "sessions",
    params(("sid" = String, Path, description = "The session."), RealmQuery),
    responses((status = 204, description = "It is over."), openapi::Refusals)
)]
async fn revoke(
    State(api): State<SessionApi>,
    caller: Identified,
    Sid(sid): Sid,
    Params(query): Params<RealmQuery>,
) -> Result<Response, Problem> {
    let realm = api.realm(query.realm.as_deref())?;
    let grant = caller.grant(Verb::Revoke, realm.clone())?;
    let target = Target { sid: Some(sid.to_string()), subject: None };
    let service = api.clone();
    let work = async move { service.sessions().revoke(&realm, sid).await };
    api.change(caller.request, grant, target, work, |_| None).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Ends every session of a subject.
#[utoipa::path(
    delete, path = "/v1/subjects/{subject}/sessions", operation_id = "revokeSubject", tag = "sessions",
    params(("subject" = String, Path, description = "Whose sessions."), RealmQuery),
    responses((status = 200, description = "They are over.", body = Revoked), openapi::Refusals)
)]
async fn revoke_subject(
    State(api): State<SessionApi>,
    caller: Identified,
    Path(subject): Path<String>,
    Params(query): Params<RealmQuery>,
) -> Result<Response, Problem> {
    let realm = api.realm(query.realm.as_deref())?;
    let grant = caller.grant(Verb::Revoke, realm.clone())?;
    let target = Target { sid: None, subject: Some(subject.clone()) };
    let service = api.clone();
    let work = async move { service.sessions().revoke_subject(&realm, &subject).await };
    let revoked = api.change(caller.request, grant, target, work, |_| None).await?;
    Ok(Json(Revoked { revoked }).into_response())
}
