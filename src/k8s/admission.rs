//! What API servers ask before they store an object (`admission.k8s.io/v1`): one listener, two judges.
//!
//! Of a policy: the judge compiles it as the gate does and refuses what can never work, with every reason. It is a courtesy.
//! What gets past it, because it was down or because a target came or went later, is the gate's to close (P26), and what it
//! refuses the gate would not have followed. Of a pod: what the [`injector`](crate::injector) adds to it.

mod bodies;
mod injection;
mod server;
#[cfg(test)]
mod tests;
mod weight;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

pub use self::server::{INJECT_PATH, Judges, PATH, serve};
pub use self::weight::weight;
use crate::api::auth_policy::AuthPolicy;
use crate::api::identity_provider::IdentityProvider;
use crate::api::read::read;
use crate::authz::policy::provider::ProviderName;
use crate::authz::policy::{
    Install, Origin, PolicyIndex, PolicyName, PolicyObject, PolicyObjects, PolicyProblem, ProblemKind, ProviderObject,
    Sourced,
};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// Why a request is not one that an API server sends.
#[derive(Debug, thiserror::Error)]
pub enum BadReview {
    /// It does not read.
    #[error("not an AdmissionReview of {API_VERSION}: {0}")]
    Unreadable(#[source] serde_json::Error),
    /// It is of another kind or version.
    #[error("not an AdmissionReview of {API_VERSION}, but a {kind:.64} of {version:.64}")]
    Other {
        /// Its kind.
        kind: String,
        /// Its version.
        version: String,
    },
    /// It asks nothing.
    #[error("an AdmissionReview without `request`")]
    NoRequest,
}

/// The part of an AdmissionReview that is looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Option<Request>,
}

/// See [`Review`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    kind: Kind,
    #[serde(default)]
    sub_resource: Option<String>,
    operation: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    object: Option<Value>,
    #[serde(default)]
    old_object: Option<Value>,
}

/// Of a review that is not read: whom it asks about.
#[derive(Deserialize)]
struct Unread {
    request: Option<UnreadRequest>,
}

/// See [`Unread`].
#[derive(Deserialize)]
struct UnreadRequest {
    uid: String,
}

#[derive(Deserialize)]
struct Kind {
    group: String,
    kind: String,
}

/// What is said of an object.
#[derive(Debug, Default, PartialEq, Eq)]
struct Judgement {
    /// Why it can never work; empty lets it pass.
    reasons: Vec<String>,
    /// What it probably does not mean.
    warnings: Vec<String>,
}

/// Answers an AdmissionReview of a policy or a provider.
///
/// # Errors
/// When it is none.
pub fn review(body: &[u8], install: &Install) -> Result<Value, BadReview> {
    let request = Request::read(body)?;
    let uid = request.uid.clone();
    let judgement = if needs_no_judgement(&request) { Judgement::default() } else { judge(request, install) };
    Ok(answer(response(&uid, &judgement)))
}

/// Answers an AdmissionReview that would take `weight` bytes of memory, of `most`: it is not read for that.
///
/// # Errors
/// When it is none.
fn too_heavy(body: &[u8], weight: usize, most: usize) -> Result<Value, BadReview> {
    const MIB: usize = 1024 * 1024;
    let review: Unread = serde_json::from_slice(body).map_err(BadReview::Unreadable)?;
    let uid = review.request.ok_or(BadReview::NoRequest)?.uid;
    let message = format!(
        "it is too large for cloakroom to look at: its fields would take about {} MiB of memory, and one object may take {} MiB. \
         Make it smaller",
        weight.div_ceil(MIB),
        most / MIB,
    );
    let status = json!({ "code": 413, "reason": "RequestEntityTooLarge", "message": message });
    Ok(answer(json!({ "uid": uid, "allowed": false, "status": status })))
}

impl Request {
    fn read(body: &[u8]) -> Result<Self, BadReview> {
        let review: Review = serde_json::from_slice(body).map_err(BadReview::Unreadable)?;
        if review.api_version != API_VERSION || review.kind != KIND {
            return Err(BadReview::Other { kind: review.kind, version: review.api_version });
        }
        review.request.ok_or(BadReview::NoRequest)
    }
}

