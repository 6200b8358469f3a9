//! A response as Envoy shows it: read, judged and answered (P7, P11, P22, P32).
//!
//! The first byte of the input chooses the rule whose handle comes along, if one does, and whether the body is held back. The
//! second says how the rest is written: as messages with their lengths before them, or as the lines of headers and a body; whether
//! the latter get a good JWT put into the place that the rule exchanges; and where and in which spelling they get a second one.
#![no_main]

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{Buf as _, Bytes};
use cloakroom::authz::attributes::own_headers::OwnHeaders;
use cloakroom::authz::policy::{PolicyName, RuleName};
use cloakroom::authz::response::ResponseScope;
use cloakroom::ext_proc::metrics::ResponseMetrics;
use cloakroom::ext_proc::service::{Processor, ProcessorConfig};
use cloakroom::ext_proc::stream::Conversation;
use cloakroom::ext_proc::wire::{
    Answer, BUFFERED, CommonAnswer, Field, FilterMetadata, HeaderMap, HeaderValue, HttpBody, HttpHeaders, Metadata,
    Phase, ProcessingRequest, ProcessingResponse, ProtocolConfiguration, Struct, Value,
};
use cloakroom::identity::jwt;
use cloakroom::sessions::clock::Clock;
use cloakroom::sessions::keyring::algorithm::SigningAlgorithm;
use cloakroom_fuzz::install;
use envoy_types::pb::envoy::service::ext_proc::v3 as full;
use full::processing_response::Response;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

/// More messages than a stream of Envoy has.
const MESSAGES: usize = 8;

/// After how many inputs the sessions that they made are thrown away: the store would grow as long as the fuzzer runs.
const INPUTS: u32 = 20_000;

/// A good JWT of the fixture's issuer until 2100. Nobody has its key any more.
const JWT: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6ImtleSBvZiBhIGxvbmcgbGlmZSJ9.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJhdWQiOiJjbG9ha3Jvb20iLCJzdWIiOiJhZGEiLCJleHAiOjQxMDI0NDQ4MDAsInRlbmFudCI6ImFjbWUifQ.1W4aV7snFo4BBrqx4UQU6X0hhM2dhlHCIU_ldzWGG4khcbKspByk-YT_yrsuZOhtsgrmkHZjXBKdAGY2lBwWAg";

/// Rules of the fixture; none leaves no handle.
const RULES: [Option<&str>; 6] = [None, Some("token"), Some("login"), Some("cookie"), Some("body"), Some("cart")];

struct House {
    processor: Arc<Processor>,
    own: OwnHeaders,
    /// A handle for each of [`RULES`].
    handles: Vec<Option<Bytes>>,
    runtime: tokio::runtime::Runtime,
    inputs: u32,
}

static HOUSE: LazyLock<Mutex<House>> = LazyLock::new(|| Mutex::new(house()));

fn house() -> House {
    let clock = Arc::new(Clock::start());
    let keyring = Arc::new(install::keyring(SigningAlgorithm::Es256, clock.now()));
    let sessions = Arc::new(install::sessions(keyring, Arc::clone(&clock)));
    let index = install::responses();
    for rule in ["token", "cookie", "body"] {
        let exchange = install::grants(&index, rule).exchange.expect("the rule exchanges");
        jwt::verify(&exchange.issuer, JWT, clock.now()).expect("a good JWT: otherwise nothing would be swapped");
    }
    let policy = PolicyName { namespace: "shop".into(), name: "shop".into() };
    let seal = |rule: &str| {
        let rule = Arc::new(RuleName { policy: policy.clone(), rule: rule.into() });
        let (realm, grants) = index.grants(&rule).expect("a rule of the fixture");
        let scope = ResponseScope {
            namespace: "shop".into(),
            realm: realm.clone(),
            fingerprint: grants.fingerprint,
            session: None,
            cookie: Some(install::COOKIE.into()),
            dead: false,
            subject: None,
            exchanges: grants.exchange.is_some(),
            rule: Arc::clone(&rule),
        };
        sessions.seal(&scope, clock.now()).map(|handle| Bytes::copy_from_slice(handle.as_bytes()))
    };
    let handles = RULES.iter().map(|rule| seal((*rule)?)).collect();
    let own = OwnHeaders::new(install::JWT_HEADER);
    let config = ProcessorConfig {
        own_headers: own.clone(),
        cookie: Some(install::COOKIE.into()),
        deadline: Duration::from_secs(5),
    };
    let metrics = ResponseMetrics::register(&prometheus::Registry::new()).expect("an empty registry");
    let processor = Processor::new(config, Arc::new(ArcSwap::from_pointee(index)), sessions, clock, metrics);
    House { processor: Arc::new(processor), own, handles, runtime: install::runtime(), inputs: 0 }
}

