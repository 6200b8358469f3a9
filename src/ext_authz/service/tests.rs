use std::collections::HashMap;
use std::future::{pending, ready};
use std::io::{self, Write};
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use envoy_types::pb::envoy::service::auth::v3 as full;
use full::attribute_context as context;
use full::check_response::HttpResponse;
use prometheus::{Registry, TextEncoder};
use prost::Message as _;
use tempfile::TempDir;

use super::super::metrics::register_sessions;
use super::*;
use crate::authz::credential::{AccessToken, Carrier, Carriers};
use crate::authz::policy::Install;
use crate::authz::session::Claims;
use crate::folder;
use crate::grpc::unary::PREFIX_LEN;
use crate::identity::Identities;
use crate::identity::outbound::OutboundConfig;
use crate::identity::stats::ProviderStats;
use crate::sessions::keyring::algorithm::SigningAlgorithm;
use crate::sessions::keyring::{KeyRing, KeyRingConfig, ceremony};
use crate::sessions::token::TokenKeys;
use crate::sessions::{NewSession, SessionsConfig};
use crate::store::Store;
use crate::store::memory::MemoryStore;

const JWT: &str = "x-session-jwt";
const CLAIM: &str = "CANARY-CLAIM";

const POLICIES: &str = "
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: web, namespace: shop }
spec:
  hosts: [shop.example]
  rules:
  - name: health
    matches: [{ path: { type: Exact, value: /healthz } }]
    access: Public
  - name: admin
    matches: [{ path: { type: PathPrefix, value: /admin } }]
    authenticate: [{ session: {} }]
    require: { roles: [admin] }
  - name: page
    matches: [{ path: { type: PathPrefix, value: /page } }]
    authenticate: [{ session: {} }]
    deny: { redirectTo: https://login.example/ }
---
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: trial, namespace: shop }
spec: { hosts: [trial.example], mode: Audit }
";

/// A gate and the real parts below it.
struct House {
    gate: Gate,
    sessions: Arc<Sessions>,
    clock: Arc<Clock>,
    registry: Registry,
    _folder: TempDir,
}

fn install() -> Install {
    let carriers = vec![Carrier::Cookie("__Host-session".into()), Carrier::Bearer];
    Install::open(Realm::parse("shop").unwrap(), Carriers::new(carriers).unwrap())
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policies = folder.path().join("policies.yaml");
        std::fs::write(&policies, POLICIES).unwrap();
        let (index, problems) = folder::check(&[policies], &install()).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        let clock = Arc::new(Clock::start());
        let keys = folder.path().join("keys");
        ceremony::generate(&keys, SigningAlgorithm::Es256, clock.now()).unwrap();
        let ring = KeyRingConfig {
            dir: keys,
            issuer: "https://cloakroom.example".to_owned(),
            algorithm: SigningAlgorithm::Es256,
            lifetime: Duration::from_secs(60),
            max_bytes: 6 * 1024,
        };
        let config = SessionsConfig {
            idle: Duration::from_secs(3600),
            absolute: Duration::from_secs(86_400),
            rotate_every: None,
            rotate_overlap: Duration::from_secs(30),
            view_bytes: 1 << 20,
            max_staleness: Duration::from_secs(5),
            negative: Duration::from_secs(2),
            hard_ttl: Duration::from_secs(60),
        };
        let sessions = Arc::new(Sessions::new(
            config,
            Arc::new(Store::Memory(MemoryStore::default())),
            TokenKeys::parse(&TokenKeys::generate_line().unwrap()).unwrap(),
            Arc::new(KeyRing::open(ring).unwrap()),
            clock.clone(),
        ));
        let registry = Registry::new();
        let metrics = CheckMetrics::register(&registry).unwrap();
        register_sessions(&registry, sessions.stats().clone()).unwrap();
        let config = GateConfig {
            realm: install().default_realm,
            jwt_header: JWT.into(),
            deadline: Duration::from_millis(200),
            decisions: Decisions::All,
        };
        let policies = Arc::new(ArcSwap::from_pointee(index));
        let stats = Arc::new(ProviderStats::new().unwrap());
        let identities = Arc::new(Identities::new(&OutboundConfig::default(), stats).unwrap());
        let gate = Gate::new(config, policies, sessions.clone(), identities, clock.clone(), metrics);
        Self { gate, sessions, clock, registry, _folder: folder }
    }

    async fn log_in(&self, roles: &[&str]) -> AccessToken {
        let serde_json::Value::Object(claims) = serde_json::json!({ "secret": CLAIM }) else { unreachable!() };
        let new = NewSession {
            realm: install().default_realm,
            subject: "CANARY-SUBJECT".to_owned(),
            auth_time: None,
            idle: None,
            absolute: None,
            acr: None,
            amr: Vec::new(),
            scopes: Vec::new(),
            roles: roles.iter().map(ToString::to_string).collect(),
            claims: Claims::from_object(&claims).unwrap(),
            device: None,
            provider: None,
        };
        self.sessions.create(new, self.clock.now()).await.unwrap().token
    }

    async fn check(&self, path: &str, headers: &[(&str, &str)]) -> full::CheckResponse {
        self.ask(request("shop.example", path, headers)).await
    }

    async fn ask(&self, check: full::CheckRequest) -> full::CheckResponse {
        let answer = self.gate.check(Ok(check.encode_to_vec().into())).await;
        full::CheckResponse::decode(&answer[PREFIX_LEN..]).unwrap()
    }

    fn metrics(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap()
    }
}

