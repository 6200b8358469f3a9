mod elsewhere;
pub(in crate::ext_proc) mod house;
mod records;

use envoy_types::pb::envoy::service::ext_proc::v3 as full;
use full::processing_response::Response;
use serde_json::json;

use self::house::{House, Sent, jwt};
use super::*;
use crate::authz::credential::AccessToken;
use crate::authz::session::Claims;
use crate::ext_proc::body;

const COOKIE: &str = "__Host-session";

/// A response of the service, from its headers to what the client gets of it.
#[derive(Debug, Default, PartialEq)]
struct Got {
    /// The status, when the response is not the service's.
    instead: Option<i32>,
    set_cookies: Vec<String>,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| &**value)
    }

    /// The token in our one cookie.
    fn token(&self) -> AccessToken {
        let ours: Vec<_> = self.set_cookies.iter().filter_map(|it| it.strip_prefix("__Host-session=")).collect();
        assert_eq!(ours.len(), 1, "{ours:?}");
        AccessToken::parse(ours[0].split(';').next().unwrap().as_bytes()).expect("a token of ours")
    }
}

const EXPIRED: &str = "__Host-session=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0";

#[tokio::test]
async fn p11_without_a_handle_headers_of_ours_are_only_taken_off() {
    let house = House::new();
    let got = house
        .response(Sent {
            handle: None,
            headers: &[("x-session-end", "current"), ("X_Session_JWT", "x"), ("etag", "1")],
            ..Sent::default()
        })
        .await;
    assert_eq!(got, Got { headers: vec![("etag".into(), "1".into())], ..Got::default() });
    assert_eq!(house.counted("no_handle"), 1);
    let got = house.response(Sent { handle: None, headers: &[("etag", "1")], ..Sent::default() }).await;
    assert_eq!(got.header("etag"), Some("1"));
    assert_eq!(house.counted("stripped"), 1);
    let forged = Some("shop.AAAA".into());
    let got = house.response(Sent { handle: forged, headers: &[("x-login-jwt", "x")], ..Sent::default() }).await;
    assert_eq!(got.instead, Some(502), "what it hides is not known");
    assert_eq!(house.counted("invalid_handle"), 1);
}

