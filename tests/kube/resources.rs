//! The table of resources: which ones the API server takes, which ones it refuses, and the words that a person gets. Nothing here
//! is stored: every row is a dry run.

mod policies;
mod providers;

use std::sync::Arc;

use anyhow::{Context, Result};
use cloakroom::api::auth_policy::AuthPolicy;
use cloakroom::api::read::read;
use cloakroom::authz::credential::{Carrier, Carriers};
use cloakroom::authz::policy::{
    Install, Origin, PolicyIndex, PolicyName, PolicyObject, PolicyObjects, ProblemKind, RealmRights, Sourced,
};
use cloakroom::authz::session::Realm;
use e2e::kube::{ApiServer, ApiServerOptions};
use http::Method;
use serde_json::{Value, json};

use crate::definitions;

/// A resource's `spec`, and what becomes of it.
pub(crate) struct Row {
    spec: Value,
    outcome: Outcome,
}

/// See [`Row`].
enum Outcome {
    /// The API server and the gate take it.
    Taken,
    /// The API server takes it. What the gate makes of it is another test's.
    TakenByServer,
    /// The API server takes it and only the compile step of the gate knows better, with these words.
    RefusedByGate(&'static str),
    /// The API server refuses it, with all of these words; so would the gate.
    Refused(&'static [&'static str]),
}

fn spec(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}: {yaml}"))
}

pub(crate) fn taken(yaml: &str) -> Row {
    Row { spec: spec(yaml), outcome: Outcome::Taken }
}

pub(crate) fn taken_by_server(yaml: &str) -> Row {
    Row { spec: spec(yaml), outcome: Outcome::TakenByServer }
}

pub(crate) fn refused_by_gate(yaml: &str, words: &'static str) -> Row {
    Row { spec: spec(yaml), outcome: Outcome::RefusedByGate(words) }
}

pub(crate) fn refused(yaml: &str, words: &'static [&'static str]) -> Row {
    Row { spec: spec(yaml), outcome: Outcome::Refused(words) }
}

/// A policy on one host with this one rule.
pub(crate) fn rule(yaml: &str) -> String {
    format!("{{hosts: [shop.example], rules: [{yaml}]}}")
}

/// `count` texts, each made of its number.
pub(crate) fn many(count: usize, make: impl Fn(usize) -> String) -> String {
    (0..count).map(make).collect::<Vec<_>>().join(", ")
}

/// What the API server says of an object: `None` when it takes it.
async fn said(server: &ApiServer, plural: &str, object: &Value) -> Result<Option<String>> {
    let path = format!("/apis/cloakroom.dev/v1alpha1/namespaces/default/{plural}");
    let query = "?dryRun=All&fieldValidation=Strict&fieldManager=table";
    let (status, answer) = server.api(Method::POST, &(path + query), Some(object)).await?;
    if status == 201 {
        return Ok(None);
    }
    // 422 for what breaks the schema, 400 for fields that nobody knows.
    anyhow::ensure!(matches!(status, 400 | 422), "{status} {answer}");
    Ok(Some(answer["message"].as_str().context("a refusal without words")?.to_owned()))
}

/// The install with the fewest limits: what it refuses is wrong everywhere.
pub(crate) fn any_install() -> Install {
    let realm = |name| Realm::parse(name).expect("a realm");
    let carriers = vec![Carrier::Cookie("__Host-session".into()), Carrier::Bearer];
    Install {
        realms: [(realm("shop"), RealmRights::default())].into(),
        ..Install::open(realm("default"), Carriers::new(carriers).expect("carriers"))
    }
}

/// What the compile step of the gate says of a policy.
fn compiled(object: &Value) -> Vec<String> {
    let policy: AuthPolicy = match read(object.clone()) {
        Ok(policy) => policy,
        Err(error) => return vec![error.to_string()],
    };
    let name =
        PolicyName { namespace: policy.metadata.namespace.as_str().into(), name: policy.metadata.name.as_str().into() };
    let object = PolicyObject { name, uid: None, created: None, body: Ok(Arc::new(policy)) };
    let objects = PolicyObjects {
        policies: vec![Sourced { origin: Origin("table".into()), object }],
        ..PolicyObjects::default()
    };
    let (_, problems) = PolicyIndex::compile(&objects, &any_install(), None);
    problems.iter().filter(|it| it.kind == ProblemKind::Invalid).map(ToString::to_string).collect()
}

fn object(kind: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "cloakroom.dev/v1alpha1",
        "kind": kind,
        "metadata": { "name": "row", "namespace": "default" },
        "spec": spec,
    })
}

async fn check(server: &ApiServer, kind: &str, plural: &str, rows: &[Row]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for row in rows {
        let object = object(kind, &row.spec);
        let said = said(server, plural, &object).await?;
        let gate = (kind == "AuthPolicy").then(|| compiled(&object));
        let short: String = row.spec.to_string().chars().take(300).collect();
        match (&row.outcome, said) {
            (Outcome::Refused(words), Some(said)) => {
                if said.contains("PRIVATE") {
                    wrong.push(format!("{short}\n  is quoted: {said:?}"));
                }
                for missing in words.iter().filter(|it| !said.contains(**it)) {
                    wrong.push(format!("{short}\n  says {said:?}\n  and not {missing:?}"));
                }
                if gate.is_some_and(|it| it.is_empty()) {
                    wrong.push(format!("{short}\n  is refused, and good in a folder: {said:?}"));
                }
            }
            (Outcome::Refused(_), None) => wrong.push(format!("{short}\n  is taken")),
            (_, Some(said)) => wrong.push(format!("{short}\n  is refused: {said:?}")),
            (Outcome::Taken, None) => {
                wrong.extend(
                    gate.unwrap_or_default().iter().map(|it| format!("{short}\n  is no good in a folder: {it}")),
                );
            }
            (Outcome::TakenByServer, None) => {}
            (Outcome::RefusedByGate(words), None) => {
                let gate = gate.unwrap_or_default();
                if !gate.iter().any(|it| it.contains(words)) {
                    wrong.push(format!("{short}\n  the gate says {gate:?}\n  and not {words:?}"));
                }
            }
        }
    }
    Ok(wrong)
}

#[tokio::test]
async fn p28_resources_are_taken_or_refused_in_words() -> Result<()> {
    let server = ApiServer::spawn(ApiServerOptions::default()).await?;
    definitions::install(&server).await?;
    let policies = policies::rows();
    let providers = providers::rows();
    assert!(policies.len() + providers.len() >= 80);
    let refused = |rows: &[Row]| rows.iter().filter(|it| matches!(it.outcome, Outcome::Refused(_))).count();
    println!(
        "{} rows: {} AuthPolicies, {} of them refused; {} IdentityProviders, {} of them refused",
        policies.len() + providers.len(),
        policies.len(),
        refused(&policies),
        providers.len(),
        refused(&providers)
    );
    let mut wrong = check(&server, "AuthPolicy", "authpolicies", &policies).await?;
    wrong.extend(check(&server, "IdentityProvider", "identityproviders", &providers).await?);
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
