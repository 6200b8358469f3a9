//! Policies in YAML, requests and sessions in one line each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::api::auth_policy::{AuthPolicy, Salvage};
use crate::api::meta::ObjectMeta;
use crate::api::read::read;
use crate::authz::attributes::{RawRequest, RequestAttributes, RouteClaim};
use crate::authz::credential::{AccessToken, Carrier, Carriers};
use crate::authz::plan::{Plan, plan, settle};
use crate::authz::policy::provider::ProviderName;
use crate::authz::policy::{
    Install, Namespaces, Origin, PolicyIndex, PolicyName, PolicyObject, PolicyObjects, PolicyProblem, ProviderObject,
    RealmRights, Sourced, Unreadable,
};
use crate::authz::session::{Claims, Realm, SecretDigest, Session, SessionId, Timestamp};
use crate::authz::verdict::{Decision, Lookup};

pub(in crate::authz) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

pub(in crate::authz) fn realm(name: &str) -> Realm {
    Realm::parse(name).unwrap()
}

/// Realms `shop` (everybody's, the default) and `staff` (of namespace `staff`); a cookie, `Authorization` and `x-ticket`.
pub(in crate::authz) fn install() -> Install {
    let only_staff = Namespaces::Only(BTreeSet::from(["staff".to_owned()]));
    let staff = RealmRights { uses: only_staff, ..RealmRights::default() };
    let carriers = vec![Carrier::Cookie("__Host-session".into()), Carrier::Bearer, Carrier::Header("x-ticket".into())];
    Install {
        realms: BTreeMap::from([(realm("shop"), RealmRights::default()), (realm("staff"), staff)]),
        ..Install::open(realm("shop"), Carriers::new(carriers).unwrap())
    }
}

/// The objects of some YAML, each at `test.yaml:<its number>`.
pub(in crate::authz) fn objects(yaml: &str) -> PolicyObjects {
    let mut objects = PolicyObjects::default();
    for (i, text) in yaml.split("\n---\n").enumerate() {
        let origin = Origin(format!("test.yaml:{i}").into());
        let value: Value = serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        match value["kind"].as_str().unwrap() {
            "AuthPolicy" => {
                let meta: ObjectMeta = read(value["metadata"].clone()).unwrap();
                let name = PolicyName { namespace: meta.namespace.as_str().into(), name: meta.name.as_str().into() };
                let salvage = Salvage::from_value(&value).unwrap_or_default();
                let body = read::<AuthPolicy>(value).map(Arc::new).map_err(|error| Unreadable { error, salvage });
                objects.policies.push(Sourced {
                    origin,
                    object: PolicyObject { name, uid: meta.uid, created: meta.creation_timestamp, body },
                });
            }
            "IdentityProvider" => {
                let meta: ObjectMeta = read(value["metadata"].clone()).unwrap();
                let name = ProviderName { namespace: meta.namespace.as_str().into(), name: meta.name.as_str().into() };
                let body = read(value).map(Arc::new);
                objects
                    .identity_providers
                    .push(Sourced { origin, object: ProviderObject { name, uid: meta.uid, body } });
            }
            "Secret" => objects.secrets.push(Sourced { origin, object: Arc::new(read(value).unwrap()) }),
            "HTTPRoute" => objects.http_routes.push(Sourced { origin, object: read(value).unwrap() }),
            "Namespace" => objects.namespaces.push(Sourced { origin, object: read(value).unwrap() }),
            "GRPCRoute" => objects.grpc_routes.push(Sourced { origin, object: read(value).unwrap() }),
            "Gateway" => objects.gateways.push(Sourced { origin, object: read(value).unwrap() }),
            "ReferenceGrant" => objects.reference_grants.push(Sourced { origin, object: read(value).unwrap() }),
            kind => panic!("{kind}"),
        }
    }
    objects
}

/// An AuthPolicy `shop/shop` on `shop.example` with this spec, written without indentation.
pub(in crate::authz) fn policy(spec: &str) -> String {
    named("shop/shop", &format!("hosts: [shop.example]\n{spec}"))
}

/// An AuthPolicy of this name and spec.
pub(in crate::authz) fn named(name: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    let spec = spec.trim_matches('\n').replace('\n', "\n  ");
    format!(
        "apiVersion: cloakroom.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{ name: {name}, namespace: {namespace} }}\nspec:\n  {spec}\n"
    )
}

pub(in crate::authz) fn compile(yaml: &str) -> (PolicyIndex, Vec<PolicyProblem>) {
    PolicyIndex::compile(&objects(yaml), &install(), None)
}

