//! Answers as the proxy decodes them: by the full messages of `envoy-types`.

use std::borrow::Cow;

use envoy_types::pb::envoy::config::core::v3::{HeaderValueOption, header_value_option::HeaderAppendAction};
use envoy_types::pb::envoy::service::auth::v3 as full;
use envoy_types::pb::google::protobuf::value::Kind;
use full::check_response::HttpResponse;
use http::StatusCode;
use prost::Message as _;

use super::*;
use crate::authz::credential::TakeOff;
use crate::authz::policy::{PolicyName, RuleRef};
use crate::authz::reason::DenyReason;
use crate::grpc::unary::PREFIX_LEN;

const JWT: &str = "x-session-jwt";

fn decode(answer: &Bytes) -> full::CheckResponse {
    assert_eq!(answer[0], 0, "not compressed");
    let length = u32::from_be_bytes(answer[1..PREFIX_LEN].try_into().unwrap());
    assert_eq!(length as usize, answer.len() - PREFIX_LEN);
    full::CheckResponse::decode(&answer[PREFIX_LEN..]).unwrap()
}

fn ok(answer: &Bytes) -> full::OkHttpResponse {
    let response = decode(answer);
    assert_eq!(response.status.unwrap_or_default().code, 0);
    match response.http_response {
        Some(HttpResponse::OkResponse(ok)) => ok,
        other => panic!("{other:?}"),
    }
}

fn denied(answer: &Bytes) -> (i32, full::DeniedHttpResponse) {
    let response = decode(answer);
    match response.http_response {
        Some(HttpResponse::DeniedResponse(denied)) => (response.status.unwrap_or_default().code, denied),
        other => panic!("{other:?}"),
    }
}

fn metadata(answer: &Bytes) -> Vec<(String, String)> {
    let metadata = decode(answer).dynamic_metadata.unwrap_or_default();
    let text = |(key, value): (String, _)| match value {
        envoy_types::pb::google::protobuf::Value { kind: Some(Kind::StringValue(text)) } => (key, text),
        other => panic!("{other:?}"),
    };
    let mut texts: Vec<_> = metadata.fields.into_iter().map(text).collect();
    texts.sort();
    texts
}

fn lines(headers: &[HeaderValueOption]) -> Vec<(String, String, HeaderAppendAction)> {
    let line = |option: &HeaderValueOption| {
        let header = option.header.clone().unwrap();
        assert!(header.raw_value.is_empty(), "a raw value arrives as an empty header");
        #[allow(deprecated)]
        let append = option.append;
        assert!(append.is_none());
        (header.key, header.value, option.append_action())
    };
    headers.iter().map(line).collect()
}

