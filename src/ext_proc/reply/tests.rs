use envoy_types::pb::envoy::service::ext_proc::v3 as full;
use full::processing_response::Response;
use prost::Message as _;

use super::*;
use crate::ext_proc::wire::{HttpBody, HttpHeaders, HttpTrailers, ProcessingResponse};

fn key(set: &envoy_types::pb::envoy::config::core::v3::HeaderValueOption) -> &str {
    &set.header.as_ref().unwrap().key
}

fn own() -> OwnHeaders {
    OwnHeaders::new("x-session-jwt")
}

fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    let header = |(key, value): &(&'static str, &'static str)| HeaderValue {
        key: (*key).into(),
        raw_value: (*value).into(),
        ..Default::default()
    };
    HeaderMap { headers: headers.iter().map(header).collect() }
}

/// As the proxy reads it.
fn read(answer: Answer) -> Response {
    let bytes = ProcessingResponse { answer: Some(answer) }.encode_to_vec();
    full::ProcessingResponse::decode(bytes.as_slice()).unwrap().response.unwrap()
}

fn header_mutation(answer: Answer) -> full::HeaderMutation {
    match read(answer) {
        Response::ResponseHeaders(it) => it.response.unwrap().header_mutation.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn p07_every_header_of_ours_is_taken_off_once_by_the_name_it_came_with() {
    let headers = map(&[
        (":status", "200"),
        ("x-session-jwt", "a"),
        ("x-session-jwt", "b"),
        ("X_Session_JWT", "c"),
        ("x.session.anything", "d"),
        ("x-sessions", "e"),
        ("set-cookie", "f"),
    ]);
    let mutation = header_mutation(Changes::strip(Some(&headers), &own()).into_headers());
    assert_eq!(mutation.remove_headers, ["x-session-jwt", "X_Session_JWT", "x.session.anything"]);
    assert!(mutation.set_headers.is_empty());
}

#[test]
#[expect(deprecated, reason = "only this one appends")]
fn a_value_travels_raw_and_a_cookie_stands_beside_others() {
    let mut changes = Changes::default();
    changes.set_cookie("__Host-session=1");
    changes.set_cookie("__Host-session=2");
    changes.overwrite(&Bytes::from_static(b"x-login-jwt"), Bytes::from_static(b"\xffraw"));
    let mutation = header_mutation(changes.into_headers());
    let told: Vec<_> = mutation
        .set_headers
        .iter()
        .map(|set| {
            let header = set.header.as_ref().unwrap();
            assert_eq!(header.value, "", "arrives as nothing");
            (&*header.key, &*header.raw_value, set.append.map(|it| it.value), set.append_action)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("set-cookie", &b"__Host-session=1"[..], Some(true), 0),
            ("cache-control", b"no-store", None, 2),
            ("set-cookie", b"__Host-session=2", Some(true), 0),
            ("x-login-jwt", b"\xffraw", None, 2),
        ]
    );
}

#[test]
fn p14_what_holds_a_cookie_of_ours_tells_no_cache_to_keep_it() {
    let mut changes = Changes::default();
    changes.set_cookie("__Host-session=1");
    changes.no_store();
    let mutation = header_mutation(changes.into_headers());
    assert_eq!(mutation.remove_headers, ["cdn-cache-control", "surrogate-control", "expires"]);
    assert_eq!(mutation.set_headers.iter().map(key).collect::<Vec<_>>(), ["set-cookie", "cache-control"]);
}

#[test]
fn what_changes_nothing_says_nothing() {
    assert_eq!(Changes::default().into_headers(), Answer::ResponseHeaders(CommonAnswer::default()));
    assert_eq!(Changes::default().into_body(None), Answer::ResponseBody(CommonAnswer::default()));
    let body = Changes::default().into_body(Some(Bytes::new()));
    let Response::ResponseBody(body) = read(body) else { panic!() };
    let mutation = body.response.unwrap().body_mutation.unwrap().mutation.unwrap();
    assert_eq!(mutation, full::body_mutation::Mutation::Body(Vec::new()), "an empty body is one");
}

#[test]
fn every_kind_of_message_is_answered_by_its_kind() {
    let ours = Some(map(&[("x-session-end", "current"), ("other", "")]));
    let http = HttpHeaders { headers: ours.clone(), end_of_stream: false };
    let body = HttpBody { body: "x".into(), end_of_stream: true };
    let trailers = HttpTrailers { trailers: ours };
    let removed = |mutation: Option<full::HeaderMutation>| mutation.unwrap_or_default().remove_headers;
    let common = |it: Option<full::CommonResponse>| removed(it.unwrap_or_default().header_mutation);
    for (phase, want, removes) in [
        (Phase::RequestHeaders(http.clone()), "request_headers", false), // the session JWT is there by our own doing
        (Phase::ResponseHeaders(http), "response_headers", true),
        (Phase::RequestBody(body.clone()), "request_body", false),
        (Phase::ResponseBody(body), "response_body", false),
        (Phase::RequestTrailers(trailers.clone()), "request_trailers", true),
        (Phase::ResponseTrailers(trailers), "response_trailers", true),
    ] {
        let (kind, removed) = match read(unchanged(&phase, &own())) {
            Response::RequestHeaders(it) => ("request_headers", common(it.response)),
            Response::ResponseHeaders(it) => ("response_headers", common(it.response)),
            Response::RequestBody(it) => ("request_body", common(it.response)),
            Response::ResponseBody(it) => ("response_body", common(it.response)),
            Response::RequestTrailers(it) => ("request_trailers", removed(it.header_mutation)),
            Response::ResponseTrailers(it) => ("response_trailers", removed(it.header_mutation)),
            other => panic!("{other:?}"),
        };
        assert_eq!(kind, want);
        assert_eq!(removed, if removes { vec!["x-session-end"] } else { vec![] }, "{want}");
    }
}

#[test]
fn an_answer_in_the_place_of_the_services_is_a_problem() {
    for (instead, status, retries) in [(Instead::BadGateway, 502, false), (Instead::Unavailable, 503, true)] {
        let Response::ImmediateResponse(answer) = read(instead.answer(CommandRefusal::StoreUnavailable, false)) else {
            panic!()
        };
        assert_eq!(answer.status.unwrap().code, status);
        assert_eq!(answer.details, "cloakroom_store_unavailable");
        assert_eq!(answer.grpc_status, None);
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["title"], instead.status().canonical_reason().unwrap());
        assert_eq!(problem["detail"], instead.detail());
        let headers: Vec<_> = answer.headers.unwrap().set_headers;
        let value = |name: &str| {
            headers
                .iter()
                .find(|it| key(it) == name)
                .map(|it| String::from_utf8(it.header.clone().unwrap().raw_value).unwrap())
        };
        assert_eq!(value("cache-control").unwrap(), "no-store");
        assert_eq!(value("content-type").unwrap(), "application/problem+json");
        assert_eq!(value("retry-after").is_some(), retries);
    }
}

#[test]
fn a_grpc_client_is_told_in_its_own_words() {
    for instead in [Instead::BadGateway, Instead::Unavailable] {
        let Response::ImmediateResponse(answer) = read(instead.answer(CommandRefusal::Internal, true)) else {
            panic!()
        };
        assert_eq!(answer.grpc_status.unwrap().status, 14);
        assert_eq!(answer.body, instead.detail().as_bytes());
        let names: Vec<_> = answer.headers.unwrap().set_headers.iter().map(|it| key(it).to_owned()).collect();
        assert!(!names.iter().any(|name| name == "content-type"), "{names:?}");
    }
}