/// The index of YAML that has no problem.
pub(in crate::authz) fn index(yaml: &str) -> PolicyIndex {
    let (index, problems) = compile(yaml);
    assert!(problems.is_empty(), "{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    index
}

/// A request.
#[derive(Clone, Debug)]
pub(in crate::authz) struct Ask {
    method: String,
    host: String,
    path: String,
    headers: Vec<(String, String)>,
    pinned: Option<PolicyName>,
    route: Option<String>,
}

/// `GET shop.example/cart`.
pub(in crate::authz) fn ask(line: &str) -> Ask {
    let (method, url) = line.split_once(' ').unwrap();
    let (host, path) = url.split_at(url.find('/').unwrap());
    Ask { method: method.into(), host: host.into(), path: path.into(), headers: Vec::new(), pinned: None, route: None }
}

impl Ask {
    pub(in crate::authz) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(in crate::authz) fn host(&self) -> &str {
        &self.host
    }

    /// With the token of ada's session in the cookie.
    pub(in crate::authz) fn cookie(self) -> Self {
        let cookie = format!("theme=dark; __Host-session={}", token_text());
        self.with("cookie", &cookie)
    }

    /// With the token of ada's session in `Authorization`.
    pub(in crate::authz) fn bearer(self) -> Self {
        let bearer = format!("Bearer {}", token_text());
        self.with("authorization", &bearer)
    }

    pub(in crate::authz) fn pinned(mut self, namespace: &str, name: &str) -> Self {
        self.pinned = Some(PolicyName { namespace: namespace.into(), name: name.into() });
        self
    }

    /// With the word of the proxy about its route: `HTTPRoute/shop/shop`.
    pub(in crate::authz) fn routed(mut self, route: &str) -> Self {
        self.route = Some(route.to_owned());
        self
    }

    pub(in crate::authz) fn read(&self) -> RequestAttributes<'_> {
        RequestAttributes::read(RawRequest {
            method: self.method.as_bytes(),
            host: self.host.as_bytes(),
            path: self.path.as_bytes(),
            headers: self.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect(),
            pinned: self.pinned.clone(),
            route: self.route.as_deref().map(|route| RouteClaim::parse(route).unwrap()),
        })
        .unwrap()
    }
}

const SID: SessionId = SessionId::from_bytes([7; 16]);

pub(in crate::authz) fn token_text() -> String {
    AccessToken::from_parts(SID, Zeroizing::new([1; 20]), [2; 8]).reveal().to_string()
}

/// Ada's session in `shop`, an hour old.
fn ada() -> Session {
    let created = Timestamp::from_millis(NOW.as_millis() - 3_600_000);
    Session {
        id: SID,
        realm: realm("shop"),
        subject: "ada".to_owned(),
        secret: SecretDigest::from_bytes([0; 32]),
        previous: None,
        rotated_at: created,
        created,
        auth_time: created,
        last_seen: NOW,
        idle: Duration::from_secs(3600),
        absolute_end: NOW.plus(Duration::from_secs(3600)),
        version: 1,
        epoch: 0,
        acr: None,
        amr: Vec::new(),
        scopes: Vec::new(),
        roles: Vec::new(),
        claims: Claims::empty(),
        device: None,
        provider: None,
    }
}

pub(in crate::authz) fn active(change: impl FnOnce(&mut Session)) -> Lookup {
    let mut session = ada();
    change(&mut session);
    Lookup::Active(Arc::new(session))
}

pub(in crate::authz) fn claims(json: &str) -> Claims {
    Claims::from_object(&serde_json::from_str(json).unwrap()).unwrap()
}

pub(in crate::authz) fn decide(index: &PolicyIndex, ask: &Ask, found: &Lookup) -> Decision {
    match plan(index, &ask.read()) {
        Plan::Settled(decision) => *decision,
        Plan::Lookup(pending) => settle(*pending, found, NOW),
    }
}

/// The decision in a few words: `ada for shop/shop by admin`, `anonymous by health`, `401 no_credential by default`.
pub(in crate::authz) fn say(decision: &Decision) -> String {
    match decision {
        Decision::Permit(permit) => {
            format!("{} for {} by {}", permit.facts().subject, permit.mint().audience, permit.rule().rule)
        }
        Decision::Anonymous { rule, audit: None, .. } => format!("anonymous by {}", rule.rule),
        Decision::Anonymous { rule, audit: Some(reason), .. } => {
            format!("anonymous by {} instead of {}", rule.rule, reason.label())
        }
        Decision::Deny(denial) => {
            let status = denial.reason.class().status().as_u16();
            let by = denial.rule.as_ref().map_or(String::new(), |rule| format!(" by {}", rule.rule));
            format!("{status} {}{by}", denial.reason.label())
        }
    }
}

/// Checks that `ask`, with ada's live session behind its credential if it has one, meets `want`.
#[track_caller]
pub(in crate::authz) fn meets(index: &PolicyIndex, ask: &Ask, want: &str) {
    meets_with(index, ask, &active(|_| {}), want);
}

#[track_caller]
pub(in crate::authz) fn meets_with(index: &PolicyIndex, ask: &Ask, found: &Lookup, want: &str) {
    let said = say(&decide(index, ask, found));
    assert_eq!(said, want, "{ask:?} with {found:?}");
}