#[tokio::test]
async fn an_update_is_felt_by_the_next_request() {
    let house = House::new();
    let token = house.log_in("ada").await;
    for (label, patch, claims) in [
        ("updated", r#"{"cart":["tea"]}"#, json!({ "cart": ["tea"] })),
        ("unchanged", r#"{"cart":["tea"]}"#, json!({ "cart": ["tea"] })),
        ("updated", r#"{"cart":null}"#, json!({})),
    ] {
        let before = house.counted(label);
        let got = house
            .response(Sent {
                handle: house.handle("cart", Some(&token)),
                headers: &[("x-session-update", patch)],
                ..Sent::default()
            })
            .await;
        assert_eq!(got, Got::default(), "{label}");
        assert_eq!(house.counted(label), before + 1);
        assert_eq!(
            house.session(&token).await.unwrap().claims,
            Claims::from_object(claims.as_object().unwrap()).unwrap()
        );
    }
}

#[tokio::test]
async fn the_services_nonsense_changes_nothing_and_is_counted() {
    let house = House::new();
    let token = house.log_in("ada").await;
    for (headers, label) in [
        (&[("x-session-update", "{")][..], "malformed_command"),
        (&[("x-session-update", "{}"), ("x-session-update", "{}")], "repeated_command"),
        (&[("x-session-update", r#"{"admin":true}"#)], "claim_not_writable"),
        (&[("x-session-create", r#"{"subject":"eve"}"#)], "not_granted"),
        (&[("x-session-create", r#"{"subject":"eve"}"#), ("x-session-update", "{}")], "conflicting_commands"),
        (&[("x-session-end", "all")], "malformed_command"),
    ] {
        let before = house.counted(label);
        let got = house.response(Sent { handle: house.handle("cart", Some(&token)), headers, ..Sent::default() }).await;
        assert_eq!(got, Got::default(), "{label}");
        assert_eq!(house.counted(label), before + 1, "{label}");
    }
    assert_eq!(house.session(&token).await.unwrap().version, 1);
    assert_eq!(house.sessions_of("eve").await, 0);
}

#[tokio::test]
async fn ending_expires_the_cookie_and_wins_over_what_stands_beside_it() {
    let house = House::new();
    for headers in [&[("x-session-end", "current")][..], &[("x-session-update", "{}"), ("x-session-end", "subject")]] {
        let token = house.log_in("ada").await;
        let got = house.response(Sent { handle: house.handle("cart", Some(&token)), headers, ..Sent::default() }).await;
        assert_eq!(got.set_cookies, [EXPIRED]);
        assert_eq!(got.header("cache-control"), Some("no-store"));
        assert!(house.session(&token).await.is_none());
    }
    assert_eq!((house.counted("ended"), house.counted("conflicting_commands")), (2, 1));
}

#[tokio::test]
async fn an_end_lies_in_no_cache_whatever_carried_the_token() {
    let house = House::new();
    let headers = [("x-session-end", "current"), ("cache-control", "public, max-age=60"), ("expires", "tomorrow")];
    for (label, carried) in [("ended", true), ("unchanged", false)] {
        let token = house.log_in("ada").await;
        let scope = ResponseScope { cookie: None, ..house.scope("cart", carried.then_some(&token)) };
        let got = house.response(Sent { handle: Some(house.seal(scope)), headers: &headers, ..Sent::default() }).await;
        let no_store = vec![("cache-control".into(), "no-store".into())];
        assert_eq!(got, Got { headers: no_store, ..Got::default() }, "{label}");
        assert_eq!(house.counted(label), 1);
    }
}

#[tokio::test]
async fn p15_creating_gives_a_new_token_and_ends_what_was_presented() {
    let house = House::new();
    let planted = house.log_in("eve").await;
    let headers =
        [("x-session-create", r#"{"subject":"ada","claims":{"cart":[]}}"#), ("set-cookie", "theme=dark; Path=/")];
    let got = house
        .response(Sent { handle: house.handle("login", Some(&planted)), headers: &headers, ..Sent::default() })
        .await;
    assert_eq!(got.set_cookies[0], "theme=dark; Path=/");
    assert_eq!(got.header("cache-control"), Some("no-store"));
    assert_eq!(house.session(&got.token()).await.unwrap().subject, "ada");
    assert!(house.session(&planted).await.is_none());
    assert_eq!(house.counted("created"), 1);
}

#[tokio::test]
async fn a_dead_cookie_is_expired_where_people_log_in() {
    let house = House::new();
    let dead = || house.seal(ResponseScope { cookie: Some(COOKIE.into()), dead: true, ..house.scope("login", None) });
    let got = house.response(Sent { handle: Some(dead()), ..Sent::default() }).await;
    assert_eq!(got.set_cookies, [EXPIRED]);
    let refused = [("x-session-create", "{")];
    let got = house.response(Sent { handle: Some(dead()), headers: &refused, ..Sent::default() }).await;
    assert_eq!(got.set_cookies, [EXPIRED]);
    let created = [("x-session-create", r#"{"subject":"ada"}"#)];
    let got = house.response(Sent { handle: Some(dead()), headers: &created, ..Sent::default() }).await;
    assert_eq!(got.set_cookies.len(), 1, "not ours and its end at once");
    got.token();
}

#[tokio::test]
async fn p11_a_jwt_goes_in_and_a_token_comes_out() {
    let house = House::new();
    let jwt = jwt("ada");
    let theirs = format!("app_jwt={jwt}; Path=/; HttpOnly");
    let body = format!("{{ \"n\" : 1, \"data\":{{\"token\": \"{jwt}\"}} }}\n");

    let headers = [("x-login-jwt", &*jwt), ("etag", "1")];
    let got =
        house.response(Sent { handle: house.handle("by-header", None), headers: &headers, ..Sent::default() }).await;
    let token = AccessToken::parse(got.header("x-login-jwt").unwrap().as_bytes()).unwrap();
    assert_eq!(house.session(&token).await.unwrap().subject, "ada");
    assert_eq!((got.header("etag"), got.header("cache-control")), (Some("1"), Some("no-store")));
    assert_eq!(got.set_cookies, [""; 0]);

    let headers = [
        ("set-cookie", "a=1; Path=/"),
        ("set-cookie", &*theirs),
        ("set-cookie", "b=\"2\";  Secure"),
        ("set-cookie", "a=1; Path=/"),
    ];
    let got =
        house.response(Sent { handle: house.handle("by-cookie", None), headers: &headers, ..Sent::default() }).await;
    assert_eq!(got.set_cookies[..3], ["a=1; Path=/", "b=\"2\";  Secure", "a=1; Path=/"], "byte for byte, in order");
    assert_eq!(house.session(&got.token()).await.unwrap().subject, "ada");
    assert_eq!(got.set_cookies.len(), 4);

    let length = body.len().to_string();
    let headers = [("content-length", &*length)];
    let handle = house.handle("by-body", None);
    let sent = Sent { handle, headers: &headers, body: Some(&body), buffered: true };
    let got = house.response(sent).await;
    let new = got.body.as_deref().unwrap();
    let at = body.find(&jwt).unwrap();
    assert_eq!((&new[..at], &new[new.len() - (body.len() - at - jwt.len())..]), (&body[..at], &body[at + jwt.len()..]));
    assert_eq!(got.header("content-length"), Some(&*new.len().to_string()));
    let token = AccessToken::parse(&new.as_bytes()[at..new.len() - (body.len() - at - jwt.len())]).unwrap();
    assert_eq!(house.session(&token).await.unwrap().subject, "ada");
    assert_eq!(got.header("cache-control"), Some("no-store"));
    assert_eq!((house.counted("exchanged"), got.set_cookies.len()), (3, 0));
}

#[tokio::test]
async fn p11_a_jwt_that_cannot_be_swapped_does_not_leave() {
    let house = House::new();
    let good = jwt("ada");
    let forged = format!("{}A", &good[..good.len() - 4]);
    let cookie = |jwt: &str| format!("app_jwt={jwt}; Path=/");
    let (good_line, forged_line) = (cookie(&good), cookie(&forged));
    let body = format!(r#"{{"data":{{"token":"{good}"}}}}"#);
    let twice = format!(r#"{{"data":{{"token":"{good}","token":"{good}"}}}}"#);
    let forged_body = format!(r#"{{"data":{{"token":"{forged}"}}}}"#);
    let large = format!(r#"{{"data":{{"token":"{good}"}},"x":"{}"}}"#, "x".repeat(body::MAX_BODY));
    let unusable = jwt(&"a".repeat(300));
    let create = ("x-session-create", r#"{"subject":"ada"}"#);
    let plain = Sent { buffered: true, ..Sent::default() };
    for (rule, sent, label) in [
        ("by-header", Sent { headers: &[("x-login-jwt", &*forged)], ..plain.clone() }, "invalid_jwt"),
        ("by-header", Sent { headers: &[("x-login-jwt", "nonsense")], ..plain.clone() }, "invalid_jwt"),
        (
            "by-header",
            Sent { headers: &[("x-login-jwt", &*good), ("x-login-jwt", &*good)], ..plain.clone() },
            "invalid_jwt",
        ),
        ("by-header", Sent { headers: &[("x-login-jwt", &*unusable)], ..plain.clone() }, "unusable_jwt"),
        ("both", Sent { headers: &[("x-login-jwt", &*good), create], ..plain.clone() }, "conflicting_commands"),
        ("by-cookie", Sent { headers: &[("set-cookie", &*forged_line)], ..plain.clone() }, "invalid_jwt"),
        (
            "by-cookie",
            Sent { headers: &[("set-cookie", &*good_line), ("set-cookie", &*forged_line)], ..plain.clone() },
            "invalid_jwt",
        ),
        ("by-body", Sent { body: Some(&body), buffered: false, ..plain.clone() }, "not_buffered"),
        (
            "by-body",
            Sent { body: Some(&body), headers: &[("content-encoding", "gzip")], ..plain.clone() },
            "unreadable_body",
        ),
        ("by-body", Sent { body: Some(&twice), ..plain.clone() }, "unreadable_body"),
        ("by-body", Sent { body: Some(&large), ..plain.clone() }, "unreadable_body"),
        ("by-body", Sent { body: Some(&forged_body), ..plain.clone() }, "invalid_jwt"),
    ] {
        let before = house.counted(label);
        let got = house.response(Sent { handle: house.handle(rule, None), ..sent }).await;
        assert_eq!(got.instead, Some(502), "{rule} {label}: {got:?}");
        assert_eq!(house.counted(label), before + 1, "{rule} {label}");
        assert_eq!(house.sessions_of("ada").await, 0, "{rule} {label}");
        assert!(!format!("{got:?}").contains(&good[..40]), "{rule} {label}");
    }
}

#[tokio::test]
async fn what_has_no_jwt_passes_where_one_is_exchanged() {
    let house = House::new();
    let plain = Sent { buffered: true, ..Sent::default() };
    for (rule, sent) in [
        ("by-header", Sent { headers: &[("etag", "1")], ..plain.clone() }),
        ("by-header", Sent { headers: &[("x-login-jwt", "")], ..plain.clone() }),
        (
            "by-cookie",
            Sent { headers: &[("set-cookie", "app_jwt=; Max-Age=0"), ("set-cookie", "a=1")], ..plain.clone() },
        ),
        ("by-body", Sent { body: Some("<html>"), ..plain.clone() }),
        ("by-body", Sent { body: Some(r#"{"error":"no"}"#), ..plain.clone() }),
        ("by-body", Sent { body: Some(""), headers: &[("content-encoding", "identity")], ..plain.clone() }),
        ("by-body", Sent { body: None, buffered: false, headers: &[("content-encoding", "gzip")], ..plain.clone() }),
    ] {
        let before = house.counted("stripped");
        let got = house.response(Sent { handle: house.handle(rule, None), ..sent.clone() }).await;
        let headers = sent.headers.iter().filter(|(name, _)| *name != "set-cookie");
        let unchanged = Got {
            headers: headers.map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            set_cookies: sent
                .headers
                .iter()
                .filter(|(name, _)| *name == "set-cookie")
                .map(|(_, it)| (*it).into())
                .collect(),
            body: sent.body.map(Into::into),
            instead: None,
        };
        assert_eq!(got, unchanged, "{rule}");
        assert_eq!(house.counted("stripped"), before + 1, "{rule}");
    }
}

#[tokio::test]
async fn p22_a_handle_counts_only_under_the_rule_that_it_was_made_for() {
    let house = House::new();
    let token = house.log_in("ada").await;
    let update = [("x-session-update", r#"{"cart":[]}"#)];
    let mut scope = house.scope("cart", Some(&token));
    scope.fingerprint.0[0] ^= 1;
    let got =
        house.response(Sent { handle: Some(house.seal(scope.clone())), headers: &update, ..Sent::default() }).await;
    assert_eq!((got, house.counted("policy_changed")), (Got::default(), 1));
    let silent = house.response(Sent { handle: Some(house.seal(scope)), ..Sent::default() }).await;
    assert_eq!((silent, house.counted("policy_changed"), house.counted("stripped")), (Got::default(), 1, 1));
    let mut scope = house.scope("by-header", None);
    scope.fingerprint.0[0] ^= 1;
    let got = house.response(Sent { handle: Some(house.seal(scope)), ..Sent::default() }).await;
    assert_eq!((got.instead, house.counted("policy_changed")), (Some(502), 2));
    let dead = house.session(&token).await.unwrap();
    assert_eq!(dead.version, 1);
}

#[tokio::test]
async fn p20_a_change_that_is_not_durable_makes_the_response_a_503() {
    let house = House::new();
    let token = house.log_in("ada").await;
    house.close_store().await;
    for (rule, header, label) in [
        ("cart", ("x-session-update", r#"{"cart":[]}"#), "store_unavailable"),
        ("cart", ("x-session-end", "current"), "store_unavailable"),
        ("login", ("x-session-create", r#"{"subject":"ada"}"#), "store_unavailable"),
        ("by-header", ("x-login-jwt", &*jwt("ada")), "store_unavailable"),
    ] {
        let before = house.counted(label);
        let sent = Sent { handle: house.handle(rule, Some(&token)), headers: &[header], ..Sent::default() };
        let got = house.response(sent).await;
        assert_eq!((got.instead, got.header("retry-after")), (Some(503), Some("1")), "{rule} {header:?}");
        assert_eq!(house.counted(label), before + 1);
    }
}

#[tokio::test]
async fn p20_a_store_that_never_answers_is_not_waited_for() {
    let never = std::future::pending::<Result<(), NotDone>>();
    assert_eq!(within(Duration::from_millis(1), never).await, Err(CommandRefusal::StoreUnavailable.into()));
}
