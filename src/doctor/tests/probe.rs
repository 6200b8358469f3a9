use std::time::Duration;

use super::*;
use crate::doctor::probe::{Answer, Heard, Probe, judge, spellings};

fn answer(status: u16, kind: &str, body: &str) -> Heard {
    Ok(Answer {
        status,
        headers: vec![("content-type".to_owned(), kind.to_owned())],
        body: body.to_owned(),
        took: Duration::from_millis(3),
    })
}

const PROBLEM: &str = r#"{"type":"about:blank","title":"x"}"#;

fn ours(status: u16) -> Heard {
    answer(status, "application/problem+json", PROBLEM)
}

fn probe(plain: Heard) -> Probe {
    let forged = spellings("x-session-jwt").into_iter().map(|it| (it, plain.clone())).collect();
    Probe {
        url: "https://shop.example/cart".to_owned(),
        is_public: false,
        is_echo: false,
        header: "x-session-jwt".to_owned(),
        control: "seen-1".to_owned(),
        forged_value: "forged-1".to_owned(),
        plain,
        session: None,
        forged,
    }
}

#[test]
fn an_answer_says_whether_the_check_is_reached() {
    for (heard, level, seen) in [
        (ours(401), Level::Ok, "the check is reached"),
        (answer(200, "text/html", "hello"), Level::Problem, "the check is not reached, or a policy lets everybody in"),
        (answer(401, "text/html", "no"), Level::Warning, "not in cloakroom's words"),
        (answer(403, "text/plain", "RBAC: access denied"), Level::Problem, "refused by Istio itself"),
        (ours(403), Level::Warning, "no policy is for this request"),
        (ours(503), Level::Problem, "the gate runs, and lacks"),
        (answer(503, "text/plain", ""), Level::Problem, "the proxy got no answer from the gate"),
        (answer(504, "text/plain", ""), Level::Problem, "accepts and does not answer"),
        (answer(302, "", ""), Level::Unknown, "leads elsewhere"),
        (answer(404, "", ""), Level::Unknown, "says nothing about the check"),
        (Err("connection refused".to_owned()), Level::Unknown, "does not answer: connection refused"),
    ] {
        expect(&judge(&probe(heard)), Check::ProbeCheck, &[(level, seen)]);
    }
    let mut public = probe(answer(200, "text/html", "hello"));
    public.is_public = true;
    expect(&judge(&public), Check::ProbeCheck, &[(Level::Ok, "as a public route should")]);
}

#[test]
fn a_forged_header_is_seen_wherever_it_comes_back() {
    let ok = "does not come back and changes nothing";
    expect(&judge(&probe(ours(401))), Check::ProbeForged, &[(Level::Ok, ok)]);
    let echo = |extra: &str| answer(200, "application/json", &format!(r#"{{"x-cloakroom-doctor":"seen-1"{extra}}}"#));
    let with = |at: usize, heard: Heard| {
        let mut probe = probe(echo(""));
        probe.forged[at].1 = heard;
        judge(&probe)
    };
    expect(&with(0, echo("")), Check::ProbeForged, &[(Level::Ok, "of 6 spellings of a forged x-session-jwt none")]);
    expect(
        &with(1, echo(r#","x_session_jwt":"forged-1""#)),
        Check::ProbeForged,
        &[(Level::Problem, "came back: x_session_jwt")],
    );
    expect(&with(1, answer(400, "", "")), Check::ProbeForged, &[(Level::Ok, "none")]);
    expect(&with(2, answer(403, "", "")), Check::ProbeForged, &[(Level::Warning, "from 200 (x.session.jwt: 403)")]);
    expect(
        &with(2, Err(String::new())),
        Check::ProbeForged,
        &[(Level::Unknown, "no answer to a forged x.session.jwt")],
    );
    let mut echoing = probe(ours(401));
    echoing.is_echo = true;
    expect(&judge(&echoing), Check::ProbeForged, &[(Level::Unknown, "does not show the headers")]);
}

#[test]
fn a_token_gets_in_and_becomes_a_jwt() {
    let echo = |text: &str| answer(200, "text/plain", &format!("x-cloakroom-doctor: seen-1\n{text}"));
    for (heard, level, seen) in [
        (answer(200, "", "hello"), Level::Ok, "lets the session in (200)"),
        (echo("X-Session-JWT: eyJhbGciOi"), Level::Ok, "x-session-jwt reaches the service"),
        (echo("x-session-jwt: "), Level::Problem, "without a JWT in it"),
        (echo(""), Level::Warning, "does not show x-session-jwt"),
        (echo("authorization: Bearer ckr_secret"), Level::Problem, "the access token itself reached the service"),
        (ours(401), Level::Problem, "refuses the token (401)"),
        (ours(403), Level::Warning, "answers 403 to the token"),
        (Err("gone".to_owned()), Level::Unknown, "does not answer: gone"),
    ] {
        let mut probe = probe(ours(401));
        probe.session = Some((heard, "ckr_secret".to_owned()));
        let findings = judge(&probe);
        expect(&findings, Check::ProbeSession, &[(level, seen)]);
        assert!(findings.iter().all(|it| !it.seen.contains("ckr_secret")));
    }
}

#[test]
fn every_sign_that_a_server_may_read_as_a_dash_is_tried() {
    assert_eq!(
        spellings("x-session-jwt"),
        ["x-session-jwt", "x_session_jwt", "x.session.jwt", "x~session~jwt", "x!session!jwt", "x_session-jwt"]
    );
    assert_eq!(spellings("jwt"), ["jwt"]);
}
