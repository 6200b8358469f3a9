//! Why a request meets what it meets, for people. Built from the same steps as the decision, so that it cannot tell another
//! story.

mod provider;

use serde::Serialize;

pub use self::provider::{ExplainedProvider, IdentityFacts};

use super::draft::places;
use super::{Pending, Plan, plan_located, settle};
use crate::api::auth_policy::{Inheritance, Mode};
use crate::api::http_match::HttpRouteMatch;
use crate::authz::attributes::RequestAttributes;
use crate::authz::credential::{Carrier, CookieRest, Credential, TakeOff};
use crate::authz::identity::Holder;
use crate::authz::policy::{ClaimPath, ForwardClaims, Grants, Judge, Located, MintSpec, PolicyIndex, carrier_text};
use crate::authz::reason::DenyReason;
use crate::authz::session::{Session, SessionId, Timestamp};
use crate::authz::verdict::{Challenge, Decision, Denial, Lookup, Permit};

/// What a request meets, and why. Holds no token, JWT, secret or claim of a session.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What would be said.
    pub verdict: Saying,
    /// The reason of a refusal, as in metrics and records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Why its routes are in conflict, where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict: Option<String>,
    /// The status of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What an `Audit` policy would have refused it for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<&'static str>,
    /// The policy that decided, `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Its rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The route that the request takes, if policies hang on routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// How it was found: by matching, by the word of the proxy, or by both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_found_by: Option<&'static str>,
    /// Every rule that judges the request, the outermost first.
    pub rules: Vec<ExplainedRule>,
    /// The credential in the request.
    pub credential: ExplainedCredential,
    /// What was found behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<ExplainedSession>,
    /// The identity provider that judges the credential, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<ExplainedProvider>,
    /// What the session JWT would say to the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<ExplainedJwt>,
    /// What would be taken off a request that passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub take_off: Option<ExplainedTakeOff>,
    /// What the service may do to sessions by its response, in the words of the policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response: Vec<String>,
    /// Where the client would be sent instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_to: Option<String>,
    /// The cookie that would be expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_cookie: Option<String>,
    /// What the refusal asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge: Option<ExplainedChallenge>,
}

/// See [`Explanation::verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Saying {
    /// It passes with the session's identity.
    AllowSession,
    /// It passes with the identity that a provider vouches for.
    AllowIdentity,
    /// It passes without identity.
    AllowAnonymous,
    /// It is refused.
    Deny,
    /// It hangs on the session, or on what an identity provider says, and that was not looked up.
    NeedsSession,
}

/// A rule that judges the request.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedRule {
    /// The policy.
    pub policy: String,
    /// The rule.
    pub rule: String,
    /// What the policy hangs on: `host *.shop.example`, `HTTPRoute shop/shop`.
    pub target: String,
    /// `Default` or `Required`.
    pub inheritance: Inheritance,
    /// `Enforce` or `Audit`.
    pub mode: Mode,
    /// Whose sessions count.
    pub realm: String,
    /// Why this rule of the policy.
    #[serde(flatten)]
    pub matched: Matched,
}

/// Why a rule judges.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Matched {
    /// This match is the best of all that hold.
    Match(HttpRouteMatch),
    /// For this other reason.
    Because(&'static str),
}

/// What the request carries, by kind and place; never the thing itself.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedCredential {
    /// `token`, `sessionJwt`, `jwt`, `opaque`, `other`, `none`, or `ambiguous`.
    pub kind: &'static str,
    /// Where, as written in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carrier: Option<String>,
}

/// What was found behind the credential.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedSession {
    /// `active`, `expired`, `idle`, `revoked`, `unknown`, `invalid` or `unavailable`.
    pub found: &'static str,
    /// The facts, of an active one.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub facts: Option<SessionFacts>,
}

/// Facts of a session.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionFacts {
    /// Its id, which is no secret: it is in every session JWT.
    pub sid: SessionId,
    /// Who it belongs to.
    pub subject: String,
    /// Where it counts.
    pub realm: String,
    /// Grows with every change.
    pub version: u64,
    /// When its owner last proved who they are, in milliseconds since the Unix epoch.
    pub auth_time: Timestamp,
    /// When it ends whatever happens, in milliseconds since the Unix epoch.
    pub absolute_end: Timestamp,
    /// `acr`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// Granted scopes.
    pub scopes: Vec<String>,
    /// Roles.
    pub roles: Vec<String>,
}

/// What the session JWT says.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedJwt {
    /// The namespace whose key signs it.
    pub namespace: String,
    /// `aud`.
    pub audience: String,
    /// The claims it carries: `*` for all, else their names and where each comes from.
    pub claims: Vec<String>,
}

/// What is taken off.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedTakeOff {
    /// These headers.
    pub headers: Vec<String>,
    /// `unchanged`, `removed` or `ours removed`.
    pub cookie: &'static str,
}

