//! The session API, from a request to its answer (P31, P36).
//!
//! The input is `METHOD TARGET`, lines of headers, an empty line and a body. `{sid}` and `{token}` stand for those of a live
//! session; the admin's credential is added unless the input has one.
#![no_main]

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use axum::body::{Body, to_bytes};
use cloakroom::admin::caller::{CallerConfig, Callers};
use cloakroom::admin::problem::{MEDIA_TYPE, ProblemDocument};
use cloakroom::admin::session_api::document::{IssuedDocument, SessionDocument};
use cloakroom::admin::session_api::{ApiParts, SessionApi};
use cloakroom::authz::credential::AccessToken;
use cloakroom::authz::session::Claims;
use cloakroom::sessions::clock::Clock;
use cloakroom::sessions::keyring::KeyRing;
use cloakroom::sessions::keyring::algorithm::SigningAlgorithm;
use cloakroom::sessions::{Issued, NewSession};
use cloakroom_fuzz::install::{fixture, keyring, realm, runtime, sessions};
use http::{Method, Request, StatusCode, header};
use libfuzzer_sys::fuzz_target;
use tower::ServiceExt as _;

/// What `fixtures/admin.token` holds.
const ADMIN: &str = "Bearer not-a-secret-but-long-enough-to-be-one";

struct House {
    runtime: tokio::runtime::Runtime,
    keyring: Arc<KeyRing>,
    callers: Callers,
    clock: Arc<Clock>,
}

static HOUSE: LazyLock<House> = LazyLock::new(|| {
    let clock = Arc::new(Clock::start());
    let callers = Callers::open(vec![CallerConfig::admin(fixture("admin.token"))]).expect("the fixture");
    let keyring = Arc::new(keyring(SigningAlgorithm::Es256, clock.now()));
    House { runtime: runtime(), keyring, callers, clock }
});

fuzz_target!(|input: &[u8]| {
    let Some((head, body)) = split(input, b"\n\n") else { return };
    let Ok(head) = std::str::from_utf8(head) else { return };
    HOUSE.runtime.block_on(run(head, body));
});

/// One request to an API of its own: what one input does is not there for the next.
async fn run(head: &str, body: &[u8]) {
    let house = &*HOUSE;
    let sessions = Arc::new(sessions(Arc::clone(&house.keyring), Arc::clone(&house.clock)));
    let Issued { token, session } = sessions.create(somebody(), house.clock.now()).await.expect("a session");
    let api = SessionApi::new(ApiParts {
        sessions,
        callers: house.callers.clone(),
        realm: realm(),
        realms: BTreeSet::from([realm()]),
        clock: Arc::clone(&house.clock),
    });
    let head = head.replace("{sid}", &session.id.to_string());
    let body = replace(body, b"{token}", token.reveal().as_bytes());
    let Some(request) = request(&head, body) else { return };
    let is_head = request.method() == Method::HEAD;
    let Ok(answer) = api.router().oneshot(request).await;

    let (parts, body) = answer.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a body that is whole");
    assert!(parts.headers.contains_key("x-request-id"));
    if is_head {
        assert!(!parts.status.is_server_error()); // its body goes no further than hyper
    } else if parts.status.is_client_error() || parts.status.is_server_error() {
        assert!(parts.status.is_client_error(), "{}", parts.status);
        assert_eq!(parts.headers[header::CONTENT_TYPE], MEDIA_TYPE);
        let problem: ProblemDocument = serde_json::from_slice(&body).expect("a problem");
        assert_eq!(problem.status, parts.status.as_u16());
        assert!(!contains(&body, AccessToken::PREFIX.as_bytes()), "a refusal repeats a token");
    } else if let Ok(issued) = serde_json::from_slice::<IssuedDocument>(&body) {
        assert!(matches!(parts.status, StatusCode::OK | StatusCode::CREATED));
        assert!(AccessToken::parse(issued.token.0.as_bytes()).is_some_and(|it| it.sid().to_string() == issued.sid));
        bounded(&issued.session);
    } else if let Ok(session) = serde_json::from_slice::<SessionDocument>(&body) {
        bounded(&session);
    }
    api.finish().await;
}

fn somebody() -> NewSession {
    NewSession {
        realm: realm(),
        subject: "ada".to_owned(),
        auth_time: None,
        idle: None,
        absolute: None,
        acr: None,
        amr: Vec::new(),
        scopes: vec!["cart".to_owned()],
        roles: vec!["buyer".to_owned()],
        claims: Claims::empty(),
        device: None,
        provider: None,
    }
}

fn request(head: &str, body: Vec<u8>) -> Option<Request<Body>> {
    let mut lines = head.lines();
    let (method, target) = lines.next()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(target);
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        request = request.header(name, value);
    }
    let mut request = request.body(Body::from(body)).ok()?;
    let admin = header::HeaderValue::from_static(ADMIN);
    request.headers_mut().entry(header::AUTHORIZATION).or_insert(admin);
    Some(request)
}

/// What is said of a session keeps the bounds that callers are told.
fn bounded(session: &SessionDocument) {
    assert!((1..=255).contains(&session.subject.len()) && !session.subject.chars().any(char::is_control));
    assert!(session.scopes.len() <= 128 && session.roles.len() <= 128 && session.amr.len() <= 16);
    assert!(serde_json::to_vec(&session.claims).expect("claims").len() <= Claims::MAX_BYTES);
    assert_eq!(session.realm, realm().as_str());
}

fn split<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(mark.len()).position(|it| it == mark)?;
    Some((&text[..at], &text[at + mark.len()..]))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    split(text, part).is_some()
}

fn replace(text: &[u8], part: &[u8], with: &[u8]) -> Vec<u8> {
    match split(text, part) {
        Some((before, after)) => [before, with, after].concat(),
        None => text.to_vec(),
    }
}