fn request(host: &str, path: &str, headers: &[(&str, &str)]) -> full::CheckRequest {
    let headers: HashMap<_, _> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let http = context::HttpRequest {
        method: "GET".into(),
        host: host.into(),
        path: path.into(),
        headers,
        ..Default::default()
    };
    let request = Some(context::Request { time: None, http: Some(http) });
    full::CheckRequest { attributes: Some(full::AttributeContext { request, ..Default::default() }) }
}

fn bearer(token: &AccessToken) -> String {
    format!("Bearer {}", *token.reveal())
}

fn cookie(token: &AccessToken) -> String {
    format!("a=1; __Host-session={}; b=2", *token.reveal())
}

fn allowed(response: full::CheckResponse) -> full::OkHttpResponse {
    match response.http_response {
        Some(HttpResponse::OkResponse(ok)) => ok,
        other => panic!("{other:?}"),
    }
}

fn denied(response: full::CheckResponse) -> full::DeniedHttpResponse {
    match response.http_response {
        Some(HttpResponse::DeniedResponse(denied)) => denied,
        other => panic!("{other:?}"),
    }
}

fn set(ok: &full::OkHttpResponse, name: &str) -> Option<String> {
    let mut headers = ok.headers.iter().filter_map(|option| option.header.as_ref());
    headers.find(|header| header.key == name).map(|header| header.value.clone())
}

fn reason(judged: &Judged) -> DenyReason {
    match &judged.verdict {
        Verdict::Deny(denial) => denial.reason,
        Verdict::Allow(_) => panic!("allowed"),
    }
}

#[tokio::test]
async fn p02_whatever_goes_wrong_ends_in_a_refusal_of_its_own() {
    let deadline = Duration::from_millis(20);
    let store = AtomicBool::new(false);
    let panics_at_once = bounded(deadline, pin!(async { panic!("at once") }), &store).await;
    let panics_later = pin!(async {
        tokio::task::yield_now().await;
        panic!("later")
    });
    assert_eq!(reason(&panics_at_once), DenyReason::Internal);
    assert_eq!(reason(&bounded(deadline, panics_later, &store).await), DenyReason::Internal);
    assert_eq!(
        reason(&bounded(deadline, pin!(ready(Judged::deny(DenyReason::NoPolicy))), &store).await),
        DenyReason::NoPolicy
    );

    let started = std::time::Instant::now();
    assert_eq!(reason(&bounded(deadline, pin!(pending()), &store).await), DenyReason::StoreUnavailable);
    let provider = AtomicBool::new(true);
    assert_eq!(reason(&bounded(deadline, pin!(pending()), &provider).await), DenyReason::ProviderUnavailable);
    assert!(started.elapsed() >= deadline);
}

#[tokio::test]
async fn p02_p32_a_check_that_did_not_come_whole_is_503() {
    let answer = House::new().gate.check(Err(Unreadable::Unfinished)).await;
    let response = full::CheckResponse::decode(&answer[PREFIX_LEN..]).unwrap();
    assert_eq!(denied(response).status.unwrap().code, 503);
}