fuzz_target!(|input: &[u8]| {
    let [which, how, rest @ ..] = input else { return };
    let mut house = HOUSE.lock().expect("a panic ends the process");
    house.inputs += 1;
    if house.inputs > INPUTS {
        *house = self::house();
    }
    let house = &*house;
    let rule = usize::from(which >> 1) % house.handles.len();
    let (rule, handle) = (RULES[rule], house.handles[rule].as_ref());
    let planted = how % 4 == 3;
    let second = Second::of(how >> 2);
    let messages = match (how % 2, planted) {
        (0, _) => framed(rest, handle),
        (_, true) => lines(&second.beside(&with_jwt(rest, rule, second)), handle, which & 1 == 1),
        (_, false) => lines(rest, handle, which & 1 == 1),
    };
    house.runtime.block_on(async {
        let mut conversation = Conversation::new(Arc::clone(&house.processor));
        for message in messages {
            let answer = conversation.answer(message.clone()).await;
            let due = message.phase.is_some() && !message.observability_mode;
            assert_eq!(answer.is_some(), due, "one answer for each message that awaits one");
            if let (Some(answer), Some(phase)) = (answer, message.phase) {
                hold(&phase, &answer.encode_to_vec(), &house.own, rule);
                if planted && exchanges(rule) {
                    assert!(!seen(&phase, &answer).contains_jwt(), "the JWT of an exchange reaches the client");
                    let swapped =
                        matches!(answer.answer, Some(Answer::ResponseBody(CommonAnswer { response: Some(_) })));
                    assert!(second == Second::None || !swapped, "one of two is swapped");
                }
                // The proxy has answered by itself, and asks no more.
                if matches!(answer.answer, Some(Answer::ImmediateResponse(_))) {
                    break;
                }
            }
        }
    });
});

fn exchanges(rule: Option<&str>) -> bool {
    matches!(rule, Some("token" | "cookie" | "body"))
}

/// The same JWT once more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Second {
    None,
    /// In a line of its own before all others: this, then the JWT.
    Header(&'static str),
    /// In another member of the body, where a JWT is put into the body.
    Member(Spelling),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Plain,
    Padded,
    Escaped,
}

impl Second {
    fn of(how: u8) -> Self {
        match how % 8 {
            1 => Self::Header("set-cookie: x="),
            2 => Self::Header("set-cookie: app_jwt=; Path=/, app_jwt="),
            3 => Self::Header("location: /#access_token="),
            4 => Self::Header("authorization: Bearer "),
            5 => Self::Member(Spelling::Plain),
            6 => Self::Member(Spelling::Padded),
            7 => Self::Member(Spelling::Escaped),
            _ => Self::None,
        }
    }

    fn beside(self, rest: &[u8]) -> Vec<u8> {
        match self {
            Self::Header(start) => [start.as_bytes(), JWT.as_bytes(), b"\n", rest].concat(),
            Self::None | Self::Member(_) => rest.to_vec(),
        }
    }

