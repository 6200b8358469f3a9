//! A processor over real sessions and policies, and a proxy that does what it is told.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prometheus::Registry;
use prost::Message as _;
use tempfile::TempDir;

use super::*;
use crate::authz::credential::{Carrier, Carriers};
use crate::authz::policy::{Install, PolicyName, RuleName};
use crate::authz::session::{Realm, Session};
use crate::ext_proc::stream::Conversation;
use crate::ext_proc::wire::{self, ProcessingRequest, ProcessingResponse};
use crate::folder;
use crate::sessions::keyring::algorithm::SigningAlgorithm;
use crate::sessions::keyring::{KeyRing, KeyRingConfig, ceremony};
use crate::sessions::token::TokenKeys;
use crate::sessions::{NewSession, SessionsConfig};
use crate::store::Store;
use crate::store::embedded::EmbeddedStore;

/// The issuer of the services' JWTs.
static ISSUER: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());

/// A JWT that the policies trust.
pub(super) fn jwt(subject: &str) -> String {
    let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let payload = json!({"iss": "https://login.example", "aud": "cloakroom", "sub": subject, "exp": 4_000_000_000_u64});
    let message = format!("{}.{}", encode(json!({"alg": "ES256", "kid": "k"})), encode(payload));
    let signature = ISSUER.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn policies() -> String {
    let point = ISSUER.public_key().as_ref();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
    let exchange = |place: &str| {
        format!(
            "exchange: {{ {place}, issuer: 'https://login.example', audiences: [cloakroom], algorithms: [ES256], \
             jwks: {{ inline: {{ keys: [{{ kty: EC, crv: P-256, kid: k, x: '{x}', y: '{y}' }}] }} }} }}"
        )
    };
    let mut text = "apiVersion: cloakroom.dev/v1alpha1\nkind: AuthPolicy\nmetadata: { name: web, namespace: shop }\n\
                    spec:\n  hosts: [shop.example]\n  rules:\n"
        .to_owned();
    for (name, access, session) in [
        ("cart", "", "writableClaims: [cart], end: true".to_owned()),
        ("login", "access: Public,", "create: true, end: true".to_owned()),
        ("by-header", "access: Public,", exchange("header: x-login-jwt")),
        ("by-cookie", "access: Public,", exchange("cookie: app_jwt")),
        ("by-body", "access: Public,", exchange("bodyField: data.token")),
        ("both", "access: Public,", format!("create: true, end: true, {}", exchange("header: x-login-jwt"))),
    ] {
        let path = format!("matches: [{{ path: {{ type: PathPrefix, value: /{name} }} }}]");
        text += &format!("  - {{ name: {name}, {path}, {access} session: {{ {session} }} }}\n");
    }
    text
}

pub(in crate::ext_proc) struct House {
    pub(in crate::ext_proc) processor: Arc<Processor>,
    sessions: Arc<Sessions>,
    clock: Arc<Clock>,
    store: Arc<Store>,
    pub(in crate::ext_proc) registry: Registry,
    _folder: TempDir,
}

/// What a service sends, and what the proxy makes of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent<'a> {
    pub(super) handle: Option<Box<str>>,
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: Option<&'a str>,
    pub(super) buffered: bool,
}

fn realm() -> Realm {
    Realm::parse("shop").unwrap()
}

