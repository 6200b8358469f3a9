use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use zeroize::Zeroizing;

use super::super::CookieRest;
use super::*;
use crate::authz::attributes::RawRequest;
use crate::authz::session::SessionId;

fn token(seed: u8) -> String {
    AccessToken::from_parts(SessionId::from_bytes([seed; 16]), Zeroizing::new([seed; 20]), [seed; 8])
        .reveal()
        .to_string()
}

fn jwt(header: &str) -> String {
    format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header))
}

fn everywhere() -> Carriers {
    Carriers::new(vec![Carrier::Cookie("__Host-session".into()), Carrier::Bearer, Carrier::Header("x-ticket".into())])
        .expect("three good carriers")
}

fn cookie_only() -> Carriers {
    Carriers::new(vec![Carrier::Cookie("__Host-session".into())]).expect("a good carrier")
}

fn request<'a>(headers: &'a [(&str, String)]) -> RequestAttributes<'a> {
    let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let raw = RawRequest { method: b"GET", host: b"shop.example", path: b"/", headers, ..RawRequest::default() };
    RequestAttributes::read(raw).expect("an ordinary request")
}

/// What was found, in few words.
fn found(carriers: &Carriers, headers: &[(&str, String)]) -> String {
    match carriers.present(&request(headers), &[]) {
        Err(reason) => reason.label().to_owned(),
        Ok(Presented { credential: None }) => "nothing".to_owned(),
        Ok(Presented { credential: Some((credential, carrier)) }) => {
            let what = match credential {
                Credential::Token(token) => format!("token {}", token.sid().as_bytes()[0]),
                Credential::SessionJwt(_) => "session jwt".to_owned(),
                Credential::Foreign(_) => "foreign".to_owned(),
                Credential::Other => "other".to_owned(),
            };
            let place = match carrier {
                Carrier::Cookie(_) => "cookie",
                Carrier::Bearer => "bearer",
                Carrier::Header(_) => "header",
            };
            format!("{what} in {place}")
        }
    }
}