#[tokio::test]
async fn p02_what_cannot_be_read_is_refused_by_a_decision() {
    let house = House::new();
    for message in [
        Err(Unreadable::Malformed),
        Ok(Bytes::new()),
        Ok(Bytes::from_static(b"\xff\xff\xff")),
        Ok(request("shop.example", "no path", &[]).encode_to_vec().into()),
        Ok(request("", "/", &[]).encode_to_vec().into()),
    ] {
        let answer = house.gate.check(message.clone()).await;
        let response = full::CheckResponse::decode(&answer[PREFIX_LEN..]).unwrap();
        assert_eq!(response.status.as_ref().unwrap().code, 7);
        assert_eq!(denied(response).status.unwrap().code, 400, "{message:?}");
    }
}

#[tokio::test]
async fn p07_p11_a_service_gets_our_jwt_and_nothing_else_that_is_ours() {
    let house = House::new();
    let token = house.log_in(&["admin"]).await;
    let forged = [("x-session-jwt", "forged"), ("x_session_jwt", "forged"), ("x-session-create", "{}")];
    let with = |own: (&'static str, String)| {
        let own = [own];
        let all = forged.iter().map(|(name, value)| (*name, (*value).to_owned())).chain(own);
        all.collect::<Vec<_>>()
    };
    for (path, credential, has_jwt) in [
        ("/admin", ("cookie", cookie(&token)), true),
        ("/admin", ("authorization", bearer(&token)), true),
        ("/healthz", ("cookie", cookie(&token)), false),
        ("/healthz", ("authorization", bearer(&token)), false),
    ] {
        let headers = with(credential.clone());
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let ok = allowed(house.check(path, &headers).await);
        let jwt = set(&ok, JWT);
        assert_eq!(jwt.is_some(), has_jwt, "{path}");
        assert!(jwt.as_deref() != Some("forged"));
        let removed = |name: &str| ok.headers_to_remove.iter().any(|removed| removed == name);
        assert!(removed("x_session_jwt") && removed("x-session-create") && removed(JWT) != has_jwt);
        match credential.0 {
            "cookie" => assert_eq!(set(&ok, "cookie").as_deref(), Some("a=1; b=2")),
            _ => assert!(removed("authorization")),
        }
        assert!(ok.response_headers_to_add.is_empty());
    }
}

