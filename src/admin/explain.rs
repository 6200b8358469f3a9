//! Why the running gate says what it says, for people on its machine: `POST /explain` and `GET /policies`.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde::{Deserialize, Serialize};

use super::origin::loopback_only;
use super::problem::{Problem, problems};
use super::session_api::document::TokenText;
use super::session_api::read::JsonBody;
use crate::authz::attributes::{RawRequest, RequestAttributes, RouteClaim};
use crate::authz::credential::{Carrier, Carriers};
use crate::authz::plan::explain::{ExplainedJwt, Explanation, IdentityFacts, SessionFacts};
use crate::authz::plan::{Plan, Wanted};
use crate::authz::policy::{PolicyIndex, PolicyProblem, PolicySummary};
use crate::authz::reason::DenyReason;
use crate::authz::{self};
use crate::identity::Identities;
use crate::sessions::Sessions;
use crate::sessions::clock::Clock;

/// What the admin listener is made of.
#[derive(Clone)]
pub struct ExplainParts {
    /// The policies in force.
    pub policies: Arc<ArcSwap<PolicyIndex>>,
    /// What is wrong with those that were written.
    pub report: Report,
    /// The sessions.
    pub sessions: Arc<Sessions>,
    /// Those whom identity providers vouch for.
    pub identities: Arc<Identities>,
    /// The process's clock.
    pub clock: Arc<Clock>,
    /// Where tokens travel; one that comes beside the request is put into the first place.
    pub carriers: Carriers,
    /// The header of the session JWT.
    pub jwt_header: Box<str>,
    /// The base of every `iss`.
    pub issuer: Box<str>,
}

/// Tells what is wrong with the policies as they are written now.
#[derive(Clone)]
pub struct Report(Arc<dyn Fn() -> PolicyReport + Send + Sync>);

impl Report {
    /// A report made by `tell`.
    pub fn new(tell: impl Fn() -> PolicyReport + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Report")
    }
}

/// See [`Report`].
#[derive(Clone, Debug, Default)]
pub struct PolicyReport {
    /// Grows with each index that is published.
    pub generation: u64,
    /// Problems of objects; the other objects are in force.
    pub problems: Vec<PolicyProblem>,
    /// Why the source does not read now; the set before it is in force.
    pub errors: Vec<String>,
}

impl fmt::Debug for ExplainParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExplainParts").finish_non_exhaustive()
    }
}

/// `/explain` and `/policies`. Its listener is bound to loopback ([`super::listener::bind_loopback`]); pages of other sites
/// are refused here.
pub fn router(parts: ExplainParts) -> Router {
    Router::new()
        .route("/explain", post(explain))
        .route("/policies", get(policies))
        .layer(middleware::from_fn(loopback_only))
        .layer(middleware::from_fn(problems))
        .with_state(parts)
}

/// A request to explain.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The method.
    pub method: String,
    /// The host, with its port if it has one.
    pub host: String,
    /// Path and query, as sent.
    pub path: String,
    /// The headers, in order; a name may come more than once.
    #[serde(default)]
    pub headers: Vec<HeaderField>,
    /// The route that the proxy would name, as `HTTPRoute/namespace/name` or with `/rule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// An access token to send along, in the first place in which the install looks for one. It is looked up, never repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenText>,
}

/// A header. `Debug` shows its name only.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderField {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl fmt::Debug for HeaderField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: …", self.name)
    }
}

impl ExplainRequest {
    /// The same request, its token where clients put it.
    fn carrying_token(mut self, carriers: &Carriers) -> Self {
        if let (Some(token), Some(carrier)) = (self.token.take(), carriers.as_slice().first()) {
            carry(&mut self.headers, carrier, token.0.trim_ascii());
        }
        self
    }

    fn raw(&self) -> Result<RawRequest<'_>, DenyReason> {
        let named = |text| RouteClaim::parse(text).ok_or(DenyReason::MalformedRequest);
        Ok(RawRequest {
            method: self.method.as_bytes(),
            host: self.host.as_bytes(),
            path: self.path.as_bytes(),
            headers: self.headers.iter().map(|it| (it.name.as_bytes(), it.value.as_bytes())).collect(),
            pinned: None,
            route: self.route.as_deref().map(named).transpose()?,
        })
    }
}

/// Puts a token where clients put it.
fn carry(headers: &mut Vec<HeaderField>, carrier: &Carrier, token: &str) {
    let mut add = |name: &str, value| headers.push(HeaderField { name: name.to_owned(), value });
    match carrier {
        Carrier::Bearer => add("authorization", format!("Bearer {token}")),
        Carrier::Header(name) => add(name, token.to_owned()),
        Carrier::Cookie(name) => {
            let pair = format!("{name}={token}");
            // A client sends one `Cookie` field (RFC 6265 §5.4).
            match headers.iter_mut().find(|it| it.name.eq_ignore_ascii_case("cookie")) {
                Some(field) => field.value = format!("{}; {pair}", field.value),
                None => headers.push(HeaderField { name: "cookie".to_owned(), value: pair }),
            }
        }
    }
}