fn answer(response: Value) -> Value {
    json!({ "apiVersion": API_VERSION, "kind": KIND, "response": response })
}

fn response(uid: &str, judgement: &Judgement) -> Value {
    let Judgement { reasons, warnings } = judgement;
    if reasons.is_empty() {
        return json!({ "uid": uid, "allowed": true, "warnings": warnings });
    }
    let message = match reasons.as_slice() {
        [only] => only.clone(),
        several => format!("it can never work as it is written:\n- {}", several.join("\n- ")),
    };
    json!({
        "uid": uid,
        "allowed": false,
        "status": { "code": 422, "reason": "Invalid", "message": message },
        "warnings": warnings,
    })
}

/// What changes nothing that is judged: a delete, a status, labels. It must pass even where the object is bad, or nobody could
/// mend it or let it go.
fn needs_no_judgement(request: &Request) -> bool {
    let judged = matches!(request.operation.as_str(), "CREATE" | "UPDATE") && request.sub_resource.is_none();
    let [new, old] = [&request.object, &request.old_object].map(|it| it.as_ref().and_then(|it| it.get("spec")));
    let unchanged = request.operation == "UPDATE" && new == old;
    !judged || unchanged || request.kind.group != "cloakroom.dev"
}

fn judge(request: Request, install: &Install) -> Judgement {
    let Some(object) = request.object else { return Judgement::default() };
    match request.kind.kind.as_str() {
        "AuthPolicy" => policy(object, install),
        "IdentityProvider" => provider(object, install),
        _ => Judgement::default(),
    }
}

fn provider(object: Value, install: &Install) -> Judgement {
    let provider: IdentityProvider = match read(object) {
        Ok(provider) => provider,
        Err(error) => return Judgement { reasons: vec![error.to_string()], ..Judgement::default() },
    };
    let (namespace, name) = (provider.metadata.namespace.as_str().into(), provider.metadata.name.as_str().into());
    let object = ProviderObject { name: ProviderName { namespace, name }, uid: None, body: Ok(Arc::new(provider)) };
    let alone = PolicyObjects {
        identity_providers: vec![Sourced { origin: Origin("admission".into()), object }],
        ..PolicyObjects::default()
    };
    let (_, problems) = PolicyIndex::compile(&alone, install, None);
    // What it advises is about Secrets, which are not here.
    let reasons = problems.iter().filter(|it| it.kind == ProblemKind::Invalid).map(words).collect();
    Judgement { reasons, warnings: Vec::new() }
}

fn policy(object: Value, install: &Install) -> Judgement {
    let policy: AuthPolicy = match read(object) {
        Ok(policy) => policy,
        Err(error) => return Judgement { reasons: vec![error.to_string()], ..Judgement::default() },
    };
    let name =
        PolicyName { namespace: policy.metadata.namespace.as_str().into(), name: policy.metadata.name.as_str().into() };
    let object = PolicyObject {
        name,
        uid: None,
        created: policy.metadata.creation_timestamp.clone(),
        body: Ok(Arc::new(policy)),
    };
    let alone = PolicyObjects {
        policies: vec![Sourced { origin: Origin("admission".into()), object }],
        ..PolicyObjects::default()
    };
    // Alone, its targets are missing and it has no rival: that is for its status to say, when it is stored.
    let (_, problems) = PolicyIndex::compile(&alone, install, None);
    let of = |kind| problems.iter().filter(move |it| it.kind == kind).map(words).collect();
    Judgement { reasons: of(ProblemKind::Invalid), warnings: of(ProblemKind::Advice) }
}

/// The problem's field and words, without what the gate does meanwhile: nothing is stored that it could do something about.
fn words(problem: &PolicyProblem) -> String {
    let words = match problem.words.rsplit_once(" (until it is right") {
        Some((words, _)) => words,
        None => &problem.words,
    };
    if problem.path.is_empty() { words.to_owned() } else { format!("{}: {words}", problem.path) }
}