#[test]
fn p13_a_credential_is_found_in_its_place() {
    let session = jwt(r#"{"alg":"ES256","typ":"session+jwt"}"#);
    let rows: Vec<(Vec<(&str, String)>, &str)> = vec![
        (vec![], "nothing"),
        (vec![("cookie", format!("__Host-session={}", token(1)))], "token 1 in cookie"),
        (vec![("Cookie", format!("a=1; __Host-session={}; b=2", token(1)))], "token 1 in cookie"),
        (vec![("cookie", "__Host-session=old".into())], "other in cookie"),
        (vec![("cookie", "__Host-session=".into())], "other in cookie"),
        (vec![("cookie", format!("__Host-session=\"{}\"", token(1)))], "other in cookie"),
        (vec![("cookie", format!("a={}", token(1)))], "nothing"),
        (vec![("authorization", format!("Bearer {}", token(2)))], "token 2 in bearer"),
        (vec![("authorization", format!("bEaReR   {}", token(2)))], "token 2 in bearer"),
        (vec![("authorization", format!("Bearer {session}"))], "session jwt in bearer"),
        (
            vec![("authorization", format!("Bearer {}", jwt(r#"{"typ":"application/session+JWT"}"#)))],
            "session jwt in bearer",
        ),
        (vec![("authorization", format!("Bearer {}", jwt(r#"{"typ":"at+jwt"}"#)))], "other in bearer"),
        (vec![("authorization", format!("Bearer {}", jwt(r#"{"alg":"none"}"#)))], "other in bearer"),
        (vec![("authorization", format!("Bearer {session}.x"))], "other in bearer"),
        (vec![("authorization", "Bearer ckr_short".into())], "other in bearer"),
        (vec![("authorization", "Bearer".into())], "other in bearer"),
        (vec![("authorization", format!("Bearer\t{}", token(2)))], "other in bearer"), // RFC 9110 §11.4: blanks only
        (vec![("authorization", format!("Bearer {} x", token(2)))], "other in bearer"),
        (vec![("authorization", "Basic YWRhOng=".into())], "nothing"),
        (vec![("authorization", "Digest username=\"ada, the first\", realm=\"a\"".into())], "nothing"),
        (vec![("authorization", "AWS4-HMAC-SHA256 Credential=x/y, SignedHeaders=a;b, Signature=c".into())], "nothing"),
        (vec![("authorization", String::new())], "nothing"),
        (vec![("x-ticket", token(3))], "token 3 in header"),
        (vec![("X-Ticket", token(3))], "token 3 in header"),
        (vec![("x-ticket", "no".into())], "other in header"),
        (vec![("x-ticket", format!("Bearer {}", token(3)))], "other in header"),
        (
            vec![("authorization", "Basic YWRhOng=".into()), ("cookie", format!("__Host-session={}", token(1)))],
            "token 1 in cookie",
        ),
        (vec![("x-other", token(3))], "nothing"),
    ];
    for (headers, want) in rows {
        assert_eq!(found(&everywhere(), &headers), want, "{headers:?}");
    }
}

#[test]
fn p13_two_credentials_are_refused() {
    let cookie = |seed| ("cookie", format!("__Host-session={}", token(seed)));
    let bearer = |seed| ("authorization", format!("Bearer {}", token(seed)));
    let ticket = |seed| ("x-ticket", token(seed));
    let rows: Vec<Vec<(&str, String)>> = vec![
        vec![cookie(1), bearer(2)],
        vec![cookie(1), bearer(1)], // the same, twice
        vec![cookie(1), ticket(1)],
        vec![bearer(1), ticket(1)],
        vec![cookie(1), ("authorization", "Bearer foreign".into())],
        vec![cookie(1), ("authorization", format!("Bearer {}", jwt(r#"{"typ":"session+jwt"}"#)))],
        vec![bearer(1), bearer(1)],
        vec![bearer(1), ("authorization", "Basic YWRhOng=".into())],
        vec![("authorization", "Basic YWRhOng=".into()), bearer(1)],
        vec![("authorization", format!("Bearer {},Bearer {}", token(1), token(2)))],
        vec![("authorization", format!("Bearer {},", token(1)))],
        vec![("authorization", format!("Basic YWRhOng=,Bearer {}", token(1)))],
        vec![("authorization", format!("Basic YWRhOng=, bearer {}", token(1)))],
        vec![("authorization", "Basic YWRhOng=,Basic YWRhOng=".into())],
        vec![("authorization", format!("Digest a=\",Bearer {}\"", token(1)))],
        vec![ticket(1), ticket(1)],
        vec![("x-ticket", format!("{},{}", token(1), token(1)))],
        vec![("x_ticket", token(1))],
        vec![ticket(1), ("x_ticket", token(2))],
        vec![("cookie", format!("__Host-session={}; __Host-session={}", token(1), token(1)))],
        vec![cookie(1), cookie(1)],
        vec![cookie(1), ("cookie", "a=1".into())],
        vec![("cookie", "a=1".into()), cookie(1)],
    ];
    for headers in rows {
        assert_eq!(found(&everywhere(), &headers), "ambiguous_credential", "{headers:?}");
    }
}

#[test]
fn a_bearer_is_foreign_where_tokens_do_not_travel_so() {
    let cookie = ("cookie", format!("__Host-session={}", token(1)));
    let foreign = ("authorization", "Bearer foreign".to_owned());
    assert_eq!(found(&cookie_only(), &[cookie.clone(), foreign.clone()]), "token 1 in cookie");
    assert_eq!(found(&cookie_only(), &[foreign]), "nothing");
    // Ours are told anyway; whether one may be used here is for the policy to say.
    let ours = ("authorization", format!("Bearer {}", token(2)));
    assert_eq!(found(&cookie_only(), std::slice::from_ref(&ours)), "token 2 in bearer");
    assert_eq!(found(&cookie_only(), &[cookie, ours]), "ambiguous_credential");
    let session = ("authorization", format!("Bearer {}", jwt(r#"{"typ":"session+jwt"}"#)));
    assert_eq!(found(&cookie_only(), &[session]), "session jwt in bearer");
}

#[test]
fn p07_everything_of_ours_is_taken_off() {
    let own = OwnHeaders::new("x-session-jwt");
    let session = jwt(r#"{"typ":"session+jwt"}"#);
    let other_cookies = |text: &'static str| Some(CookieRest::Others(text.into()));
    type Row = (Vec<(&'static str, String)>, Option<CookieRest>, &'static [&'static str]);
    let rows: Vec<Row> = vec![
        (vec![], None, &[]),
        (
            vec![("cookie", "a=1".into()), ("authorization", "Basic YWRhOng=".into()), ("x-other", "1".into())],
            None,
            &[],
        ),
        (vec![("cookie", format!("__Host-session={}", token(1)))], Some(CookieRest::Nothing), &[]),
        (vec![("cookie", format!("a=1; __Host-session={}; b=2", token(1)))], other_cookies("a=1; b=2"), &[]),
        (
            vec![
                ("cookie", "a=1".into()),
                ("cookie", format!("__Host-session={}", token(1))),
                ("cookie", "b=2".into()),
            ],
            other_cookies("a=1; b=2"),
            &[],
        ),
        (vec![("authorization", format!("Bearer {}", token(1)))], None, &["authorization"]),
        (vec![("authorization", "bearer ckr_whatever".into())], None, &["authorization"]),
        (vec![("authorization", format!("Bearer {session}"))], None, &["authorization"]),
        (vec![("authorization", "Bearer foreign".into())], None, &[]),
        (vec![("authorization", format!("Bearer {}", jwt(r#"{"typ":"at+jwt"}"#)))], None, &[]),
        (vec![("authorization", "Bearer eyJckr_.ckr_.xckr_".into())], None, &[]), // a foreign token that happens to hold our letters
        (vec![("authorization", format!("Token {}", token(1)))], None, &["authorization"]),
        (vec![("authorization", token(1))], None, &["authorization"]),
        (vec![("authorization", format!("Basic YWRhOng=,Bearer {}", token(1)))], None, &["authorization"]),
        (
            vec![("authorization", "Basic YWRhOng=".into()), ("authorization", "Bearer foreign".into())],
            None,
            &["authorization"],
        ),
        (vec![("x-ticket", token(1))], None, &["x-ticket"]),
        (vec![("x_ticket", "anything".into()), ("X.Ticket", "x".into())], None, &["x_ticket", "X.Ticket"]),
        (
            vec![
                ("x-session-jwt", "forged".into()),
                ("x_session_jwt", "forged".into()),
                ("x.session-jwt", "forged".into()),
                ("x-session-create", "{}".into()),
                ("x_session_end", "subject".into()),
                ("x-sessions", "the app's".into()),
            ],
            None,
            &["x-session-jwt", "x_session_jwt", "x.session-jwt", "x-session-create", "x_session_end"],
        ),
        (vec![("x-session-jwt", "a".into()), ("x-session-jwt", "b".into())], None, &["x-session-jwt"]),
        (
            vec![
                ("cookie", format!("__Host-session={}; __Host-session={}", token(1), token(2))),
                ("authorization", format!("Bearer {}", token(3))),
                ("x-ticket", token(4)),
            ],
            Some(CookieRest::Nothing),
            &["authorization", "x-ticket"],
        ),
    ];
    for (headers, cookie, names) in rows {
        let off = everywhere().take_off(&request(&headers), &own, &[]);
        let names: Vec<Bytes> = names.iter().map(|name| Bytes::from_static(name.as_bytes())).collect();
        assert_eq!(off, TakeOff { cookie, headers: names }, "{headers:?}");
    }
}

#[test]
fn p13_tokens_in_urls_are_not_looked_at() {
    let path = format!("/?access_token={0}&__Host-session={0}", token(1));
    let raw = RawRequest { method: b"GET", host: b"shop.example", path: path.as_bytes(), ..RawRequest::default() };
    let request = RequestAttributes::read(raw).expect("an ordinary request");
    assert!(everywhere().present(&request, &[]).expect("unambiguous").credential.is_none());
}

#[test]
fn carriers_are_checked() {
    let cookie = |name: &str| Carrier::Cookie(name.into());
    let header = |name: &str| Carrier::Header(name.into());
    assert_eq!(Carriers::new(vec![]).err(), Some(CarrierError::None));
    assert_eq!(Carriers::new(vec![Carrier::Bearer, Carrier::Bearer]).err(), Some(CarrierError::Twice(Carrier::Bearer)));
    for name in ["", "a b", "a=b", "a;b", "$a", "é", "a%41", "a.b"] {
        assert_eq!(Carriers::new(vec![cookie(name)]).err(), Some(CarrierError::CookieName(name.into())), "{name}");
    }
    for name in ["", "X-Ticket", "a b", "cookie", "authorization", "host", ":path", "content_type", "é"] {
        assert_eq!(Carriers::new(vec![header(name)]).err(), Some(CarrierError::HeaderName(name.into())), "{name}");
    }
    assert_eq!(everywhere().cookie_names().collect::<Vec<_>>(), ["__Host-session"]);
}

#[test]
fn p31_debug_shows_no_credential() {
    let headers = [("authorization", format!("Bearer {}", jwt(r#"{"typ":"session+jwt"}"#)))];
    let shown = format!("{:?}", everywhere().present(&request(&headers), &[]));
    assert!(shown.contains("redacted") && !shown.contains("e30"), "{shown}");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "__Host-session=",
            "a=1",
            "; ",
            ",",
            ";",
            "\"",
            "Bearer ",
            "Basic ",
            "bearer",
            "x",
            " ",
            "Digest a=\"b\"",
            "=",
        ]);
        let pieces = prop::collection::vec(prop_oneof![piece.prop_map(str::to_owned), Just(token(7))], 0..5);
        pieces.prop_map(|pieces| pieces.concat().trim().to_owned())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        /// Envoy hands over lines, or a map in which they are joined: the decision is the same, and so is what is taken off.
        #[test]
        fn p03_both_encodings_give_the_same_credential(
            lines in prop::collection::vec((prop::sample::select(vec!["cookie", "authorization", "x-ticket"]), value()), 0..5),
        ) {
            let mut joined: Vec<(&str, String)> = Vec::new();
            for (name, value) in &lines {
                match joined.iter_mut().find(|(it, _)| it == name) {
                    Some((_, all)) => *all = format!("{all},{value}"),
                    None => joined.push((name, value.clone())),
                }
            }
            prop_assert_eq!(found(&everywhere(), &lines), found(&everywhere(), &joined));
            let own = OwnHeaders::new("x-session-jwt");
            let (raw, map) = (everywhere().take_off(&request(&lines), &own, &[]), everywhere().take_off(&request(&joined), &own, &[]));
            prop_assert_eq!(raw.cookie.is_some(), map.cookie.is_some());
        }

        #[test]
        fn p07_no_token_of_ours_reaches_the_service(
            lines in prop::collection::vec((prop::sample::select(vec!["cookie", "authorization", "x-ticket"]), value()), 0..5),
        ) {
            let off = everywhere().take_off(&request(&lines), &OwnHeaders::new("x-session-jwt"), &[]);
            for (name, value) in &lines {
                if *name != "cookie" && !off.headers.iter().any(|it| *it == *name) {
                    prop_assert!(*name == "authorization" && !value.contains("Bearer ckr_"), "{name}: {value}");
                }
            }
        }
    }
}