/// What the request meets, and why.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExplainAnswer {
    #[serde(flatten)]
    explanation: Explanation,
    /// What would be put on the request for the service.
    set_headers: Vec<SetHeader>,
}

#[derive(Debug, Serialize)]
struct SetHeader {
    name: Box<str>,
    jwt: JwtDescription,
}

/// What the session JWT would say. Of the application's claims the names only.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JwtDescription {
    iss: String,
    aud: String,
    sub: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    scope: String,
    roles: Vec<String>,
    claims: Vec<String>,
}

impl JwtDescription {
    fn of(jwt: &ExplainedJwt, session: &SessionFacts, issuer: &str) -> Self {
        Self {
            iss: format!("{issuer}/ns/{}", jwt.namespace),
            aud: jwt.audience.clone(),
            sub: session.subject.clone(),
            sid: Some(session.sid.to_string()),
            acr: session.acr.clone(),
            auth_time: Some(session.auth_time.as_secs()),
            scope: session.scopes.join(" "),
            roles: session.roles.clone(),
            claims: jwt.claims.clone(),
        }
    }

    fn of_identity(jwt: &ExplainedJwt, identity: &IdentityFacts, issuer: &str) -> Self {
        Self {
            iss: format!("{issuer}/ns/{}", jwt.namespace),
            aud: jwt.audience.clone(),
            sub: identity.subject.clone(),
            sid: None,
            acr: identity.acr.clone(),
            auth_time: identity.auth_time.map(|proved| proved.as_secs()),
            scope: identity.scopes.join(" "),
            roles: identity.roles.clone(),
            claims: jwt.claims.clone(),
        }
    }
}

/// Looks at the request as the gate would, with the policies and sessions as they are. Nothing is minted, rotated or touched.
async fn explain(
    State(parts): State<ExplainParts>,
    JsonBody(body): JsonBody<ExplainRequest>,
) -> Result<Json<ExplainAnswer>, Problem> {
    let body = body.carrying_token(&parts.carriers);
    let explanation = match body.raw().and_then(RequestAttributes::read) {
        Err(reason) => Explanation::unreadable(reason),
        Ok(request) => {
            let (index, now) = (parts.policies.load_full(), parts.clock.now());
            let found = match authz::plan(&index, &request) {
                Plan::Settled(_) => None,
                Plan::Lookup(pending) => Some(match pending.wanted() {
                    Wanted::Foreign(credential, provider) => parts.identities.resolve(credential, provider, now).await,
                    wanted => parts.sessions.resolve(wanted, pending.realm(), now).await.lookup,
                }),
            };
            authz::explain(&index, &request, found.as_ref(), |permit| parts.sessions.refusal(permit, now), now)
        }
    };
    let session = explanation.session.as_ref().and_then(|session| session.facts.as_ref());
    let identity = explanation.provider.as_ref().and_then(|provider| provider.facts.as_ref());
    let jwt = explanation.jwt.as_ref().and_then(|jwt| match (session, identity) {
        (Some(session), _) => Some(JwtDescription::of(jwt, session, &parts.issuer)),
        (None, Some(identity)) => Some(JwtDescription::of_identity(jwt, identity, &parts.issuer)),
        (None, None) => None,
    });
    let set_headers = jwt.map(|jwt| SetHeader { name: parts.jwt_header.clone(), jwt });
    Ok(Json(ExplainAnswer { set_headers: set_headers.into_iter().collect(), explanation }))
}

#[derive(Debug, Serialize)]
struct PoliciesAnswer {
    generation: u64,
    policies: Vec<PolicySummary>,
    problems: Vec<ProblemText>,
    errors: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ProblemText {
    origin: String,
    object: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    path: String,
    kind: &'static str,
    words: String,
}

async fn policies(State(parts): State<ExplainParts>) -> Json<PoliciesAnswer> {
    let report = (parts.report.0)();
    let text = |problem: PolicyProblem| ProblemText {
        origin: problem.origin.to_string(),
        object: problem.object,
        path: problem.path,
        kind: problem.kind.label(),
        words: problem.words,
    };
    Json(PoliciesAnswer {
        generation: report.generation,
        policies: parts.policies.load().summaries(),
        problems: report.problems.into_iter().map(text).collect(),
        errors: report.errors,
    })
}

#[cfg(test)]
pub(crate) mod tests;