/// Parameters of `WWW-Authenticate`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedChallenge {
    /// `scope`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// `acr_values`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub acr_values: Vec<String>,
    /// `max_age`, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u64>,
}

/// Says what `request` meets and why. `found` is what a look-up of [`Pending::wanted`] gave; without it the explanation ends
/// where the look-up would be. `unsigned` says why a permit would not get its JWT.
pub fn explain(
    index: &PolicyIndex,
    request: &RequestAttributes<'_>,
    found: Option<&Lookup>,
    unsigned: impl FnOnce(&Permit) -> Option<Denial>,
    now: Timestamp,
) -> Explanation {
    let located = index.locate(request);
    let places = located.as_ref().map(places).unwrap_or_default();
    let credential = credential(index, request, &places);
    let located = match located {
        Ok(located) => located,
        Err(reason) => {
            let conflict = (reason == DenyReason::ConflictingRoutes).then(|| index.conflict(request)).flatten();
            return Explanation { conflict, ..Explanation::of_denial(&Denial::bare(reason), credential) };
        }
    };
    let rules: Vec<ExplainedRule> = located.judges().map(|judge| ExplainedRule::of(judge, request)).collect();
    let (route, route_found_by) =
        located.selected.route.as_ref().map(|(route, by)| (route.to_string(), by.label())).unzip();
    let judges = located.clone();
    let (explanation, looked_up, provider) = match (plan_located(index, request, located), found) {
        (Plan::Settled(decision), _) => (Explanation::of(&decision, credential), None, None),
        (Plan::Lookup(pending), Some(found)) => {
            let provider = ExplainedProvider::of(&pending, Some(found));
            let decision = match settle(*pending, found, now) {
                Decision::Permit(permit) => unsigned(&permit).map_or(Decision::Permit(permit), Decision::Deny),
                other => other,
            };
            let session = provider.is_none().then(|| ExplainedSession::of(found));
            (Explanation::of(&decision, credential), session, provider)
        }
        (Plan::Lookup(pending), None) => {
            let provider = ExplainedProvider::of(&pending, None);
            (Explanation::unfinished(&pending, &judges, credential), None, provider)
        }
    };
    let response = judges.inner.grants().filter(|_| explanation.verdict != Saying::Deny);
    let response = response.map(|grants| granted(grants)).unwrap_or_default();
    Explanation { rules, route, route_found_by, session: looked_up, provider, response, ..explanation }
}

/// What the service may do to sessions by its response, in the words of the policy.
fn granted(grants: &Grants) -> Vec<String> {
    let mut words = Vec::new();
    if !grants.writable.is_empty() {
        words.push(format!("writableClaims: {}", grants.writable.join(", ")));
    }
    words.extend(grants.create.then(|| "create".to_owned()));
    words.extend(grants.end.then(|| "end".to_owned()));
    words.extend(grants.exchange.is_some().then(|| "exchange".to_owned()));
    words
}

fn credential(index: &PolicyIndex, request: &RequestAttributes<'_>, places: &[Carrier]) -> ExplainedCredential {
    let (kind, carrier) = match index.carriers.present(request, places) {
        Err(_) => ("ambiguous", None),
        Ok(presented) => match presented.credential {
            None => ("none", None),
            Some((Credential::Token(_), carrier)) => ("token", Some(carrier)),
            Some((Credential::SessionJwt(_), carrier)) => ("sessionJwt", Some(carrier)),
            Some((Credential::Foreign(foreign), carrier)) if foreign.is_jwt() => ("jwt", Some(carrier)),
            Some((Credential::Foreign(_), carrier)) => ("opaque", Some(carrier)),
            Some((Credential::Other, carrier)) => ("other", Some(carrier)),
        },
    };
    ExplainedCredential { kind, carrier: carrier.as_ref().map(carrier_text) }
}

impl Explanation {
    /// The explanation of a request that cannot be read in exactly one way, for this reason.
    pub fn unreadable(reason: DenyReason) -> Self {
        Self::of_denial(&Denial::bare(reason), ExplainedCredential { kind: "none", carrier: None })
    }

    fn new(verdict: Saying, credential: ExplainedCredential) -> Self {
        Self {
            verdict,
            reason: None,
            conflict: None,
            status: None,
            audit: None,
            policy: None,
            rule: None,
            route: None,
            route_found_by: None,
            rules: Vec::new(),
            credential,
            session: None,
            provider: None,
            jwt: None,
            take_off: None,
            response: Vec::new(),
            redirect_to: None,
            expire_cookie: None,
            challenge: None,
        }
    }

