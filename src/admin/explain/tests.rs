//! The admin listener over real policies and sessions, on a real socket.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{ExplainParts, PolicyReport, Report, router};
use crate::admin::listener::{Limits, serve};
use crate::admin::session_api::tests::rig::Rig;
use crate::authz::credential::{Carrier, Carriers};
use crate::authz::policy::{Install, PolicyIndex, PolicyName, PolicyObject, PolicyObjects, Sourced};
use crate::authz::session::Realm;
use crate::identity::Identities;
use crate::identity::outbound::OutboundConfig;
use crate::identity::stats::ProviderStats;

/// A gate's admin listener beside a session API.
pub(crate) struct Admin {
    pub(crate) rig: Rig,
    /// `http://127.0.0.1:…`.
    pub(crate) base: String,
    /// The listener ends with it.
    _stop: tokio_util::sync::DropGuard,
}

impl Admin {
    pub(crate) async fn start() -> Self {
        let rig = Rig::start().await;
        let carriers = Carriers::new(vec![Carrier::Cookie("__Host-session".into()), Carrier::Bearer]).unwrap();
        let install = Install::open(Realm::parse("shop").unwrap(), carriers.clone());
        // One claim so many times that a JWT of it is over `jwt.maxBytes`.
        let wide: BTreeMap<_, _> = (0..32).map(|it| (format!("c{it}"), "session.claims.tenant")).collect();
        let good = json!({"hosts": ["shop.example", "*.shop.example"], "rules": [
            {"name": "health", "matches": [{"path": {"type": "Exact", "value": "/healthz"}}], "access": "Public"},
            {"name": "admin", "matches": [{"path": {"value": "/admin"}}], "require": {"roles": ["admin"]},
             "forward": {"audience": "orders", "claims": {"tenant": "session.claims.tenant"}}},
            {"name": "wide", "matches": [{"path": {"value": "/wide"}}], "forward": {"claims": wide}},
        ]});
        let bad = json!({"hosts": ["bad.example"], "realm": "elsewhere"});
        let objects =
            PolicyObjects { policies: vec![policy("shop", good), policy("bad", bad)], ..PolicyObjects::default() };
        let (index, problems) = PolicyIndex::compile(&objects, &install, None);
        assert_eq!(problems.len(), 1, "{problems:?}");
        let parts = ExplainParts {
            policies: Arc::new(ArcSwap::from_pointee(index)),
            report: Report::new(move || PolicyReport { generation: 3, problems: problems.clone(), errors: Vec::new() }),
            sessions: Arc::clone(&rig.sessions),
            identities: Arc::new(
                Identities::new(&OutboundConfig::default(), Arc::new(ProviderStats::new().unwrap())).unwrap(),
            ),
            clock: Arc::clone(&rig.clock),
            carriers,
            jwt_header: "x-session-jwt".into(),
            issuer: "https://cloakroom.example".into(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, router(parts), Limits::default(), stop.clone()));
        Self { rig, base, _stop: stop.drop_guard() }
    }

    async fn explain(&self, request: Value) -> Value {
        let answer = self.rig.http.post(format!("{}/explain", self.base)).json(&request).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{request}");
        let text = answer.text().await.unwrap();
        for secret in ["ckr_", "eyJ"] {
            assert!(!text.contains(secret), "{text}");
        }
        serde_json::from_str(&text).unwrap()
    }
}

fn policy(name: &str, spec: Value) -> Sourced<PolicyObject> {
    let object = json!({"apiVersion": "cloakroom.dev/v1alpha1", "kind": "AuthPolicy",
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec});
    Sourced {
        origin: crate::authz::policy::Origin("shop.yaml:1".into()),
        object: PolicyObject {
            name: PolicyName { namespace: "shop".into(), name: name.into() },
            uid: None,
            created: None,
            body: Ok(Arc::new(serde_json::from_value(object).unwrap())),
        },
    }
}

fn get(path: &str) -> Value {
    json!({"method": "GET", "host": "shop.example", "path": path})
}