fn rule() -> RuleRef {
    let policy = PolicyName { namespace: "shop".into(), name: "web".into() };
    RuleRef::new(RuleName { policy, rule: "admin".into() })
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn pass(jwt: Option<&str>, take_off: TakeOff) -> Allow {
    Allow {
        rule: rule(),
        jwt: jwt.map(|jwt| Bytes::from(jwt.to_owned())),
        take_off,
        set_cookie: None,
        handle: None,
        audit: None,
        provider: None,
    }
}

#[test]
fn p07_the_session_header_is_overwritten_or_removed_whatever_was_sent() {
    let sent = |headers: &[&'static str]| TakeOff {
        cookie: None,
        headers: headers.iter().map(|name| Bytes::from_static(name.as_bytes())).collect(),
    };
    for (jwt, take_off, set, removed) in [
        (Some("a.b.c"), sent(&[]), vec![JWT], vec![]),
        // Removed after it was set, it would not arrive.
        (Some("a.b.c"), sent(&["X-Session-Jwt", "x_session_jwt"]), vec![JWT], vec!["x_session_jwt"]),
        (None, sent(&[]), vec![], vec![JWT]),
        (None, sent(&["x.session.jwt", "authorization"]), vec![], vec![JWT, "x.session.jwt", "authorization"]),
    ] {
        let ok = ok(&allow(&pass(jwt, take_off), JWT).unwrap());
        let names: Vec<_> = lines(&ok.headers).into_iter().map(|(name, _, _)| name).collect();
        assert_eq!((names, ok.headers_to_remove), (texts(&set), texts(&removed)));
    }
    let ok = ok(&allow(&pass(Some("a.b.c"), TakeOff::default()), JWT).unwrap());
    assert_eq!(lines(&ok.headers), [(JWT.into(), "a.b.c".into(), HeaderAppendAction::OverwriteIfExistsOrAdd)]);
}

#[test]
fn p14_other_cookies_pass_and_ours_does_not() {
    for (rest, set, removed) in [
        (None, vec![], vec![JWT]),
        (Some(CookieRest::Nothing), vec![], vec![JWT, "cookie"]),
        (Some(CookieRest::Others("a=1; b=\u{e9}".into())), vec!["a=1; b=\u{e9}"], vec![JWT]),
    ] {
        // Even when the field is listed for removal besides, what is left of it must arrive.
        let headers = if set.is_empty() { vec![] } else { vec![Bytes::from_static(b"cookie")] };
        let ok = ok(&allow(&pass(None, TakeOff { cookie: rest, headers }), JWT).unwrap());
        let want: Vec<_> = set
            .iter()
            .map(|rest| ("cookie".to_owned(), (*rest).to_owned(), HeaderAppendAction::OverwriteIfExistsOrAdd))
            .collect();
        assert_eq!((lines(&ok.headers), ok.headers_to_remove), (want, texts(&removed)));
    }
}

#[test]
fn p02_an_answer_that_the_proxy_could_not_decode_is_not_given() {
    for take_off in [
        TakeOff { cookie: Some(CookieRest::Others(Bytes::from_static(b"a=\xff"))), headers: vec![] },
        TakeOff { cookie: None, headers: vec![Bytes::from_static(b"x-\xff")] },
    ] {
        assert_eq!(allow(&pass(None, take_off), JWT), Err(Unsayable));
    }
}

#[test]
fn p14_a_new_cookie_stands_beside_the_services_own_and_is_not_cached() {
    let allowed = Allow { set_cookie: Some("__Host-session=x; Path=/".into()), ..pass(Some("j"), TakeOff::default()) };
    let ok = ok(&allow(&allowed, JWT).unwrap());
    assert_eq!(
        lines(&ok.response_headers_to_add),
        [
            ("set-cookie".into(), "__Host-session=x; Path=/".into(), HeaderAppendAction::AppendIfExistsOrAdd),
            ("cache-control".into(), "no-store".into(), HeaderAppendAction::OverwriteIfExistsOrAdd),
            ("cdn-cache-control".into(), "no-store".into(), HeaderAppendAction::OverwriteIfExists),
            ("surrogate-control".into(), "no-store".into(), HeaderAppendAction::OverwriteIfExists),
            ("expires".into(), "0".into(), HeaderAppendAction::OverwriteIfExists),
        ]
    );
}

#[test]
fn the_rule_and_the_reason_go_along_for_logs() {
    let rule_line = (RULE_METADATA.to_owned(), "shop/web/admin".to_owned());
    let reason_line = |reason: &str| (REASON_METADATA.to_owned(), reason.to_owned());
    let plain = pass(Some("j"), TakeOff::default());
    assert_eq!(metadata(&allow(&plain, JWT).unwrap()), std::slice::from_ref(&rule_line));
    let audited = Allow { audit: Some(DenyReason::MissingRole), ..plain };
    assert_eq!(metadata(&allow(&audited, JWT).unwrap()), [reason_line("missing_role"), rule_line.clone()]);

    let refusal = Refusal { status: StatusCode::FORBIDDEN, headers: vec![], body: "" };
    let denial = Denial { rule: Some(rule()), ..Denial::bare(DenyReason::MissingRole) };
    assert_eq!(metadata(&deny(&denial, &refusal)), [reason_line("missing_role"), rule_line]);
    assert_eq!(metadata(&deny(&Denial::bare(DenyReason::NoPolicy), &refusal)), [reason_line("no_policy")]);
}

#[test]
fn p02_every_denial_is_a_denied_response_the_503_too() {
    for reason in DenyReason::ALL {
        let status = reason.class().status();
        let refusal = Refusal {
            status,
            headers: vec![("retry-after", Cow::Borrowed("1")), ("set-cookie", "a".into()), ("set-cookie", "b".into())],
            body: "body",
        };
        let (code, denied) = denied(&deny(&Denial::bare(*reason), &refusal));
        assert_eq!(code, if status == StatusCode::UNAUTHORIZED { 16 } else { 7 }, "{reason:?}");
        assert_eq!(denied.status.unwrap().code, i32::from(status.as_u16()));
        assert_eq!(denied.body, "body");
        let appended = HeaderAppendAction::AppendIfExistsOrAdd;
        assert_eq!(
            lines(&denied.headers),
            [("retry-after", "1"), ("set-cookie", "a"), ("set-cookie", "b")].map(|(name, value)| (
                name.into(),
                value.into(),
                appended
            ))
        );
    }
}

mod properties {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn allows()(
            jwt in option::of("[A-Za-z0-9._-]{1,6000}"),
            rest in option::of(option::of(".{0,300}")),
            headers in vec("[a-z_.-]{1,20}", 0..5),
            set_cookie in option::of(".{1,200}"),
            handle in option::of("[a-z.]{1,200}"),
            audit in option::of(prop::sample::select(DenyReason::ALL)),
        ) -> Allow {
            let handle = handle.map(String::into_boxed_str);
            let cookie = rest.map(|rest| rest.map_or(CookieRest::Nothing, |rest| CookieRest::Others(rest.into())));
            let headers = headers.into_iter().map(Bytes::from).collect();
            Allow { rule: rule(), jwt: jwt.map(Bytes::from), take_off: TakeOff { cookie, headers }, set_cookie, handle, audit, provider: None }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_decoded(given in allows()) {
            let ok = ok(&allow(&given, JWT).unwrap());
            let sent = lines(&ok.headers);
            let value = |name: &str| sent.iter().find(|line| line.0 == name).map(|line| line.1.as_bytes());
            prop_assert_eq!(value(JWT), given.jwt.as_deref());
            let rest = match &given.take_off.cookie { Some(CookieRest::Others(rest)) => Some(rest.as_ref()), _ => None };
            prop_assert_eq!(value("cookie"), rest);
            // Nothing is set and removed, and nothing that had to go stays.
            prop_assert!(ok.headers_to_remove.iter().all(|name| value(name).is_none()));
            for name in given.take_off.headers.iter().map(|name| std::str::from_utf8(name).unwrap()) {
                prop_assert!(value(name).is_some() || ok.headers_to_remove.iter().any(|removed| removed == name));
            }
            prop_assert!(value(JWT).is_some() || ok.headers_to_remove.iter().any(|name| name == JWT));
            let added = lines(&ok.response_headers_to_add);
            prop_assert_eq!(added.first().map(|line| &line.1), given.set_cookie.as_ref());
        }

        #[test]
        fn a_refusal_is_decoded_as_written(
            headers in vec((prop::sample::select(vec!["location", "vary", "set-cookie"]), ".{0,300}"), 0..6),
            reason in prop::sample::select(DenyReason::ALL),
        ) {
            let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name, Cow::<'static, str>::Owned(value))).collect();
            let refusal = Refusal { status: reason.class().status(), headers: headers.clone(), body: "x" };
            let (_, denied) = denied(&deny(&Denial::bare(reason), &refusal));
            let want: Vec<_> = headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_owned())).collect();
            let got: Vec<_> = lines(&denied.headers).into_iter().map(|(name, value, _)| (name, value)).collect();
            prop_assert_eq!(got, want);
        }
    }
}