impl House {
    pub(in crate::ext_proc) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policies.yaml");
        std::fs::write(&file, policies()).unwrap();
        let install =
            Install::open(realm(), Carriers::new(vec![Carrier::Cookie(COOKIE.into()), Carrier::Bearer]).unwrap());
        let (index, problems) = folder::check(&[file], &install).unwrap();
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
        let store = Arc::new(Store::Embedded(EmbeddedStore::open(&folder.path().join("sessions.redb")).unwrap()));
        let sessions = Arc::new(Sessions::new(
            config,
            Arc::clone(&store),
            TokenKeys::parse(&TokenKeys::generate_line().unwrap()).unwrap(),
            Arc::new(KeyRing::open(ring).unwrap()),
            Arc::clone(&clock),
        ));
        let registry = Registry::new();
        let config = ProcessorConfig {
            own_headers: install.own_headers.clone(),
            cookie: Some(COOKIE.into()),
            deadline: Duration::from_secs(10),
        };
        let processor = Processor::new(
            config,
            Arc::new(ArcSwap::from_pointee(index)),
            Arc::clone(&sessions),
            Arc::clone(&clock),
            ResponseMetrics::register(&registry).unwrap(),
        );
        Self { processor: Arc::new(processor), sessions, clock, store, registry, _folder: folder }
    }

    /// From here on the store fails.
    pub(super) async fn close_store(&self) {
        self.store.close().await.unwrap();
    }

    pub(in crate::ext_proc) async fn log_in(&self, subject: &str) -> AccessToken {
        let new = NewSession {
            realm: realm(),
            subject: subject.to_owned(),
            auth_time: None,
            idle: None,
            absolute: None,
            acr: None,
            amr: Vec::new(),
            scopes: Vec::new(),
            roles: Vec::new(),
            claims: Claims::empty(),
            device: None,
            provider: None,
        };
        self.sessions.create(new, self.clock.now()).await.unwrap().token
    }

    pub(super) async fn session(&self, token: &AccessToken) -> Option<Arc<Session>> {
        self.sessions.get(&realm(), token.sid(), self.clock.now()).await.ok()
    }

    /// How many sessions this subject has.
    pub(super) async fn sessions_of(&self, subject: &str) -> usize {
        self.sessions.list(&realm(), subject, 100, None, self.clock.now()).await.unwrap().0.len()
    }

    /// What a request with this token leaves under this rule.
    pub(super) fn scope(&self, rule: &str, token: Option<&AccessToken>) -> ResponseScope {
        let policy = PolicyName { namespace: "shop".into(), name: "web".into() };
        let rule = Arc::new(RuleName { policy, rule: rule.into() });
        let policies = self.processor.policies.load();
        let (realm, grants) = policies.grants(&rule).expect("a rule with a session");
        ResponseScope {
            namespace: "shop".into(),
            realm: realm.clone(),
            fingerprint: grants.fingerprint,
            session: token.map(AccessToken::sid),
            cookie: token.map(|_| COOKIE.into()),
            dead: false,
            subject: token.filter(|_| grants.end).map(|_| "ada".into()),
            exchanges: grants.exchange.is_some(),
            rule: Arc::clone(&rule),
        }
    }

    pub(super) fn seal(&self, scope: ResponseScope) -> Box<str> {
        self.sessions.seal(&scope, self.clock.now()).unwrap()
    }

    pub(in crate::ext_proc) fn handle(&self, rule: &str, token: Option<&AccessToken>) -> Option<Box<str>> {
        Some(self.seal(self.scope(rule, token)))
    }

    pub(in crate::ext_proc) fn counted(&self, outcome: &str) -> u64 {
        let families = self.registry.gather();
        let family = families.iter().find(|it| it.name() == "cloakroom_responses_total").unwrap();
        let series = family.get_metric().iter().find(|it| it.get_label()[0].value() == outcome).expect("a label");
        format!("{}", series.get_counter().get_value()).parse().unwrap()
    }

    /// The headers of a response whose body is awaited.
    pub(in crate::ext_proc) fn awaiting_body(&self, handle: &str) -> full::ProcessingRequest {
        headers_message(&Sent { handle: Some(handle.into()), body: Some("{}"), buffered: true, ..Sent::default() })
    }

    /// The headers of a response that ends the session.
    pub(in crate::ext_proc) fn ending(&self, handle: &str) -> full::ProcessingRequest {
        let headers = &[("x-session-end", "current")];
        headers_message(&Sent { handle: Some(handle.into()), headers, ..Sent::default() })
    }

    pub(in crate::ext_proc) async fn is_live(&self, token: &AccessToken) -> bool {
        self.session(token).await.is_some()
    }

    /// A response on its way through the proxy.
    pub(super) async fn response(&self, sent: Sent<'_>) -> Got {
        let mut conversation = Conversation::new(Arc::clone(&self.processor));
        let mut got = Got { body: sent.body.map(Into::into), ..Got::default() };
        let mut headers: Vec<(String, Vec<u8>)> =
            sent.headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        let first = headers_message(&sent);
        let answers = [Some(first), sent.body.filter(|_| sent.buffered).map(body_message)];
        for message in answers.into_iter().flatten() {
            let message = ProcessingRequest::decode(Bytes::from(message.encode_to_vec())).unwrap();
            let answer = conversation.answer(message).await.expect("one answer");
            match read(answer) {
                Response::ResponseHeaders(it) => apply(&mut headers, it.response.unwrap_or_default().header_mutation),
                Response::ResponseBody(it) => {
                    let common = it.response.unwrap_or_default();
                    apply(&mut headers, common.header_mutation);
                    match common.body_mutation.and_then(|it| it.mutation) {
                        Some(full::body_mutation::Mutation::Body(body)) => {
                            got.body = Some(String::from_utf8(body).unwrap())
                        }
                        None => {}
                        other => panic!("{other:?}"),
                    }
                }
                Response::ImmediateResponse(it) => {
                    headers.clear();
                    apply(&mut headers, it.headers);
                    got.instead = Some(it.status.unwrap().code);
                    got.body = Some(String::from_utf8(it.body).unwrap());
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        for (name, value) in headers {
            let value = String::from_utf8(value).unwrap();
            if name == "set-cookie" { got.set_cookies.push(value) } else { got.headers.push((name, value)) }
        }
        got
    }
}

/// As Envoy does it: removals first.
fn apply(headers: &mut Vec<(String, Vec<u8>)>, mutation: Option<full::HeaderMutation>) {
    let mutation = mutation.unwrap_or_default();
    headers.retain(|(name, _)| !mutation.remove_headers.contains(name));
    for set in mutation.set_headers {
        let appends = appends(&set);
        let header = set.header.unwrap();
        if !appends {
            headers.retain(|(name, _)| *name != header.key);
        }
        headers.push((header.key, header.raw_value));
    }
}

#[expect(deprecated, reason = "only this one appends")]
fn appends(set: &envoy_types::pb::envoy::config::core::v3::HeaderValueOption) -> bool {
    set.append.is_some_and(|it| it.value)
}

fn read(answer: ProcessingResponse) -> Response {
    full::ProcessingResponse::decode(answer.encode_to_vec().as_slice()).unwrap().response.unwrap()
}

fn headers_message(sent: &Sent<'_>) -> full::ProcessingRequest {
    use envoy_types::pb::envoy::config::core::v3 as core;
    use envoy_types::pb::google::protobuf as google;

    let header = |(key, value): &(&str, &str)| core::HeaderValue {
        key: (*key).to_owned(),
        raw_value: value.as_bytes().to_vec(),
        ..Default::default()
    };
    let headers = sent.headers.iter().map(header).collect();
    let metadata_context = sent.handle.as_deref().map(|handle| {
        let value = google::Value { kind: Some(google::value::Kind::StringValue(handle.to_owned())) };
        let fields = [(HANDLE.1.to_owned(), value)].into();
        let filter_metadata = [(HANDLE.0.to_owned(), google::Struct { fields })].into();
        core::Metadata { filter_metadata, ..Default::default() }
    });
    full::ProcessingRequest {
        request: Some(full::processing_request::Request::ResponseHeaders(full::HttpHeaders {
            headers: Some(core::HeaderMap { headers }),
            end_of_stream: sent.body.is_none(),
            ..Default::default()
        })),
        metadata_context,
        protocol_config: Some(full::ProtocolConfiguration {
            response_body_mode: if sent.buffered { wire::BUFFERED } else { 0 },
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn body_message(body: &str) -> full::ProcessingRequest {
    let body = full::HttpBody { body: body.as_bytes().to_vec(), end_of_stream: true, ..Default::default() };
    full::ProcessingRequest {
        request: Some(full::processing_request::Request::ResponseBody(body)),
        ..Default::default()
    }
}