    fn of(decision: &Decision, credential: ExplainedCredential) -> Self {
        match decision {
            Decision::Deny(denial) => Self::of_denial(denial, credential),
            Decision::Anonymous { rule, take_off, audit, .. } => Self {
                policy: Some(rule.policy.to_string()),
                rule: Some(rule.rule.to_string()),
                audit: audit.map(|reason| reason.label()),
                take_off: Some(take_off.into()),
                ..Self::new(Saying::AllowAnonymous, credential)
            },
            Decision::Permit(permit) => Self {
                policy: Some(permit.rule().policy.to_string()),
                rule: Some(permit.rule().rule.to_string()),
                jwt: Some(permit.mint().as_ref().into()),
                take_off: Some((&permit.take_off).into()),
                ..Self::new(
                    match permit.holder() {
                        Holder::Session(_) => Saying::AllowSession,
                        Holder::Identity(_) => Saying::AllowIdentity,
                    },
                    credential,
                )
            },
        }
    }

    fn of_denial(denial: &Denial, credential: ExplainedCredential) -> Self {
        Self {
            reason: Some(denial.reason.label()),
            status: Some(denial.reason.class().status().as_u16()),
            policy: denial.rule.as_ref().map(|rule| rule.policy.to_string()),
            rule: denial.rule.as_ref().map(|rule| rule.rule.to_string()),
            redirect_to: denial.redirect_to.as_ref().map(ToString::to_string),
            expire_cookie: denial.expire_cookie.as_ref().map(ToString::to_string),
            challenge: (denial.challenge != Challenge::default()).then(|| ExplainedChallenge {
                scopes: denial.challenge.scopes.clone(),
                acr_values: denial.challenge.acr_values.clone(),
                max_age: denial.challenge.max_age.map(|age| age.as_secs()),
            }),
            ..Self::new(Saying::Deny, credential)
        }
    }

    fn unfinished(pending: &Pending, located: &Located, credential: ExplainedCredential) -> Self {
        let rule = &located.inner.rule().name;
        Self {
            policy: Some(rule.policy.to_string()),
            rule: Some(rule.rule.to_string()),
            take_off: Some((&pending.take_off).into()),
            ..Self::new(Saying::NeedsSession, credential)
        }
    }
}

impl ExplainedRule {
    fn of(judge: &Judge, request: &RequestAttributes<'_>) -> Self {
        let (form, name) = (judge.form(), &judge.rule().name);
        Self {
            policy: name.policy.to_string(),
            rule: name.rule.to_string(),
            target: judge.target(&request.host),
            inheritance: form.inheritance,
            mode: form.mode,
            realm: form.realm.to_string(),
            matched: judge.written_match().cloned().map_or_else(|| Matched::Because(judge.because()), Matched::Match),
        }
    }
}

impl ExplainedSession {
    fn of(found: &Lookup) -> Self {
        let (found, facts) = match found {
            Lookup::Active(session) => ("active", Some(SessionFacts::of(session))),
            Lookup::Expired => ("expired", None),
            Lookup::Idle => ("idle", None),
            Lookup::Revoked => ("revoked", None),
            Lookup::Unknown => ("unknown", None),
            Lookup::Invalid => ("invalid", None),
            // Not of a session, and so not shown as one.
            Lookup::Vouched(_) | Lookup::Refused(_) => ("unknown", None),
            Lookup::Unavailable(_) => ("unavailable", None),
        };
        Self { found, facts }
    }
}

impl SessionFacts {
    fn of(session: &Session) -> Self {
        Self {
            sid: session.id,
            subject: session.subject.clone(),
            realm: session.realm.to_string(),
            version: session.version,
            auth_time: session.auth_time,
            absolute_end: session.absolute_end,
            acr: session.acr.clone(),
            scopes: session.scopes.clone(),
            roles: session.roles.clone(),
        }
    }
}

impl From<&MintSpec> for ExplainedJwt {
    fn from(spec: &MintSpec) -> Self {
        Self {
            namespace: spec.namespace.to_string(),
            audience: spec.audience.to_string(),
            claims: match &spec.claims {
                ForwardClaims::All => vec!["*".to_owned()],
                ForwardClaims::Chosen(chosen) => chosen.iter().map(|(name, path)| format!("{name}: {path}")).collect(),
            },
        }
    }
}

impl From<&TakeOff> for ExplainedTakeOff {
    fn from(take_off: &TakeOff) -> Self {
        Self {
            headers: take_off.headers.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
            cookie: match &take_off.cookie {
                None => "unchanged",
                Some(CookieRest::Nothing) => "removed",
                Some(CookieRest::Others(_)) => "ours removed",
            },
        }
    }
}

impl std::fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let field = match self {
            Self::Subject => "subject",
            Self::Sid => "sid",
            Self::Realm => "realm",
            Self::Acr => "acr",
            Self::Amr => "amr",
            Self::Scopes => "scopes",
            Self::Roles => "roles",
            Self::Claim(steps) => return write!(f, "session.claims.{}", steps.join(".")),
        };
        write!(f, "session.{field}")
    }
}