#[tokio::test]
async fn p37_unknown_revoked_and_invented_tokens_look_alike() {
    let house = House::new();
    let revoked = house.log_in(&[]).await;
    assert!(house.sessions.revoke(&install().default_realm, revoked.sid()).await.unwrap());
    let elsewhere = House::new().log_in(&[]).await; // well formed, of another install
    let invented = format!("ckr_{}", "A".repeat(AccessToken::LEN - 4));
    let mut answers = Vec::new();
    for token in [revoked.reveal().to_string(), elsewhere.reveal().to_string(), invented] {
        let denied = denied(house.check("/admin", &[("authorization", &format!("Bearer {token}"))]).await);
        assert_eq!(denied.status.as_ref().unwrap().code, 401);
        answers.push(denied);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    let series = |reason| format!("{{reason=\"{reason}\",verdict=\"deny\"}}");
    let counted = house.metrics();
    for (reason, count) in [("revoked_session", 1), ("invalid_token", 2)] {
        assert!(counted.contains(&format!("{} {count}", series(reason))), "{counted}");
    }
}

#[tokio::test]
async fn people_are_sent_to_sign_in_and_programs_are_told() {
    let house = House::new();
    let navigate = [("sec-fetch-mode", "navigate"), ("accept", "text/html")];
    let page = denied(house.check("/page", &navigate).await);
    let field = |name: &str| {
        let mut headers = page.headers.iter().filter_map(|option| option.header.as_ref());
        headers.find(|header| header.key == name).map(|header| header.value.clone())
    };
    assert_eq!(page.status.as_ref().unwrap().code, 302);
    assert!(field("location").is_some_and(|location| location.starts_with("https://login.example/")));
    assert_eq!(denied(house.check("/page", &[]).await).status.unwrap().code, 401);
    let grpc = denied(house.check("/page", &[("content-type", "application/grpc")]).await);
    assert!(grpc.headers.iter().any(|option| option.header.as_ref().unwrap().key == "grpc-status"));
}

#[tokio::test]
async fn what_an_audit_policy_would_refuse_passes_without_identity_and_is_counted() {
    let house = House::new();
    let ok = allowed(house.ask(request("trial.example", "/", &[])).await);
    assert_eq!((set(&ok, JWT), ok.headers_to_remove), (None, vec![JWT.to_owned()]));
    assert!(house.metrics().contains("{reason=\"no_credential\",verdict=\"audit\"} 1"));
}

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn p31_no_secret_reaches_a_log_a_metric_or_a_refusal() {
    let page = Page::default();
    let out = page.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || out.clone())
        .finish();
    let _logs = tracing::subscriber::set_default(subscriber); // everything here runs on this thread

    let house = House::new();
    let token = house.log_in(&[]).await;
    let text = token.reveal().to_string();
    let (bearer, cookie) = (bearer(&token), cookie(&token));
    let jwt = set(&allowed(house.check("/other", &[("authorization", &bearer)]).await), JWT).unwrap();
    let mut refusals = Vec::new();
    for (host, path, headers) in [
        ("shop.example", "/admin", vec![("cookie", cookie.as_str())]),
        (
            "shop.example",
            "/admin",
            vec![("authorization", bearer.as_str()), ("cookie", cookie.as_str()), ("x-session-jwt", &jwt)],
        ),
        ("shop.example", &format!("/reset/{text}"), vec![("x-request-id", text.as_str())]),
        ("shop.example", &format!("/reset/{}", text.replace('_', "%5f")), vec![]),
        ("shop.example", &format!("/admin?token={text}&jwt={jwt}"), vec![("authorization", &jwt)]),
        ("shop.example", &format!("/admin/{jwt}"), vec![("accept", "text/html"), ("user-agent", &text)]),
        (&text, "/", vec![("content-type", "application/grpc")]),
    ] {
        let mut check = request(host, path, &headers);
        let http = check.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
        (http.id, http.scheme, http.protocol) = (text.clone(), text.clone(), text.clone());
        refusals.push(format!("{:?}", denied(house.ask(check).await)));
    }
    let mut method = request("shop.example", "/admin", &[]);
    let http = method.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
    http.method = text.clone();
    refusals.push(format!("{:?}", denied(house.ask(method).await)));

    let logs = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    assert!(logs.lines().count() >= refusals.len(), "each left a record");
    assert!(logs.contains(&token.sid().to_string()), "the public half is there to find the session by");
    let everything = format!("{logs}\n{}\n{}", house.metrics(), refusals.join("\n"));
    let secret = URL_SAFE_NO_PAD.encode(token.secret());
    let signature = jwt.rsplit('.').next().unwrap();
    for canary in
        [text.as_str(), &text[4..40], &text[30..], &secret[..12], &jwt, signature, CLAIM, "CANARY-SUBJECT", "a=1"]
    {
        assert!(!everything.contains(canary), "{canary} in {everything}");
    }
}

#[tokio::test]
async fn p31_the_values_of_a_check_show_no_secret() {
    let house = House::new();
    let token = house.log_in(&["admin"]).await;
    let check = request("shop.example", "/admin?CANARY", &[("cookie", &cookie(&token)), ("x-canary", "CANARY")]);
    let message = check.encode_to_vec();
    let raw = request::read(&message).unwrap();
    let mut shown = format!("{raw:?}");
    let attributes = RequestAttributes::read(raw).unwrap();
    shown += &format!("{attributes:?}");
    let Plan::Lookup(pending) = authz::plan(&house.gate.policies.load(), &attributes) else {
        panic!("needs a session")
    };
    shown += &format!("{pending:?}");
    let now = house.clock.now();
    let resolved = house.sessions.resolve(pending.wanted(), pending.realm(), now).await;
    shown += &format!("{resolved:?}");
    let decision = authz::settle(*pending, &resolved.lookup, now);
    shown += &format!("{decision:?}");
    let verdict = house.sessions.render(decision, &resolved, now).await;
    assert!(matches!(&verdict, Verdict::Allow(allow) if allow.jwt.is_some()));
    shown += &format!("{verdict:?} {:?}", house.gate);
    let text = token.reveal();
    for canary in [
        "CANARY-CLAIM",
        "CANARY\"",
        "a=1",
        "eyJ",
        &text[4..40],
        &text[30..],
        &URL_SAFE_NO_PAD.encode(token.secret())[..12],
    ] {
        assert!(!shown.contains(canary), "{canary} in {shown}");
    }
}