    fn member(self) -> String {
        match self {
            Self::None | Self::Header(_) => String::new(),
            Self::Member(Spelling::Plain) => format!(r#","copy":"{JWT}""#),
            Self::Member(Spelling::Padded) => format!(r#","copy":"{}=""#, JWT.replace('.', "==.")),
            Self::Member(Spelling::Escaped) => format!(r#","copy":"{}""#, JWT.replace('.', r"\u002e")),
        }
    }
}

/// The lines of a response with the JWT put into the place that the rule exchanges.
fn with_jwt(rest: &[u8], rule: Option<&str>, second: Second) -> Vec<u8> {
    let line = match rule {
        Some("token") => format!("x-login-jwt: {JWT}\n"),
        Some("cookie") => format!("set-cookie: app_jwt={JWT}; Path=/\n"),
        Some("body") => return with_jwt_in_body(rest, second),
        _ => return rest.to_vec(),
    };
    // Before or behind the other lines.
    match rest.split_first() {
        Some((b'^', rest)) => [line.as_bytes(), rest].concat(),
        _ => {
            let at = rest.windows(2).position(|it| it == b"\n\n").unwrap_or(rest.len());
            // An empty line would end the headers before it.
            [rest[..at].trim_ascii_end(), b"\n", line.trim_end().as_bytes(), &rest[at..]].concat()
        }
    }
}

/// As the first member of the body, where one begins like an object; else before whatever it is.
fn with_jwt_in_body(rest: &[u8], second: Second) -> Vec<u8> {
    let at = rest.windows(2).position(|it| it == b"\n\n");
    let (head, body) = at.map_or((rest, &b""[..]), |at| (&rest[..at], &rest[at + 2..]));
    let member = format!(r#"{{"data":{{"token":"{JWT}"}}{}"#, second.member());
    let behind: [&[u8]; 2] = match body.strip_prefix(b"{") {
        Some(others) => [b",", others],
        None => [b"}", body],
    };
    [head, b"\n\n", member.as_bytes(), &behind.concat()].concat()
}

/// What the client gets to see.
struct Seen(Vec<Bytes>);

impl Seen {
    /// However it is written: what its claims say is in it.
    fn contains_jwt(&self) -> bool {
        let claims = JWT.split('.').nth(1).expect("three parts").as_bytes();
        self.0.iter().any(|part| part.windows(claims.len()).any(|it| it == claims))
    }
}

/// What the client sees of this part of the response once the proxy has done what it was told: first it removes, then it sets.
fn seen(phase: &Phase, answer: &ProcessingResponse) -> Seen {
    let (told, sent) = match (phase, answer.answer.as_ref()) {
        (_, Some(Answer::ImmediateResponse(instead))) => return Seen(vec![instead.body.clone()]),
        (Phase::ResponseHeaders(it), Some(Answer::ResponseHeaders(told))) => (told, headers(it.headers.as_ref())),
        (Phase::ResponseBody(it), Some(Answer::ResponseBody(told))) => (told, vec![(Bytes::new(), it.body.clone())]),
        _ => return Seen(Vec::new()),
    };
    let Some(told) = &told.response else { return Seen(values(sent)) };
    let mutation = told.header_mutation.clone().unwrap_or_default();
    let mut parts = match told.body_mutation.as_ref().and_then(|it| it.body.clone()) {
        Some(body) => vec![body],
        None => values(sent.into_iter().filter(|(name, _)| !mutation.remove_headers.contains(name)).collect()),
    };
    parts.extend(mutation.set_headers.into_iter().filter_map(|it| it.header).map(|it| it.raw_value));
    Seen(parts)
}

fn headers(headers: Option<&HeaderMap>) -> Vec<(Bytes, Bytes)> {
    headers.into_iter().flat_map(HeaderMap::iter).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn values(headers: Vec<(Bytes, Bytes)>) -> Vec<Bytes> {
    headers.into_iter().map(|(_, value)| value).collect()
}

/// Messages with their lengths before them, in two bytes each; what the full types read, ours must.
fn framed(mut rest: &[u8], handle: Option<&Bytes>) -> Vec<ProcessingRequest> {
    let mut messages = Vec::new();
    while rest.len() >= 2 && messages.len() < MESSAGES {
        let length = usize::from(rest.get_u16()).min(rest.len());
        let message = Bytes::copy_from_slice(&rest[..length]);
        rest.advance(length);
        let ours = ProcessingRequest::decode(message.clone());
        assert!(ours.is_ok() || full::ProcessingRequest::decode(message).is_err(), "only the full decode takes it");
        let Ok(ours) = ours else { break };
        let metadata_context = handle.map(metadata).or_else(|| ours.metadata_context.clone());
        messages.push(ProcessingRequest { metadata_context, ..ours });
    }
    messages
}

/// Headers as `name: value`, one a line; then an empty line and the body.
fn lines(rest: &[u8], handle: Option<&Bytes>, buffered: bool) -> Vec<ProcessingRequest> {
    let at = rest.windows(2).position(|it| it == b"\n\n");
    let (head, body) = at.map_or((rest, None), |at| (&rest[..at], Some(&rest[at + 2..])));
    let header = |line: &[u8]| {
        let at = line.iter().position(|byte| *byte == b':').filter(|at| *at > 0)?;
        let value = Bytes::copy_from_slice(line[at + 1..].trim_ascii());
        let key = Bytes::from(line[..at].to_ascii_lowercase());
        Some(HeaderValue { key, raw_value: value, ..Default::default() })
    };
    let headers = head.split(|byte| *byte == b'\n').filter_map(header).collect();
    let headers = HttpHeaders { headers: Some(HeaderMap { headers }), end_of_stream: body.is_none() };
    let mode = if buffered { BUFFERED } else { 0 };
    let first = ProcessingRequest {
        phase: Some(Phase::ResponseHeaders(headers)),
        metadata_context: handle.map(metadata),
        protocol_config: Some(ProtocolConfiguration { response_body_mode: mode }),
        observability_mode: false,
    };
    let second = body.map(|body| ProcessingRequest {
        phase: Some(Phase::ResponseBody(HttpBody { body: Bytes::copy_from_slice(body), end_of_stream: true })),
        ..Default::default()
    });
    [first].into_iter().chain(second).collect()
}

fn metadata(handle: &Bytes) -> Metadata {
    let value = Value { string_value: Some(handle.clone()) };
    let fields = vec![Field { key: "cloakroom.handle".into(), value: Some(value) }];
    let key = "envoy.filters.http.ext_authz".into();
    Metadata { filter_metadata: vec![FilterMetadata { key, value: Some(Struct { fields }) }] }
}

/// The answer is of its message's kind, or a 502 or 503 in the place of a response; what is ours is gone.
fn hold(phase: &Phase, answer: &[u8], own: &OwnHeaders, rule: Option<&str>) {
    let removes = |removed: &[Bytes], headers: &Option<HeaderMap>| {
        for header in headers.iter().flat_map(|it| &it.headers) {
            assert!(!own.owns(&header.key) || removed.contains(&header.key), "a header of ours is left");
        }
    };
    let ours = ProcessingResponse::decode(answer).expect("our own words");
    match (phase, ours.answer.expect("an answer")) {
        (Phase::RequestHeaders(_), Answer::RequestHeaders(_)) | (Phase::RequestBody(_), Answer::RequestBody(_)) => {}
        (Phase::ResponseBody(_), Answer::ResponseBody(_)) => {}
        (Phase::ResponseHeaders(it), Answer::ResponseHeaders(told)) => {
            let mutation = told.response.and_then(|it| it.header_mutation).unwrap_or_default();
            removes(&mutation.remove_headers, &it.headers);
            for header in it.headers.iter().flat_map(|it| &it.headers) {
                let value = if header.raw_value.is_empty() { &header.value } else { &header.raw_value };
                let taken = match rule {
                    Some("token") => header.key == "x-login-jwt" && !value.trim_ascii().is_empty(),
                    Some("cookie") => {
                        let set = value.strip_prefix(b"app_jwt=").filter(|_| header.key == "set-cookie");
                        set.is_some_and(|set| !matches!(set.trim_ascii_start().first(), None | Some(b';' | b'"')))
                    }
                    _ => false,
                };
                assert!(!taken || mutation.remove_headers.contains(&header.key), "the JWT of an exchange is left");
            }
            for set in &mutation.set_headers {
                let header = set.header.as_ref().expect("a header");
                assert!(header.value.is_empty(), "it would arrive as nothing");
                assert!(!own.owns(&header.key));
            }
        }
        (Phase::RequestTrailers(it), Answer::RequestTrailers(told))
        | (Phase::ResponseTrailers(it), Answer::ResponseTrailers(told)) => {
            removes(&told.header_mutation.unwrap_or_default().remove_headers, &it.trailers);
        }
        (Phase::ResponseHeaders(_) | Phase::ResponseBody(_), Answer::ImmediateResponse(instead)) => {
            let code = instead.status.expect("a status").code;
            assert!(matches!(code, 502 | 503), "{code}");
            assert_ne!(instead.details, "cloakroom_internal_error");
        }
        (_, other) => panic!("an answer of another kind: {other:?}"),
    }
    // Names that are not UTF-8 are told as they came, and no proxy takes them: its stream breaks, and the response is a 503.
    if let Ok(full) = full::ProcessingResponse::decode(answer) {
        assert!(matches!(
            full.response,
            Some(
                Response::RequestHeaders(_)
                    | Response::ResponseHeaders(_)
                    | Response::RequestBody(_)
                    | Response::ResponseBody(_)
                    | Response::RequestTrailers(_)
                    | Response::ResponseTrailers(_)
                    | Response::ImmediateResponse(_)
            )
        ));
    }
}