/// `request` with these members too.
fn with(mut request: Value, more: Value) -> Value {
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

#[tokio::test]
async fn an_allowed_request_is_explained_to_its_headers() {
    let admin = Admin::start().await;
    let issued = admin
        .rig
        .create(json!({"subject": "ada", "roles": ["admin"], "scopes": ["a", "b"], "acr": "urn:mfa",
            "claims": {"tenant": "t-1"}}))
        .await;
    let token = issued["token"].as_str().unwrap();
    let cookie = json!({"headers": [{"name": "Cookie", "value": format!("theme=dark; __Host-session={token}")}]});
    for request in [
        with(get("/admin/x"), json!({"token": token})),
        with(get("/admin/x"), json!({"token": token, "headers": [{"name": "cookie", "value": "theme=dark"}]})),
        with(get("/admin/x"), cookie),
        with(get("/admin/x"), json!({"headers": [{"name": "authorization", "value": format!("Bearer {token}")}]})),
    ] {
        let said = admin.explain(request).await;
        assert_eq!(said["verdict"], "allowSession", "{said}");
        assert_eq!((&said["policy"], &said["rule"]), (&json!("shop/shop"), &json!("admin")));
        assert_eq!((&said["session"]["found"], &said["session"]["subject"]), (&json!("active"), &json!("ada")));
        let set = &said["setHeaders"][0];
        assert_eq!(set["name"], "x-session-jwt");
        assert_eq!(set["jwt"]["iss"], "https://cloakroom.example/ns/shop");
        assert_eq!((&set["jwt"]["aud"], &set["jwt"]["sub"]), (&json!("orders"), &json!("ada")));
        assert_eq!((&set["jwt"]["sid"], &set["jwt"]["scope"]), (&issued["sid"], &json!("a b")));
        assert_eq!(set["jwt"]["claims"], json!(["tenant: session.claims.tenant"]));
    }
    // Looking is not using: the session is as it was.
    let path = format!("/v1/sessions/{}", issued["sid"].as_str().unwrap());
    let now: Value = admin.rig.get(&path).send().await.unwrap().json().await.unwrap();
    assert_eq!(now, issued["session"]);
}

#[tokio::test]
async fn a_refusal_is_explained_by_its_reason() {
    let admin = Admin::start().await;
    let ada = admin.rig.create(json!({"subject": "ada"})).await;
    let eve = admin.rig.create(json!({"subject": "eve"})).await;
    let end = admin.rig.request(reqwest::Method::DELETE, "/v1/subjects/eve/sessions").send().await.unwrap();
    assert!(end.status().is_success());
    let (token, revoked) = (&ada["token"], &eve["token"]);
    let large = admin.rig.create(json!({"subject": "max", "claims": {"tenant": "x".repeat(4_000)}})).await;
    let other = json!({"method": "GET", "host": "other.example", "path": "/"});
    let broken = json!({"method": "GET", "host": "bad.example", "path": "/"});
    for (request, verdict, reason, rule) in [
        (with(get("/admin"), json!({"token": token})), "deny", "missing_role", "admin"),
        (get("/admin"), "deny", "no_credential", "admin"),
        (with(get("/admin"), json!({"token": revoked})), "deny", "revoked_session", "admin"),
        (with(get("/"), json!({"token": "ckr_no"})), "deny", "invalid_token", "default"),
        (other, "deny", "no_policy", ""),
        (broken, "deny", "broken_policy", "broken"),
        (get("/a/%2e%2e/b"), "deny", "malformed_path", ""),
        (with(get("/"), json!({"method": "G T"})), "deny", "malformed_method", ""),
        (with(get("/wide"), json!({"token": &large["token"]})), "deny", "jwt_too_large", "wide"),
        (get("/healthz"), "allowAnonymous", "", "health"),
    ] {
        let said = admin.explain(request.clone()).await;
        assert_eq!(said["verdict"], verdict, "{request}: {said}");
        assert_eq!(said["reason"].as_str().unwrap_or_default(), reason, "{request}");
        assert_eq!(said["rule"].as_str().unwrap_or_default(), rule, "{request}");
        assert_eq!(said["setHeaders"], json!([]));
    }
}

#[tokio::test]
async fn the_policies_in_force_are_listed_with_what_is_wrong() {
    let admin = Admin::start().await;
    let answer = admin.rig.http.get(format!("{}/policies", admin.base)).send().await.unwrap();
    let said: Value = answer.json().await.unwrap();
    assert_eq!(said["generation"], 3);
    assert_eq!(said["policies"].as_array().unwrap().len(), 1);
    let shop = &said["policies"][0];
    assert_eq!((&shop["name"], &shop["realm"]), (&json!("shop/shop"), &json!("shop")));
    assert_eq!(shop["hosts"], json!(["shop.example", "*.shop.example"]));
    assert_eq!(shop["rules"], json!(["health", "admin", "wide", "default"]));
    let problem = &said["problems"][0];
    assert_eq!((&problem["object"], &problem["path"]), (&json!("AuthPolicy shop/bad"), &json!("spec.realm")));
}

#[tokio::test]
async fn pages_and_names_of_others_are_refused() {
    let admin = Admin::start().await;
    let port = admin.base.rsplit_once(':').unwrap().1;
    for (host, origin, status, code) in [
        (format!("localhost:{port}"), None, 200, ""),
        (format!("[::1]:{port}"), None, 200, ""),
        (format!("127.0.0.1:{port}"), Some(admin.base.clone()), 200, ""),
        (format!("127.0.0.1:{port}"), Some("https://evil.example".to_owned()), 403, "foreign_origin"),
        (format!("127.0.0.1:{port}"), Some("null".to_owned()), 403, "foreign_origin"),
        // A name that was made to resolve to 127.0.0.1.
        (format!("evil.example:{port}"), Some(format!("http://evil.example:{port}")), 403, "foreign_host"),
        (format!("evil.example:{port}"), None, 403, "foreign_host"),
        ("10.0.0.1".to_owned(), None, 403, "foreign_host"),
    ] {
        for path in ["policies", "nothing"] {
            let mut request = admin.rig.http.get(format!("{}/{path}", admin.base)).header("host", &host);
            if let Some(origin) = &origin {
                request = request.header("origin", origin);
            }
            let answer = request.send().await.unwrap();
            let want = if status == 200 && path == "nothing" { 404 } else { status };
            assert_eq!(answer.status().as_u16(), want, "{host} {origin:?} {path}");
            if status == 403 {
                assert_eq!(answer.json::<Value>().await.unwrap()["code"], code);
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_without_its_token() {
    let admin = Admin::start().await;
    let post = admin.rig.http.post(format!("{}/explain", admin.base));
    for (body, status) in [
        (json!("ckr_canary-canary-canary-canary-canary-canary"), 400),
        (json!({"method": "GET", "host": "a", "path": "/", "tokn": "ckr_canary"}), 400),
        (json!({"method": "GET", "host": "a", "path": "/", "token": ["ckr_canary"]}), 400),
        (json!({"method": "GET", "host": "a", "path": "/", "headers": {"a": "ckr_canary"}}), 400),
    ] {
        let answer = post.try_clone().unwrap().json(&body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{body}");
        assert!(!answer.text().await.unwrap().contains("canary"), "{body}");
    }
    let plain = post.header("content-type", "text/plain").body("{}").send().await.unwrap();
    assert_eq!(plain.status().as_u16(), 415, "a form of another site could send it without a preflight");
}
